//! What limits are by.

use postern_plugin_sdk::prelude::*;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};

/// Longest key that is used as it is; the host takes 512 octets.
const MAX_KEY: usize = 400;

/// One word of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    User,
    Peer,
    Listener,
    ReversePath,
    SenderDomain,
    Recipient,
    RecipientDomain,
}

impl Word {
    pub(crate) fn is_of_recipient(self) -> bool {
        matches!(self, Self::Recipient | Self::RecipientDomain)
    }

    /// Its value for what is counted. Addresses are in lower case: else a sender had many by writing one in many ways.
    pub(crate) fn value(self, session: &Session, envelope: &Envelope, recipient: Option<&str>) -> Option<String> {
        match self {
            Self::User => session.user(),
            Self::Peer => Some(network(&session.peer_address())),
            Self::Listener => Some(session.listener()),
            Self::ReversePath => Some(envelope.reverse_path().to_lowercase()),
            Self::SenderDomain => Some(domain(&envelope.reverse_path())),
            Self::Recipient => recipient.map(str::to_lowercase),
            Self::RecipientDomain => recipient.map(domain),
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Peer => "peer",
            Self::Listener => "listener",
            Self::ReversePath => "reverse-path",
            Self::SenderDomain => "sender-domain",
            Self::Recipient => "recipient",
            Self::RecipientDomain => "recipient-domain",
        })
    }
}

/// The null path has the empty one.
fn domain(address: &str) -> String {
    address.rsplit_once('@').map_or_else(String::new, |(_, domain)| domain.to_lowercase())
}

/// An IPv4 address, or the /64 that an IPv6 address is in: as much as one client has.
fn network(address: &str) -> String {
    match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => format!("{}/64", Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        Ok(address) => address.to_string(),
        Err(_) => address.to_owned(),
    }
}

/// A key that the host takes.
pub(crate) fn shortened(key: String) -> String {
    if key.len() <= MAX_KEY {
        return key;
    }
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    format!("{}#{:016x}", &key[..key.floor_char_boundary(MAX_KEY)], hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (address, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("local", "local"),
        ] {
            assert_eq!(network(address), expected);
        }
    }

    #[test]
    fn keys_stay_short_and_different() {
        assert_eq!(shortened("a/b".into()), "a/b");
        let long = |last: char| shortened(format!("{}{last}", "ü".repeat(300)));
        assert!(long('a').len() < 512 && long('a') != long('b') && long('a') == long('a'));
    }
}
