//! The breaker of one hook of one plugin: after so many failures in a row it is not called for a while, then once to see
//! whether it works again.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// When to stop calling a plugin, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSpec {
    /// So many failures in a row; 0: never.
    pub failures: u32,
    /// So long it is not called.
    pub rest: Duration,
}

impl Default for BreakerSpec {
    fn default() -> Self {
        Self { failures: 10, rest: Duration::from_secs(5) }
    }
}

pub(crate) struct Breaker {
    spec: BreakerSpec,
    start: Instant,
    failures: AtomicU32,
    /// Nanoseconds since `start`, at which one call may try; 0 while it is closed.
    until: AtomicU64,
}

impl Breaker {
    pub(crate) fn new(spec: BreakerSpec, now: Instant) -> Self {
        Self { spec, start: now, failures: AtomicU32::new(0), until: AtomicU64::new(0) }
    }

    /// May there be a call? While it rests none may; after that one of all that ask.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        let until = self.until.load(Relaxed);
        if until == 0 {
            return true;
        }
        let now = self.since(now);
        // Whoever moves the end of the rest is the probe.
        now >= until && self.until.compare_exchange(until, now + self.rest(), Relaxed, Relaxed).is_ok()
    }

    pub(crate) fn is_resting(&self) -> bool {
        self.until.load(Relaxed) != 0
    }

    /// A call went well; true if that ended a rest.
    pub(crate) fn succeeded(&self) -> bool {
        // Written only when it changes: the line is shared by all processors.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        self.until.load(Relaxed) != 0 && self.until.swap(0, Relaxed) != 0
    }

    /// A call failed; true if a rest begins that was not one.
    pub(crate) fn failed(&self, now: Instant) -> bool {
        if self.spec.failures == 0 {
            return false;
        }
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        if failures < self.spec.failures {
            return false;
        }
        self.until.swap(self.since(now) + self.rest(), Relaxed) == 0
    }

    fn rest(&self) -> u64 {
        u64::try_from(self.spec.rest.as_nanos()).unwrap_or(u64::MAX / 4).max(1)
    }

    fn since(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_probes_and_closes() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let breaker = Breaker::new(BreakerSpec { failures: 3, rest: Duration::from_secs(5) }, start);
        assert!(!breaker.failed(at(1)) && !breaker.failed(at(1)));
        breaker.succeeded();
        assert!(!breaker.failed(at(1)) && !breaker.failed(at(1)) && breaker.allows(at(1)));
        assert!(breaker.failed(at(1)), "the third in a row");
        assert!(!breaker.allows(at(5)) && breaker.is_resting());
        assert!(breaker.allows(at(6)) && !breaker.allows(at(6)), "one probe");
        assert!(!breaker.failed(at(6)) && !breaker.allows(at(10)), "it goes on resting");
        assert!(breaker.allows(at(11)));
        assert!(breaker.succeeded() && breaker.allows(at(11)) && !breaker.is_resting());
        let never = Breaker::new(BreakerSpec { failures: 0, ..BreakerSpec::default() }, start);
        assert!((0..100).all(|_| !never.failed(at(1))) && never.allows(at(1)));
    }
}
