//! Who we are, to tell when the next hop would be ourselves (RFC 5321 section 5.1).

use std::net::{IpAddr, SocketAddr};

/// Names and listening sockets of this server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnIdentity {
    /// What it calls itself, anywhere.
    pub names: Vec<String>,
    /// Where it takes mail. An unspecified address (`0.0.0.0`, `::`) stands for all addresses of this machine.
    pub listeners: Vec<SocketAddr>,
}

impl OwnIdentity {
    /// Is this name ours?
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|own| own.trim_end_matches('.').eq_ignore_ascii_case(name))
    }

    /// Would a connection to this address come back to us? `is_local` says whether an address is one of this
    /// machine's; it is asked only where that matters.
    #[must_use]
    pub fn listens_at(&self, ip: IpAddr, port: u16, is_local: &dyn Fn(IpAddr) -> bool) -> bool {
        let ip = ip.to_canonical();
        self.listeners.iter().filter(|listener| listener.port() == port).any(|listener| {
            match listener.ip().to_canonical() {
                // `::` takes IPv4 too, unless the system says otherwise; the harmless guess is that it does.
                IpAddr::V6(any) if any.is_unspecified() => is_local(ip),
                IpAddr::V4(any) if any.is_unspecified() => ip.is_ipv4() && is_local(ip),
                own => own == ip,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let own = OwnIdentity { names: vec!["mta.example.com".into(), "Out.Example.COM.".into()], listeners: vec![] };
        for (name, expected) in [
            ("mta.example.com", true),
            ("MTA.example.com", true),
            ("out.example.com", true),
            ("example.com", false),
            ("", false),
        ] {
            assert_eq!(own.has_name(name), expected, "{name}");
        }
    }

    #[test]
    fn sockets() {
        let check = |listener: &str, ip: &str, port: u16, expected: bool| {
            let own = OwnIdentity { names: vec![], listeners: vec![listener.parse().unwrap()] };
            let local = |ip: IpAddr| matches!(ip.to_string().as_str(), "127.0.0.1" | "192.0.2.1" | "2001:db8::1");
            let ip = ip.parse().unwrap();
            assert_eq!(own.listens_at(ip, port, &local), expected, "{listener} {ip} {port}");
        };
        check("127.0.0.1:25", "127.0.0.1", 25, true);
        check("127.0.0.1:25", "::ffff:127.0.0.1", 25, true);
        check("[::ffff:127.0.0.1]:25", "127.0.0.1", 25, true);
        check("127.0.0.1:25", "127.0.0.1", 26, false);
        check("127.0.0.1:25", "192.0.2.1", 25, false);
        check("0.0.0.0:25", "192.0.2.1", 25, true);
        check("0.0.0.0:25", "192.0.2.2", 25, false);
        check("0.0.0.0:25", "2001:db8::1", 25, false);
        check("0.0.0.0:25", "192.0.2.1", 26, false);
        check("[::]:25", "2001:db8::1", 25, true);
        check("[::]:25", "192.0.2.1", 25, true);
        check("[::]:25", "2001:db8::2", 25, false);
    }
}
