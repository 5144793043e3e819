//! Ids of sessions: unique among the node's starts, short enough for every log line.

use postern_core::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes ids of 16 hex digits: the second of the start and a counter.
#[derive(Debug)]
pub struct SessionIds {
    start: u64,
    counter: AtomicU64,
}

impl SessionIds {
    /// Ids for a server that started at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self { start: (now.0 / 1000) & 0xffff_ffff, counter: AtomicU64::new(0) }
    }

    /// The next id.
    pub fn next(&self) -> Arc<str> {
        let count = self.counter.fetch_add(1, Ordering::Relaxed) & 0xffff_ffff;
        format!("{:08x}{count:08x}", self.start).into()
    }
}
