//! Lasting state of the plugins: what is behind the WIT's `kv`.
//!
//! A [`Kv`] is one plugin's, shared by all its instances and by what it is after a reload ([`KvRegistry`]). The server
//! gives it a [`KvStore`]. Values are durable when a call returns. Counters live in memory and are written by
//! [`Kv::flush`], each second and at the end: a crash loses what was counted since the last time.
//!
//! # Quota
//! Octets of keys and values (8 of a counter) are added up: by a scan when the plugin is first opened, by each write
//! from then on. What expires is not noticed at once. When a write does not fit and something may have expired, the
//! store is scanned again, at most once a second, and what is gone gives its room back.
//!
//! # Concurrency
//! Writes of one key go one after the other; a scan or a flush waits for the writes in progress, and those that come
//! wait for it. An operation that has begun goes on to its end even if its caller does not wait for it any more, so that
//! the quota and the counters stay right.
//!
//! # Limits
//! Keys [`MAX_KEY`], values [`MAX_VALUE`]; [`MAX_COUNTERS`] counters in memory and [`MAX_WRITES`] writes in progress a
//! plugin; [`MAX_LISTED`] keys at a time, read [`PAGE`] rows at a time.

mod counters;
mod memory;
mod registry;
mod room;
mod row;
#[cfg(test)]
mod tests;
mod write;

pub use memory::memory_stores;
pub use registry::{KvRegistry, KvStores};

use super::error::{GrantError, ServiceError};
use bytes::Bytes;
use counters::Counters;
use futures_util::future::BoxFuture;
use postern_core::time::Timestamp;
use room::Room;
use row::{Row, Stored};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{RwLock, Semaphore};

/// Octets of a key.
pub const MAX_KEY: usize = 512;
/// Octets of a value.
pub const MAX_VALUE: usize = 60 * 1024;
/// The quota where the grant says only `true`.
pub const DEFAULT_QUOTA: u64 = 1024 * 1024;
/// Keys of one listing.
const MAX_LISTED: usize = 1000;
/// Rows that are read at a time.
const PAGE: usize = 64;
/// Counters in memory; of more, those that were not used for longest are written and forgotten.
const MAX_COUNTERS: usize = 10_000;
/// Writes in progress; others wait.
const MAX_WRITES: usize = 64;
/// Rows of one transaction of a flush.
const BATCH: usize = 1000;
/// Locks that keys share.
const SHARDS: usize = 64;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One row to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvRow {
    /// At most [`MAX_KEY`] octets.
    pub key: String,
    /// A little more than [`MAX_VALUE`] octets; None removes the row.
    pub value: Option<Bytes>,
    /// Not there any more at this time.
    pub expires: Option<Timestamp>,
}

/// A durable map from text to octets, of one plugin. Rows that have expired at `now` are not there.
///
/// The values are [`Kv`]'s own form; the store need not understand them.
pub trait KvStore: Send + Sync {
    /// The value.
    ///
    /// # Errors
    /// `unavailable`.
    fn get<'a>(&'a self, key: &'a str, now: Timestamp) -> BoxFuture<'a, Result<Option<Bytes>, ServiceError>>;

    /// Keys that begin with `prefix`, and their values, in the order of their octets, after `after`, at most `limit`.
    ///
    /// # Errors
    /// `unavailable`.
    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        now: Timestamp,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Bytes)>, ServiceError>>;

    /// Writes rows, all or none; resolves when they are durable. Of two writes the one that was begun first is the
    /// earlier one.
    ///
    /// # Errors
    /// `unavailable`.
    fn write(&self, rows: Vec<KvRow>) -> BoxFuture<'_, Result<(), ServiceError>>;
}

/// Reads the grant `kv`: None if it is not given, else the quota in octets.
///
/// # Errors
/// It is neither true, false nor a size.
pub fn kv_quota(value: &serde_json::Value) -> Result<Option<u64>, GrantError> {
    let size = |text: &str| text.parse::<bytesize::ByteSize>().ok().map(|size| size.0).filter(|quota| *quota > 0);
    match value {
        serde_json::Value::Bool(given) => Ok(given.then_some(DEFAULT_QUOTA)),
        serde_json::Value::String(text) if size(text).is_some() => Ok(size(text)),
        _ => Err(GrantError(format!("the grant `kv` is true, false or a size such as \"10MiB\", and not {value}"))),
    }
}

/// The lasting state of one plugin.
pub struct Kv {
    inner: Arc<Inner>,
    writes: Arc<Semaphore>,
}

impl std::fmt::Debug for Kv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kv").field("used", &self.used()).finish_non_exhaustive()
    }
}

struct Inner {
    store: Arc<dyn KvStore>,
    clock: Clock,
    /// Read by writes of single keys, written by what concerns all of them.
    all: RwLock<()>,
    shards: [tokio::sync::Mutex<()>; SHARDS],
    room: Mutex<Room>,
    counters: Mutex<Counters>,
}

impl Kv {
    /// Opens the state in `store` and adds up what it takes.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn open(store: Arc<dyn KvStore>, quota: u64, clock: Clock) -> Result<Self, ServiceError> {
        Self::open_with(store, quota, clock, MAX_COUNTERS).await
    }

    async fn open_with(
        store: Arc<dyn KvStore>,
        quota: u64,
        clock: Clock,
        counters: usize,
    ) -> Result<Self, ServiceError> {
        let inner = Inner {
            store,
            clock,
            all: RwLock::new(()),
            shards: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            room: Mutex::new(Room::new(quota)),
            counters: Mutex::new(Counters::new(counters)),
        };
        inner.add_up().await?;
        Ok(Self { inner: Arc::new(inner), writes: Arc::new(Semaphore::new(MAX_WRITES)) })
    }

    /// The value.
    ///
    /// # Errors
    /// `bad-name`; `bad-value`: it is a counter; `unavailable`.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, ServiceError> {
        check_key(key)?;
        let now = self.inner.now();
        if lock(&self.inner.counters).get(key, now).is_some() {
            return Err(is_counter());
        }
        match self.inner.stored(key, now).await? {
            None => Ok(None),
            Some(Row { stored: Stored::Value(value), .. }) => Ok(Some(value)),
            Some(Row { stored: Stored::Counter(_), .. }) => Err(is_counter()),
        }
    }

    /// Sets the value (a counter becomes one too); durable when it returns.
    ///
    /// # Errors
    /// `bad-name`, `bad-value`; `too-large`: the value or the quota; `unavailable`.
    pub async fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<(), ServiceError> {
        self.put(key, value, ttl, false).await.map(drop)
    }

    /// Sets the value if there is none, nor a counter. Of several callers at once one gets true.
    ///
    /// # Errors
    /// As [`Kv::set`].
    pub async fn set_new(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<bool, ServiceError> {
        self.put(key, value, ttl, true).await
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Option<Duration>, only_new: bool) -> Result<bool, ServiceError> {
        check_key(key)?;
        check_ttl(ttl)?;
        if value.len() > MAX_VALUE {
            return Err(ServiceError::too_large(format_args!("a value has at most {MAX_VALUE} octets")));
        }
        let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
        self.to_the_end(async move { inner.put(&key, &value, ttl, only_new).await }).await
    }

    /// Removes the value or the counter; durable when it returns.
    ///
    /// # Errors
    /// `bad-name`, `unavailable`.
    pub async fn delete(&self, key: &str) -> Result<(), ServiceError> {
        check_key(key)?;
        let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
        self.to_the_end(async move { inner.delete(&key).await }).await
    }

    /// Keys that begin with `prefix`, counters' too, in order, after `after`, at most `limit` and at most 1,000.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn keys(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, ServiceError> {
        let limit = usize::try_from(limit).unwrap_or(MAX_LISTED).min(MAX_LISTED);
        let now = self.inner.now();
        let mut keys = lock(&self.inner.counters).keys(prefix, after, now, limit);
        let (mut found, mut cursor) = (0, after.map(str::to_owned));
        while found < limit {
            let wanted = PAGE.min(limit - found);
            let page = self.inner.store.scan(prefix, cursor.as_deref(), now, wanted).await?;
            let is_last = page.len() < wanted;
            found += page.len();
            keys.extend(page.into_iter().map(|(key, _)| key));
            if is_last {
                break;
            }
            cursor = keys.last().cloned();
        }
        keys.sort_unstable();
        keys.dedup();
        keys.truncate(limit);
        Ok(keys)
    }

    /// Adds to a counter, which begins at 0, and gives the sum; atomic. `ttl` counts from the counter's beginning.
    ///
    /// # Errors
    /// `bad-name`; `bad-value`: it is a value, or the sum does not fit; `too-large`: the quota; `unavailable`.
    pub async fn increment(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, ServiceError> {
        check_key(key)?;
        check_ttl(ttl)?;
        if let Some(sum) = lock(&self.inner.counters).add(key, by, self.inner.now()) {
            return sum;
        }
        let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
        self.to_the_end(async move { inner.count(&key, by, ttl).await }).await
    }

    /// The counter; 0 if there is none.
    ///
    /// # Errors
    /// `bad-name`; `bad-value`: it is a value; `unavailable`.
    pub async fn counter(&self, key: &str) -> Result<i64, ServiceError> {
        check_key(key)?;
        let now = self.inner.now();
        if let Some(value) = lock(&self.inner.counters).get(key, now) {
            return Ok(value);
        }
        match self.inner.stored(key, now).await? {
            None => Ok(0),
            Some(Row { stored: Stored::Counter(value), .. }) => Ok(value),
            Some(Row { stored: Stored::Value(_), .. }) => Err(is_value()),
        }
    }

    /// Writes the counters that have changed. The server calls it each second, and when it stops.
    ///
    /// # Errors
    /// `unavailable`: they are still to be written.
    pub async fn flush(&self) -> Result<(), ServiceError> {
        if !lock(&self.inner.counters).has_dirty() {
            return Ok(());
        }
        let inner = Arc::clone(&self.inner);
        spawned(async move {
            let _all = inner.all.write().await;
            inner.flush().await
        })
        .await
    }

    /// Octets of keys and values, those included that have expired and were not noticed yet.
    #[must_use]
    pub fn used(&self) -> u64 {
        lock(&self.inner.room).used
    }

    /// Changes the quota: a reload may bring another one. What is there stays, whatever it takes.
    pub fn set_quota(&self, quota: u64) {
        lock(&self.inner.room).quota = quota;
    }

    /// Runs a write to its end, even if the caller's future is dropped.
    async fn to_the_end<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let permit = Arc::clone(&self.writes).acquire_owned().await;
        spawned(async move {
            let _permit = permit;
            write.await
        })
        .await
    }
}

async fn spawned<T: Send + 'static>(
    task: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
) -> Result<T, ServiceError> {
    let ended = tokio::spawn(task).await;
    ended.unwrap_or_else(|_| Err(ServiceError::unavailable("the store's task ended early")))
}

fn check_key(key: &str) -> Result<(), ServiceError> {
    if (1..=MAX_KEY).contains(&key.len()) {
        return Ok(());
    }
    Err(ServiceError::bad_name(format_args!("a key has 1 to {MAX_KEY} octets")))
}

fn check_ttl(ttl: Option<Duration>) -> Result<(), ServiceError> {
    match ttl {
        Some(ttl) if ttl.is_zero() => Err(ServiceError::bad_value("a time to live of 0")),
        _ => Ok(()),
    }
}

fn is_counter() -> ServiceError {
    ServiceError::bad_value("what is stored under this key is a counter")
}

fn is_value() -> ServiceError {
    ServiceError::bad_value("what is stored under this key is no counter")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
