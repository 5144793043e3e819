//! Lasting state that lasts as long as the process: for tools and tests.

use super::{KvRow, KvStore, KvStores, ServiceError, lock};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use postern_core::time::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::future::ready;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

/// Stores in memory, one for each plugin.
#[must_use]
pub fn memory_stores() -> KvStores {
    let stores = Mutex::new(HashMap::<String, Arc<Memory>>::new());
    Arc::new(move |plugin| Arc::clone(lock(&stores).entry(plugin.to_owned()).or_default()) as Arc<dyn KvStore>)
}

type Rows = BTreeMap<String, (Bytes, Option<Timestamp>)>;

#[derive(Default)]
pub(super) struct Memory(pub(super) Mutex<Rows>);

fn is_there(expires: Option<Timestamp>, now: Timestamp) -> bool {
    expires.is_none_or(|expires| expires > now)
}

impl KvStore for Memory {
    fn get<'a>(&'a self, key: &'a str, now: Timestamp) -> BoxFuture<'a, Result<Option<Bytes>, ServiceError>> {
        let rows = lock(&self.0);
        let value = rows.get(key).filter(|(_, expires)| is_there(*expires, now)).map(|(value, _)| value.clone());
        Box::pin(ready(Ok(value)))
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        now: Timestamp,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Bytes)>, ServiceError>> {
        let rows = lock(&self.0);
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let found = rows.range::<str, _>((from, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix));
        let there = found.filter(|(_, (_, expires))| is_there(*expires, now));
        let page = there.take(limit).map(|(key, (value, _))| (key.clone(), value.clone())).collect();
        Box::pin(ready(Ok(page)))
    }

    fn write(&self, new: Vec<KvRow>) -> BoxFuture<'_, Result<(), ServiceError>> {
        let mut rows = lock(&self.0);
        for KvRow { key, value, expires } in new {
            match value {
                Some(value) => rows.insert(key, (value, expires)),
                None => rows.remove(&key),
            };
        }
        Box::pin(ready(Ok(())))
    }
}
