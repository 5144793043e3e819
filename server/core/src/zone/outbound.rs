//! How a zone's mail leaves: by which IP version, from which address, under which TLS policy, as whom.

use std::fmt;
use std::net::IpAddr;

/// TLS of outbound connections, the weakest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsMode {
    /// Never.
    Off,
    /// STARTTLS where it is offered, with any certificate; in clear where it is not, or (once) where the handshake
    /// fails (RFC 7435).
    #[default]
    Opportunistic,
    /// STARTTLS, with any certificate; never in clear.
    Require,
    /// STARTTLS with a certificate that is valid for the host's name; never in clear.
    Verify,
}

impl TlsMode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Off, Self::Opportunistic, Self::Require, Self::Verify];

    /// As in the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Opportunistic => "opportunistic",
            Self::Require => "require",
            Self::Verify => "verify",
        }
    }

    /// The mode of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// Which addresses of a host are used, and in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// Both; IPv6 first where a host has both, as the system's resolver orders them.
    #[default]
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both, IPv4 first.
    Prefer4,
    /// Both, IPv6 first.
    Prefer6,
}

/// An address of ours that connections are made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The address; an unspecified one (`0.0.0.0`, `::`) leaves the choice to the system, for either IP version.
    pub ip: IpAddr,
    /// What we call ourselves in EHLO when connecting from it.
    pub helo: String,
}

/// What we authenticate with at a smart host (RFC 4954).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Who.
    pub user: String,
    /// Secret: not in logs or `Debug`.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}
