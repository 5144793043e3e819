//! Records as text, for plugins: the same servers, time limits and reading of answers as for routes, and a cache of its
//! own, so that what plugins ask for crowds out nothing.
//!
//! Names are asked of DNS alone, without search domain and /etc/hosts; `localhost` and `.onion` are not asked at all.

use super::LOOKUP_LIMIT;
use super::answer::{LATE, text};
use super::hickory::{Hickory, is_localhost, is_onion, loopback};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use postern_core::route::Missing;
use postern_plugin_host::services::{Dns, DnsRecords, MAX_DNS_RECORDS, MAX_DNS_TEXT, RecordKind, ServiceError};
use std::net::IpAddr;

/// Longest name as text (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;
/// Longest label.
const MAX_LABEL: usize = 63;
/// An answer with more octets of text is not kept: with all answers of this size the cache has 16 MiB.
const MAX_KEPT: usize = 4096;

impl Dns for Hickory {
    fn lookup<'a>(&'a self, name: &'a str, kind: RecordKind) -> BoxFuture<'a, DnsRecords> {
        self.records_of(name, kind).boxed()
    }
}

impl Hickory {
    async fn records_of(&self, name: &str, kind: RecordKind) -> DnsRecords {
        let name = question(name, kind)?;
        let host = text(&name);
        if is_localhost(&host) {
            return Ok(of_localhost(kind));
        }
        if is_onion(&host) {
            return Ok(Vec::new());
        }
        let key = format!("{kind} {host}");
        let answer = match self.records.get(&key) {
            Some(answer) => answer,
            None => {
                let (answer, valid) = self.ask_in_time(name, record_type(kind), as_text).await;
                let answer = answer.map(bounded);
                let octets = answer.as_ref().map_or(0, |records| records.iter().map(String::len).sum());
                if octets <= MAX_KEPT {
                    self.records.put(&key, &answer, valid);
                }
                answer
            }
        };
        match answer {
            Ok(records) => Ok(records),
            Err(Missing::NoSuchName | Missing::NoData) => Ok(Vec::new()),
            Err(Missing::Temporary(why)) => {
                tracing::debug!(name = host, %kind, why, "a plugin's DNS lookup failed");
                Err(failure(&host, kind, &why))
            }
        }
    }
}

/// What a plugin is told. Which servers were asked is for the log.
fn failure(host: &str, kind: RecordKind, why: &str) -> ServiceError {
    if why.split("; ").all(|said| said.ends_with(LATE)) {
        let seconds = LOOKUP_LIMIT.as_secs();
        return ServiceError::timeout(format_args!("no answer about {host} ({kind}) within {seconds} s or less"));
    }
    ServiceError::unavailable(format_args!("the DNS servers have no answer about {host} ({kind})"))
}

/// The name to ask for.
fn question(name: &str, kind: RecordKind) -> Result<Name, ServiceError> {
    if let (RecordKind::Ptr, Ok(ip)) = (kind, name.parse::<IpAddr>()) {
        return Ok(Name::from(ip.to_canonical()));
    }
    let bad = || {
        ServiceError::bad_name(
            "a name in the DNS is labels of 1 to 63 letters, digits, dashes or underscores, 253 octets in all",
        )
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(fits)
    };
    if name.len() > MAX_NAME || !name.split('.').all(is_label) {
        return Err(bad());
    }
    Name::from_ascii(format!("{}.", name.to_ascii_lowercase())).map_err(|_| bad())
}

fn record_type(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Mx => RecordType::MX,
        RecordKind::Txt => RecordType::TXT,
        RecordKind::Ptr => RecordType::PTR,
        RecordKind::Cname => RecordType::CNAME,
        RecordKind::Ns => RecordType::NS,
    }
}

fn as_text(data: &RData) -> Option<String> {
    Some(match data {
        RData::A(address) => address.0.to_string(),
        RData::AAAA(address) => address.0.to_string(),
        RData::MX(mx) => format!("{} {}", mx.preference, or_root(&mx.exchange)),
        RData::TXT(txt) => String::from_utf8_lossy(&txt.txt_data.concat()).into_owned(),
        RData::PTR(name) => or_root(&name.0),
        RData::CNAME(name) => or_root(&name.0),
        RData::NS(name) => or_root(&name.0),
        _ => return None,
    })
}

/// A name as text; the root is a dot, as in a null MX.
fn or_root(name: &Name) -> String {
    let text = text(name);
    if text.is_empty() { ".".to_owned() } else { text }
}

/// Those that are within the limits.
fn bounded(mut records: Vec<String>) -> Vec<String> {
    records.truncate(MAX_DNS_RECORDS);
    let mut left = MAX_DNS_TEXT;
    records.retain(|record| {
        let fits = record.len() <= left;
        left -= if fits { record.len() } else { 0 };
        fits
    });
    records
}

fn of_localhost(kind: RecordKind) -> Vec<String> {
    let fits = |ip: &IpAddr| match kind {
        RecordKind::A => ip.is_ipv4(),
        RecordKind::Aaaa => ip.is_ipv6(),
        _ => false,
    };
    loopback().iter().filter(|ip| fits(ip)).map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        let check = |name: &str, kind: RecordKind, expected: Option<&str>| {
            let asked = question(name, kind);
            assert_eq!(asked.as_ref().ok().map(text).as_deref(), expected, "{name}: {asked:?}");
            assert!(asked.err().is_none_or(|error| error.word == "bad-name"));
        };
        check("Example.COM.", RecordKind::Mx, Some("example.com"));
        check("s1._domainkey.example.com", RecordKind::Txt, Some("s1._domainkey.example.com"));
        check("192.0.2.1", RecordKind::Ptr, Some("1.2.0.192.in-addr.arpa"));
        check("::ffff:192.0.2.1", RecordKind::Ptr, Some("1.2.0.192.in-addr.arpa"));
        check("2600::1", RecordKind::Ptr, Some(&format!("1.{}0.0.6.2.ip6.arpa", "0.".repeat(27))));
        check("2600::1", RecordKind::A, None);
        for wrong in ["", ".", "a..b", ".a", "a b", "a\\.b", "a\0", "n\u{e4}ide.example", "a.example.."] {
            check(wrong, RecordKind::A, None);
        }
        check(&"x".repeat(64), RecordKind::A, None);
        check(&["x".repeat(63), "y".repeat(63), "z".repeat(63), "w".repeat(63)].join("."), RecordKind::A, None);
    }

    #[test]
    fn answers_are_bounded() {
        assert_eq!(bounded(vec!["x".to_owned(); 2000]).len(), MAX_DNS_RECORDS);
        let long = "x".repeat(MAX_DNS_TEXT - 1);
        assert_eq!(bounded(vec![long.clone(), "yy".to_owned(), "z".to_owned()]), [long, "z".to_owned()]);
    }

    #[test]
    fn late_or_otherwise() {
        let word = |why: &str| failure("a.test", RecordKind::A, why).word;
        assert_eq!(word(LATE), "timeout");
        assert_eq!(word(&format!("127.0.0.1:53 says: {LATE}; [::1]:53 says: {LATE}")), "timeout");
        assert_eq!(word(&format!("127.0.0.1:53 says: {LATE}; [::1]:53 says: Server Failure")), "unavailable");
        assert!(!failure("a.test", RecordKind::A, "127.0.0.1:53 says: no").text.contains("127.0.0.1"));
    }
}
