//! Zones: named policy for a part of the mail.

mod outbound;
mod pool;
mod select;

pub use outbound::{Credentials, IpVersion, Source, TlsMode};
pub use pool::{Group, Pool, PoolAddress, PoolError};
pub use select::{Rules, by_message, by_recipient};

use std::sync::Arc;
use std::time::Duration;

use crate::mail::Address;
use crate::schedule::{Limit, RetrySchedule};

/// Name of the zone that takes what no rule gives to another.
pub const DEFAULT_ZONE: &str = "default";

/// Where all mail of a zone is handed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmartHost {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS to it.
    pub tls: TlsMode,
    /// What to authenticate with.
    pub credentials: Option<Credentials>,
}

impl SmartHost {
    /// `host:port`, the destination of the queue; an IPv6 address gets its brackets.
    #[must_use]
    pub fn destination(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Who tells the senders of a zone's mail what became of it, and when (RFC 3464).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DsnPolicy {
    /// Display name that DSNs are from.
    pub name: String,
    /// Address that they are from.
    pub address: Address,
    /// After how long the sender is told that a recipient is late; None is never.
    pub delay_notice: Option<Duration>,
}

/// How fast a zone's mail may leave: all of it, and what of it belongs together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneLimits {
    /// All of it.
    pub own: Vec<Limit>,
    /// To one recipient domain; not for a smart host, which takes mail for all.
    pub per_domain: Vec<Limit>,
    /// From one source address.
    pub per_source: Vec<Limit>,
    /// With one reverse-path.
    pub per_sender: Vec<Limit>,
    /// Of one user.
    pub per_user: Vec<Limit>,
}

/// One zone as the server uses it.
#[derive(Clone, Debug)]
pub struct Zone {
    /// As in `[zone.NAME]`.
    pub name: Arc<str>,
    /// At most this many connections at once.
    pub connections: usize,
    /// At most this many of them to one recipient domain; not for a smart host, which takes mail for all.
    pub domain_connections: Option<usize>,
    /// How fast its mail may leave.
    pub limits: ZoneLimits,
    /// Where its mail goes; None: to the MX of the recipients' domains.
    pub smart_host: Option<SmartHost>,
    /// Port of MX hosts.
    pub port: u16,
    /// Which of their addresses.
    pub ip: IpVersion,
    /// TLS to them.
    pub tls: TlsMode,
    /// What its mail leaves from.
    pub pool: Arc<Pool>,
    /// When to try again.
    pub retry: RetrySchedule,
    /// Recipients older than this are bounced as expired.
    pub max_age: Duration,
    /// Its delivery status notifications.
    pub dsn: DsnPolicy,
    /// By what it claims messages.
    pub rules: Rules,
}
