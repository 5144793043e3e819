//! Writes: one key's after another, with the quota; and what concerns all keys, the flush and the adding up.

use super::room::earlier;
use super::row::{Row, Stored, size};
use super::{BATCH, Inner, KvRow, PAGE, SHARDS, ServiceError, is_value, lock};
use bytes::Bytes;
use postern_core::time::Timestamp;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// What an attempt that needs room came to; None: there was none.
type Attempt<T> = Result<Option<T>, ServiceError>;

impl Inner {
    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(super) async fn stored(&self, key: &str, now: Timestamp) -> Result<Option<Row>, ServiceError> {
        self.store.get(key, now).await?.as_ref().map(Row::decode).transpose()
    }

    pub(super) async fn put(
        &self,
        key: &str,
        value: &Bytes,
        ttl: Option<Duration>,
        only_new: bool,
    ) -> Result<bool, ServiceError> {
        if let Some(done) = self.try_put(key, value, ttl, only_new).await? {
            return Ok(done);
        }
        self.find_room().await?;
        self.try_put(key, value, ttl, only_new).await?.ok_or_else(|| self.no_room())
    }

    async fn try_put(&self, key: &str, value: &Bytes, ttl: Option<Duration>, only_new: bool) -> Attempt<bool> {
        let _all = self.all.read().await;
        let _key = self.shard(key).lock().await;
        let now = self.now();
        let old = self.size_of(key, now).await?;
        if only_new && old.is_some() {
            return Ok(Some(false));
        }
        let expires = ttl.map(|ttl| now.after(ttl));
        let row = Row { stored: Stored::Value(value.clone()), expires }.encode();
        let (old, new) = (old.unwrap_or(0), size(key, &row));
        {
            let mut room = lock(&self.room);
            if !room.take(old, new) {
                return Ok(None);
            }
            room.will_expire(expires);
        }
        self.write(KvRow { key: key.to_owned(), value: Some(row), expires }, old, new).await?;
        Ok(Some(true))
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), ServiceError> {
        let _all = self.all.read().await;
        let _key = self.shard(key).lock().await;
        let Some(old) = self.size_of(key, self.now()).await? else { return Ok(()) };
        self.write(KvRow { key: key.to_owned(), value: None, expires: None }, old, 0).await
    }

    /// Writes what takes the place of a row of `old` octets, or of a counter that may not have been written yet.
    async fn write(&self, row: KvRow, old: u64, new: u64) -> Result<(), ServiceError> {
        let key = row.key.clone();
        if let Err(error) = self.store.write(vec![row]).await {
            lock(&self.room).failed();
            return Err(error);
        }
        lock(&self.counters).remove(&key);
        lock(&self.room).give_back(old, new);
        Ok(())
    }

    /// Increments a counter that is not in memory.
    pub(super) async fn count(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, ServiceError> {
        self.limit_counters().await?;
        if let Some(sum) = self.try_count(key, by, ttl).await? {
            return Ok(sum);
        }
        self.find_room().await?;
        self.try_count(key, by, ttl).await?.ok_or_else(|| self.no_room())
    }

    async fn try_count(&self, key: &str, by: i64, ttl: Option<Duration>) -> Attempt<i64> {
        let _all = self.all.read().await;
        let _key = self.shard(key).lock().await;
        let now = self.now();
        // Another caller may have been here first.
        if let Some(sum) = lock(&self.counters).add(key, by, now) {
            return sum.map(Some);
        }
        match self.stored(key, now).await? {
            Some(Row { stored: Stored::Value(_), .. }) => Err(is_value()),
            Some(Row { stored: Stored::Counter(value), expires }) => {
                let mut counters = lock(&self.counters);
                counters.insert(key, value, expires, false);
                // It is there, unless it expires this moment.
                counters.add(key, by, now).unwrap_or(Ok(by)).map(Some)
            }
            None => {
                let mut counters = lock(&self.counters);
                let new = size(key, &Row { stored: Stored::Counter(by), expires: None }.encode());
                let old = if counters.is_over(key, now) { new } else { 0 };
                let expires = ttl.map(|ttl| now.after(ttl));
                let mut room = lock(&self.room);
                if !room.take(old, new) {
                    return Ok(None);
                }
                room.will_expire(expires);
                counters.insert(key, by, expires, true);
                Ok(Some(by))
            }
        }
    }

    /// Keeps the counters in memory few, so that one more can come.
    async fn limit_counters(&self) -> Result<(), ServiceError> {
        let too_many = || {
            let mut counters = lock(&self.counters);
            counters.is_full() && !counters.make_room(self.now())
        };
        if too_many() {
            let _all = self.all.write().await;
            self.flush().await?;
            lock(&self.counters).make_room(self.now());
        }
        Ok(())
    }

    /// Writes the counters that have changed. The caller holds the lock of all keys.
    pub(super) async fn flush(&self) -> Result<(), ServiceError> {
        let mut rows = lock(&self.counters).unwritten(self.now());
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(BATCH));
            self.store.write(rows.clone()).await?;
            lock(&self.counters).written(&rows);
            rows = rest;
        }
        Ok(())
    }

    /// Adds up what the store has anew, if that may find room.
    async fn find_room(&self) -> Result<(), ServiceError> {
        let (seen, worth) = {
            let room = lock(&self.room);
            (room.looked(), room.may_have_more(self.now()))
        };
        if !worth {
            return Ok(());
        }
        let _all = self.all.write().await;
        // Whoever waited here for the same reason need not look again.
        if lock(&self.room).looked() != seen {
            return Ok(());
        }
        // Counters that the store does not have must not be forgotten.
        self.flush().await?;
        self.add_up().await
    }

    /// Adds up what the store has. The caller holds the lock of all keys, and all counters are written.
    pub(super) async fn add_up(&self) -> Result<(), ServiceError> {
        let now = self.now();
        let (mut used, mut next_expiry, mut cursor) = (0_u64, None, None::<String>);
        loop {
            let page = self.store.scan("", cursor.as_deref(), now, PAGE).await?;
            for (key, row) in &page {
                used = used.saturating_add(size(key, row));
                // A damaged row takes room and never expires.
                let expires = Row::decode(row).ok().and_then(|row| row.expires);
                next_expiry = earlier(next_expiry, expires);
            }
            let is_last = page.len() < PAGE;
            cursor = page.into_iter().next_back().map(|(key, _)| key);
            if is_last {
                break;
            }
        }
        lock(&self.room).found(used, next_expiry, now);
        Ok(())
    }

    /// Octets of what is under the key: in memory, if it is a counter, or in the store.
    async fn size_of(&self, key: &str, now: Timestamp) -> Result<Option<u64>, ServiceError> {
        if lock(&self.counters).get(key, now).is_some() {
            return Ok(Some((key.len() + size_of::<i64>()) as u64));
        }
        Ok(self.store.get(key, now).await?.map(|row| size(key, &row)))
    }

    fn no_room(&self) -> ServiceError {
        let quota = lock(&self.room).quota;
        ServiceError::too_large(format_args!(
            "the quota of the grant `kv` is used up: {quota} octets of keys and values"
        ))
    }

    fn shard(&self, key: &str) -> &tokio::sync::Mutex<()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % SHARDS as u64).unwrap_or(0);
        &self.shards[at]
    }
}
