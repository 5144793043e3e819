//! Answers that are still valid, in bounded memory.
//!
//! It is ours and not the library's because that one counts answers, however large they are, and copies all of their
//! records on each use: a few thousand domains with thousands of records each would cost gigabytes. Here an answer is
//! what routing needs of it, at most [`super::MAX_RECORDS`] records.

use postern_core::route::Answer;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Answers of one kind by name.
pub(super) struct Cache<T> {
    entries: Mutex<HashMap<String, Entry<T>>>,
    limit: usize,
}

struct Entry<T> {
    answer: Answer<T>,
    until: Instant,
}

impl<T: Clone> Cache<T> {
    /// For at most `limit` answers.
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: Mutex::new(HashMap::new()), limit }
    }

    /// The answer about `name`, if there is one that is still valid.
    pub(super) fn get(&self, name: &str) -> Option<Answer<T>> {
        let entries = self.lock();
        let entry = entries.get(name)?;
        (Instant::now() < entry.until).then(|| entry.answer.clone())
    }

    /// Keeps an answer for as long as it is valid.
    pub(super) fn put(&self, name: &str, answer: &Answer<T>, valid: Duration) {
        let mut entries = self.lock();
        if valid.is_zero() {
            entries.remove(name);
            return;
        }
        let now = Instant::now();
        if entries.len() >= self.limit && !entries.contains_key(name) {
            make_room(&mut entries, self.limit, now);
        }
        entries.insert(name.to_owned(), Entry { answer: answer.clone(), until: now + valid });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry<T>>> {
        // Nothing panics while it is held; and an answer is whole or not there.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops what is no longer valid; if that frees little, whichever comes first, down to 7/8: the pass over the whole
/// map is paid for by the many answers that come before the next.
fn make_room<T>(entries: &mut HashMap<String, Entry<T>>, limit: usize, now: Instant) {
    entries.retain(|_, entry| now < entry.until);
    let keep = limit - limit.div_ceil(8);
    let mut surplus = entries.len().saturating_sub(keep);
    entries.retain(|_, _| {
        let goes = surplus > 0;
        surplus -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_core::route::Missing;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn answers_are_kept_for_their_time() {
        let cache = Cache::new(8);
        cache.put("a", &Ok(vec![1]), 2 * SECOND);
        cache.put("b", &Err(Missing::NoSuchName), SECOND);
        cache.put("c", &Ok(vec![3]), Duration::ZERO);
        assert_eq!(cache.get("a"), Some(Ok(vec![1])));
        assert_eq!(cache.get("b"), Some(Err(Missing::NoSuchName)));
        assert_eq!(cache.get("c"), None);
        tokio::time::advance(SECOND).await;
        assert_eq!((cache.get("a"), cache.get("b")), (Some(Ok(vec![1])), None));
        tokio::time::advance(SECOND).await;
        assert_eq!(cache.get("a"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_newer_answer_replaces_the_older() {
        let cache = Cache::new(8);
        cache.put("a", &Ok(vec![1]), SECOND);
        cache.put("a", &Ok(vec![2]), SECOND);
        assert_eq!(cache.get("a"), Some(Ok(vec![2])));
        cache.put("a", &Ok(vec![3]), Duration::ZERO);
        assert_eq!(cache.get("a"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_grow() {
        const LIMIT: usize = 64;
        let cache = Cache::new(LIMIT);
        for n in 0..10_000 {
            cache.put(&n.to_string(), &Ok(vec![n]), SECOND);
            assert!(cache.lock().len() <= LIMIT);
            assert_eq!(cache.get(&n.to_string()), Some(Ok(vec![n])));
        }
        tokio::time::advance(SECOND).await;
        cache.put("x", &Ok(vec![0]), SECOND);
        assert!(cache.lock().len() <= LIMIT);
        for limit in 0..4 {
            let tiny = Cache::new(limit);
            (0..9).for_each(|n| tiny.put(&n.to_string(), &Ok(vec![n]), SECOND));
        }
    }
}
