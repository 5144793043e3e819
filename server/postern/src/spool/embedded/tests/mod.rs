//! Crashes and I/O errors at every point of a scenario that has everything in it: commits (small, streamed, of many
//! recipients), DSNs, deferrals, holds, deletions, facts, drafts that come to nothing, drafts in the place of others.
//!
//! The rule: a step that was answered is whole on disk, and the one that wasn't is there whole or not at all. So what
//! is read after each crash must be what a run without faults shows before or after the step that was cut off.

mod disk;

use super::admin::AdminOp;
use super::open::{initialize, load};
use super::shared::Shared;
use super::store::{self, BODY, CONTENT, LOOSE, MESSAGE, STATE, Tables};
use super::writer::{Op, Writer};
use super::{Embedded, Options, inspect, record};
use crate::spool::{
    Action, Draft, Fact, Facts, Filter, Health, NewMessage, Origin, Settle, Settlement, Spool, SpoolError, State,
};
use bytes::Bytes;
use disk::{Disk, Fault};
use postern_core::mail::{Envelope, QueueId, Recipient, ReversePath};
use postern_core::route::QueueKey;
use postern_core::time::Timestamp;
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const T0: Timestamp = Timestamp(1_795_428_000_000);
const STEPS: usize = 15;

fn options(quick_repair: bool) -> Options {
    Options { pregrow: 0, quick_repair, cache: 1 << 20, ..Options::new(|| T0) }
}

fn key(destination: &str) -> QueueKey {
    QueueKey { zone: "z".into(), destination: destination.into() }
}

fn message(destinations: &[&str]) -> NewMessage {
    let mut envelope = Envelope::new(ReversePath::Null);
    envelope.recipients = vec![Recipient::new("r@example.com".parse().unwrap()); destinations.len()];
    NewMessage {
        envelope,
        header: Bytes::from_static(b"A: b\r\n"),
        queues: destinations.iter().map(|destination| key(destination)).collect(),
        accepted: T0,
        deliver_at: T0,
        origin: Origin {
            session: "s".into(),
            listener: "l".into(),
            peer_addr: None,
            user: None,
            attributes: Arc::default(),
        },
        starts: Vec::new(),
        body_hashes: None,
        facts: vec![fact("committed", destinations[0])],
    }
}

fn fact(key: &str, value: &str) -> Fact {
    let value = Some(Bytes::copy_from_slice(value.as_bytes()));
    Fact { namespace: "n".to_owned(), key: key.as_bytes().to_vec(), value, expires: None }
}

fn body(len: usize) -> Bytes {
    let mut data = vec![0; len];
    fastrand::Rng::with_seed(len as u64).fill(&mut data);
    Bytes::from(data)
}

async fn draft(spool: &Embedded, len: usize) -> Result<super::EmbeddedSealed, SpoolError> {
    let mut draft = spool.begin(None).await?;
    let body = body(len);
    for chunk in body.chunks(30_000) {
        draft.write(body.slice_ref(chunk)).await?;
    }
    draft.seal().await
}

async fn commit(spool: &Embedded, len: usize, destinations: &[&str]) -> Result<(), SpoolError> {
    spool.commit(draft(spool, len).await?, message(destinations)).await.map(drop)
}

/// Commits content that takes the place of other content.
async fn second(spool: &Embedded, first: usize, len: usize, destination: &str) -> Result<(), SpoolError> {
    let first = draft(spool, first).await?;
    let mut second = spool.begin_second(first, message(&["a"]).header, None).await?;
    second.write(body(len)).await?;
    spool.commit(second.seal().await?, message(&[destination])).await.map(drop)
}

/// Settles what is due in a queue: each recipient by its sequence number.
async fn settle(
    spool: &Embedded,
    destination: &str,
    dsns: &[usize],
    outcome: impl Fn(u32) -> Settle,
) -> Result<(), SpoolError> {
    let leased = spool.lease(&key(destination), T0, 1, 1000, Duration::ZERO).await?;
    let [leased] = &leased[..] else { return Ok(()) };
    let mut emit = Vec::new();
    for len in dsns {
        emit.push((draft(spool, *len).await?, message(&["dsn"])));
    }
    let outcomes = leased.recipients.iter().map(|r| (r.token, outcome(r.token.recipient.seq.0))).collect();
    let facts = vec![fact("settled", destination)];
    spool.settle(Settlement { message: leased.message.id, outcomes, emit, facts }).await.map(drop)
}

async fn admin(spool: &Embedded, destination: &str, action: Action) -> Result<(), SpoolError> {
    let filter = Filter { destination: Some(destination.to_owned()), ..Filter::default() };
    spool.admin(&filter, action).await.map(drop)
}

/// With a delay notice, or for a recipient that nobody attempts.
fn tell(seq: u32) -> Settle {
    match seq % 3 {
        0 => Settle::Told,
        1 => Settle::Postpone { due: T0.after(Duration::from_secs(30)), reason: "limit".to_owned(), told: false },
        _ => Settle::Defer { due: T0.after(Duration::from_secs(60)), reason: "451 no".to_owned(), told: true },
    }
}

/// One step of the scenario; each changes the store at most once.
async fn step(spool: &Embedded, number: usize) -> Result<(), SpoolError> {
    match number {
        0 => commit(spool, 4000, &["a"]).await,
        1 => commit(spool, 300_000, &["b", "c"]).await,
        2 => settle(spool, "a", &[2000, 280_000], |_| Settle::Done).await,
        3 => settle(spool, "b", &[1500], tell).await,
        4 => admin(spool, "c", Action::Hold).await,
        5 => commit(spool, 100_000, &["m"; 600]).await,
        6 => settle(spool, "m", &[], |seq| if seq % 3 == 0 { Settle::Done } else { tell(seq) }).await,
        7 => draft(spool, 400_000).await.map(drop),
        8 => admin(spool, "c", Action::Delete).await,
        9 => admin(spool, "b", Action::Delete).await,
        10 => settle(spool, "dsn", &[], |_| Settle::Done).await,
        11 => spool.write(vec![fact("last", "1"), Fact { value: None, ..fact("settled", "") }]).await,
        12 => second(spool, 400_000, 300_000, "s").await,
        13 => second(spool, 2000, 280_000, "t").await,
        _ => settle(spool, "s", &[], |_| Settle::Done).await,
    }
}

/// Everything that a reader can see, with what was in an attempt as pending.
async fn snapshot(spool: &Embedded) -> Vec<String> {
    let mut seen = Vec::new();
    let mut ids = BTreeSet::new();
    for one in spool.list(&Filter::default(), None, usize::MAX).await.unwrap() {
        let state = if one.state == State::InAttempt { State::Pending } else { one.state };
        let place = (one.message.id, one.seq, &one.message.queues[one.seq.index()]);
        seen.push(format!("{place:?} {state:?} {} {} {} {}", one.attempts, one.due.0, one.told, one.reason));
        ids.insert(one.message.id);
    }
    for id in ids {
        seen.push(format!("{id} {:08x}", content(spool, id).await));
    }
    for (key, value) in spool.scan("n", b"", None, T0, 99).await.unwrap() {
        seen.push(format!("{} {value:?}", String::from_utf8_lossy(&key)));
    }
    seen
}

async fn content(spool: &Embedded, id: QueueId) -> u32 {
    let source = spool.open(id).await.unwrap();
    let mut crc = crc32fast::Hasher::new();
    let mut at = 0;
    while at < source.len() {
        let part = source.read(at, 1 << 20).await.unwrap();
        assert!(!part.is_empty());
        crc.update(&part);
        at += part.len() as u64;
    }
    crc.finalize()
}

fn open(disk: &Disk, quick: bool) -> Embedded {
    Embedded::start(load(Path::new("disk"), disk.clone(), options(quick), None).unwrap()).unwrap()
}

fn empty(quick: bool) -> Vec<u8> {
    let disk = Disk::new(Vec::new(), Fault::None);
    initialize(disk.clone(), &options(quick)).unwrap();
    disk.written()
}

/// What is seen before the first step and after each one, without faults.
async fn expected(quick: bool) -> Vec<Vec<String>> {
    let spool = open(&Disk::new(empty(quick), Fault::None), quick);
    let mut all = vec![snapshot(&spool).await];
    for number in 0..STEPS {
        step(&spool, number).await.unwrap();
        all.push(snapshot(&spool).await);
    }
    // Recipients, contents, facts.
    assert_eq!(all[STEPS].len(), (400 + 2 + 1) + (3 + 1) + (2 + 1), "{:?}", all[STEPS]);
    all
}

/// Runs the scenario until the fault; how many steps were answered.
async fn run(disk: &Disk, quick: bool) -> usize {
    let opened = load(Path::new("disk"), disk.clone(), options(quick), None);
    let Ok(opened) = opened else {
        assert!(disk.has_failed());
        return 0;
    };
    let spool = Embedded::start(opened).unwrap();
    for number in 0..STEPS {
        if let Err(error) = step(&spool, number).await {
            assert!(matches!(error, SpoolError::Poisoned(_)), "{error}");
            assert!(matches!(spool.health(), Health::Poisoned(_)));
            assert!(!spool.poisoned().await.is_empty());
            // Nothing is answered from now on, and nothing tried again.
            assert!(matches!(spool.begin(None).await, Err(SpoolError::Poisoned(_))));
            assert!(matches!(spool.write(vec![fact("late", "")]).await, Err(SpoolError::Poisoned(_))));
            return number;
        }
    }
    STEPS
}

/// Opens an image, compares, and checks that nothing is left that belongs to nobody.
async fn check(image: Vec<u8>, quick: bool, expected: &[Vec<String>], answered: usize, what: &str) {
    let disk = Disk::new(image, Fault::None);
    let spool = open(&disk, quick);
    let seen = snapshot(&spool).await;
    let fits = expected[answered..].iter().take(2).any(|expected| *expected == seen);
    assert!(fits, "{what}, {answered} steps answered: {seen:#?}");
    commit(&spool, 100, &["later"]).await.unwrap();
    drop(spool);

    let db = redb::Builder::new().create_with_backend(disk).unwrap();
    let txn = db.begin_read().unwrap();
    let messages: BTreeSet<u64> =
        txn.open_table(MESSAGE).unwrap().iter().unwrap().map(|r| r.unwrap().0.value()).collect();
    let mut chunks = BTreeSet::new();
    for row in txn.open_table(CONTENT).unwrap().iter().unwrap() {
        chunks.insert(row.unwrap().0.value());
    }
    for row in txn.open_table(MESSAGE).unwrap().iter().unwrap() {
        let (id, row) = row.unwrap();
        let (header_len, len, streamed) = record::decode_extent(QueueId(id.value()), row.value()).ok().unwrap();
        for (number, _) in inspect::chunks(header_len, len, streamed) {
            assert!(chunks.remove(&(id.value(), number)), "{what}: chunk {number} of a message is missing");
        }
    }
    assert!(chunks.is_empty(), "{what}: content of nobody: {chunks:?}");
    for row in txn.open_table(STATE).unwrap().iter().unwrap() {
        assert!(messages.contains(&row.unwrap().0.value().0), "{what}: states of nobody");
    }
    assert_eq!(txn.open_table(LOOSE).unwrap().iter().unwrap().count(), 0, "{what}");
}

async fn crash_at_every_sync(quick: bool) {
    let expected = expected(quick).await;
    let empty = empty(quick);
    for sync in 1.. {
        let disk = Disk::new(empty.clone(), Fault::PowerAtSync(sync));
        let answered = run(&disk, quick).await;
        for seed in 0..4 {
            let what = format!("power cut at sync {sync}, seed {seed}, quick repair {quick}");
            let seed = if seed < 2 { seed } else { seed * 1000 + sync };
            check(disk.after_power_cut(seed), quick, &expected, answered, &what).await;
        }
        if !disk.has_failed() {
            assert!(sync > 20 && answered == STEPS);
            return;
        }
    }
}

#[tokio::test]
async fn a_power_cut_at_any_sync_loses_nothing_answered() {
    crash_at_every_sync(true).await;
}

#[tokio::test]
async fn so_it_is_without_quick_repair() {
    crash_at_every_sync(false).await;
}

#[tokio::test]
async fn any_failed_write_or_sync_poisons_and_a_restart_heals() {
    let expected = expected(true).await;
    let empty = empty(true);
    for call in (1..).step_by(5) {
        let disk = Disk::new(empty.clone(), Fault::ErrorAt(call));
        let answered = run(&disk, true).await;
        for (image, how) in [(disk.written(), "all written"), (disk.after_power_cut(call + 2), "power cut")] {
            check(image, true, &expected, answered, &format!("error at call {call}, {how}")).await;
        }
        if !disk.has_failed() {
            assert!(call > 100 && answered == STEPS);
            return;
        }
    }
}

/// Rows of the tables that hold content.
fn content_rows(shared: &Shared) -> (u64, u64) {
    let txn = shared.db.begin_read().unwrap();
    (txn.open_table(CONTENT).unwrap().len().unwrap(), txn.open_table(LOOSE).unwrap().len().unwrap())
}

#[tokio::test]
async fn content_in_several_chunks_goes_with_its_settlement() {
    let spool = open(&Disk::new(empty(true), Fault::None), true);
    for len in [0, 50_000, 100_000, 250_000] {
        commit(&spool, len, &["a"]).await.unwrap();
    }
    assert_eq!(content_rows(spool.shared()), (1 + 1 + 2 + 5, 0));
    for _ in 0..4 {
        settle(&spool, "a", &[], |_| Settle::Done).await.unwrap();
    }
    assert_eq!(content_rows(spool.shared()), (0, 0));
}

#[tokio::test]
async fn a_second_content_goes_with_its_settlement_and_the_first_before() {
    let spool = open(&Disk::new(empty(true), Fault::None), true);
    for (first, len) in [(400_000, 50_000), (50_000, 400_000), (400_000, 400_000), (400_000, 5_000_000)] {
        second(&spool, first, len, "a").await.unwrap();
    }
    // Another commit, after which what was left to be swept is gone.
    let swept = async {
        for _ in 0..100 {
            commit(&spool, 10, &["b"]).await.unwrap();
            settle(&spool, "b", &[], |_| Settle::Done).await.unwrap();
        }
    };
    swept.await;
    assert_eq!(content_rows(spool.shared()), (1 + 7 + 7 + 82, 0));
    for _ in 0..4 {
        settle(&spool, "a", &[], |_| Settle::Done).await.unwrap();
    }
    for _ in 0..10 {
        commit(&spool, 10, &["b"]).await.unwrap();
        settle(&spool, "b", &[], |_| Settle::Done).await.unwrap();
    }
    assert_eq!(content_rows(spool.shared()), (0, 0));
}

/// A store with chunks of so many messages that have ended.
fn with_loose(messages: u64) -> Disk {
    let disk = Disk::new(empty(true), Fault::None);
    let db = redb::Builder::new().create_with_backend(disk.clone()).unwrap();
    let txn = store::begin(&db, true, true).unwrap();
    let mut tables = Tables::new(&txn);
    for id in 1..=messages {
        for number in BODY..BODY + 2 {
            tables.put_loose(id, number, 0, b"content").unwrap();
        }
    }
    drop(tables);
    txn.commit().unwrap();
    drop(db);
    disk
}

#[test]
fn closing_leaves_most_sweeping_to_the_next_open() {
    let disk = with_loose(5000);
    let opened = load(Path::new("disk"), disk, options(true), None).unwrap();
    let shared = Arc::new(opened.shared);
    let (ops, queued) = tokio::sync::mpsc::channel(1);
    drop(ops);
    Writer::new(Arc::clone(&shared), queued, opened.ceiling, opened.sweeps, &[]).run();
    assert!(shared.check().is_ok());
    let (chunks, ids) = content_rows(&shared);
    assert!(chunks < 10_000 && chunks > 5000 && ids > 2500 && ids < 5000, "{chunks} chunks of {ids} are left");
}

#[tokio::test]
async fn sweeping_ends_while_the_store_is_open() {
    let spool = open(&with_loose(1000), true);
    // Each transaction sweeps some hundreds of chunks.
    for _ in 0..2000 / 200 {
        spool.write(vec![fact("k", "v")]).await.unwrap();
    }
    assert_eq!(content_rows(spool.shared()), (0, 0));
}

/// Panics in whoever wakes it.
struct Trap;

impl std::task::Wake for Trap {
    fn wake(self: Arc<Self>) {
        panic!("as a test wants it");
    }
}

#[tokio::test]
async fn a_panic_of_the_writer_anywhere_poisons() {
    let spool = open(&Disk::new(empty(true), Fault::None), true);
    let (ack, answer) = tokio::sync::oneshot::channel();
    let (filter, action) = (Filter::default(), Action::Hold);
    let op = Op::Admin(Box::new(AdminOp { filter, action, recipients: Vec::new(), notes: Vec::new(), ack }));
    let handle = &spool.handle;
    let mut admin = Box::pin(async { handle.send(op).await.and(handle.answer(answer).await) });
    let trap = std::task::Waker::from(Arc::new(Trap));
    {
        // The writer can't answer while the index is locked.
        let _index = spool.shared().index();
        assert!(admin.as_mut().poll(&mut std::task::Context::from_waker(&trap)).is_pending());
    }
    let why = tokio::time::timeout(Duration::from_secs(60), spool.poisoned()).await.unwrap();
    assert!(why.contains("panicked"), "{why}");
}

#[tokio::test]
async fn a_panic_with_the_index_locked_poisons() {
    let spool = open(&Disk::new(empty(true), Fault::None), true);
    let shared = Arc::clone(spool.shared());
    let panics = std::thread::spawn(move || {
        let _index = shared.index();
        panic!("as a test wants it");
    });
    assert!(panics.join().is_err());
    spool.stats();
    assert!(matches!(spool.health(), Health::Poisoned(_)));
    assert!(matches!(commit(&spool, 10, &["a"]).await, Err(SpoolError::Poisoned(_))));
}

#[tokio::test]
async fn a_draft_that_lacks_octets_is_not_sealed() {
    let spool = open(&Disk::new(empty(true), Fault::None), true);
    let mut draft = spool.begin(None).await.unwrap();
    // The writer can't take chunks away while the index is locked: the write waits, and is given up.
    {
        let _index = spool.shared().index();
        let mut write = Box::pin(draft.write(body(600_000)));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(write.as_mut().poll(&mut context).is_pending());
    }
    assert!(matches!(draft.write(body(1)).await, Err(SpoolError::Invalid(_))));
    assert!(matches!(draft.seal().await, Err(SpoolError::Invalid(_))));
}
