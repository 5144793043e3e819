//! Hosts that take a destination's mail, and why there may be none.

use std::fmt;
use std::net::IpAddr;

/// A host to connect to: an MX, a smart host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name, which a certificate is checked against; of an address literal, the address.
    pub name: String,
    /// Its addresses, in the order in which they are tried; never empty.
    pub addresses: Vec<IpAddr>,
}

/// Why a destination has no host to connect to. What that means for its mail is [`crate::bounce`]'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unroutable {
    /// The domain does not exist (NXDOMAIN).
    NoSuchDomain,
    /// The domain says that it takes no mail (null MX, RFC 7505).
    NullMx,
    /// The domain exists, and neither it nor its MX hosts have an address (of the IP version that is used).
    NoAddress,
    /// The best host that is left is this server (RFC 5321 section 5.1).
    Loop,
    /// All addresses are loopback, private or otherwise not on the internet, and `dns.allow_private` is not set.
    Forbidden,
    /// DNS did not answer, or with an error: nothing is known.
    Temporary,
}

/// A destination that has no host to connect to: why, and what it was in particular.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoute {
    /// What decides about the mail.
    pub why: Unroutable,
    /// One line for the operator's log.
    pub detail: String,
}

impl NoRoute {
    /// Puts them together.
    #[must_use]
    pub fn new(why: Unroutable, detail: impl Into<String>) -> Self {
        Self { why, detail: detail.into() }
    }
}

impl fmt::Display for NoRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}
