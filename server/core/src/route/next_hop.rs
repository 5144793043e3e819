//! A next hop that a plugin chose for recipients, over what zone and domain say.

use super::Target;
use std::net::IpAddr;

/// What the destination of such a queue begins with. No domain and no smart host looks like that.
const MARK: &str = "via:";
/// SMTP's port.
const PORT: u16 = 25;

/// A host that was named for recipients: connected to as it is, without its MX, without anybody's credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Host name in lower case, or address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl NextHop {
    /// Reads `host`, `host:port`, `[192.0.2.1]:25`, `192.0.2.1:25`, `[2001:db8::1]:25`, `2001:db8::1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = if text.parse::<IpAddr>().is_ok() {
            (text, None)
        } else if let Some(rest) = text.strip_prefix('[') {
            let (host, after) = rest.split_once(']')?;
            host.parse::<IpAddr>().ok()?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        } else {
            text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
        };
        // A sign or a space is no digit.
        let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse::<u16>().ok()).flatten();
        let port = port.map_or(Some(PORT), digits).filter(|port| *port != 0)?;
        if host.parse::<IpAddr>().is_ok() {
            return Some(Self { host: host.to_owned(), port });
        }
        match Target::parse(host) {
            Ok(Target::Domain(host)) => Some(Self { host, port }),
            _ => None,
        }
    }

    /// The destination of its queue.
    #[must_use]
    pub fn destination(&self) -> String {
        let Self { host, port } = self;
        if host.contains(':') { format!("{MARK}[{host}]:{port}") } else { format!("{MARK}{host}:{port}") }
    }

    /// The next hop of a queue, if its destination is one.
    #[must_use]
    pub fn of(destination: &str) -> Option<Self> {
        Self::parse(destination.strip_prefix(MARK)?)
    }

    /// A destination as people and plugins read it: without the mark.
    #[must_use]
    pub fn shown(destination: &str) -> &str {
        destination.strip_prefix(MARK).unwrap_or(destination)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_may_name() {
        let check = |text: &str, expected: Option<(&str, u16)>| {
            let parsed = NextHop::parse(text);
            assert_eq!(parsed.as_ref().map(|n| (n.host.as_str(), n.port)), expected, "{text}");
            if let Some(next_hop) = parsed {
                assert_eq!(NextHop::of(&next_hop.destination()), Some(next_hop), "{text}");
            }
        };
        check("Relay.example", Some(("relay.example", 25)));
        check("relay.example:2525", Some(("relay.example", 2525)));
        check("192.0.2.1", Some(("192.0.2.1", 25)));
        check("192.0.2.1:2525", Some(("192.0.2.1", 2525)));
        check("[192.0.2.1]:2525", Some(("192.0.2.1", 2525)));
        check("[2001:db8::1]:2525", Some(("2001:db8::1", 2525)));
        check("[2001:db8::1]", Some(("2001:db8::1", 25)));
        check("2001:db8::1", Some(("2001:db8::1", 25)));
        for wrong in ["", ":25", "a b", "relay.example:", "relay.example:0", "relay.example:99999", "relay.example:+25"]
        {
            check(wrong, None);
        }
        for wrong in
            ["[relay.example]:25", "[192.0.2.1", "[192.0.2.1]25", "relay.example:25:25", "r\r\n.example", "via:x:25"]
        {
            check(wrong, None);
        }
        assert_eq!(NextHop::of("relay.example:25"), None, "a smart host's destination");
        assert_eq!(NextHop::shown("via:relay.example:25"), "relay.example:25");
    }
}
