//! `Idempotency-Key`: a request that is repeated gets the answer of the first one, and no second message.
//!
//! One row for each key (of each user), written in the transaction that queues the message: digest of the request, queue
//! id. It lives for a day and survives a crash. While a request with a key is worked on, others with the same key wait.

use super::super::problem::Problem;
use crate::spool::{Fact, Facts};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use postern_core::mail::QueueId;
use postern_core::time::Timestamp;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

const NAMESPACE: &str = "node/idempotency";
/// How long a key is remembered.
const TTL: Duration = Duration::from_secs(86_400);
/// Longest key, in octets.
const MAX_KEY: usize = 255;

/// A SHA-256.
pub(super) type Digest = [u8; 32];

/// A key of a user, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(Digest);

impl Key {
    /// The key of a request, if it has one.
    pub(super) fn of(headers: &HeaderMap, user: Option<&str>) -> Result<Option<Self>, Problem> {
        let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
        let ok = (1..=MAX_KEY).contains(&value.len()) && value.as_bytes().iter().all(|b| (b' '..=b'~').contains(b));
        if !ok {
            let detail = format!("Idempotency-Key: it must be 1 to {MAX_KEY} printable ASCII characters");
            return Err(Problem::field("Idempotency-Key", detail));
        }
        let mut digest = Sha256::new();
        digest.update((user.map_or(0, |user| user.len() as u64 + 1)).to_be_bytes());
        digest.update(user.unwrap_or_default());
        digest.update(value.as_bytes());
        Ok(Some(Self(digest.finalize().into())))
    }

    /// That of one message of a request with many.
    pub(super) fn at(&self, index: usize) -> Self {
        let mut digest = Sha256::new();
        digest.update(self.0);
        digest.update((index as u64).to_be_bytes());
        Self(digest.finalize().into())
    }

    /// What became of it, if it was used.
    ///
    /// # Errors
    /// 422 if it was for another request; the store can't be read.
    pub(super) async fn seen<F: Facts>(
        &self,
        facts: &F,
        request: &Digest,
        now: Timestamp,
    ) -> Result<Option<QueueId>, Problem> {
        let Some(row) = facts.get(NAMESPACE, &self.0, now).await? else { return Ok(None) };
        let (digest, id) = row.split_at_checked(32).unwrap_or_default();
        let id = <[u8; 8]>::try_from(id).map_err(|_| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "what is stored for the Idempotency-Key can't be read")
        })?;
        if digest != request {
            let detail = "Idempotency-Key: it was used for another request";
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
            return Err(Problem { field: Some("Idempotency-Key".to_owned()), ..problem });
        }
        Ok(Some(QueueId(u64::from_be_bytes(id))))
    }

    /// The row.
    pub(super) fn fact(&self, request: &Digest, id: QueueId, now: Timestamp) -> Fact {
        let value = Bytes::from([&request[..], &id.0.to_be_bytes()].concat());
        Fact {
            namespace: NAMESPACE.to_owned(),
            key: self.0.to_vec(),
            value: Some(value),
            expires: Some(now.after(TTL)),
        }
    }
}

/// Keys that are worked on.
#[derive(Default)]
pub(super) struct Reservations(Mutex<HashMap<Key, watch::Receiver<()>>>);

/// Nobody else works on the key until this is dropped.
pub(super) struct Reservation {
    reservations: Arc<Reservations>,
    key: Key,
    /// Dropped with this: whoever waits sees it.
    _done: watch::Sender<()>,
}

impl Reservations {
    /// Waits until nobody else works on the key.
    pub(super) async fn reserve(self: &Arc<Self>, key: Key) -> Reservation {
        loop {
            let mut other = {
                let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                match keys.get(&key) {
                    Some(other) => other.clone(),
                    None => {
                        let (done, waiting) = watch::channel(());
                        keys.insert(key, waiting);
                        return Reservation { reservations: Arc::clone(self), key, _done: done };
                    }
                }
            };
            // Ends when the sender is dropped.
            while other.changed().await.is_ok() {}
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.reservations.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn followers_wait_for_the_first() {
        let reservations = Arc::new(Reservations::default());
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", "k".parse().unwrap());
        let key = Key::of(&headers, Some("a")).unwrap().unwrap();
        assert_ne!(Key::of(&headers, None).unwrap().unwrap(), key, "keys are the user's own");
        assert_ne!(key.at(0), key.at(1));
        let first = reservations.reserve(key).await;
        let _other = reservations.reserve(key.at(1)).await;
        let waiting = tokio::spawn({
            let reservations = Arc::clone(&reservations);
            async move { drop(reservations.reserve(key).await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
        headers.insert("idempotency-key", "".parse().unwrap());
        assert!(Key::of(&headers, None).is_err());
    }
}
