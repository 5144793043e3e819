//! The WebAssembly engine and its settings.

use crate::services::Services;
use crate::stats::Counters;
use crate::ticker::Ticker;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// Settings of the engine; each has a default that fits most servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Instances of all plugins together, kept ones included: the sum of their `instances`, twice, because a reload
    /// loads the new generation beside the old one. Each reserves 8 GiB of address space, but no memory.
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
    pub(crate) services: Services,
    /// What is counted of each plugin by name, over its reloads.
    counters: Mutex<HashMap<String, Arc<Counters>>>,
}

impl Shared {
    /// The counters of the plugin of this name.
    pub(crate) fn counters(&self, plugin: &str) -> Arc<Counters> {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(counters.entry(plugin.to_owned()).or_default())
    }
}

impl PluginHost {
    /// Sets the engine up, for plugins with no more to use than tools and tests need ([`Services::default`]).
    ///
    /// # Errors
    /// The system lacks what the engine needs, or a thread could not be started.
    pub fn new(options: &EngineOptions) -> Result<Self, EngineError> {
        Self::with_services(options, Services::default())
    }

    /// Sets the engine up.
    ///
    /// # Errors
    /// The system lacks what the engine needs, or a thread could not be started.
    pub fn with_services(options: &EngineOptions, services: Services) -> Result<Self, EngineError> {
        let engine = match Engine::new(&config(Some(options))) {
            Ok(engine) => engine,
            Err(error) => {
                // A limit on address space (`ulimit -v`, small containers) refuses the reservation.
                tracing::warn!(%error, "no room for a pool of plugin instances; each will be allocated by itself");
                Engine::new(&config(None)).map_err(|error| EngineError(error.into()))?
            }
        };
        let ticker = Ticker::start(engine.clone()).map_err(|error| EngineError(error.into()))?;
        Ok(Self(Arc::new(Shared { engine, ticker, services, counters: Mutex::default() })))
    }
}

/// Stack of a guest, and of the fiber that it runs on together with the host functions it calls. Interpreters need the
/// depth; what is not touched costs nothing.
const WASM_STACK: usize = 512 << 10;
const FIBER_STACK: usize = 1 << 20;
/// Address space of one linear memory: with all that 32 bits can address no access needs a check. The real limit is
/// each plugin's own.
const RESERVATION: u64 = 4 << 30;
const GUARD: u64 = 32 << 20;
/// The same where address space is scarce: each access is checked, and a memory that outgrows its place moves.
const SMALL_RESERVATION: u64 = 1 << 20;
const SMALL_GUARD: u64 = 64 << 10;

/// What one component may hold. The pool has that for each of its instances, so no component can take the share of
/// another. Usual are one memory, two tables and three core instances: its module, and two adapters for its imports.
/// Interpreters with linked libraries, and components that were composed of two, need more: one that componentize-py
/// 0.25 makes has 38 core instances. They are counted, and reserve nothing.
pub(crate) const MAX_MEMORIES: u32 = 2;
pub(crate) const MAX_TABLES: u32 = 8;
pub(crate) const MAX_CORE_INSTANCES: u32 = 64;
/// Entries of one table: interpreters need tens of thousands.
pub(crate) const MAX_TABLE: usize = 100_000;

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
        .memory_reservation_for_growth(0);
    match pooled {
        Some(options) => config
            .memory_reservation(RESERVATION)
            .memory_guard_size(GUARD)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options))),
        None => config
            .memory_reservation(SMALL_RESERVATION)
            .memory_guard_size(SMALL_GUARD)
            .memory_reservation_for_growth(SMALL_RESERVATION),
    };
    config
}

fn pool(options: &EngineOptions) -> PoolingAllocationConfig {
    let instances = options.instances.max(1);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .total_core_instances(instances.saturating_mul(MAX_CORE_INSTANCES))
        .max_memories_per_component(MAX_MEMORIES)
        .max_memories_per_module(MAX_MEMORIES)
        .total_memories(instances.saturating_mul(MAX_MEMORIES))
        .max_tables_per_component(MAX_TABLES)
        .max_tables_per_module(MAX_TABLES)
        .total_tables(instances.saturating_mul(MAX_TABLES))
        .total_stacks(instances)
        .max_memory_size(usize::try_from(RESERVATION).unwrap_or(usize::MAX))
        .table_elements(MAX_TABLE)
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

    /// A limit on address space holds for a process, so this one starts itself again under one.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn with_little_address_space_plugins_run_without_a_pool() {
        const LIMITED: &str = "POSTERN_TEST_LITTLE_ADDRESS_SPACE";
        const SELF: &str = "engine::tests::with_little_address_space_plugins_run_without_a_pool";
        if std::env::var_os(LIMITED).is_none() {
            // 2 GiB: less than one memory of the pool.
            let script = "ulimit -v 2097152 && exec \"$0\" --exact \"$1\"";
            let test = std::env::current_exe().unwrap();
            let mut limited = std::process::Command::new("sh");
            let output = limited.args(["-c", script]).arg(test).arg(SELF).env(LIMITED, "1").output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
            return;
        }
        assert!(Engine::new(&config(Some(&EngineOptions { instances: 1 }))).is_err());
        let host = PluginHost::new(&EngineOptions::default()).unwrap();
        let component = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/header-rewrite/header-rewrite.wasm");
        let mut loaded = Vec::new();
        for _ in 0..20 {
            let mut spec = crate::PluginSpec::new("header-rewrite", component);
            spec.deadline = std::time::Duration::from_secs(30);
            loaded.push(host.load(spec).await.unwrap());
        }
    }
}
