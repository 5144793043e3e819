//! The counters of one plugin in memory: what they are, and which of them the store does not have as they are.

use super::row::{Row, Stored};
use super::{KvRow, ServiceError};
use postern_core::time::Timestamp;
use std::collections::BTreeMap;
use std::ops::Bound;

#[derive(Debug)]
pub(super) struct Counters {
    by_key: BTreeMap<String, Counter>,
    limit: usize,
    dirty: usize,
    /// Rises with each use.
    uses: u64,
}

#[derive(Debug)]
struct Counter {
    value: i64,
    expires: Option<Timestamp>,
    /// The store has it otherwise, or not at all.
    dirty: bool,
    used: u64,
}

impl Counter {
    fn is_over(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

impl Counters {
    pub(super) fn new(limit: usize) -> Self {
        Self { by_key: BTreeMap::new(), limit, dirty: 0, uses: 0 }
    }

    /// The counter, if it is here and has not expired.
    pub(super) fn get(&mut self, key: &str, now: Timestamp) -> Option<i64> {
        self.uses += 1;
        let counter = self.by_key.get_mut(key).filter(|counter| !counter.is_over(now))?;
        counter.used = self.uses;
        Some(counter.value)
    }

    /// Adds to a counter that is here and has not expired.
    pub(super) fn add(&mut self, key: &str, by: i64, now: Timestamp) -> Option<Result<i64, ServiceError>> {
        self.uses += 1;
        let counter = self.by_key.get_mut(key).filter(|counter| !counter.is_over(now))?;
        counter.used = self.uses;
        let Some(sum) = counter.value.checked_add(by) else {
            return Some(Err(ServiceError::bad_value("the sum does not fit into 64 bits")));
        };
        self.dirty += usize::from(!counter.dirty && by != 0);
        counter.dirty |= by != 0;
        counter.value = sum;
        Some(Ok(sum))
    }

    /// Puts a counter here; dirty if the store does not have it.
    pub(super) fn insert(&mut self, key: &str, value: i64, expires: Option<Timestamp>, dirty: bool) {
        self.remove(key);
        self.uses += 1;
        self.dirty += usize::from(dirty);
        self.by_key.insert(key.to_owned(), Counter { value, expires, dirty, used: self.uses });
    }

    /// Forgets a counter: there is something else under its key. True if it was here, even if it had expired.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        let removed = self.by_key.remove(key);
        self.dirty -= usize::from(removed.as_ref().is_some_and(|counter| counter.dirty));
        removed.is_some()
    }

    /// Is it here and expired? Then its room is still counted.
    pub(super) fn is_over(&self, key: &str, now: Timestamp) -> bool {
        self.by_key.get(key).is_some_and(|counter| counter.is_over(now))
    }

    pub(super) fn has_dirty(&self) -> bool {
        self.dirty > 0
    }

    /// Forgets those that have expired, and gives rows of those that the store does not have.
    pub(super) fn unwritten(&mut self, now: Timestamp) -> Vec<KvRow> {
        self.forget(|counter| counter.is_over(now));
        let dirty = self.by_key.iter().filter(|(_, counter)| counter.dirty);
        let row = |(key, counter): (&String, &Counter)| KvRow {
            key: key.clone(),
            value: Some(Row { stored: Stored::Counter(counter.value), expires: counter.expires }.encode()),
            expires: counter.expires,
        };
        dirty.map(row).collect()
    }

    /// The store has these rows. Counters that went on meanwhile are still to be written.
    pub(super) fn written(&mut self, rows: &[KvRow]) {
        for row in rows {
            let Some(counter) = self.by_key.get_mut(&row.key) else { continue };
            let now = Row { stored: Stored::Counter(counter.value), expires: counter.expires }.encode();
            if counter.dirty && row.value.as_ref() == Some(&now) {
                counter.dirty = false;
                self.dirty -= 1;
            }
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.by_key.len() >= self.limit
    }

    /// Forgets what has expired and, of what the store has too, what was not used for longest, down to 7/8 of the
    /// limit. False if there was too little of that.
    pub(super) fn make_room(&mut self, now: Timestamp) -> bool {
        self.forget(|counter| counter.is_over(now));
        let keep = self.limit - self.limit.div_ceil(8);
        let surplus = self.by_key.len().saturating_sub(keep);
        let mut clean: Vec<u64> = self.by_key.values().filter(|c| !c.dirty).map(|c| c.used).collect();
        clean.sort_unstable();
        if let Some(last) = clean.get(surplus.min(clean.len()).wrapping_sub(1)).copied() {
            self.forget(|counter| !counter.dirty && counter.used <= last);
        }
        !self.is_full()
    }

    /// Keys of counters that are here and have not expired.
    pub(super) fn keys(&self, prefix: &str, after: Option<&str>, now: Timestamp, limit: usize) -> Vec<String> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let range = self.by_key.range::<str, _>((start, Bound::Unbounded));
        let fit = range.take_while(|(key, _)| key.starts_with(prefix)).filter(|(_, counter)| !counter.is_over(now));
        fit.take(limit).map(|(key, _)| key.clone()).collect()
    }

    fn forget(&mut self, which: impl Fn(&Counter) -> bool) {
        let dirty = &mut self.dirty;
        self.by_key.retain(|_, counter| {
            let goes = which(counter);
            *dirty -= usize::from(goes && counter.dirty);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp(0);

    #[test]
    fn what_is_clean_and_long_unused_goes_first() {
        let mut counters = Counters::new(16);
        (0..16).for_each(|n| counters.insert(&format!("{n:02}"), n, None, n % 4 == 0));
        assert!(counters.is_full());
        assert_eq!(counters.get("01", T0), Some(1));
        assert!(counters.make_room(T0));
        assert_eq!(counters.by_key.len(), 14);
        for (key, expected) in [("00", Some(0)), ("01", Some(1)), ("02", None), ("03", None), ("04", Some(4))] {
            assert_eq!(counters.get(key, T0), expected, "{key}");
        }
        let mut dirty = Counters::new(2);
        (0..2).for_each(|n| dirty.insert(&n.to_string(), n, Some(Timestamp(5)), true));
        assert!(!dirty.make_room(T0), "they must be written first");
        assert!(dirty.make_room(Timestamp(5)) && !dirty.has_dirty(), "unless they have expired");
    }

    #[test]
    fn what_goes_on_while_it_is_written_stays_dirty() {
        let mut counters = Counters::new(16);
        counters.insert("a", 1, None, true);
        counters.insert("b", 1, None, true);
        let rows = counters.unwritten(T0);
        assert_eq!(counters.add("a", 1, T0), Some(Ok(2)));
        counters.written(&rows);
        assert_eq!(counters.unwritten(T0).iter().map(|row| &*row.key).collect::<Vec<_>>(), ["a"]);
        assert!(counters.remove("a") && !counters.has_dirty() && !counters.remove("a"));
        assert_eq!(counters.add("b", 0, T0), Some(Ok(1)));
        assert!(!counters.has_dirty());
        assert_eq!(counters.add("b", i64::MAX, T0).unwrap().unwrap_err().word, "bad-value");
        assert_eq!(counters.get("b", T0), Some(1));
    }

    #[test]
    fn keys_by_prefix() {
        let mut counters = Counters::new(16);
        ["a", "b", "b/1", "b/2", "b/3", "c"].iter().for_each(|key| counters.insert(key, 0, None, true));
        counters.insert("b/25", 0, Some(T0), true);
        let check = |prefix: &str, after: Option<&str>, limit: usize, expected: &[&str]| {
            assert_eq!(counters.keys(prefix, after, T0, limit), expected, "{prefix} {after:?}");
        };
        check("b/", None, 9, &["b/1", "b/2", "b/3"]);
        check("b/", Some("a"), 1, &["b/1"]);
        check("b/", Some("b/1"), 9, &["b/2", "b/3"]);
        check("", Some("b/3"), 9, &["c"]);
        check("b/", Some("c"), 9, &[]);
    }
}
