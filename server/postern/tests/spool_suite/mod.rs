//! What every engine of the spool must do, written against the traits alone. An engine's test file calls
//! [`conformance!`] with a function that gives it an empty store, or opens one again.

#![allow(dead_code)]

pub mod aged;
pub mod facts;
pub mod filters;
pub mod full;
pub mod limits;
pub mod queue;
pub mod second;

use bytes::Bytes;
use postern::spool::{Draft, Fact, LeaseToken, Leased, NewMessage, Origin, SealedDraft, Settle, Settlement, Spool};
use postern_core::mail::{Envelope, QueueId, Recipient, ReversePath};
use postern_core::message::ContentSource;
use postern_core::route::QueueKey;
use postern_core::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

pub const T0: Timestamp = Timestamp(1_795_428_000_000);
pub const TTL: Duration = Duration::from_secs(600);

/// Wall time, for ids.
pub fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    Timestamp(u64::try_from(now.as_millis()).unwrap())
}

pub fn later(seconds: u64) -> Timestamp {
    T0.after(Duration::from_secs(seconds))
}

pub fn key(destination: &str) -> QueueKey {
    QueueKey { zone: "default".into(), destination: destination.into() }
}

/// A message for recipients at these domains, each in the queue of its domain.
pub fn message(domains: &[&str]) -> NewMessage {
    let mut envelope = Envelope::new(ReversePath::Path("sender@example.com".parse().unwrap()));
    envelope.recipients = domains
        .iter()
        .enumerate()
        .map(|(n, domain)| Recipient::new(format!("r{n}@{domain}").parse().unwrap()))
        .collect();
    NewMessage {
        envelope,
        header: Bytes::from_static(b"Subject: test\r\nFrom: sender@example.com\r\n"),
        queues: domains.iter().map(|domain| key(domain)).collect(),
        accepted: T0,
        deliver_at: T0,
        origin: Origin {
            session: "s1".into(),
            listener: "feeder".into(),
            peer_addr: None,
            user: None,
            attributes: Arc::default(),
        },
        starts: Vec::new(),
        body_hashes: None,
        facts: Vec::new(),
    }
}

/// Octets that differ by place and by `salt`.
pub fn pattern(len: usize, salt: u64) -> Bytes {
    let mut rng = fastrand::Rng::with_seed(salt);
    let mut data = vec![0; len];
    rng.fill(&mut data);
    Bytes::from(data)
}

pub async fn draft<S: Spool>(spool: &S, body: &Bytes) -> S::Sealed {
    let mut draft = spool.begin(None).await.unwrap();
    for chunk in body.chunks(50_000) {
        draft.write(body.slice_ref(chunk)).await.unwrap();
    }
    draft.seal().await.unwrap()
}

pub async fn commit<S: Spool>(spool: &S, message: NewMessage, body: &Bytes) -> QueueId {
    let draft = draft(spool, body).await;
    let id = draft.id();
    assert_eq!(spool.commit(draft, message).await.unwrap(), id);
    id
}

pub async fn read_all(source: &dyn ContentSource) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let chunk = source.read(all.len() as u64, 40_000).await.unwrap();
        if chunk.is_empty() {
            assert_eq!(all.len() as u64, source.len());
            return all;
        }
        all.extend_from_slice(&chunk);
    }
}

/// The content of a queued message.
pub async fn content<S: Spool>(spool: &S, id: QueueId) -> Vec<u8> {
    read_all(&*spool.open(id).await.unwrap()).await
}

pub fn whole(message: &NewMessage, body: &Bytes) -> Vec<u8> {
    [&message.header[..], body].concat()
}

pub async fn lease<S: Spool>(spool: &S, destination: &str, now: Timestamp) -> Vec<Leased> {
    spool.lease(&key(destination), now, 1000, 100_000, TTL).await.unwrap()
}

pub fn tokens(leased: &Leased) -> Vec<LeaseToken> {
    leased.recipients.iter().map(|recipient| recipient.token).collect()
}

/// The same outcome for all recipients of a lease.
pub fn settlement<D>(leased: &Leased, settle: &Settle) -> Settlement<D> {
    Settlement {
        message: leased.message.id,
        outcomes: tokens(leased).into_iter().map(|token| (token, settle.clone())).collect(),
        emit: Vec::new(),
        facts: Vec::new(),
    }
}

pub fn defer(due: Timestamp) -> Settle {
    Settle::Defer { due, reason: "451 busy".to_owned(), told: false }
}

pub fn fact(key: &str, value: Option<&'static str>) -> Fact {
    Fact {
        namespace: "plugin/test".to_owned(),
        key: key.as_bytes().to_vec(),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
        expires: None,
    }
}

/// Makes one test of each check. `$store` makes something with `fn open(&self) -> S` that opens the same store again
/// once all handles are dropped, and `fn open_full(&self) -> S` that does so as if its disk were full.
#[macro_export]
macro_rules! conformance {
    ($store:expr) => {
        $crate::conformance!(@ $store, queue:
            commit_reopen_and_read, drafts_leave_nothing, ranges, leases_in_due_order, groups_and_limits,
            fencing, settles_whole_or_not_at_all, defers_and_reopens, release_changes_nothing, holds_and_releases,
            actions_during_an_attempt, deletes, admin_by_filter, ten_thousand_recipients, ready_and_changed,
            ends_without_traces, large_content_streams, keeps_what_is_asked_of_dsns, due_order_across_deferrals);
        $crate::conformance!(@ $store, second:
            takes_the_place_of_the_first, leaves_nothing, streams, scratch_holds_no_memory);
        $crate::conformance!(@ $store, aged:
            leases_aged_across_queues, leases_a_part_of_an_aged_message, that_the_sender_was_told_is_durable);
        $crate::conformance!(@ $store, filters: each_term, a_filter_over_many, surveys_change_nothing);
        $crate::conformance!(@ $store, facts: facts_with_mail, values_and_expiry, scans);
        $crate::conformance!(@ $store, limits: drafts_wait_for_memory, a_hundred_thousand_recipients, a_long_queue);
        $crate::conformance!(@@ $store, full:
            takes_nothing_and_delivers, bounces_all_the_same, takes_mail_again_once_there_is_room);
    };
    (@@ $store:expr, $module:ident: $($check:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $check() {
                let store = $store;
                spool_suite::$module::$check(|| store.open(), || store.open_full()).await;
            }
        )*
    };
    (@ $store:expr, $module:ident: $($check:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $check() {
                let store = $store;
                spool_suite::$module::$check(|| store.open()).await;
            }
        )*
    };
}
