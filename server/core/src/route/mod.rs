//! Where a recipient goes: its zone and destination, decided once, at intake; and the hosts of a destination.

mod address;
mod answer;
mod choose;
mod host;
mod mx;
mod next_hop;
mod own;
mod target;

pub use address::{MAX_ADDRESSES, is_public};
pub use answer::{Answer, Missing, Mx};
pub use choose::{Policy, choose};
pub use host::{Host, NoRoute, Unroutable};
pub use mx::{Candidate, Candidates, MAX_HOSTS, candidates};
pub use next_hop::NextHop;
pub use own::OwnIdentity;
pub use target::Target;

use std::fmt;
use std::sync::Arc;

/// The queue a recipient waits in: all that wait for one destination under one zone's policy.
///
/// `destination` is the smart host (`host:port`), a next hop that a plugin chose (`via:host:port`, see [`NextHop`]), or
/// the recipient's domain in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey {
    /// Name of the zone, as in `[zone.NAME]`.
    pub zone: Arc<str>,
    /// What the zone delivers to.
    pub destination: Arc<str>,
}

impl fmt::Display for QueueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.zone, self.destination)
    }
}
