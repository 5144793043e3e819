//! The capabilities. Log lines are in `log.rs`, the resources that hooks are given in `resources`.

mod http;
mod kv;
mod reach;
#[cfg(feature = "wasi")]
mod wasi;

pub use http::HttpRequest;
pub(crate) use reach::Reach;
#[cfg(feature = "wasi")]
pub(crate) use wasi::Wasi;

use crate::bindings::postern::plugin::{clock, config, dns, metrics, random, secrets};
use crate::error::HostResult;
use crate::services::{MAX_RANDOM, RecordKind, ServiceError};
use crate::state::GuestState;
use std::sync::LazyLock;
use std::time::{Instant, UNIX_EPOCH};
use wasmtime::Result;

impl config::Host for GuestState {
    fn get(&mut self, pointer: String) -> Result<Option<String>> {
        Ok(self.identity.config.pointer(&pointer).map(ToString::to_string))
    }
}

/// Where the guests' monotonic clock starts: it tells nothing about the host's uptime.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl clock::Host for GuestState {
    fn now(&mut self) -> Result<u64> {
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        Ok(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&mut self) -> Result<u64> {
        Ok(u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

impl random::Host for GuestState {
    fn bytes(&mut self, count: u32) -> Result<Vec<u8>> {
        self.random.bytes(count.min(MAX_RANDOM)).map_err(|error| trap(&error))
    }

    fn number(&mut self) -> Result<u64> {
        self.random.number().map_err(|error| trap(&error))
    }
}

/// The interface has no way to say that the system gives no random numbers.
fn trap(error: &ServiceError) -> wasmtime::Error {
    wasmtime::Error::msg(error.to_string())
}

impl secrets::Host for GuestState {
    fn get(&mut self, name: String) -> Result<Option<String>> {
        Ok(self.identity.reach.secrets.0.get(&name).cloned())
    }
}

impl metrics::Host for GuestState {
    fn count(&mut self, name: String, by: u64) -> Result<()> {
        let dropped = self.identity.reach.metrics.count(&name, by);
        self.tell(dropped);
        Ok(())
    }

    fn gauge(&mut self, name: String, value: f64) -> Result<()> {
        let dropped = self.identity.reach.metrics.gauge(&name, value);
        self.tell(dropped);
        Ok(())
    }

    fn observe(&mut self, name: String, value: f64) -> Result<()> {
        let dropped = self.identity.reach.metrics.observe(&name, value);
        self.tell(dropped);
        Ok(())
    }
}

impl GuestState {
    /// Of a figure that is dropped the log is told once.
    fn tell(&self, dropped: Option<ServiceError>) {
        if let Some(error) = dropped {
            tracing::warn!(plugin = &*self.identity.name, "{error}");
        }
    }
}

impl dns::Host for GuestState {
    async fn lookup(&mut self, name: String, kind: String) -> Result<HostResult<Vec<String>>> {
        let kind = match kind.parse::<RecordKind>() {
            Ok(kind) => kind,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let identity = self.identity.clone();
        let since = self.cpu.wait_begins();
        let records = identity.reach.dns.lookup(&name, kind).await;
        self.cpu.waited(&since);
        Ok(records.map_err(|error| error.to_string()))
    }
}
