//! What the destination of a recipient names: a domain to look up, or an address to connect to.

use super::{NoRoute, Unroutable};
use crate::mail::valid_domain;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest domain name as DNS can carry it, written without its last dot (RFC 1035 section 2.3.4: 255 octets on the
/// wire).
const MAX_NAME: usize = 253;

/// A destination, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A domain in lower-case A-labels, without a last dot.
    Domain(String),
    /// An address literal (RFC 5321 section 4.1.3): no lookup.
    Literal(IpAddr),
}

impl Target {
    /// Reads the domain of an address: a domain (internationalised ones become A-labels, RFC 5890), or a literal like
    /// `[192.0.2.1]` and `[IPv6:2001:db8::1]`.
    ///
    /// # Errors
    /// DNS has no way to write the domain, so it can't exist.
    pub fn parse(destination: &str) -> Result<Self, NoRoute> {
        let wrong = |what: &str| NoRoute::new(Unroutable::NoSuchDomain, format!("`{destination}` is not {what}"));
        if let Some(literal) = destination.strip_prefix('[') {
            let literal = literal.strip_suffix(']').and_then(parse_literal);
            return literal.map(Self::Literal).ok_or_else(|| wrong("an address literal"));
        }
        let name = if destination.is_ascii() {
            destination.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(destination).map_err(|_| wrong("a domain that has a form in ASCII"))?
        };
        if name.is_ascii() && name.len() <= MAX_NAME && valid_domain(&name) && !name.starts_with('[') {
            Ok(Self::Domain(name))
        } else {
            Err(wrong("a domain name"))
        }
    }
}

fn parse_literal(literal: &str) -> Option<IpAddr> {
    match literal.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => literal[5..].parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => literal.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(destination: &str, expected: Option<Target>) {
        let target = Target::parse(destination);
        assert_eq!(target.map_err(|error| error.why), expected.ok_or(Unroutable::NoSuchDomain), "{destination}");
    }

    #[test]
    fn destinations() {
        let domain = |name: &str| Some(Target::Domain(name.to_owned()));
        let literal = |ip: &str| Some(Target::Literal(ip.parse().unwrap()));
        check("example.com", domain("example.com"));
        check("EXAMPLE.com", domain("example.com"));
        check("localhost", domain("localhost"));
        check("a_b.example", domain("a_b.example"));
        check("näide.ee", domain("xn--nide-loa.ee"));
        check("BÜCHER.example", domain("xn--bcher-kva.example"));
        check("xn--nide-loa.ee", domain("xn--nide-loa.ee"));
        check("例え。テスト", domain("xn--r8jz45g.xn--zckzah"));
        check("[127.0.0.1]", literal("127.0.0.1"));
        check("[IPv6:::1]", literal("::1"));
        check("[ipv6:2001:db8::1]", literal("2001:db8::1"));
        // An address that is not in brackets is a name, which DNS will not know.
        check("192.0.2.1", domain("192.0.2.1"));
    }

    #[test]
    fn what_dns_can_not_carry() {
        for destination in ["", ".", "a.", "a..b", "a b", "[", "[]", "[::1]", "[127.0.0.1", "[300.0.0.1]", "a\u{202e}b"]
        {
            check(destination, None);
        }
        check(&format!("{}.example", "a".repeat(64)), None);
        // Short in Unicode, too long as an A-label.
        check(&format!("{}.example", "ü".repeat(60)), None);
        check(&["a".repeat(63).as_str(); 4].join("."), None);
        // The full-width brackets of an address literal are not a way to an address.
        check("［127.0.0.1］", None);
        // A joiner where it can't be (RFC 5892 appendix A.1).
        check("a\u{200d}b.example", None);
    }
}
