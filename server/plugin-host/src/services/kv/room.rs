//! The quota: how much there is, and whether a look at the store could find more room.

use postern_core::time::Timestamp;
use std::time::Duration;

/// Between two looks at the store.
const PAUSE: Duration = Duration::from_secs(1);

/// Room of one plugin. What is used is never less than what is stored and has not expired.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) quota: u64,
    pub(super) used: u64,
    /// Nothing expires before; None if nothing does at all.
    next_expiry: Option<Timestamp>,
    /// A write failed, and whether it happened is not known.
    uncertain: bool,
    /// When the store was looked at.
    looked: Timestamp,
}

impl Room {
    pub(super) fn new(quota: u64) -> Self {
        Self { quota, used: 0, next_expiry: None, uncertain: false, looked: Timestamp(0) }
    }

    /// Takes what a row of `new` octets needs more than the one of `old` octets that it replaces. False if that is not
    /// there. What becomes free is given back after the write, by [`Room::give_back`].
    pub(super) fn take(&mut self, old: u64, new: u64) -> bool {
        let more = new.saturating_sub(old);
        let used = self.used.saturating_add(more);
        if more > 0 && used > self.quota {
            return false;
        }
        self.used = used;
        true
    }

    /// The write is durable.
    pub(super) fn give_back(&mut self, old: u64, new: u64) {
        self.used = self.used.saturating_sub(old.saturating_sub(new));
    }

    /// The write failed; what was taken for it stays taken until the store is looked at.
    pub(super) fn failed(&mut self) {
        self.uncertain = true;
    }

    /// Something expires at this time.
    pub(super) fn will_expire(&mut self, at: Option<Timestamp>) {
        self.next_expiry = earlier(self.next_expiry, at);
    }

    /// Could a look at the store find more room?
    pub(super) fn may_have_more(&self, now: Timestamp) -> bool {
        let expired = self.next_expiry.is_some_and(|at| at <= now);
        (expired || self.uncertain) && now >= self.looked.after(PAUSE)
    }

    /// When the store was looked at last.
    pub(super) fn looked(&self) -> Timestamp {
        self.looked
    }

    /// What a look at the store found.
    pub(super) fn found(&mut self, used: u64, next_expiry: Option<Timestamp>, now: Timestamp) {
        (self.used, self.next_expiry, self.uncertain, self.looked) = (used, next_expiry, false, now);
    }
}

pub(super) fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_and_given_back() {
        let mut room = Room::new(100);
        assert!(room.take(0, 100) && !room.take(0, 1));
        assert!(room.take(60, 60) && room.take(60, 10), "what does not grow always fits");
        room.give_back(60, 10);
        assert_eq!(room.used, 50);
        assert!(room.take(10, 60) && !room.take(0, 1));
        room.quota = 10;
        assert!(room.take(20, 20) && !room.take(20, 21) && !room.take(0, u64::MAX));
    }

    #[test]
    fn when_to_look_again() {
        let at = |seconds: u64| Timestamp(seconds * 1000);
        let mut room = Room::new(100);
        room.found(50, None, at(10));
        assert!(!room.may_have_more(at(99)));
        room.will_expire(Some(at(20)));
        room.will_expire(Some(at(15)));
        room.will_expire(None);
        assert!(!room.may_have_more(at(14)) && room.may_have_more(at(15)));
        room.found(40, Some(at(20)), at(20));
        assert!(!room.may_have_more(at(20)) && room.may_have_more(at(21)), "once a second");
        room.found(40, None, at(30));
        room.failed();
        assert!(!room.may_have_more(at(30)) && room.may_have_more(at(31)));
    }
}
