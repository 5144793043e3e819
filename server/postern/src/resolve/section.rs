//! `[dns]`: as written and as used.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Where DNS servers listen if nothing is said.
const DNS_PORT: u16 = 53;
/// More servers are more than a lookup has time for.
const MAX_SERVERS: usize = 8;

/// `[dns]`
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct DnsSection {
    /// Addresses of recursive servers, with or without port; empty: the system's.
    pub servers: Vec<String>,
    /// May MX hosts have addresses that are not on the internet?
    pub allow_private: bool,
}

/// `[dns]` as used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Recursive servers, in the order in which they are asked; empty: the system's.
    pub servers: Vec<SocketAddr>,
    /// May MX hosts have addresses that are not on the internet?
    pub allow_private: bool,
}

impl DnsSection {
    /// Checks the values.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(&self) -> Result<Dns, String> {
        if self.servers.len() > MAX_SERVERS {
            return Err(format!("dns.servers: at most {MAX_SERVERS}"));
        }
        let servers = self.servers.iter().map(|text| server(text)).collect::<Result<_, _>>()?;
        Ok(Dns { servers, allow_private: self.allow_private })
    }
}

fn server(text: &str) -> Result<SocketAddr, String> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip = bracketed.unwrap_or(text).parse::<IpAddr>().ok().filter(|ip| bracketed.is_none() || ip.is_ipv6());
    let address = ip.map(|ip| SocketAddr::new(ip, DNS_PORT)).or_else(|| text.parse().ok());
    match address {
        Some(address) if address.port() != 0 && !address.ip().is_unspecified() => Ok(address),
        _ => Err(format!(
            "dns.servers: `{text}` is not an address like \"192.0.2.53\", \"127.0.0.1:5353\" or \"[::1]:53\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        let check = |text: &str, expected: Option<&str>| {
            let section = DnsSection { servers: vec![text.to_owned()], allow_private: false };
            let checked = section.check();
            let address = checked.as_ref().ok().map(|dns| dns.servers[0].to_string());
            assert_eq!(address.as_deref(), expected, "{text}: {checked:?}");
        };
        check("192.0.2.53", Some("192.0.2.53:53"));
        check("127.0.0.1:5353", Some("127.0.0.1:5353"));
        check("::1", Some("[::1]:53"));
        check("[::1]", Some("[::1]:53"));
        check("[::1]:5353", Some("[::1]:5353"));
        for wrong in ["", "localhost", "[127.0.0.1]", "127.0.0.1:0", "127.0.0.1:x", "0.0.0.0", "::1:", "1.2.3", "[::1"]
        {
            check(wrong, None);
        }
        let many = DnsSection { servers: vec!["192.0.2.53".to_owned(); 9], allow_private: false };
        assert_eq!(many.check().unwrap_err(), "dns.servers: at most 8");
    }
}
