//! Which zone a message, or one of its recipients, belongs to, by the rules of the config.
//!
//! In this order, the first that says something decides: what a plugin chose, X-Sending-Zone, `routing_headers`,
//! `sender_domains`, `recipient_domains`, the zone `default`. The first two are the caller's. Where several zones have
//! a rule that fits, the one whose name sorts first decides.

use super::Zone;
use crate::mail::{Recipient, ReversePath};
use crate::message::HeaderBlock;
use mail_parser::MessageParser;
use std::sync::Arc;

/// By what a zone claims messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Header fields and the values they must have (without case).
    pub routing_headers: Vec<(String, String)>,
    /// Domains of the From header, or of the reverse-path where there is no From; lower case.
    pub sender_domains: Vec<String>,
    /// Domains of recipients; lower case.
    pub recipient_domains: Vec<String>,
}

/// The zone that claims the whole message, by header (where it is trusted) or sender.
pub fn by_message<'z>(
    zones: impl Iterator<Item = &'z Zone> + Clone,
    header: &HeaderBlock,
    reverse_path: &ReversePath,
    trust_headers: bool,
) -> Option<&'z Arc<str>> {
    let has = |(name, value): &(String, String)| header.all(name).any(|f| f.value().eq_ignore_ascii_case(value));
    let routed = zones.clone().find(|zone| trust_headers && zone.rules.routing_headers.iter().any(has));
    if let Some(zone) = routed {
        return Some(&zone.name);
    }
    if zones.clone().all(|zone| zone.rules.sender_domains.is_empty()) {
        return None;
    }
    let domain = sender_domain(header, reverse_path)?;
    zones.into_iter().find(|zone| zone.rules.sender_domains.contains(&domain)).map(|zone| &zone.name)
}

/// The zone that claims a recipient.
pub fn by_recipient<'z>(mut zones: impl Iterator<Item = &'z Zone>, recipient: &Recipient) -> Option<&'z Arc<str>> {
    let fits = |domain: &String| recipient.address.domain().eq_ignore_ascii_case(domain);
    zones.find(|zone| zone.rules.recipient_domains.iter().any(fits)).map(|zone| &zone.name)
}

fn sender_domain(header: &HeaderBlock, reverse_path: &ReversePath) -> Option<String> {
    let from = header.first("From").and_then(|field| {
        let message = format!("From: {}\r\n\r\n", field.value());
        let parsed = MessageParser::default().parse_headers(message.as_bytes())?;
        let (_, domain) = parsed.from()?.first()?.address()?.rsplit_once('@')?;
        Some(domain.to_lowercase())
    });
    from.or_else(|| match reverse_path {
        ReversePath::Path(address) => Some(address.domain().to_lowercase()),
        ReversePath::Null => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Address;
    use crate::schedule::RetrySchedule;
    use crate::zone::{DsnPolicy, IpVersion, Pool, PoolAddress, Source, TlsMode, ZoneLimits};
    use bytes::Bytes;
    use std::time::Duration;

    fn zone(name: &str, rules: Rules) -> Zone {
        let retry = RetrySchedule::new(vec![Duration::from_secs(1)]).unwrap();
        let source = Source { ip: "0.0.0.0".parse().unwrap(), helo: "h.example".into() };
        let pool = Pool::new("default".into(), vec![PoolAddress { source, weight: 1.0 }]).unwrap();
        let dsn = DsnPolicy { name: String::new(), address: Address::parse("m@d").unwrap(), delay_notice: None };
        Zone {
            name: name.into(),
            connections: 1,
            domain_connections: None,
            limits: ZoneLimits::default(),
            smart_host: None,
            port: 25,
            ip: IpVersion::Any,
            tls: TlsMode::Opportunistic,
            pool: Arc::new(pool),
            retry,
            max_age: Duration::from_secs(1),
            dsn,
            rules,
        }
    }

    fn zones() -> Vec<Zone> {
        let own = |text: &str| vec![text.to_owned()];
        vec![
            zone("by-header", Rules { routing_headers: vec![("X-User".into(), "42".into())], ..Rules::default() }),
            zone("by-recipient", Rules { recipient_domains: own("rcpt.example"), ..Rules::default() }),
            zone("by-sender", Rules { sender_domains: own("from.example"), ..Rules::default() }),
            zone("default", Rules::default()),
        ]
    }

    fn chosen(header: &str, reverse_path: &str, trust: bool) -> Option<String> {
        let header = HeaderBlock::parse(&Bytes::copy_from_slice(header.as_bytes()));
        let path = Address::parse(reverse_path).map_or(ReversePath::Null, ReversePath::Path);
        by_message(zones().iter(), &header, &path, trust).map(ToString::to_string)
    }

    #[test]
    fn by_header_then_by_sender() {
        assert_eq!(chosen("x-user: 42\r\nFrom: a@from.example\r\n", "", true).as_deref(), Some("by-header"));
        assert_eq!(chosen("X-User: 42\r\nFrom: a@from.example\r\n", "", false).as_deref(), Some("by-sender"));
        assert_eq!(chosen("X-User: 43\r\n", "", true), None);
        assert_eq!(chosen("From: \"x@y\" <a@FROM.example>\r\n", "b@other.example", true).as_deref(), Some("by-sender"));
        assert_eq!(chosen("From: a@other.example\r\n", "b@from.example", true), None);
        assert_eq!(chosen("", "b@From.Example", true).as_deref(), Some("by-sender"));
        assert_eq!(chosen("", "", true), None);
    }

    #[test]
    fn by_the_recipient() {
        let to = |text: &str| Recipient::new(Address::parse(text).unwrap());
        assert_eq!(by_recipient(zones().iter(), &to("a@RCPT.example")).map(|z| &**z), Some("by-recipient"));
        assert_eq!(by_recipient(zones().iter(), &to("a@sub.rcpt.example")), None);
    }
}
