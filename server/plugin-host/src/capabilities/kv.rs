//! The capability `kv`.

use crate::bindings::postern::plugin::kv::Host;
use crate::error::HostResult;
use crate::services::{Kv, ServiceError};
use crate::state::GuestState;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Result;

impl Host for GuestState {
    async fn get(&mut self, key: String) -> Result<HostResult<Option<Vec<u8>>>> {
        self.with_kv(async |kv| Ok(kv.get(&key).await?.map(Vec::from))).await
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl: Option<u64>) -> Result<HostResult> {
        self.with_kv(async |kv| kv.set(&key, value.into(), ttl.map(Duration::from_millis)).await).await
    }

    async fn set_new(&mut self, key: String, value: Vec<u8>, ttl: Option<u64>) -> Result<HostResult<bool>> {
        self.with_kv(async |kv| kv.set_new(&key, value.into(), ttl.map(Duration::from_millis)).await).await
    }

    async fn delete(&mut self, key: String) -> Result<HostResult> {
        self.with_kv(async |kv| kv.delete(&key).await).await
    }

    async fn keys(&mut self, prefix: String, after: Option<String>, limit: u32) -> Result<HostResult<Vec<String>>> {
        self.with_kv(async |kv| kv.keys(&prefix, after.as_deref(), limit).await).await
    }

    async fn increment(&mut self, key: String, by: i64, ttl: Option<u64>) -> Result<HostResult<i64>> {
        self.with_kv(async |kv| kv.increment(&key, by, ttl.map(Duration::from_millis)).await).await
    }

    async fn counter(&mut self, key: String) -> Result<HostResult<i64>> {
        self.with_kv(async |kv| kv.counter(&key).await).await
    }
}

impl GuestState {
    async fn with_kv<T>(&mut self, act: impl AsyncFnOnce(&Kv) -> Result<T, ServiceError>) -> Result<HostResult<T>> {
        let kv = self.identity.reach.kv.as_ref().map(Arc::clone);
        let kv = kv.ok_or_else(|| wasmtime::Error::msg("kv was linked without a grant"))?;
        let since = self.cpu.wait_begins();
        let done = act(&kv).await;
        self.cpu.waited(&since);
        Ok(done.map_err(|error| error.to_string()))
    }
}
