//! What stands in events, how they get to plugins, and that a SIGKILL loses none: the child is this test binary itself,
//! told so by the environment.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod killed;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use killed::{lines_until_killed, say};
use postern::events::{Happened, Kind, Outbox, run};
use postern::spool::embedded::{Embedded, Options};
use postern::spool::{
    Action, Draft, Fact, Facts as _, Filter, LeaseToken, NewMessage, Origin, SealedDraft, Settle, Settlement, Spool,
    Start,
};
use postern_core::hook::{
    Attributes, Credentials, Decision, Delivery, Disposition, Failures, HookPoint, Hooks, HttpAnswer, HttpRequest,
    Identity, LiveHooks, NoAnswer, NoHooks, Refusal, Routing, Session, Transaction,
};
use postern_core::mail::{Address, Envelope, QueueId, Recipient, ReversePath, Seq};
use postern_core::route::QueueKey;
use postern_core::time::Timestamp;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

const T0: Timestamp = Timestamp(1_795_428_000_000);

/// Plugins that write down what they are given, and take it or not.
#[derive(Default)]
struct Listeners {
    names: Vec<Arc<str>>,
    /// Calls that are refused before the first that is taken.
    refusals: Mutex<usize>,
    batches: Mutex<Vec<(String, Vec<String>)>>,
    /// Events are printed, too.
    prints: bool,
}

type Asked<'a, T> = BoxFuture<'a, Result<T, Refusal>>;

impl Hooks for Listeners {
    fn wants(&self, point: HookPoint) -> bool {
        point == HookPoint::Event
    }
    fn connect<'a>(&'a self, session: &'a mut Session) -> Asked<'a, ()> {
        NoHooks.connect(session)
    }
    fn auth<'a>(&'a self, _: &'a mut Session, _: &'a Credentials) -> Asked<'a, Identity> {
        unreachable!()
    }
    fn mail<'a>(&'a self, _: &'a mut Transaction) -> Asked<'a, ()> {
        unreachable!()
    }
    fn rcpt<'a>(&'a self, _: &'a mut Transaction, _: &'a mut Recipient) -> Asked<'a, ()> {
        unreachable!()
    }
    fn spam<'a>(&'a self, _: &'a mut Transaction) -> Asked<'a, Disposition> {
        unreachable!()
    }
    fn rewrite<'a>(&'a self, _: &'a mut Transaction) -> Asked<'a, ()> {
        unreachable!()
    }
    fn rewrite_part<'a>(&'a self, _: &'a mut Transaction) -> Asked<'a, ()> {
        unreachable!()
    }
    fn route<'a>(&'a self, _: &'a mut Transaction, _: &'a mut Routing) -> Asked<'a, ()> {
        unreachable!()
    }
    fn delivery_before<'a>(&'a self, _: &'a mut Delivery) -> BoxFuture<'a, Decision> {
        unreachable!()
    }
    fn bounce<'a>(&'a self, _: &'a mut Failures) -> BoxFuture<'a, ()> {
        unreachable!()
    }
    fn event_consumers(&self) -> Arc<[Arc<str>]> {
        self.names.clone().into()
    }
    fn events<'a>(&'a self, consumer: &'a str, batch: Vec<String>) -> BoxFuture<'a, Result<(), String>> {
        let mut refusals = self.refusals.lock().unwrap();
        if self.prints {
            batch.iter().for_each(|event| writeln!(std::io::stdout().lock(), "event {event}").unwrap());
        }
        self.batches.lock().unwrap().push((consumer.to_owned(), batch));
        let refused = *refusals > 0;
        *refusals = refusals.saturating_sub(1);
        Box::pin(std::future::ready(if refused { Err("not now".to_owned()) } else { Ok(()) }))
    }
    fn http<'a>(&'a self, _: &'a str, _: HttpRequest) -> BoxFuture<'a, Result<HttpAnswer, NoAnswer>> {
        unreachable!()
    }
}

fn message(recipients: &[&str]) -> NewMessage {
    let recipients: Vec<_> = recipients.iter().map(|to| Recipient::new(Address::parse(to).unwrap())).collect();
    let queues = recipients.iter().map(|_| QueueKey { zone: "z".into(), destination: "d".into() }).collect();
    let attributes = [("campaign".to_owned(), "7".to_owned()), ("long".to_owned(), "x".repeat(8192))];
    let origin = Origin {
        session: "s1".into(),
        listener: "l".into(),
        peer_addr: None,
        user: Some("u".into()),
        attributes: Arc::new(Attributes::from(attributes)),
    };
    let reverse_path = ReversePath::Path(Address::parse("a@b.example").unwrap());
    NewMessage {
        envelope: Envelope { recipients, ..Envelope::new(reverse_path) },
        header: Bytes::from_static(b"Message-ID: <1@b>\r\n"),
        queues,
        accepted: T0,
        deliver_at: T0,
        origin,
        starts: vec![(Seq(2), Start { due: T0, held: Some("look \u{7}".to_owned()) })],
        body_hashes: None,
        facts: Vec::new(),
    }
}

fn json(fact: &Fact) -> serde_json::Value {
    serde_json::from_slice(fact.value.as_ref().unwrap()).unwrap()
}

fn outbox(names: &[&str]) -> Option<Outbox> {
    let names = names.iter().map(|name| Arc::from(*name)).collect();
    Outbox::of(&Listeners { names, ..Listeners::default() }, T0)
}

#[test]
fn an_event_has_what_is_known() {
    assert!(outbox(&[]).is_none() && Outbox::of(&NoHooks, T0).is_none());
    let facts = outbox(&["one", "two"]).unwrap().accepted(QueueId(5), &message(&["c@d.example", "e@f.example"]), 100);
    let spaces: Vec<_> = facts.iter().map(|fact| fact.namespace.as_str()).collect();
    assert_eq!(spaces, ["node/event/one", "node/event/two", "node/event/one", "node/event/two"]);
    let whole = serde_json::json!({
        "event": "accepted", "time": T0.0, "id": "000000000000000005", "from": "a@b.example", "zone": "z",
        "session": "s1", "user": "u", "attributes": { "campaign": "7" },
        "recipients": 2, "size": 119, "message_id": "<1@b>",
    });
    assert_eq!(json(&facts[0]), whole);
    let held = json(&facts[2]);
    assert_eq!((&held["event"], &held["seq"], &held["to"]), (&"held".into(), &"002".into(), &"e@f.example".into()));
    assert_eq!(held["reason"], "look \u{7}");
    assert!(held.get("status").is_none() && held.get("next_hop").is_none() && held.get("recipients").is_none());
}

#[test]
fn texts_from_outside_are_cut() {
    let mut new = message(&["c@d.example"]);
    new.header = format!("Message-ID: {}\r\n", "\u{e4}".repeat(5_000)).into();
    new.origin.attributes = Arc::new((0..100).map(|n| (format!("{n:03}"), "\"".repeat(4_000))).collect());
    let fact = &outbox(&["one"]).unwrap().accepted(QueueId(5), &new, 0)[0];
    let event = json(fact);
    assert_eq!(event["message_id"].as_str().unwrap().len(), 2048);
    assert_eq!(event["attributes"].as_object().unwrap().len(), 2);
    assert!(fact.value.as_ref().unwrap().len() < 32 << 10);
}

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, Options { pregrow: 0, min_free: 0, ..Options::new(|| T0) }).unwrap()
}

/// Feeds `listeners` until they have been called so often.
async fn feed(spool: &Embedded, listeners: &Arc<Listeners>, calls: usize) {
    let (stop, stopped) = watch::channel(false);
    let hooks: Arc<dyn Hooks> = Arc::clone(listeners) as _;
    let fed = tokio::spawn(run(spool.clone(), Arc::new(LiveHooks::new(hooks)), || T0, stopped));
    while listeners.batches.lock().unwrap().len() < calls {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.send(true).unwrap();
    fed.await.unwrap();
}

fn listeners(names: &[&str], refusals: usize) -> Arc<Listeners> {
    let names = names.iter().map(|name| Arc::from(*name)).collect();
    Arc::new(Listeners { names, refusals: Mutex::new(refusals), ..Listeners::default() })
}

async fn write(spool: &Embedded, consumer: &str, events: std::ops::Range<usize>) {
    let fact = |n: usize| Fact::appended(format!("node/event/{consumer}"), n.to_string().into(), None);
    spool.write(events.map(fact).collect()).await.unwrap();
}

async fn left(spool: &Embedded, consumer: &str) -> usize {
    spool.scan(&format!("node/event/{consumer}"), b"", None, T0, 10_000).await.unwrap().len()
}

#[tokio::test]
async fn batches_come_in_order_until_they_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    write(&spool, "one", 0..150).await;
    let first = listeners(&["one"], 1);
    feed(&spool, &first, 3).await;
    let batches = std::mem::take(&mut *first.batches.lock().unwrap());
    let expected = |range: std::ops::Range<usize>| range.map(|n| n.to_string()).collect::<Vec<_>>();
    let events: Vec<_> = batches.into_iter().map(|(_, batch)| batch).collect();
    let what = "the first was refused, so fewer come at once until one was taken";
    assert_eq!(events, [expected(0..100), expected(0..50), expected(50..150)], "{what}");
    assert_eq!(left(&spool, "one").await, 0);
    // Refused before the end, they come after it; and rows that are written then come behind them.
    write(&spool, "one", 150..152).await;
    feed(&spool, &listeners(&["one"], usize::MAX), 1).await;
    drop(spool);
    let spool = open(dir.path());
    write(&spool, "one", 152..153).await;
    let second = listeners(&["one"], 0);
    feed(&spool, &second, 1).await;
    assert_eq!(second.batches.lock().unwrap()[0].1, expected(150..153));
}

#[tokio::test]
async fn what_is_for_plugins_that_are_gone_is_dropped_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    write(&spool, "gone", 0..1).await;
    write(&spool, "stays", 0..1).await;
    feed(&spool, &listeners(&["gone", "stays"], 0), 2).await;
    assert!(spool.get("node/event", b"gone", T0).await.unwrap().is_some());
    write(&spool, "gone", 0..2_500).await;
    write(&spool, "stays", 0..1).await;
    let stays = listeners(&["stays"], 0);
    feed(&spool, &stays, 1).await;
    assert_eq!((left(&spool, "gone").await, left(&spool, "stays").await), (0, 0));
    assert!(spool.get("node/event", b"gone", T0).await.unwrap().is_none());
    assert_eq!(stays.batches.lock().unwrap().len(), 1);
}

/// Commits a message with its event.
async fn commit(spool: &Embedded, outbox: &Outbox, recipients: &[&str]) -> QueueId {
    let mut draft = spool.begin(None).await.unwrap();
    draft.write(Bytes::from_static(b"\r\nbody\r\n")).await.unwrap();
    let sealed = draft.seal().await.unwrap();
    let mut new = NewMessage { starts: Vec::new(), ..message(recipients) };
    new.facts = outbox.accepted(sealed.id(), &new, 8);
    spool.commit(sealed, new).await.unwrap()
}

/// What happened to which recipient, as its events say.
async fn told(spool: &Embedded) -> Vec<String> {
    let rows = spool.scan("node/event/one", b"", None, T0, 1000).await.unwrap();
    let events = rows.into_iter().map(|(_, event)| serde_json::from_slice::<serde_json::Value>(&event).unwrap());
    events
        .map(|event| format!("{} {}", event["event"].as_str().unwrap(), event["seq"].as_str().unwrap_or("")))
        .collect()
}

#[tokio::test]
async fn what_operators_do_is_told_when_it_takes_effect() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let outbox = outbox(&["one"]).unwrap();
    commit(&spool, &outbox, &["a@d.example", "b@d.example", "c@d.example"]).await;
    let act = async |filter: &str, action, kind| {
        spool
            .admin_with(&filter.parse::<Filter>().unwrap(), action, Some(outbox.clone().by_operator(kind)))
            .await
            .unwrap()
    };
    assert_eq!(act("recipient=a@d.example", Action::Hold, Kind::Held).await, 1);
    assert_eq!(act("recipient=a@d.example", Action::Release(T0), Kind::Released).await, 1);
    assert_eq!(act("recipient=a@d.example", Action::Delete, Kind::Deleted).await, 1);
    let before = ["accepted ", "held 001", "released 001", "deleted 001"];
    assert_eq!(told(&spool).await, before);
    // In an attempt: what is delivered was not deleted, what is deferred is.
    let queue = QueueKey { zone: "z".into(), destination: "d".into() };
    let leased = spool.lease(&queue, T0, 1, 10, Duration::from_secs(9)).await.unwrap().remove(0);
    assert_eq!(act("domain=d.example", Action::Delete, Kind::Deleted).await, 2);
    assert_eq!(told(&spool).await, before);
    let [b, c] = [0, 1].map(|n| leased.recipients[n].token);
    let defer = Settle::Defer { due: T0, reason: String::new(), told: false };
    let outcomes = vec![(b, Settle::Done), (c, defer)];
    let settlement = Settlement { message: leased.message.id, outcomes, emit: Vec::new(), facts: Vec::new() };
    assert!(spool.settle(settlement).await.unwrap());
    assert_eq!(told(&spool).await, [&before[..], &["deleted 003"]].concat());
    // A crash during the attempt: the deletion is found at the next open, and told once.
    commit(&spool, &outbox, &["e@d.example"]).await;
    let _leased = spool.lease(&queue, T0, 1, 10, Duration::from_secs(9)).await.unwrap();
    assert_eq!(act("recipient=e@d.example", Action::Delete, Kind::Deleted).await, 1);
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(dir.path().join("queue.redb"), copy.path().join("queue.redb")).unwrap();
    drop(open(copy.path()));
    let again = open(copy.path());
    assert_eq!(told(&again).await, [&before[..], &["deleted 003", "accepted ", "deleted 001"]].concat());
    assert_eq!(again.stats().recipients, 0);
}

#[tokio::test]
async fn keys_rise_over_restarts_and_clocks_that_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut keys = Vec::new();
    for hours in [2, 1, 0] {
        let clock: fn() -> Timestamp = match hours {
            2 => || T0.after(Duration::from_secs(7200)),
            1 => || T0.after(Duration::from_secs(3600)),
            _ => || T0,
        };
        let spool = Embedded::open(dir.path(), Options { pregrow: 0, min_free: 0, ..Options::new(clock) }).unwrap();
        write(&spool, "one", 0..5).await;
        let rows = spool.scan("node/event/one", b"", keys.last().map(|key: &Vec<u8>| &key[..]), T0, 10).await.unwrap();
        keys.extend(rows.into_iter().map(|(key, _)| key));
    }
    assert_eq!(keys.len(), 15);
    assert!(keys.is_sorted());
}

const DIR: &str = "POSTERN_TEST_EVENTS";

/// The child's part: commits, settles and takes events until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let spool = open(Path::new(&dir));
    let listeners = Arc::new(Listeners { names: vec!["one".into()], prints: true, ..Listeners::default() });
    let (_stop, stopped) = watch::channel(false);
    let feeding = run(spool.clone(), Arc::new(LiveHooks::new(listeners)), || T0, stopped);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(feeding);
    for _ in 0..4 {
        let (spool, outbox) = (spool.clone(), outbox(&["one"]).unwrap());
        tasks.spawn(async move {
            let queue = QueueKey { zone: "z".into(), destination: "d".into() };
            loop {
                say("accepted", commit(&spool, &outbox, &["a@d.example"]).await);
                for leased in spool.lease(&queue, T0, 1, 1, Duration::from_secs(9)).await.unwrap() {
                    let (id, token): (_, LeaseToken) = (leased.message.id, leased.recipients[0].token);
                    let mut facts = Vec::new();
                    let delivered = Happened::new(Kind::Delivered, None);
                    outbox.happened((&leased.message, token.recipient.seq), "z", &delivered, &mut facts);
                    let outcomes = vec![(token, Settle::Done)];
                    spool.settle(Settlement { message: id, outcomes, emit: Vec::new(), facts }).await.unwrap();
                    say("delivered", id);
                }
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn a_killed_process_loses_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let (mut happened, mut taken) = (BTreeSet::new(), BTreeSet::new());
    let event = |json: &str| {
        let event: serde_json::Value = serde_json::from_str(json).unwrap();
        format!("{} {}", event["event"].as_str().unwrap(), event["id"].as_str().unwrap())
    };
    let rounds = if std::env::var_os("POSTERN_SOAK").is_some() { 60 } else { 6 };
    for round in 0..rounds {
        for line in lines_until_killed(DIR, dir.path(), 61 + round * 60) {
            match line.split_once(' ') {
                Some(("accepted" | "delivered", id)) if id.len() == 18 => drop(happened.insert(line)),
                Some(("event", json)) if json.ends_with('}') => drop(taken.insert(event(json))),
                _ => {}
            }
        }
    }
    let spool = open(dir.path());
    let rows = spool.scan("node/event/one", b"", None, T0, 1_000_000).await.unwrap();
    let left: Vec<String> = rows.iter().map(|(_, row)| event(std::str::from_utf8(row).unwrap())).collect();
    taken.extend(left);
    let lost: Vec<_> = happened.difference(&taken).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), happened.len());
    assert!(happened.len() > 200);
    // Nothing is told that is not so: what was accepted and not delivered is still in the queue.
    let open: BTreeSet<_> = taken
        .iter()
        .filter_map(|event| event.strip_prefix("accepted "))
        .filter(|id| !taken.contains(&format!("delivered {id}")))
        .collect();
    assert_eq!(open.len() as u64, spool.stats().messages);
    assert!(
        taken
            .iter()
            .filter_map(|event| event.strip_prefix("delivered "))
            .all(|id| taken.contains(&format!("accepted {id}")))
    );
}
