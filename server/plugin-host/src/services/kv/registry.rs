//! The lasting state of all plugins by name. It outlives a plugin's reload, so that an old and a new set of plugins
//! that are in use at once see the same counters.

use super::{Clock, Kv, KvStore, ServiceError, lock};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

/// Gives the store of a plugin.
pub type KvStores = Arc<dyn Fn(&str) -> Arc<dyn KvStore> + Send + Sync>;

/// Lasting state by the plugin's name.
pub struct KvRegistry {
    stores: KvStores,
    clock: Clock,
    plugins: Mutex<HashMap<Arc<str>, Arc<Kv>>>,
    /// One is opened at a time: opening reads the store.
    opening: tokio::sync::Mutex<()>,
}

impl fmt::Debug for KvRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvRegistry").field("plugins", &lock(&self.plugins).len()).finish_non_exhaustive()
    }
}

impl KvRegistry {
    /// With nothing open.
    #[must_use]
    pub fn new(stores: KvStores, clock: Clock) -> Self {
        Self { stores, clock, plugins: Mutex::default(), opening: tokio::sync::Mutex::default() }
    }

    /// The plugin's state; with this quota if it was not open. A reload changes the quota of what is open by
    /// [`Kv::set_quota`], once it is certain.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn open(&self, plugin: &str, quota: u64) -> Result<Arc<Kv>, ServiceError> {
        let _opening = self.opening.lock().await;
        if let Some(kv) = lock(&self.plugins).get(plugin) {
            return Ok(Arc::clone(kv));
        }
        let kv = Arc::new(Kv::open((self.stores)(plugin), quota, Arc::clone(&self.clock)).await?);
        lock(&self.plugins).insert(plugin.into(), Arc::clone(&kv));
        Ok(kv)
    }

    /// Writes the counters of all plugins that have changed, and gives those that could not be written. To be called
    /// each second, and when the server stops.
    pub async fn flush(&self) -> Vec<(Arc<str>, ServiceError)> {
        let open: Vec<_> = lock(&self.plugins).iter().map(|(name, kv)| (Arc::clone(name), Arc::clone(kv))).collect();
        let mut failed = Vec::new();
        for (name, kv) in open {
            if let Err(error) = kv.flush().await {
                failed.push((name, error));
            }
        }
        failed
    }
}
