//! Where the recipients of a message go, as the hook `route` sees and changes it.

use crate::mail::Address;
use crate::route::QueueKey;
use std::sync::Arc;
use std::time::Duration;

/// What the config has: zones and pools by name.
pub trait Places: Send + Sync {
    /// The queue of this recipient in a zone; none if there is no such zone.
    fn queue(&self, recipient: &Address, zone: &str) -> Option<QueueKey>;

    /// Is there a pool of this name?
    fn has_pool(&self, name: &str) -> bool;
}

/// All recipients of one message, in the order of the envelope.
#[derive(Clone)]
pub struct Routing {
    /// What there is to choose from.
    pub places: Arc<dyn Places>,
    /// Where each goes.
    pub recipients: Vec<Routed>,
}

/// Where one recipient goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// Who.
    pub address: Address,
    /// Zone and destination.
    pub queue: QueueKey,
    /// Another pool than the zone's.
    pub pool: Option<Arc<str>>,
    /// Hold the first attempt back this long, over the message's own delay.
    pub delay: Option<Duration>,
    /// Queued held, for this reason.
    pub hold: Option<Arc<str>>,
}

impl Routed {
    /// By the zone's own policy.
    #[must_use]
    pub fn new(address: Address, queue: QueueKey) -> Self {
        Self { address, queue, pool: None, delay: None, hold: None }
    }
}
