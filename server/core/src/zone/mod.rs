//! Zones: named policy for a part of the mail.

mod outbound;
mod select;

pub use outbound::{Credentials, IpVersion, Source, TlsMode};
pub use select::{Rules, by_message, by_recipient};

use std::sync::Arc;
use std::time::Duration;

use crate::mail::Address;
use crate::schedule::RetrySchedule;

/// Where all mail of a zone is handed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmartHost {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
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

/// One zone as the server uses it.
#[derive(Clone, Debug)]
pub struct Zone {
    /// As in `[zone.NAME]`.
    pub name: Arc<str>,
    /// At most this many connections at once.
    pub connections: usize,
    /// Where its mail goes.
    pub smart_host: SmartHost,
    /// When to try again.
    pub retry: RetrySchedule,
    /// Recipients older than this are bounced as expired.
    pub max_age: Duration,
    /// Its delivery status notifications.
    pub dsn: DsnPolicy,
    /// By what it claims messages.
    pub rules: Rules,
}
