//! The clock of the mock host: it stands at 2026-01-01T00:00:00Z until a test moves it. Times to live of
//! [`kv`](crate::kv) follow it.

use std::cell::Cell;
use std::time::Duration;

/// Seconds since 1970 of 2026-01-01T00:00:00Z.
const START: Duration = Duration::from_secs(1_767_225_600);

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(START) };
    static MONOTONIC: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Sets the time since 1970.
pub fn set(now: Duration) {
    NOW.set(now);
}

/// Lets this much time go by, on both clocks.
pub fn advance(by: Duration) {
    NOW.set(NOW.get() + by);
    MONOTONIC.set(MONOTONIC.get() + by);
}

pub(super) fn reset() {
    NOW.set(START);
    MONOTONIC.set(Duration::ZERO);
}

#[allow(unreachable_pub)]
pub(crate) mod host {
    pub fn now() -> u64 {
        crate::resources::milliseconds(super::NOW.get())
    }

    pub fn monotonic() -> u64 {
        u64::try_from(super::MONOTONIC.get().as_nanos()).unwrap_or(u64::MAX)
    }
}
