//! Reading DNS answers: which records are about the name that was asked for. Everything else in them is ignored.

use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{DnsResponse, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// A chain of aliases (CNAME) has at most so many links, within one answer or over several.
pub const MAX_ALIASES: usize = 8;

/// What is said of a server that says nothing.
pub(super) const LATE: &str = "no answer in time";

/// What a server said to one query.
#[derive(Debug)]
pub(super) enum Said {
    /// Something with records in it.
    Records(Box<DnsResponse>),
    /// The name does not exist; for how many seconds that holds.
    NoSuchName(u32),
    /// The name has no such record; for how many seconds that holds.
    NoData(u32),
    /// Nothing of use.
    Failed(String),
}

/// Sorts out what the library made of an answer to `query`.
pub(super) fn read(query: &Query, result: Result<DnsResponse, NetError>) -> Said {
    match result {
        Ok(response) => match response.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Said::Records(Box::new(response)),
            code => Said::Failed(code.to_string()),
        },
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            if *none.query != *query {
                return Said::Failed("an answer to another question".to_owned());
            }
            // Without SOA an answer must not be kept (RFC 2308 section 5).
            let seconds = none.negative_ttl.unwrap_or(0);
            match none.response_code {
                ResponseCode::NXDomain => Said::NoSuchName(seconds),
                // It sends us on to other servers: it did not look itself (RFC 2308 section 2.2).
                ResponseCode::NoError if none.soa.is_none() && none.ns.is_some() => {
                    Said::Failed("a referral instead of an answer".to_owned())
                }
                ResponseCode::NoError => Said::NoData(seconds),
                code => Said::Failed(code.to_string()),
            }
        }
        Err(NetError::Dns(DnsError::ResponseCode(code))) => Said::Failed(code.to_string()),
        Err(NetError::Timeout) => Said::Failed(LATE.to_owned()),
        Err(error) => Said::Failed(error.to_string()),
    }
}

/// Where we are on the way from the name that was asked for to records.
pub(super) struct Trail {
    /// The name to look for now.
    pub(super) name: Name,
    /// For how many seconds all of the way is valid.
    pub(super) seconds: u32,
    links: usize,
}

/// What an answer has for a [`Trail`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// Records of the type that was asked for, of the name at the trail's end; never empty.
    Records(Vec<&'a RData>),
    /// Aliases that lead on to a name that is not in the answer.
    Onward,
    /// Aliases that lead to a name that does not exist.
    Nowhere,
    /// It makes no sense.
    Nonsense(&'static str),
}

impl Trail {
    pub(super) fn new(name: Name) -> Self {
        Self { name, seconds: u32::MAX, links: 0 }
    }

    /// Follows `records`, the answer section of a response with this code.
    pub(super) fn follow<'a>(&mut self, code: ResponseCode, records: &'a [Record], kind: RecordType) -> Found<'a> {
        let before = self.links;
        loop {
            let here: Vec<&Record> =
                records.iter().filter(|record| record.record_type() == kind && record.name == self.name).collect();
            if !here.is_empty() {
                if code == ResponseCode::NXDomain {
                    return Found::Nonsense("records of a name that does not exist");
                }
                self.seconds = here.iter().map(|record| record.ttl).min().unwrap_or(0).min(self.seconds);
                return Found::Records(here.iter().map(|record| &record.data).collect());
            }
            let alias =
                records.iter().filter(|record| record.name == self.name).find_map(|record| match &record.data {
                    RData::CNAME(target) => Some((target.0.clone(), record.ttl)),
                    _ => None,
                });
            let Some((name, seconds)) = alias else { break };
            self.links += 1;
            if self.links > MAX_ALIASES {
                return Found::Nonsense("a chain of aliases (CNAME) that does not end");
            }
            (self.name, self.seconds) = (name, seconds.min(self.seconds));
        }
        match (self.links > before, code) {
            (true, ResponseCode::NXDomain) => Found::Nowhere,
            (true, _) => Found::Onward,
            (false, _) => Found::Nonsense("an answer about other names"),
        }
    }
}

/// A name as text: in lower case, without its last dot.
pub(super) fn text(name: &Name) -> String {
    let mut text = name.to_ascii().to_ascii_lowercase();
    if text.ends_with('.') {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::rdata::{A, CNAME};

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    /// `records`: "a>b" (an alias with TTL 5) and "a=1" (A 192.0.2.1 with TTL 9), names without last dot.
    fn check(code: ResponseCode, records: &str, expected: &str) {
        let record = |text: &str| match text.split_once('>') {
            Some((from, to)) => {
                Record::from_rdata(name(&format!("{from}.")), 5, RData::CNAME(CNAME(name(&format!("{to}.")))))
            }
            None => {
                let (owner, last) = text.split_once('=').unwrap();
                Record::from_rdata(name(&format!("{owner}.")), 9, RData::A(A::new(192, 0, 2, last.parse().unwrap())))
            }
        };
        let records: Vec<Record> = records.split_whitespace().map(record).collect();
        let mut trail = Trail::new(name("a."));
        let found = match trail.follow(code, &records, RecordType::A) {
            Found::Records(found) => {
                let last = |data: &&RData| match data {
                    RData::A(a) => a.octets()[3].to_string(),
                    _ => "?".to_owned(),
                };
                found.iter().map(last).collect::<Vec<_>>().join("+")
            }
            other => format!("{other:?}"),
        };
        assert_eq!(format!("{found} at {} for {}", text(&trail.name), trail.seconds), expected, "{records:?}");
    }

    #[test]
    fn trails() {
        let ok = ResponseCode::NoError;
        check(ok, "a=1 a=2", "1+2 at a for 9");
        check(ok, "A=1 b=2", "1 at a for 9");
        check(ok, "a>b b>c c=3", "3 at c for 5");
        check(ok, "c=3 b>c a>b", "3 at c for 5");
        check(ok, "a=1 a>b b=2", "1 at a for 9");
        check(ok, "a>b", "Onward at b for 5");
        check(ok, "a>b x=1", "Onward at b for 5");
        check(ResponseCode::NXDomain, "a>b", "Nowhere at b for 5");
        check(ResponseCode::NXDomain, "a=1", "Nonsense(\"records of a name that does not exist\") at a for 4294967295");
        check(ok, "b=1", "Nonsense(\"an answer about other names\") at a for 4294967295");
        check(ok, "a>b b>a", "Nonsense(\"a chain of aliases (CNAME) that does not end\") at a for 5");
        check(ok, "a>a", "Nonsense(\"a chain of aliases (CNAME) that does not end\") at a for 5");
        check(ok, "a>b b>c c>d d>e e>f f>g g>h h>i i=1", "1 at i for 5");
    }

    #[test]
    fn names_as_text() {
        for (dns, expected) in [("MX.Example.com.", "mx.example.com"), (".", ""), ("a_b.example.", "a_b.example")] {
            assert_eq!(text(&name(dns)), expected);
        }
    }
}
