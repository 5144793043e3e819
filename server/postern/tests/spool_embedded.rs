//! The embedded engine against the suite for every engine, and what is its own: files, locks, damage, limits.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod spool_suite;

use postern::spool::embedded::{Embedded, OpenError, Options};
use postern::spool::{Draft, Facts as _, Health, Settle, Spool, SpoolError};
use spool_suite::*;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

struct Store {
    dir: tempfile::TempDir,
    options: Options,
}

impl Store {
    fn new() -> Self {
        let options = Options { pregrow: 0, min_free: 0, ..Options::new(now) };
        Self { dir: tempfile::tempdir().unwrap(), options }
    }

    fn open(&self) -> Embedded {
        Embedded::open(self.dir.path(), self.options.clone()).unwrap()
    }

    fn open_full(&self) -> Embedded {
        let options = Options { min_free: u64::MAX, ..self.options.clone() };
        Embedded::open(self.dir.path(), options).unwrap()
    }

    fn refused(&self) -> String {
        Embedded::open(self.dir.path(), self.options.clone()).unwrap_err().to_string()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn filled(messages: usize) -> Self {
        let store = Self::new();
        let spool = store.open();
        for n in 0..messages {
            commit(&spool, message(&["a.example"]), &pattern(4096, n as u64)).await;
        }
        store
    }
}

conformance!(Store::new());

#[test]
fn one_process_at_a_time() {
    let store = Store::new();
    let first = store.open();
    match Embedded::open(store.dir.path(), store.options.clone()) {
        Err(OpenError::Locked(path)) => assert_eq!(path, store.file("LOCK")),
        other => panic!("{other:?}"),
    }
    drop(first);
    store.open();
}

#[cfg(unix)]
#[test]
fn files_are_the_owners() {
    use std::os::unix::fs::PermissionsExt as _;
    let store = Store::new();
    let dir = store.dir.path().join("deep").join("queue");
    drop(Embedded::open(&dir, store.options.clone()).unwrap());
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let files: Vec<_> = fs::read_dir(&dir).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 3);
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let store = Store::new();
    fs::write(store.file("file"), "x").unwrap();
    let error = Embedded::open(&store.file("file").join("queue"), store.options.clone()).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    assert!(error.to_string().contains("file/queue"), "{error}");
}

#[tokio::test]
async fn a_lost_store_is_not_replaced() {
    let store = Store::filled(3).await;
    fs::rename(store.file("queue.redb"), store.file("elsewhere")).unwrap();
    assert!(store.refused().contains("is missing"), "{}", store.refused());
    assert!(!store.file("queue.redb").exists());
    fs::rename(store.file("elsewhere"), store.file("queue.redb")).unwrap();
    // A crash right after the store was made: it is whole, only the marker isn't there yet.
    fs::remove_file(store.file("STORE")).unwrap();
    assert_eq!(store.open().stats().messages, 3);
    assert!(store.file("STORE").exists());
}

#[test]
fn a_half_made_store_is_made_anew() {
    let store = Store::new();
    fs::write(store.file("queue.redb.new"), "half").unwrap();
    assert_eq!(store.open().stats().messages, 0);
    assert!(!store.file("queue.redb.new").exists());
}

#[tokio::test]
async fn damage_is_told_and_left_alone() {
    let store = Store::filled(50).await;
    let whole = fs::read(store.file("queue.redb")).unwrap();
    let check = |what: &str, bytes: Vec<u8>| {
        fs::write(store.file("queue.redb"), &bytes).unwrap();
        let error = Embedded::open(store.dir.path(), store.options.clone()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{what}: {error}");
        assert!(error.to_string().contains("queue.redb"), "{error}");
        assert!(fs::read(store.file("queue.redb")).unwrap() == bytes, "{what}: the file was changed");
    };
    check("empty", Vec::new());
    check("foreign", b"SQLite format 3\0".repeat(1000));
    check("zeros", vec![0; whole.len()]);
    check("first page only", whole[..4096].to_vec());
    check("half", whole[..whole.len() / 2].to_vec());
    let mut header = whole.clone();
    header[..64].iter_mut().for_each(|octet| *octet ^= 0x55);
    check("header", header);
    // A row that redb finds in order, and the store does not.
    fs::write(store.file("queue.redb"), &whole).unwrap();
    {
        let db = redb::Database::open(store.file("queue.redb")).unwrap();
        let txn = db.begin_write().unwrap();
        txn.open_table(redb::TableDefinition::<u64, &[u8]>::new("message")).unwrap().insert(7, &b"row"[..]).unwrap();
        txn.commit().unwrap();
    }
    check("row", fs::read(store.file("queue.redb")).unwrap());
    fs::write(store.file("queue.redb"), &whole).unwrap();
    assert_eq!(store.open().stats().messages, 50);
}

#[tokio::test]
async fn flipped_bits_are_never_taken_for_mail() {
    let store = Store::filled(20).await;
    let whole = fs::read(store.file("queue.redb")).unwrap();
    let mut rng = fastrand::Rng::with_seed(11);
    let (mut refused, mut reported) = (0, 0);
    for _ in 0..60 {
        let mut bytes = whole.clone();
        let at = rng.usize(..bytes.len());
        bytes[at] ^= 1 << rng.u8(..8);
        fs::write(store.file("queue.redb"), &bytes).unwrap();
        let Ok(spool) = Embedded::open(store.dir.path(), store.options.clone()) else {
            assert!(fs::read(store.file("queue.redb")).unwrap() == bytes, "octet {at}: refused and changed");
            refused += 1;
            continue;
        };
        for leased in lease(&spool, "a.example", T0).await {
            assert_eq!(leased.message.envelope, message(&["a.example"]).envelope);
            let Ok(source) = spool.open(leased.message.id).await else {
                reported += 1;
                continue;
            };
            match source.read(0, 100_000).await {
                Ok(bytes) => assert!((0..20).any(|n| whole_is(&bytes, n)), "octet {at}"),
                Err(_) => reported += 1,
            }
        }
    }
    assert!(refused + reported > 0, "no flip was in anything that counts");
}

fn whole_is(bytes: &[u8], salt: u64) -> bool {
    bytes == whole(&message(&["a.example"]), &pattern(4096, salt))
}

#[tokio::test]
async fn an_audit_counts_and_changes_nothing() {
    let store = Store::filled(2).await;
    let before = fs::read(store.file("queue.redb")).unwrap();
    let rows = postern::spool::embedded::audit(store.dir.path()).unwrap();
    assert_eq!(rows, [("message", 2), ("content", 2)]);
    assert!(fs::read(store.file("queue.redb")).unwrap() == before);
}

#[tokio::test(start_paused = true)]
async fn the_servers_own_drafts_have_a_budget_of_their_own() {
    let mut store = Store::new();
    store.options.draft_memory = 1 << 20;
    let spool = store.open();
    let mut clients = Vec::new();
    while let Ok(draft) = spool.begin(None).await {
        clients.push(draft);
    }
    let mut own = Vec::new();
    while let Ok(draft) = spool.begin_own().await {
        own.push(draft);
    }
    assert_eq!((clients.len(), own.len()), (24, 48));
    drop((clients, own));
    assert_eq!(spool.stats().draft_memory, 0);
}

#[tokio::test]
async fn content_never_takes_what_is_kept_free() {
    const MIB: u64 = 1 << 20;
    static ASKED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let mut store = Store::new();
    store.options.min_free = 64 * MIB;
    store.options.free = |_| {
        ASKED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        68 * MIB
    };
    let spool = store.open();
    assert!(matches!(spool.begin(Some(5 * MIB)).await, Err(SpoolError::Busy(_))));
    let promised = spool.begin(Some(3 * MIB)).await.unwrap();
    assert!(matches!(spool.begin(Some(2 * MIB)).await, Err(SpoolError::Busy(_))), "it is promised already");

    // What was not declared counts as it comes, whether it is still in memory or not.
    let mut grows = spool.begin(None).await.unwrap();
    let (mut taken, chunk) = (0, pattern(100_000, 1));
    let refused = loop {
        match grows.write(chunk.clone()).await {
            Ok(()) => taken += 100_000,
            Err(error) => break error,
        }
        // This disk has as much each time it is asked, whatever was written. Less than two chunks are not counted yet.
        let most = (MIB + 200_000) * ASKED.load(std::sync::atomic::Ordering::Relaxed);
        assert!(taken < most, "{taken} octets were taken");
    };
    assert!(matches!(refused, SpoolError::Busy(_)), "{refused}");
    assert!(taken > MIB / 2, "{taken}");
    assert_eq!(spool.health(), Health::Ok, "only that draft failed");
    drop((promised, grows));
    commit(&spool, message(&["a.example"]), &pattern(1000, 1)).await;
}

#[tokio::test(start_paused = true)]
async fn memory_for_drafts_is_bounded() {
    let mut store = Store::new();
    store.options.draft_memory = 1 << 20;
    store.options.patience = Duration::from_secs(30);
    let spool = store.open();
    let mut drafts = Vec::new();
    for _ in 0..24 {
        drafts.push(spool.begin(None).await.unwrap());
    }
    assert!(matches!(spool.begin(None).await, Err(SpoolError::Busy(_))));
    assert!(spool.stats().draft_memory <= 1 << 20);
    drop(drafts);
    assert_eq!(spool.stats().draft_memory, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_drafts_at_once_all_end() {
    let mut store = Store::new();
    store.options.draft_memory = 2 << 20;
    let spool = store.open();
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let spool = spool.clone();
            tokio::spawn(async move {
                let body = pattern(300_000, n);
                let id = commit(&spool, message(&["a.example"]), &body).await;
                assert!(content(&spool, id).await == whole(&message(&["a.example"]), &body));
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((spool.stats().messages, spool.stats().draft_memory), (100, 0));
}

#[tokio::test]
async fn a_dropped_commit_is_not_taken_back() {
    let store = Store::new();
    let spool = store.open();
    let sealed = draft(&spool, &pattern(10, 1)).await;
    let mut commit = Box::pin(spool.commit(sealed, message(&["a.example"])));
    let pending = std::future::poll_fn(|cx| std::task::Poll::Ready(commit.as_mut().poll(cx).is_pending())).await;
    drop(commit);
    drop(spool);
    // It was queued whether or not it was seen to end.
    let _ = pending;
    assert_eq!(store.open().stats().messages, 1);
}

/// Begins to lease a message that is not in memory, so that the lease waits for the disk, and gives up. The one thread
/// that could read is kept from it meanwhile.
async fn give_up_lease(spool: &Embedded, meanwhile: impl Future<Output = ()>) {
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let blocker = tokio::task::spawn_blocking(move || wait.recv());
    let queue = key("a.example");
    let mut lease = Box::pin(spool.lease(&queue, T0, 9, 9, TTL));
    let pending = std::future::poll_fn(|cx| std::task::Poll::Ready(lease.as_mut().poll(cx).is_pending())).await;
    assert!(pending);
    assert_eq!(spool.stats().in_attempt, 1);
    meanwhile.await;
    drop(lease);
    drop(go_on);
    assert!(blocker.await.unwrap().is_err());
}

#[test]
fn a_dropped_lease_gives_its_recipients_back() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let store = Store::filled(1).await;
        let spool = store.open();
        give_up_lease(&spool, async {}).await;
        assert_eq!(spool.stats().in_attempt, 0);

        // An operator's action in between is not lost with it.
        let all = postern::spool::Filter::default();
        give_up_lease(&spool, async {
            assert_eq!(spool.admin(&all, postern::spool::Action::Hold).await.unwrap(), 1);
        })
        .await;
        // Behind it in the writer's order.
        spool.write(vec![fact("k", Some("v"))]).await.unwrap();
        let listed = spool.list(&all, None, 9).await.unwrap();
        assert_eq!(listed[0].state, postern::spool::State::Held);
        assert!(lease(&spool, "a.example", T0).await.is_empty());
    });
}

#[tokio::test]
async fn expired_facts_are_removed_in_time() {
    use postern::spool::{Fact, Facts};
    fn clock() -> postern_core::time::Timestamp {
        later(NOW.load(std::sync::atomic::Ordering::Relaxed))
    }
    static NOW: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let mut store = Store::new();
    store.options.clock = clock;
    let spool = store.open();
    spool.write(vec![Fact { expires: Some(later(5)), ..fact("k", Some("v")) }]).await.unwrap();
    NOW.store(61, std::sync::atomic::Ordering::Relaxed);
    spool.write(vec![fact("other", Some("v"))]).await.unwrap();
    // Asked at an earlier time it would still be there, had it not been removed.
    assert_eq!(spool.get("plugin/test", b"k", T0).await.unwrap(), None);
}

#[tokio::test]
async fn ids_do_not_go_back_with_the_clock() {
    let mut store = Store::new();
    store.options.clock = || later(1000);
    let spool = store.open();
    let id = commit(&spool, message(&["a.example"]), &pattern(10, 1)).await;
    for leased in lease(&spool, "a.example", T0).await {
        assert!(spool.settle(settlement(&leased, &Settle::Done)).await.unwrap());
    }
    drop(spool);
    store.options.clock = || T0;
    assert!(commit(&store.open(), message(&["a.example"]), &pattern(10, 1)).await > id);
}

#[tokio::test]
async fn a_new_format_is_refused() {
    let store = Store::filled(1).await;
    {
        let db = redb::Database::open(store.file("queue.redb")).unwrap();
        let txn = db.begin_write().unwrap();
        txn.open_table(redb::TableDefinition::<&str, u64>::new("meta")).unwrap().insert("format", 99).unwrap();
        txn.commit().unwrap();
    }
    assert!(store.refused().contains("format 99"), "{}", store.refused());
}

#[tokio::test]
async fn drafts_report_their_id() {
    let store = Store::new();
    let spool = store.open();
    let draft = spool.begin(None).await.unwrap();
    let id = draft.id();
    let sealed = draft.seal().await.unwrap();
    assert_eq!(spool.commit(sealed, message(&["a.example"])).await.unwrap(), id);
}
