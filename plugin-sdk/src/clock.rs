//! The time. Using it needs `grants = { clock = true }` in the plugin's `[[plugin]]` entry.

use std::time::Duration;

/// Time since 1970-01-01T00:00:00Z.
#[must_use]
pub fn now() -> Duration {
    #[cfg(target_arch = "wasm32")]
    let now = Duration::from_millis(crate::bindings::imports::postern::plugin::clock::now());
    #[cfg(not(target_arch = "wasm32"))]
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    now
}

/// Time on a clock that never goes back; only differences mean something.
#[must_use]
pub fn monotonic() -> Duration {
    #[cfg(target_arch = "wasm32")]
    let now = Duration::from_nanos(crate::bindings::imports::postern::plugin::clock::monotonic());
    #[cfg(not(target_arch = "wasm32"))]
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    now
}
