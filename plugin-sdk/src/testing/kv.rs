//! The plugin's lasting state: in memory, empty at first. Times to live follow [`clock`](super::clock).

use std::cell::RefCell;
use std::collections::BTreeMap;

/// The quota of `grants = { kv = true }`.
const QUOTA: usize = 1 << 20;

#[derive(Default)]
struct Store {
    entries: BTreeMap<String, Entry>,
    quota: Option<usize>,
    failing: bool,
}

struct Entry {
    value: Value,
    /// Milliseconds since 1970.
    until: Option<u64>,
}

enum Value {
    Bytes(Vec<u8>),
    Counter(i64),
}

impl Value {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Counter(_) => size_of::<i64>(),
        }
    }
}

thread_local! {
    static STORE: RefCell<Store> = RefCell::default();
}

/// Another quota than 1 MiB.
pub fn quota(octets: usize) {
    STORE.with_borrow_mut(|store| store.quota = Some(octets));
}

/// Lets every call fail with `unavailable` from now on, or no longer.
pub fn fail(failing: bool) {
    STORE.with_borrow_mut(|store| store.failing = failing);
}

pub(super) fn reset() {
    STORE.take();
}

#[allow(unreachable_pub)]
pub(crate) mod host {
    use super::{Entry, QUOTA, STORE, Store, Value};
    use crate::testing::clock::host::now;
    use crate::testing::rules::{HostResult, error};

    const MAX_KEY: usize = 512;
    const MAX_VALUE: usize = 60 << 10;
    const MAX_KEYS: usize = 1000;

    fn with<T>(call: impl FnOnce(&mut Store) -> HostResult<T>) -> HostResult<T> {
        STORE.with_borrow_mut(|store| {
            if store.failing {
                return error("unavailable", "the test said so");
            }
            let now = now();
            store.entries.retain(|_, entry| entry.until.is_none_or(|until| until > now));
            call(store)
        })
    }

    fn good_key(key: &str) -> HostResult {
        if (1..=MAX_KEY).contains(&key.len()) { Ok(()) } else { error("bad-name", "a key has 1 to 512 octets") }
    }

    impl Store {
        fn put(&mut self, key: &str, value: Value, ttl: Option<u64>) -> HostResult {
            if value.len() > MAX_VALUE {
                return error("too-large", "a value has 60 KiB at most");
            }
            let others = self.entries.iter().filter(|(other, _)| *other != key);
            let used: usize = others.map(|(key, entry)| key.len() + entry.value.len()).sum();
            if used + key.len() + value.len() > self.quota.unwrap_or(QUOTA) {
                return error("too-large", "the quota of the grant kv is used up");
            }
            let until = ttl.map(|ttl| now().saturating_add(ttl));
            self.entries.insert(key.to_owned(), Entry { value, until });
            Ok(())
        }

        fn counter(&self, key: &str) -> HostResult<i64> {
            match self.entries.get(key).map(|entry| &entry.value) {
                None => Ok(0),
                Some(Value::Counter(sum)) => Ok(*sum),
                Some(Value::Bytes(_)) => error("bad-value", "the value is no counter"),
            }
        }
    }

    pub fn get(key: &str) -> HostResult<Option<Vec<u8>>> {
        good_key(key)?;
        with(|store| match store.entries.get(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Bytes(bytes)) => Ok(Some(bytes.clone())),
            Some(Value::Counter(_)) => error("bad-value", "the value is a counter"),
        })
    }

    pub fn set(key: &str, value: &[u8], ttl: Option<u64>) -> HostResult {
        good_key(key)?;
        with(|store| store.put(key, Value::Bytes(value.to_vec()), ttl))
    }

    pub fn set_new(key: &str, value: &[u8], ttl: Option<u64>) -> HostResult<bool> {
        good_key(key)?;
        with(|store| {
            if store.entries.contains_key(key) {
                return Ok(false);
            }
            store.put(key, Value::Bytes(value.to_vec()), ttl).map(|()| true)
        })
    }

    pub fn delete(key: &str) -> HostResult {
        good_key(key)?;
        with(|store| {
            store.entries.remove(key);
            Ok(())
        })
    }

    pub fn keys(prefix: &str, after: Option<&str>, limit: u32) -> HostResult<Vec<String>> {
        with(|store| {
            let keys = store.entries.keys().filter(|key| key.starts_with(prefix));
            let later = keys.filter(|key| after.is_none_or(|after| key.as_str() > after));
            Ok(later.take(MAX_KEYS.min(limit as usize)).cloned().collect())
        })
    }

    pub fn increment(key: &str, by: i64, ttl: Option<u64>) -> HostResult<i64> {
        good_key(key)?;
        with(|store| {
            let Some(sum) = store.counter(key)?.checked_add(by) else {
                return error("bad-value", "the sum does not fit");
            };
            match store.entries.get_mut(key) {
                Some(entry) => entry.value = Value::Counter(sum),
                None => store.put(key, Value::Counter(sum), ttl)?,
            }
            Ok(sum)
        })
    }

    pub fn counter(key: &str) -> HostResult<i64> {
        good_key(key)?;
        with(|store| store.counter(key))
    }
}
