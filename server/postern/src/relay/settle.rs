//! From outcomes to the queue: what an attempt did to each recipient becomes one settlement, with the DSN for those
//! that failed for good, and the lines of the delivery log once it is durable.

use super::DsnSender;
use super::router::{DEFAULT_ZONE, Zones};
use crate::intake::{Queued, Router};
use crate::observe::delivery_log::{self, About};
use crate::spool::{
    Draft, LeaseToken, Leased, NewMessage, Origin, SealedDraft, Settle, Settlement, Spool, SpoolError, StoredMessage,
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use postern_core::mail::{Address, Outcome, Reason, Recipient, RecipientId, Reply, ReversePath, Seq};
use postern_core::message::{ContentSource, HeaderBlock, dsn};
use postern_core::route::QueueKey;
use postern_core::time::Timestamp;
use postern_core::zone::Zone;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, warn};

/// At most this much of a message's header is looked at for a DSN, in octets.
const MAX_HEADER: u64 = 1 << 20;

/// How long a failure waits whose DSN could not be queued.
const DSN_PAUSE: Duration = Duration::from_secs(60);

/// What settling needs besides the outcomes.
pub struct Settler<S: Spool> {
    /// Where it is recorded.
    pub spool: S,
    /// Where DSNs go.
    pub zones: Zones,
    /// Who they are from.
    pub sender: DsnSender,
    /// `Reporting-MTA`.
    pub hostname: Arc<str>,
    /// The time.
    pub clock: fn() -> Timestamp,
}

/// A recipient's fate, decided.
struct Decided<'a> {
    token: LeaseToken,
    attempts: u32,
    fate: Fate<'a>,
}

enum Fate<'a> {
    Delivered(&'a Reply),
    Deferred(&'a Reason, Timestamp),
    /// For good; `expired` if only for its age.
    Failed {
        reason: &'a Reason,
        expired: bool,
    },
    /// The attempt said nothing of it.
    Untouched,
}

impl<S: Spool> Settler<S> {
    /// Records what an attempt did; if that can't be done, gives the leases back, so that the recipients are tried
    /// again. `next_hop` is for the log.
    pub async fn settle_or_release(&self, zone: &Zone, leased: &Leased, outcomes: &[(Seq, Outcome)], next_hop: &str) {
        let settled = AssertUnwindSafe(self.settle(zone, leased, outcomes, next_hop)).catch_unwind().await;
        match settled {
            Ok(Ok(())) => return,
            Ok(Err(error)) => delivery_log::unsettled(leased.message.id, error),
            Err(_) => delivery_log::unsettled(leased.message.id, "panic"),
        }
        self.release(leased).await;
    }

    /// Gives leases back as if there had been no attempt.
    pub async fn release(&self, leased: &Leased) {
        let outcomes = leased.recipients.iter().map(|r| (r.token, Settle::Release)).collect();
        let settlement = Settlement { message: leased.message.id, outcomes, emit: Vec::new(), facts: Vec::new() };
        if let Err(error) = self.spool.settle(settlement).await {
            // Lost leases are somebody else's; a poisoned store ends the process.
            debug!(id = %leased.message.id, %error, "leases were not given back");
        }
    }

    async fn settle(
        &self,
        zone: &Zone,
        leased: &Leased,
        outcomes: &[(Seq, Outcome)],
        next_hop: &str,
    ) -> Result<(), SpoolError> {
        let now = (self.clock)();
        let mut decided: Vec<_> = leased
            .recipients
            .iter()
            .map(|recipient| {
                let outcome = outcomes.iter().find(|(seq, _)| *seq == recipient.token.recipient.seq).map(|(_, o)| o);
                let fate = decide(zone, leased, outcome, recipient.attempts + 1, now);
                Decided { token: recipient.token, attempts: recipient.attempts + 1, fate }
            })
            .collect();
        let dsn = match self.dsn(leased, &decided, next_hop, now).await {
            Ok(dsn) => dsn,
            Err(error) => {
                warn!(id = %leased.message.id, %error, "a DSN can't be queued now; what it is about stays in the queue");
                decided.iter_mut().for_each(|d| d.put_off(now.after(DSN_PAUSE)));
                None
            }
        };
        let queued = dsn.as_ref().map(|(sealed, message)| Queued::new(sealed.id(), message, sealed.body().len()));
        let settlement = Settlement {
            message: leased.message.id,
            outcomes: decided.iter().map(|d| (d.token, d.fate.settle())).collect(),
            emit: dsn.into_iter().collect(),
            facts: Vec::new(),
        };
        self.spool.settle(settlement).await?;
        log(leased, &decided, next_hop, queued.is_some());
        if let Some(queued) = queued {
            queued.log(Some(leased.message.id));
        }
        Ok(())
    }

    /// The DSN for those that failed for good, if there is to be one. On an error there is to be one, and it can't be
    /// made now.
    async fn dsn(
        &self,
        leased: &Leased,
        decided: &[Decided<'_>],
        next_hop: &str,
        now: Timestamp,
    ) -> Result<Option<(S::Sealed, NewMessage)>, SpoolError> {
        let message = &leased.message;
        let failed: Vec<_> = decided.iter().filter_map(|d| d.failed(message, next_hop)).collect();
        let ReversePath::Path(return_to) = &message.envelope.reverse_path else { return Ok(None) };
        if failed.is_empty() {
            return Ok(None);
        }
        let header = HeaderBlock::parse(&self.header(message).await);
        if !dsn::wanted(&message.envelope, &header) {
            return Ok(None);
        }
        let queue = self.queue_for(return_to, &message.queues[0].zone);
        let queue = queue.ok_or_else(|| SpoolError::Invalid("there is no zone for it".into()))?;
        let report = dsn::Report {
            hostname: &self.hostname,
            from_name: &self.sender.name,
            from: &self.sender.address,
            to: return_to,
            queue_id: message.id,
            arrival: message.accepted,
            now,
            failed: &failed,
            original: &header,
        };
        let dsn = report.compose();
        let mut draft = self.spool.begin_own().await?;
        draft.write(dsn.body).await?;
        let sealed = draft.seal().await?;
        let new = NewMessage {
            envelope: dsn.envelope,
            header: dsn.header,
            queues: vec![queue],
            accepted: now,
            deliver_at: now,
            origin: Origin { session: "-".into(), listener: "-".into(), peer_addr: None, user: None },
            facts: Vec::new(),
        };
        Ok(Some((sealed, new)))
    }

    /// Where a DSN goes: the zone of the message that it is about, or `default` if the config no longer has that.
    fn queue_for(&self, return_to: &Address, zone: &str) -> Option<QueueKey> {
        let recipient = Recipient::new(return_to.clone());
        self.zones.route(&recipient, Some(zone)).or_else(|| self.zones.route(&recipient, Some(DEFAULT_ZONE)))
    }

    /// The header block of a message for its DSN; empty if it can't be read: the sender is told all the same.
    async fn header(&self, message: &StoredMessage) -> Bytes {
        let id = message.id;
        let found = match self.spool.open(id).await {
            Ok(content) => read(&*content, message.header_len.min(MAX_HEADER)).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        found.unwrap_or_else(|error| {
            warn!(%id, error, "the header of a message can't be read for its DSN");
            Bytes::new()
        })
    }
}

impl<'a> Decided<'a> {
    /// Leaves a recipient that failed in the queue until `due`.
    fn put_off(&mut self, due: Timestamp) {
        if let Fate::Failed { reason, .. } = self.fate {
            self.fate = Fate::Deferred(reason, due);
        }
    }

    /// What the DSN says of this recipient, if it failed for good.
    fn failed(&'a self, message: &'a StoredMessage, next_hop: &'a str) -> Option<dsn::FailedRecipient<'a>> {
        let Fate::Failed { reason, expired } = self.fate else { return None };
        let address = &message.envelope.recipients[self.token.recipient.seq.index()].address;
        Some(dsn::FailedRecipient { address, reason, expired, remote_mta: remote_host(next_hop) })
    }
}

async fn read(content: &dyn ContentSource, len: u64) -> std::io::Result<Bytes> {
    let mut all = Vec::new();
    while (all.len() as u64) < len {
        let missing = usize::try_from(len).unwrap_or(usize::MAX) - all.len();
        let piece = content.read(all.len() as u64, missing).await?;
        if piece.is_empty() {
            break;
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.into())
}

/// The host of `host[ip]:port`: `Remote-MTA` wants a name. None if there was no session with one.
fn remote_host(next_hop: &str) -> Option<&str> {
    next_hop.split_once('[').map(|(host, _)| host).filter(|host| !host.is_empty())
}

/// A deferral past the greatest age is a failure.
fn decide<'a>(zone: &Zone, leased: &Leased, outcome: Option<&'a Outcome>, attempts: u32, now: Timestamp) -> Fate<'a> {
    let message = &leased.message;
    let expires = message.expires(zone.max_age);
    match outcome {
        None => Fate::Untouched,
        Some(Outcome::Delivered(reply)) => Fate::Delivered(reply),
        Some(Outcome::Bounced(reason)) => Fate::Failed { reason, expired: false },
        Some(Outcome::Deferred(reason)) if now >= expires => Fate::Failed { reason, expired: true },
        Some(Outcome::Deferred(reason)) => {
            Fate::Deferred(reason, zone.retry.next(attempts, now, expires, fastrand::f64()))
        }
    }
}

impl Fate<'_> {
    fn settle(&self) -> Settle {
        match self {
            Self::Delivered(_) | Self::Failed { .. } => Settle::Done,
            Self::Deferred(reason, due) => Settle::Defer { due: *due, reason: delivery_log::describe(reason) },
            Self::Untouched => Settle::Release,
        }
    }
}

fn log(leased: &Leased, decided: &[Decided<'_>], next_hop: &str, dsn: bool) {
    let message = &leased.message;
    for d in decided {
        let about = About {
            id: RecipientId { message: message.id, seq: d.token.recipient.seq },
            session: &message.origin.session,
            to: message.envelope.recipients[d.token.recipient.seq.index()].address.as_str(),
            from: &message.envelope.reverse_path,
            next_hop,
        };
        match &d.fate {
            Fate::Delivered(reply) => delivery_log::accepted(&about, reply),
            Fate::Deferred(reason, due) => delivery_log::deferred(&about, reason, d.attempts, due),
            Fate::Failed { reason, expired } => delivery_log::rejected(&about, reason, *expired, dsn),
            Fate::Untouched => {}
        }
    }
}
