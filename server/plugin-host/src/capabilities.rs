//! The small capabilities: config and clock. The resources are in `mail.rs`, log lines in `log.rs`.

use crate::bindings::postern::plugin::{clock, config};
use crate::state::GuestState;
use std::sync::LazyLock;
use std::time::{Instant, UNIX_EPOCH};

impl config::Host for GuestState {
    fn get(&mut self, pointer: String) -> wasmtime::Result<Option<String>> {
        Ok(self.identity.config.pointer(&pointer).map(ToString::to_string))
    }
}

/// Where the guests' monotonic clock starts: it tells nothing about the host's uptime.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl clock::Host for GuestState {
    fn now(&mut self) -> wasmtime::Result<u64> {
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        Ok(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
