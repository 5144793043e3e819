//! Where recipients' mail goes.

use super::{indexed, milliseconds, wrapper};
use crate::HostError;
use std::time::Duration;

wrapper! {
    /// All recipients of one message with where they go, in the order of the envelope.
    Routing
}

/// One recipient and where its mail goes.
#[derive(Debug)]
pub struct Destination<'a> {
    routing: &'a Routing,
    index: u32,
    recipient: String,
}

impl Routing {
    /// How many recipients there are.
    #[must_use]
    pub fn recipient_count(&self) -> u32 {
        self.0.recipient_count()
    }

    /// The recipient at `index`, from 0.
    #[must_use]
    pub fn destination(&self, index: u32) -> Option<Destination<'_>> {
        self.0.recipient(index).map(|recipient| Destination { routing: self, index, recipient })
    }

    /// All recipients in order, fetched one by one.
    pub fn destinations(&self) -> impl Iterator<Item = Destination<'_>> {
        indexed(|index| self.destination(index))
    }
}

impl Destination<'_> {
    /// Its place in the envelope, from 0.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The mailbox.
    #[must_use]
    pub fn recipient(&self) -> &str {
        &self.recipient
    }

    /// The zone in which it would be sent now.
    #[must_use]
    pub fn zone(&self) -> String {
        self.routing.0.zone(self.index).unwrap_or_default()
    }

    /// What it would be sent to now: a domain whose MX hosts are asked, or `host:port`.
    #[must_use]
    pub fn next_hop(&self) -> String {
        self.routing.0.next_hop(self.index).unwrap_or_default()
    }

    /// Sends it in this zone, by that zone's next hop.
    ///
    /// # Errors
    /// The config has no such zone.
    pub fn set_zone(&self, name: &str) -> Result<(), HostError> {
        Ok(self.routing.0.set_zone(self.index, name)?)
    }

    /// Sends it to this host instead: `host`, `host:port`, `[192.0.2.1]:25`, `[2001:db8::1]:25`.
    ///
    /// # Errors
    /// Not a host.
    pub fn set_next_hop(&self, host: &str) -> Result<(), HostError> {
        Ok(self.routing.0.set_next_hop(self.index, host)?)
    }

    /// Sends it from the addresses of this pool.
    ///
    /// # Errors
    /// The config has no such pool.
    pub fn set_pool(&self, name: &str) -> Result<(), HostError> {
        Ok(self.routing.0.set_pool(self.index, name)?)
    }

    /// Holds the first attempt back, 30 days at most.
    ///
    /// # Errors
    /// It is too long.
    pub fn set_delay(&self, delay: Duration) -> Result<(), HostError> {
        Ok(self.routing.0.set_delay(self.index, milliseconds(delay))?)
    }

    /// Queues it held: no attempt until an operator releases it; the reason is shown.
    ///
    /// # Errors
    /// The reason contains control characters.
    pub fn hold(&self, reason: &str) -> Result<(), HostError> {
        Ok(self.routing.0.hold(self.index, reason)?)
    }
}
