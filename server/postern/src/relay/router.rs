//! From message and recipient to queue, by the rules of the zones.

use crate::intake::Router;
use postern_core::mail::{Recipient, ReversePath};
use postern_core::message::HeaderBlock;
use postern_core::route::QueueKey;
use postern_core::zone::{self, DEFAULT_ZONE, Pool, Zone};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The zones of one generation of the config.
#[derive(Clone, Debug)]
pub struct Zones {
    by_name: Arc<BTreeMap<Arc<str>, Entry>>,
    pools: Arc<BTreeMap<Arc<str>, Arc<Pool>>>,
}

#[derive(Debug)]
struct Entry {
    zone: Arc<Zone>,
    /// The queue of the zone's smart host, if it has one.
    queue: Option<QueueKey>,
}

impl Zones {
    /// From the config.
    #[must_use]
    pub fn new(zones: &[Zone], pools: &[Arc<Pool>]) -> Self {
        let entry = |zone: &Zone| {
            let queue = zone
                .smart_host
                .as_ref()
                .map(|host| QueueKey { zone: Arc::clone(&zone.name), destination: host.destination().into() });
            (Arc::clone(&zone.name), Entry { zone: Arc::new(zone.clone()), queue })
        };
        let pools = pools.iter().map(|pool| (Arc::clone(&pool.name), Arc::clone(pool))).collect();
        Self { by_name: Arc::new(zones.iter().map(entry).collect()), pools: Arc::new(pools) }
    }

    /// The zone whose policy holds for a queue: its own, or `default` if the config no longer has it.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&Arc<Zone>> {
        self.by_name.get(name).or_else(|| self.by_name.get(DEFAULT_ZONE)).map(|entry| &entry.zone)
    }

    /// The pool of this name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.get(name)
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = &Zone> + Clone {
        self.by_name.values().map(|entry| &*entry.zone)
    }
}

impl Router for Zones {
    fn route(&self, recipient: &Recipient, zone: Option<&str>) -> Option<QueueKey> {
        let claimed = || zone::by_recipient(self.all(), recipient).map(|name| &**name);
        let name = zone.or_else(claimed).unwrap_or(DEFAULT_ZONE);
        let entry = self.by_name.get(name)?;
        Some(entry.queue.clone().unwrap_or_else(|| {
            let destination = recipient.address.domain().to_lowercase().into();
            QueueKey { zone: Arc::clone(&entry.zone.name), destination }
        }))
    }

    fn zone_of(&self, header: &HeaderBlock, reverse_path: &ReversePath, trust_headers: bool) -> Option<Arc<str>> {
        zone::by_message(self.all(), header, reverse_path, trust_headers).cloned()
    }

    fn has_zone(&self, zone: &str) -> bool {
        self.by_name.contains_key(zone)
    }

    fn has_pool(&self, pool: &str) -> bool {
        self.pools.contains_key(pool)
    }
}
