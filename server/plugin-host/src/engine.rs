//! The WebAssembly engine and its settings.

use crate::ticker::Ticker;
use std::sync::Arc;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// Settings of the engine; each has a default that fits most servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Instances of all plugins together, kept ones included: the sum of their `instances`, twice, because a reload
    /// loads the new generation beside the old one. Each reserves 4 GiB of address space, but no memory.
    pub instances: u32,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { instances: 256 }
    }
}

/// The engine could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the WebAssembly engine")]
pub struct EngineError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Loads plugins. Cheap to clone; plugins keep what they need of it.
#[derive(Clone)]
pub struct PluginHost(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) ticker: Ticker,
}

impl PluginHost {
    /// Sets the engine up.
    ///
    /// # Errors
    /// The system lacks what the engine needs, or a thread could not be started.
    pub fn new(options: &EngineOptions) -> Result<Self, EngineError> {
        let engine = match Engine::new(&config(Some(options))) {
            Ok(engine) => engine,
            Err(error) => {
                // A limit on address space (`ulimit -v`, small containers) refuses the reservation.
                tracing::warn!(%error, "no room for a pool of plugin instances; each will be allocated by itself");
                Engine::new(&config(None)).map_err(|error| EngineError(error.into()))?
            }
        };
        let ticker = Ticker::start(engine.clone()).map_err(|error| EngineError(error.into()))?;
        Ok(Self(Arc::new(Shared { engine, ticker })))
    }
}

/// Stack of a guest, and of the fiber that it runs on together with the host functions it calls. Interpreters need the
/// depth; what is not touched costs nothing.
const WASM_STACK: usize = 512 << 10;
const FIBER_STACK: usize = 1 << 20;
/// Address space of one linear memory: with all that 32 bits can address no access needs a check. The real limit is
/// each plugin's own.
const RESERVATION: u64 = 4 << 30;

fn config(pooled: Option<&EngineOptions>) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // Costs each call as much again as the call itself, and nothing here needs streams. Said explicitly, because
        // another crate of the workspace could switch it on.
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(false)
        .memory_init_cow(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBER_STACK)
        .cranelift_opt_level(OptLevel::Speed)
        .memory_reservation(RESERVATION)
        .memory_guard_size(32 << 20)
        .memory_reservation_for_growth(0);
    if let Some(options) = pooled {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
    }
    config
}

fn pool(options: &EngineOptions) -> PoolingAllocationConfig {
    let instances = options.instances.max(1);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        // A component holds its own module and a few adapters.
        .total_core_instances(instances.saturating_mul(4))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        .total_stacks(instances)
        .max_memory_size(usize::try_from(RESERVATION).unwrap_or(usize::MAX))
        .table_elements(100_000)
        .linear_memory_keep_resident(1 << 20)
        .table_keep_resident(4096)
        .async_stack_keep_resident(16 << 10)
        // Linux 6.7 and newer: resets only the pages that a guest has written, half the cost of a fresh instance.
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(100);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_engine_starts() {
        PluginHost::new(&EngineOptions::default()).unwrap();
        PluginHost::new(&EngineOptions { instances: 1 }).unwrap();
    }
}
