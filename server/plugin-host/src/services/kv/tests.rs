//! The whole of [`Kv`] over a store in memory, with time by hand. A crash is another `Kv` over the same store.

use super::memory::Memory;
use super::*;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

/// A store in memory that breaks and stops on demand.
#[derive(Default)]
struct Faulty {
    memory: Memory,
    /// Writes fail.
    broken: AtomicBool,
    /// Writes wait until it is false.
    stuck: AtomicBool,
    writes: AtomicUsize,
    scans: AtomicUsize,
}

impl KvStore for Faulty {
    fn get<'a>(&'a self, key: &'a str, now: Timestamp) -> BoxFuture<'a, Result<Option<Bytes>, ServiceError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.memory.get(key, now).await
        })
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        now: Timestamp,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Bytes)>, ServiceError>> {
        self.scans.fetch_add(1, SeqCst);
        self.memory.scan(prefix, after, now, limit)
    }

    fn write(&self, rows: Vec<KvRow>) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            while self.stuck.load(SeqCst) {
                tokio::task::yield_now().await;
            }
            if self.broken.load(SeqCst) {
                return Err(ServiceError::unavailable("broken"));
            }
            self.writes.fetch_add(1, SeqCst);
            self.memory.write(rows).await
        })
    }
}

struct World {
    store: Arc<Faulty>,
    time: Arc<AtomicU64>,
}

impl World {
    fn new() -> Self {
        Self { store: Arc::default(), time: Arc::new(AtomicU64::new(1_000_000)) }
    }

    fn clock(&self) -> Clock {
        let time = Arc::clone(&self.time);
        Arc::new(move || Timestamp(time.load(SeqCst)))
    }

    fn pass(&self, seconds: u64) {
        self.time.fetch_add(seconds * 1000, SeqCst);
    }

    async fn open(&self, quota: u64) -> Kv {
        self.open_with(quota, MAX_COUNTERS).await
    }

    async fn open_with(&self, quota: u64, counters: usize) -> Kv {
        Kv::open_with(Arc::clone(&self.store) as _, quota, self.clock(), counters).await.unwrap()
    }
}

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

fn octets(len: usize) -> Bytes {
    Bytes::from(vec![b'x'; len])
}

fn word<T: std::fmt::Debug>(result: Result<T, ServiceError>) -> &'static str {
    result.unwrap_err().word
}

#[tokio::test]
async fn values_are_durable_and_end_in_time() {
    let world = World::new();
    let kv = world.open(1000).await;
    assert_eq!(kv.get("a").await, Ok(None));
    kv.set("a", Bytes::from_static(b"1"), None).await.unwrap();
    kv.set("b", Bytes::new(), seconds(5)).await.unwrap();
    let kv = world.open(1000).await;
    assert_eq!(kv.get("a").await.unwrap().unwrap(), "1");
    world.pass(4);
    assert_eq!(kv.get("b").await.unwrap().unwrap(), "");
    assert_eq!(kv.keys("", None, 9).await.unwrap(), ["a", "b"]);
    world.pass(1);
    assert_eq!((kv.get("b").await, kv.keys("", None, 9).await), (Ok(None), Ok(vec!["a".to_owned()])));
    kv.delete("a").await.unwrap();
    kv.delete("a").await.unwrap();
    assert_eq!(world.open(1000).await.get("a").await, Ok(None));
}

#[tokio::test]
async fn what_is_not_taken() {
    let world = World::new();
    let kv = world.open(1 << 20).await;
    for key in [String::new(), "k".repeat(MAX_KEY + 1)] {
        assert_eq!(word(kv.get(&key).await), "bad-name");
        assert_eq!(word(kv.set(&key, octets(1), None).await), "bad-name");
        assert_eq!(word(kv.delete(&key).await), "bad-name");
        assert_eq!(word(kv.increment(&key, 1, None).await), "bad-name");
        assert_eq!(word(kv.counter(&key).await), "bad-name");
    }
    assert_eq!(word(kv.set("k", octets(MAX_VALUE + 1), None).await), "too-large");
    assert_eq!(word(kv.set("k", octets(1), Some(Duration::ZERO)).await), "bad-value");
    assert_eq!(word(kv.increment("k", 1, Some(Duration::ZERO)).await), "bad-value");
    kv.set(&"k".repeat(MAX_KEY), octets(MAX_VALUE), Some(Duration::MAX)).await.unwrap();
    assert_eq!(kv.get(&"k".repeat(MAX_KEY)).await.unwrap().unwrap().len(), MAX_VALUE);
    world.store.memory.0.lock().unwrap().insert("bad".into(), (Bytes::from_static(b"?"), None));
    for _ in 0..2 {
        assert_eq!(word(kv.get("bad").await), "unavailable");
        assert_eq!(word(kv.increment("bad", 1, None).await), "unavailable");
    }
    kv.set("bad", octets(1), None).await.unwrap();
    assert_eq!(kv.get("bad").await.unwrap().unwrap(), "x");
}

#[tokio::test]
async fn the_quota_counts_what_is_there() {
    let world = World::new();
    let kv = world.open(100).await;
    kv.set("0123456789", octets(80), None).await.unwrap();
    assert_eq!(kv.used(), 90);
    assert_eq!(word(kv.set("ab", octets(9), None).await), "too-large");
    assert_eq!(word(kv.increment("abc", 1, None).await), "too-large");
    kv.set("ab", octets(8), None).await.unwrap();
    assert_eq!(word(kv.set("ab", octets(9), None).await), "too-large", "nor may it grow");
    assert_eq!(kv.get("ab").await.unwrap().unwrap().len(), 8);
    kv.set("0123456789", octets(70), None).await.unwrap();
    assert_eq!(kv.used(), 90);
    assert_eq!(word(kv.increment("ab2", 1, None).await), "too-large", "11 octets into 10");
    assert_eq!(kv.increment("c2", 1, None).await, Ok(1));
    assert_eq!(kv.increment("c2", 1, None).await, Ok(2), "what is there goes on");
    assert_eq!(kv.used(), 100);
    kv.flush().await.unwrap();
    assert_eq!(world.open(100).await.used(), 100, "the same by a scan");
    kv.delete("c2").await.unwrap();
    kv.delete("ab").await.unwrap();
    assert_eq!(kv.used(), 80);
    kv.set_quota(10);
    assert_eq!(word(kv.set("z", octets(0), None).await), "too-large");
    kv.set("0123456789", octets(60), None).await.unwrap();
    assert_eq!((kv.used(), world.open(10).await.used()), (70, 70));
}

#[tokio::test]
async fn what_expires_gives_its_room_back() {
    let world = World::new();
    let kv = world.open(100).await;
    kv.set("a", octets(49), seconds(10)).await.unwrap();
    assert_eq!(kv.increment("c", 1, seconds(20)).await, Ok(1));
    kv.set("b", octets(40), None).await.unwrap();
    let scans = world.store.scans.load(SeqCst);
    assert_eq!(word(kv.set("d", octets(9), None).await), "too-large");
    assert_eq!(world.store.scans.load(SeqCst), scans, "nothing can have expired");
    world.pass(10);
    kv.set("d", octets(9), None).await.unwrap();
    assert_eq!((kv.used(), kv.counter("c").await), (60, Ok(1)), "the counter was written before");
    assert_eq!(word(kv.set("e", octets(40), None).await), "too-large");
    world.pass(10);
    kv.set("e", octets(40), None).await.unwrap();
    assert_eq!((kv.used(), kv.counter("c").await), (92, Ok(0)));
    let scans = world.store.scans.load(SeqCst);
    kv.set("f", octets(1), Some(Duration::from_millis(1))).await.unwrap();
    world.time.fetch_add(5, SeqCst);
    for _ in 0..9 {
        assert_eq!(word(kv.set("g", octets(6), None).await), "too-large");
    }
    assert_eq!(world.store.scans.load(SeqCst), scans, "at most one look a second");
    world.pass(1);
    kv.set("g", octets(6), None).await.unwrap();
}

#[tokio::test]
async fn a_failed_write_has_not_happened() {
    let world = World::new();
    let kv = world.open(100).await;
    kv.set("a", octets(40), None).await.unwrap();
    assert_eq!(kv.increment("c", 5, None).await, Ok(5));
    world.store.broken.store(true, SeqCst);
    assert_eq!(word(kv.set("b", octets(40), None).await), "unavailable");
    assert_eq!(word(kv.delete("a").await), "unavailable");
    assert_eq!(word(kv.set("c", octets(1), None).await), "unavailable");
    assert_eq!(word(kv.flush().await), "unavailable");
    assert_eq!(kv.increment("c", 1, None).await, Ok(6), "counters go on");
    world.store.broken.store(false, SeqCst);
    assert_eq!(word(kv.set("b", octets(45), None).await), "too-large", "it may have been written");
    world.pass(1);
    kv.set("b", octets(45), None).await.unwrap();
    assert_eq!(kv.used(), 41 + 9 + 46);
    kv.flush().await.unwrap();
    assert_eq!(world.open(100).await.counter("c").await, Ok(6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_callers_one_sets_what_is_new() {
    let world = World::new();
    let kv = Arc::new(world.open(1 << 20).await);
    for round in 0..50 {
        let key = format!("k{round}");
        let callers = (0..8_u8).map(|caller| {
            let (kv, key) = (Arc::clone(&kv), key.clone());
            tokio::spawn(async move { (caller, kv.set_new(&key, Bytes::from(vec![caller]), None).await.unwrap()) })
        });
        let answers = futures_util::future::join_all(callers).await;
        let winners: Vec<u8> =
            answers.into_iter().map(Result::unwrap).filter(|(_, won)| *won).map(|(c, _)| c).collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(kv.get(&key).await.unwrap().unwrap(), winners);
    }
    assert_eq!(kv.increment("c", 1, seconds(5)).await, Ok(1));
    assert_eq!(kv.set_new("c", octets(1), None).await, Ok(false), "a counter is something");
    world.pass(5);
    assert_eq!(kv.set_new("c", octets(1), None).await, Ok(true));
}

#[tokio::test]
async fn a_caller_that_leaves_does_no_harm() {
    let world = World::new();
    let kv = world.open(100).await;
    assert_eq!(kv.increment("a", 1, None).await, Ok(1));
    world.store.stuck.store(true, SeqCst);
    {
        let set = kv.set("a", octets(10), None);
        let mut set = std::pin::pin!(set);
        for _ in 0..10 {
            tokio::select! {
                biased;
                done = &mut set => panic!("{done:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    world.store.stuck.store(false, SeqCst);
    // It waits for the one before, which goes on by itself.
    assert_eq!(kv.set_new("a", octets(1), None).await, Ok(false));
    assert_eq!(kv.get("a").await.unwrap().unwrap().len(), 10);
    kv.flush().await.unwrap();
    assert_eq!(kv.get("a").await.unwrap().unwrap().len(), 10, "the counter does not come back");
    assert_eq!((kv.used(), world.open(100).await.used()), (11, 11));
}

#[tokio::test]
async fn counters_are_written_some_time_later() {
    let world = World::new();
    let kv = world.open(1000).await;
    assert_eq!(kv.increment("a", 3, None).await, Ok(3));
    assert_eq!(kv.increment("b", 0, None).await, Ok(0));
    assert_eq!(world.store.writes.load(SeqCst), 0);
    kv.flush().await.unwrap();
    kv.flush().await.unwrap();
    assert_eq!(world.store.writes.load(SeqCst), 1, "nothing changed since");
    assert_eq!(kv.increment("a", -5, None).await, Ok(-2));
    // A crash: what was counted since is lost, what was written is not.
    let kv = world.open(1000).await;
    assert_eq!(kv.counter("a").await, Ok(3));
    assert_eq!(kv.increment("a", 1, None).await, Ok(4));
    kv.flush().await.unwrap();
    assert_eq!(world.open(1000).await.counter("a").await, Ok(4));
    assert_eq!(kv.keys("", None, 9).await.unwrap(), ["a", "b"]);
    kv.delete("a").await.unwrap();
    kv.flush().await.unwrap();
    assert_eq!((kv.counter("a").await, kv.increment("a", 1, None).await), (Ok(0), Ok(1)));
}

#[tokio::test]
async fn counters_are_no_values_and_values_no_counters() {
    let world = World::new();
    let kv = world.open(1000).await;
    kv.set("v", Bytes::from_static(b"12345678"), None).await.unwrap();
    assert_eq!((word(kv.increment("v", 1, None).await), word(kv.counter("v").await)), ("bad-value", "bad-value"));
    for _ in 0..2 {
        assert!(kv.increment("c", 1, None).await.is_ok());
        assert_eq!(word(kv.get("c").await), "bad-value", "in memory and in the store");
        kv.flush().await.unwrap();
        assert_eq!(word(world.open(1000).await.get("c").await), "bad-value");
    }
    assert_eq!(kv.increment("c", i64::MAX - 2, None).await, Ok(i64::MAX));
    assert_eq!(word(kv.increment("c", 1, None).await), "bad-value");
    assert_eq!(kv.counter("c").await, Ok(i64::MAX));
    assert_eq!(kv.increment("min", i64::MIN, None).await, Ok(i64::MIN));
    assert_eq!(word(kv.increment("min", -1, None).await), "bad-value");
    kv.set("c", octets(1), None).await.unwrap();
    kv.flush().await.unwrap();
    assert_eq!(kv.get("c").await.unwrap().unwrap(), "x");
}

#[tokio::test]
async fn a_counter_lives_from_its_beginning() {
    let world = World::new();
    let kv = world.open(1000).await;
    assert_eq!(kv.increment("a", 1, seconds(10)).await, Ok(1));
    world.pass(6);
    assert_eq!(kv.increment("a", 1, seconds(10)).await, Ok(2), "it does not begin again");
    kv.flush().await.unwrap();
    let after_crash = world.open(1000).await;
    assert_eq!(after_crash.increment("a", 1, None).await, Ok(3));
    world.pass(4);
    for kv in [&kv, &after_crash] {
        assert_eq!(kv.counter("a").await, Ok(0));
        assert_eq!(kv.keys("", None, 9).await.unwrap(), Vec::<String>::new());
    }
    assert_eq!(kv.increment("a", 7, None).await, Ok(7));
    kv.flush().await.unwrap();
    world.pass(1000);
    assert_eq!((kv.counter("a").await, world.open(1000).await.counter("a").await), (Ok(7), Ok(7)));
    assert_eq!((kv.used(), world.open(1000).await.used()), (9, 9));
}

#[tokio::test]
async fn counters_in_memory_are_few() {
    const LIMIT: usize = 64;
    let world = World::new();
    let kv = world.open_with(1 << 20, LIMIT).await;
    for n in 0..1000_i64 {
        assert_eq!(kv.increment(&format!("{n:04}"), n, None).await, Ok(n));
        assert!(lock(&kv.inner.counters).keys("", None, Timestamp(0), 9999).len() <= LIMIT);
    }
    for n in (0..1000_i64).rev() {
        assert_eq!(kv.increment(&format!("{n:04}"), 1, None).await, Ok(n + 1));
    }
    assert_eq!(kv.keys("", None, u32::MAX).await.unwrap().len(), 1000);
    assert_eq!(kv.keys("099", Some("0994"), 3).await.unwrap(), ["0995", "0996", "0997"]);
    world.store.broken.store(true, SeqCst);
    let mut words = Vec::new();
    for n in 0..2 * LIMIT {
        words.push(kv.increment(&format!("new{n}"), 1, None).await.map_or_else(|error| error.word, |_| ""));
    }
    assert_eq!((words[0], words[2 * LIMIT - 1]), ("", "unavailable"), "rather than that one is lost");
}

/// Whatever is done at once and in between, no increment is lost or counted twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_add_up() {
    const KEYS: usize = 24;
    let world = World::new();
    // Fewer counters in memory than there are, so that they come and go.
    let kv = Arc::new(world.open_with(1 << 20, 16).await);
    let sums: Arc<Vec<_>> = Arc::new((0..KEYS).map(|_| std::sync::atomic::AtomicI64::new(0)).collect());
    let tasks = (0..8_u64).map(|seed| {
        let (kv, sums) = (Arc::clone(&kv), Arc::clone(&sums));
        tokio::spawn(async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            for _ in 0..500 {
                let (at, by) = (rng.usize(..KEYS), rng.i64(-1000..1000));
                kv.increment(&format!("k{at}"), by, None).await.unwrap();
                sums[at].fetch_add(by, SeqCst);
                match rng.u8(..40) {
                    0 => kv.flush().await.unwrap(),
                    1 => kv.set(&format!("v{at}"), octets(at), None).await.unwrap(),
                    2 => drop(kv.counter(&format!("k{at}")).await.unwrap()),
                    _ => {}
                }
            }
        })
    });
    for ended in futures_util::future::join_all(tasks).await {
        ended.unwrap();
    }
    kv.flush().await.unwrap();
    let again = world.open(1 << 20).await;
    for (at, sum) in sums.iter().enumerate() {
        let (key, sum) = (format!("k{at}"), sum.load(SeqCst));
        assert_eq!((kv.counter(&key).await, again.counter(&key).await), (Ok(sum), Ok(sum)), "{key}");
    }
    assert_eq!(kv.used(), again.used());
}

#[tokio::test]
async fn a_reload_finds_the_same_state() {
    let world = World::new();
    let store = Arc::clone(&world.store);
    let registry = KvRegistry::new(Arc::new(move |_| Arc::clone(&store) as _), world.clock());
    let kv = registry.open("p", 100).await.unwrap();
    assert_eq!(kv.increment("a", 1, None).await, Ok(1));
    let reloaded = registry.open("p", 9).await.unwrap();
    assert_eq!(reloaded.increment("a", 1, None).await, Ok(2));
    assert_eq!(kv.set("b", octets(1), None).await, Ok(()), "the quota is the old one until the reload is certain");
    reloaded.set_quota(9);
    assert_eq!(word(kv.set("c", octets(1), None).await), "too-large");
    world.store.broken.store(true, SeqCst);
    let failed = registry.flush().await;
    assert_eq!(failed.iter().map(|(name, error)| (&**name, error.word)).collect::<Vec<_>>(), [("p", "unavailable")]);
    world.store.broken.store(false, SeqCst);
    assert!(registry.flush().await.is_empty());
    assert_eq!(world.open(100).await.counter("a").await, Ok(2));
}

#[test]
fn quotas() {
    let check = |json: &str, expected: Option<Option<u64>>| {
        let quota = kv_quota(&serde_json::from_str(json).unwrap());
        assert_eq!(quota.as_ref().ok(), expected.as_ref(), "{json}: {quota:?}");
    };
    check("true", Some(Some(1 << 20)));
    check("false", Some(None));
    check("\"10MiB\"", Some(Some(10 << 20)));
    check("\"64 KiB\"", Some(Some(64 << 10)));
    for wrong in ["\"0\"", "\"\"", "\"much\"", "1048576", "[]", "null"] {
        check(wrong, None);
    }
}
