//! Points in time as the queue stores them: milliseconds of Unix time. The clock itself is the caller's.

use std::fmt;
use std::time::Duration;

/// A point in wall time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The later point `self + span`, saturating.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The earlier point `self - span`, saturating.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How much later `self` is than `earlier`; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The span since the epoch.
    #[must_use]
    pub fn since_epoch(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// The point so long after the epoch; of a fraction of a millisecond, the one after it.
    #[must_use]
    pub fn of_epoch(span: Duration) -> Self {
        Self(u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub fn seconds(self) -> i64 {
        i64::try_from(self.0 / 1000).unwrap_or(i64::MAX)
    }

    /// The date as RFC 3339 writes it, in UTC and whole seconds: `2026-11-23T10:00:00Z`.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        mail_parser::DateTime::from_timestamp(self.seconds()).to_rfc3339()
    }

    /// The date as RFC 5322 section 3.3 writes it, in UTC: `Mon, 23 Nov 2026 10:00:00 +0000`.
    #[must_use]
    pub fn to_rfc5322(self) -> String {
        mail_parser::DateTime::from_timestamp(self.seconds()).to_rfc822()
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mail_parser::DateTime::from_timestamp(self.seconds()).to_rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_counts() {
        let t = Timestamp(1_795_428_000_123);
        assert_eq!(t.to_rfc5322(), "Mon, 23 Nov 2026 10:00:00 +0000");
        assert_eq!(t.to_string(), "2026-11-23T10:00:00Z");
        assert_eq!(t.after(Duration::from_secs(2)).since(t), Duration::from_secs(2));
        assert_eq!(t.since(t.after(Duration::from_secs(2))), Duration::ZERO);
    }
}
