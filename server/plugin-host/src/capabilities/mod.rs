//! The capabilities. Log lines are in `log.rs`, the resources that hooks are given in `resources`.

use crate::bindings::postern::plugin::{clock, config, random};
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

impl random::Host for GuestState {
    fn bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        let mut bytes = vec![0; count.min(MAX_RANDOM) as usize];
        getrandom::fill(&mut bytes).map_err(|error| wasmtime::Error::msg(error.to_string()))?;
        Ok(bytes)
    }

    fn number(&mut self) -> wasmtime::Result<u64> {
        getrandom::u64().map_err(|error| wasmtime::Error::msg(error.to_string()))
    }
}

/// Most random octets of one call.
const MAX_RANDOM: u32 = 4096;
