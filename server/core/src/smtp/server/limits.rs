//! What one session may do.

use crate::smtp::command::HoldRequest;
use crate::time::Timestamp;
use std::time::Duration;

/// What one session may do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest content, in octets.
    pub max_size: u64,
    /// Most recipients of one transaction; RFC 5321 section 4.5.3.1.8 asks for at least 100.
    pub max_recipients: usize,
    /// Longest line of content, in octets without the line end.
    pub max_line: usize,
    /// After so many commands that were refused the session is ended.
    pub max_errors: usize,
    /// How long a client may have delivery put off, where it may.
    pub future_release: Option<FutureRelease>,
    /// Speak LMTP (RFC 2033).
    pub lmtp: bool,
}

/// The bounds of FUTURERELEASE (RFC 4865 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FutureRelease {
    /// The longest time.
    pub longest: Duration,
    /// The latest time, as it is at the start of the session.
    pub latest: Timestamp,
}

impl FutureRelease {
    pub(super) fn allows(self, hold: HoldRequest) -> bool {
        match hold {
            HoldRequest::For(span) => span <= self.longest,
            HoldRequest::Until(time) => time <= self.latest,
        }
    }
}
