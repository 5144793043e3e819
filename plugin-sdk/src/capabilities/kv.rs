//! Lasting state, in a namespace of the plugin's own. Needs `grants = { kv = true }`, or `{ kv = "10MiB" }` for another
//! quota than 1 MiB.
//!
//! A key has 1 to 512 octets, a value at most 60 KiB. Without a time to live a value stays for ever.

use crate::backend::kv as host;
use crate::resources::milliseconds;
use crate::{Error, HostError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How many keys [`keys`] asks for at once.
const PAGE: u32 = 1000;

/// The value.
///
/// # Errors
/// The key is too long, or the store failed.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, HostError> {
    Ok(host::get(key)?)
}

/// The value, as it was set by [`set_json`].
///
/// # Errors
/// As [`get`], or the value is another than `T`.
pub fn get_json<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Error> {
    let read = |bytes: Vec<u8>| serde_json::from_slice(&bytes).map_err(|error| Error::from(error).context(key));
    get(key)?.map(read).transpose()
}

/// Sets the value; durable when it returns.
///
/// # Errors
/// Key or value are too long, the quota is used up (`too-large`), or the store failed.
pub fn set(key: &str, value: impl AsRef<[u8]>, ttl: Option<Duration>) -> Result<(), HostError> {
    Ok(host::set(key, value.as_ref(), ttl.map(milliseconds))?)
}

/// Sets the value as JSON.
///
/// # Errors
/// As [`set`], or the value is none in JSON.
pub fn set_json(key: &str, value: &impl Serialize, ttl: Option<Duration>) -> Result<(), Error> {
    Ok(set(key, serde_json::to_vec(value)?, ttl)?)
}

/// Sets the value if there is none, and says whether it did: of several callers at once one gets true.
///
/// # Errors
/// As [`set`].
pub fn set_new(key: &str, value: impl AsRef<[u8]>, ttl: Option<Duration>) -> Result<bool, HostError> {
    Ok(host::set_new(key, value.as_ref(), ttl.map(milliseconds))?)
}

/// Removes the value.
///
/// # Errors
/// As [`get`].
pub fn delete(key: &str) -> Result<(), HostError> {
    Ok(host::delete(key)?)
}

/// All keys that begin with `prefix`, in order, fetched by the thousand.
pub fn keys(prefix: &str) -> impl Iterator<Item = Result<String, HostError>> {
    let mut page = Vec::new().into_iter();
    let mut last: Option<String> = None;
    let mut more = true;
    std::iter::from_fn(move || {
        if page.len() == 0 && more {
            match host::keys(prefix, last.as_deref(), PAGE) {
                Ok(keys) => {
                    more = keys.len() == PAGE as usize;
                    last = keys.last().cloned();
                    page = keys.into_iter();
                }
                Err(error) => {
                    more = false;
                    return Some(Err(error.into()));
                }
            }
        }
        page.next().map(Ok)
    })
}

/// Adds `by` to a counter, which begins at 0, and gives the sum: atomic and fast, written to disk some time later. `ttl`
/// counts from the counter's beginning.
///
/// # Errors
/// The value is no counter or the sum does not fit (`bad-value`); or as [`set`].
pub fn increment(key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, HostError> {
    Ok(host::increment(key, by, ttl.map(milliseconds))?)
}

/// The counter, without changing it.
///
/// # Errors
/// The value is no counter; or as [`get`].
pub fn counter(key: &str) -> Result<i64, HostError> {
    Ok(host::counter(key)?)
}
