//! The time. Needs `grants = { clock = true }` in the plugin's `[[plugin]]` entry.

use crate::backend::clock as host;
use std::time::Duration;

/// Time since 1970-01-01T00:00:00Z.
#[must_use]
pub fn now() -> Duration {
    Duration::from_millis(host::now())
}

/// Time on a clock that never goes back; only differences mean something.
#[must_use]
pub fn monotonic() -> Duration {
    Duration::from_nanos(host::monotonic())
}
