//! From the answer to an MX lookup to the names of the hosts to look up (RFC 5321 section 5.1, RFC 7505).

use super::{Answer, Missing, Mx, NoRoute, OwnIdentity, Unroutable};
use crate::mail::valid_domain;

/// At most so many hosts of a domain are looked up.
pub const MAX_HOSTS: usize = 10;

/// A host that may take the domain's mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The lower, the sooner it is tried.
    pub preference: u16,
    /// Its name in lower case.
    pub name: String,
}

/// The hosts to look up, in the order in which they are tried; at most [`MAX_HOSTS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// Never empty.
    pub hosts: Vec<Candidate>,
    /// Ours was among the names: it and all that are not better were left out.
    pub looped: bool,
}

/// Reads the answer to the MX lookup of `domain`: sorted by preference, in random order where that is equal.
///
/// Where there is no MX record, the domain itself is the host, but only if DNS says so: neither NXDOMAIN nor an error
/// does.
///
/// # Errors
/// No host is to be looked up.
pub fn candidates(
    domain: &str,
    answer: Answer<Mx>,
    own: &OwnIdentity,
    rng: &mut fastrand::Rng,
) -> Result<Candidates, NoRoute> {
    let records = match answer {
        Ok(records) => records,
        Err(Missing::NoData) => vec![Mx::new(0, domain)],
        Err(Missing::NoSuchName) => {
            return Err(NoRoute::new(Unroutable::NoSuchDomain, format!("{domain} does not exist (MX lookup)")));
        }
        Err(Missing::Temporary(why)) => {
            return Err(NoRoute::new(Unroutable::Temporary, format!("MX lookup of {domain}: {why}")));
        }
    };
    if records.is_empty() {
        // A resolver that says "records" and gives none breaks its contract; nothing is known then.
        return Err(NoRoute::new(Unroutable::Temporary, format!("MX lookup of {domain}: an empty answer")));
    }
    if records.iter().all(|record| is_root(&record.host)) {
        return Err(NoRoute::new(Unroutable::NullMx, format!("{domain} takes no mail (null MX)")));
    }
    let limit = records.iter().filter(|record| own.has_name(&record.host)).map(|record| record.preference).min();
    let hosts = sorted(records, limit, rng);
    match (hosts.is_empty(), limit) {
        (false, limit) => Ok(Candidates { hosts, looped: limit.is_some() }),
        (true, Some(_)) => {
            Err(NoRoute::new(Unroutable::Loop, format!("the best MX host of {domain} is this server, by its name")))
        }
        (true, None) => Err(NoRoute::new(Unroutable::NoAddress, format!("no MX of {domain} is the name of a host"))),
    }
}

/// Hosts better than `limit`, each once, by preference.
fn sorted(records: Vec<Mx>, limit: Option<u16>, rng: &mut fastrand::Rng) -> Vec<Candidate> {
    let below = |preference: u16| limit.is_none_or(|limit| preference < limit);
    let mut records: Vec<Mx> = records.into_iter().filter(|record| below(record.preference)).collect();
    rng.shuffle(&mut records);
    // Stable: what the shuffle did stays within each preference.
    records.sort_by_key(|record| record.preference);
    let mut hosts: Vec<Candidate> = Vec::new();
    for record in records {
        if hosts.len() == MAX_HOSTS {
            break;
        }
        // What is not a host name has no address; a null MX among others means nothing (RFC 7505 section 3).
        let usable = valid_domain(&record.host) && record.host.is_ascii() && !record.host.starts_with('[');
        let name = record.host.to_ascii_lowercase();
        if usable && hosts.iter().all(|host| host.name != name) {
            hosts.push(Candidate { preference: record.preference, name });
        }
    }
    hosts
}

fn is_root(name: &str) -> bool {
    matches!(name, "" | ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> OwnIdentity {
        OwnIdentity { names: vec!["mta.example.com".into()], listeners: vec![] }
    }

    fn ask(answer: Answer<Mx>, seed: u64) -> Result<Candidates, NoRoute> {
        candidates("example.com", answer, &own(), &mut fastrand::Rng::with_seed(seed))
    }

    /// `records`: "10 a, 20 b"; `expected`: names in order (with `!` after them if we were among them), or why not.
    fn check(records: &str, expected: Result<&str, Unroutable>) {
        let record = |text: &str| {
            let (preference, host) = text.trim().split_once(' ').unwrap();
            Mx::new(preference.parse().unwrap(), host)
        };
        let found = ask(Ok(records.split(',').map(record).collect()), 1);
        let found = found.map(|found| {
            let names: Vec<&str> = found.hosts.iter().map(|host| host.name.as_str()).collect();
            format!("{}{}", names.join(" "), if found.looped { "!" } else { "" })
        });
        assert_eq!(found.as_deref().map_err(|error| error.why), expected, "{records}");
    }

    #[test]
    fn by_preference() {
        check("10 a", Ok("a"));
        check("20 b, 10 a, 65535 d, 30 c", Ok("a b c d"));
        check("20 a, 10 A, 10 b.example", Ok("b.example a"));
        check("10 mx.EXAMPLE.net", Ok("mx.example.net"));
    }

    #[test]
    fn null_mx() {
        check("0 .", Err(Unroutable::NullMx));
        check("10 .", Err(Unroutable::NullMx));
        check("0 ., 0 .", Err(Unroutable::NullMx));
        check("0 ., 10 a", Ok("a"));
    }

    #[test]
    fn ourselves() {
        check("10 mta.example.com", Err(Unroutable::Loop));
        check("10 MTA.Example.COM, 20 b", Err(Unroutable::Loop));
        check("10 mta.example.com, 10 b", Err(Unroutable::Loop));
        check("10 a, 20 mta.example.com, 20 b, 30 c", Ok("a!"));
        check("10 a, 20 mta.example.com, 5 mta.example.com", Err(Unroutable::Loop));
        check("10 [127.0.0.1], 20 mta.example.com", Err(Unroutable::Loop));
        let implicit = candidates("mta.example.com", Err(Missing::NoData), &own(), &mut fastrand::Rng::with_seed(1));
        assert_eq!(implicit.unwrap_err().why, Unroutable::Loop);
    }

    #[test]
    fn names_that_no_host_has() {
        check("10 [127.0.0.1]", Err(Unroutable::NoAddress));
        check("10 a\\032b, 20 c", Ok("c"));
        check("10 a..b, 20 -x", Err(Unroutable::NoAddress));
    }

    #[test]
    fn without_records() {
        let implicit = ask(Err(Missing::NoData), 1).unwrap();
        assert_eq!(implicit.hosts, [Candidate { preference: 0, name: "example.com".into() }]);
        for (missing, expected) in [
            (Err(Missing::NoSuchName), Unroutable::NoSuchDomain),
            (Err(Missing::Temporary("SERVFAIL".into())), Unroutable::Temporary),
            (Ok(vec![]), Unroutable::Temporary),
        ] {
            assert_eq!(ask(missing, 1).unwrap_err().why, expected);
        }
        assert_eq!(
            ask(Err(Missing::Temporary("x: SERVFAIL".into())), 1).unwrap_err().to_string(),
            "MX lookup of example.com: x: SERVFAIL"
        );
    }

    #[test]
    fn equal_ones_take_turns_and_ten_are_enough() {
        let many = |preference| (0..5_000).map(move |n| Mx::new(preference, format!("mx{n}.example.net")));
        let first: Vec<Mx> = [Mx::new(1, "first.example.net")].into_iter().chain(many(10)).chain(many(20)).collect();
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let found = ask(Ok(first.clone()), seed).unwrap();
            assert_eq!(found.hosts.len(), MAX_HOSTS);
            assert_eq!(found.hosts[0].name, "first.example.net");
            assert!(found.hosts[1..].iter().all(|host| host.preference == 10));
            seen.extend(found.hosts[1..].iter().map(|host| host.name.clone()));
        }
        assert!(seen.len() > 100, "{}", seen.len());
    }
}
