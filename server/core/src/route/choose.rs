//! From the hosts' addresses to the list of hosts to connect to, or to why there is none.

use super::address::{is_public, is_unicast, order};
use super::{Answer, Candidate, Candidates, Host, Missing, NoRoute, OwnIdentity, Unroutable};
use crate::zone::IpVersion;
use std::net::IpAddr;

/// Which hosts may be connected to.
#[derive(Clone, Copy)]
pub struct Policy<'a> {
    /// The zone's.
    pub ip: IpVersion,
    /// The port that will be connected to.
    pub port: u16,
    /// Who we are.
    pub own: &'a OwnIdentity,
    /// Does this machine have that address?
    pub is_local: &'a dyn Fn(IpAddr) -> bool,
    /// May addresses be used that are not on the internet?
    pub allow_private: bool,
}

/// What the addresses of one host come to.
enum Verdict {
    Use(Vec<IpAddr>),
    Ours,
    Forbidden(IpAddr),
    None(Missing),
}

/// The hosts of `domain` to connect to, in order, given the answer to the address lookup of each candidate (a candidate
/// without an answer counts as one whose lookup failed).
///
/// A host that is this server goes, and with it all that are not better (RFC 5321 section 5.1). If no host is left, what
/// may change by itself decides first, then what most needs to be known.
///
/// # Errors
/// No host is left.
pub fn choose(
    domain: &str,
    candidates: Candidates,
    answers: Vec<Answer<IpAddr>>,
    policy: &Policy<'_>,
    rng: &mut fastrand::Rng,
) -> Result<Vec<Host>, NoRoute> {
    let unasked = || Err(Missing::Temporary("there was no time to look".to_owned()));
    let answers = answers.into_iter().chain(std::iter::repeat_with(unasked));
    let verdicts: Vec<(Candidate, Verdict)> =
        candidates.hosts.into_iter().zip(answers).map(|(host, answer)| (host, judge(answer, policy, rng))).collect();
    let ours = |(host, verdict): &(Candidate, Verdict)| matches!(verdict, Verdict::Ours).then_some(host.preference);
    let limit = verdicts.iter().filter_map(ours).min();
    let (mut hosts, mut temporary, mut forbidden, mut nowhere) = (Vec::new(), None, None, None);
    for (host, verdict) in verdicts {
        if limit.is_some_and(|limit| host.preference >= limit) {
            continue;
        }
        match verdict {
            Verdict::Use(addresses) => hosts.push(Host { name: host.name, addresses }),
            Verdict::Ours => {}
            Verdict::Forbidden(ip) => forbidden = forbidden.or(Some((host.name, ip))),
            Verdict::None(Missing::Temporary(why)) => temporary = temporary.or(Some((host.name, why))),
            Verdict::None(_) => nowhere = nowhere.or(Some(host.name)),
        }
    }
    if !hosts.is_empty() {
        return Ok(hosts);
    }
    Err(if let Some((host, why)) = temporary {
        NoRoute::new(Unroutable::Temporary, format!("address lookup of {host}, for {domain}: {why}"))
    } else if candidates.looped || limit.is_some() {
        NoRoute::new(Unroutable::Loop, format!("the best host that is left for {domain} is this server"))
    } else if let Some((host, ip)) = forbidden {
        let detail = format!("{host}, for {domain}, has the address {ip}, and dns.allow_private is not set");
        NoRoute::new(Unroutable::Forbidden, detail)
    } else {
        let host = nowhere.unwrap_or_default();
        NoRoute::new(Unroutable::NoAddress, format!("{host}, for {domain}, has no address that can be used"))
    })
}

fn judge(answer: Answer<IpAddr>, policy: &Policy<'_>, rng: &mut fastrand::Rng) -> Verdict {
    let addresses = match answer {
        Ok(addresses) => addresses,
        Err(missing) => return Verdict::None(missing),
    };
    // All of them, of either IP version: a host that is us is us, by whatever address we would have chosen.
    if addresses.iter().any(|ip| policy.own.listens_at(*ip, policy.port, policy.is_local)) {
        return Verdict::Ours;
    }
    let fits = |ip: &IpAddr| match policy.ip {
        IpVersion::V4 => ip.to_canonical().is_ipv4(),
        IpVersion::V6 => ip.to_canonical().is_ipv6(),
        IpVersion::Any | IpVersion::Prefer4 | IpVersion::Prefer6 => true,
    };
    let addresses: Vec<IpAddr> = addresses.into_iter().filter(fits).collect();
    let Some(first) = addresses.first().copied() else { return Verdict::None(Missing::NoData) };
    let allowed = |ip: &IpAddr| is_unicast(*ip) && (policy.allow_private || is_public(*ip));
    let addresses: Vec<IpAddr> = addresses.into_iter().filter(allowed).collect();
    if addresses.is_empty() {
        return Verdict::Forbidden(first);
    }
    Verdict::Use(order(addresses, policy.ip, rng))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: bool = true;
    const STRICT: bool = false;

    /// `hosts`: "10 a=192.0.2.1+2001:db8::1, 20 b=?" where an answer is addresses, `?` (temporary), `!` (NXDOMAIN) or
    /// `-` (no data). `expected`: "a=192.0.2.1 b=…", or why not. We listen on 127.0.0.1:25 and [::]:26, and this machine
    /// has 127.0.0.1 and 8.8.8.8.
    fn check_as(
        hosts: &str,
        looped: bool,
        ip: IpVersion,
        port: u16,
        private: bool,
        expected: Result<&str, Unroutable>,
    ) {
        let own =
            OwnIdentity { names: vec![], listeners: vec!["127.0.0.1:25".parse().unwrap(), "[::]:26".parse().unwrap()] };
        let local = |ip: IpAddr| matches!(ip.to_string().as_str(), "127.0.0.1" | "8.8.8.8");
        let policy = Policy { ip, port, own: &own, is_local: &local, allow_private: private };
        let (mut candidates, mut answers) = (Candidates { hosts: vec![], looped }, Vec::new());
        for host in hosts.split(", ") {
            let (preference, rest) = host.split_once(' ').unwrap();
            let (name, answer) = rest.split_once('=').unwrap();
            candidates.hosts.push(Candidate { preference: preference.parse().unwrap(), name: name.into() });
            answers.push(match answer {
                "?" => Err(Missing::Temporary("SERVFAIL".into())),
                "!" => Err(Missing::NoSuchName),
                "-" => Err(Missing::NoData),
                ips => Ok(ips.split('+').map(|ip| ip.parse().unwrap()).collect()),
            });
        }
        let found = choose("d.example", candidates, answers, &policy, &mut fastrand::Rng::with_seed(1));
        let host = |host: &Host| {
            let ips: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
            format!("{}={}", host.name, ips.join("+"))
        };
        let found = found.map(|hosts| hosts.iter().map(host).collect::<Vec<_>>().join(" "));
        assert_eq!(found.as_deref().map_err(|error| error.why), expected, "{hosts}");
    }

    fn check(hosts: &str, private: bool, expected: Result<&str, Unroutable>) {
        check_as(hosts, false, IpVersion::Any, 2525, private, expected);
    }

    #[test]
    fn what_resolves_is_used() {
        check("10 a=1.1.1.1, 20 b=9.9.9.9", STRICT, Ok("a=1.1.1.1 b=9.9.9.9"));
        check("10 a=1.1.1.1+2606:4700::1", STRICT, Ok("a=2606:4700::1+1.1.1.1"));
        check("10 a=?, 20 b=9.9.9.9", STRICT, Ok("b=9.9.9.9"));
        check("10 a=!, 15 c=-, 20 b=9.9.9.9, 30 d=?", STRICT, Ok("b=9.9.9.9"));
        check("10 a=!, 20 b=?", STRICT, Err(Unroutable::Temporary));
        check("10 a=127.0.0.1, 20 b=?", STRICT, Err(Unroutable::Temporary));
        check("10 a=!", STRICT, Err(Unroutable::NoAddress));
        check("10 a=-, 20 b=!", STRICT, Err(Unroutable::NoAddress));
    }

    #[test]
    fn private_addresses() {
        check("10 a=127.0.0.1", STRICT, Err(Unroutable::Forbidden));
        check("10 a=127.0.0.1", OPEN, Ok("a=127.0.0.1"));
        check("10 a=10.1.1.1+1.1.1.1", STRICT, Ok("a=1.1.1.1"));
        check("10 a=10.1.1.1, 20 b=1.1.1.1", STRICT, Ok("b=1.1.1.1"));
        check("10 a=10.1.1.1, 20 b=!", STRICT, Err(Unroutable::Forbidden));
        check("10 a=::ffff:1.1.1.1", STRICT, Err(Unroutable::Forbidden));
        check("10 a=::ffff:1.1.1.1", OPEN, Ok("a=1.1.1.1"));
        check("10 a=0.0.0.0", OPEN, Err(Unroutable::Forbidden));
        check("10 a=ff02::1+224.0.0.1", OPEN, Err(Unroutable::Forbidden));
    }

    #[test]
    fn ip_versions() {
        let both = "10 a=1.1.1.1+2606:4700::1";
        check_as(both, false, IpVersion::V4, 2525, STRICT, Ok("a=1.1.1.1"));
        check_as(both, false, IpVersion::V6, 2525, STRICT, Ok("a=2606:4700::1"));
        check_as(both, false, IpVersion::Prefer4, 2525, STRICT, Ok("a=1.1.1.1+2606:4700::1"));
        check_as("10 a=1.1.1.1", false, IpVersion::V6, 2525, STRICT, Err(Unroutable::NoAddress));
        check_as("10 a=::ffff:1.1.1.1", false, IpVersion::V6, 2525, OPEN, Err(Unroutable::NoAddress));
    }

    #[test]
    fn ourselves() {
        let ours = |hosts, expected| check_as(hosts, false, IpVersion::Any, 25, OPEN, expected);
        ours("10 a=127.0.0.1", Err(Unroutable::Loop));
        ours("10 a=127.0.0.2", Ok("a=127.0.0.2"));
        ours("10 a=1.1.1.1, 20 us=127.0.0.1, 20 c=9.9.9.9, 30 d=9.9.9.9", Ok("a=1.1.1.1"));
        ours("10 a=1.1.1.1+127.0.0.1", Err(Unroutable::Loop));
        ours("10 a=!, 20 us=127.0.0.1, 30 d=9.9.9.9", Err(Unroutable::Loop));
        ours("10 a=?, 20 us=127.0.0.1", Err(Unroutable::Temporary));
        ours("10 us=127.0.0.1, 20 b=?", Err(Unroutable::Loop));
        // Whether private addresses are allowed or not: it is a loop.
        check_as("10 us=127.0.0.1", false, IpVersion::Any, 25, STRICT, Err(Unroutable::Loop));
        check_as("10 us=127.0.0.1", false, IpVersion::V6, 25, STRICT, Err(Unroutable::Loop));
        check_as("10 us=8.8.8.8", false, IpVersion::Any, 26, STRICT, Err(Unroutable::Loop));
        check_as("10 us=8.8.8.8", false, IpVersion::Any, 25, STRICT, Ok("us=8.8.8.8"));
        // By name already, and the better ones have no address.
        check_as("10 a=!", true, IpVersion::Any, 25, STRICT, Err(Unroutable::Loop));
        check_as("10 a=1.1.1.1", true, IpVersion::Any, 25, STRICT, Ok("a=1.1.1.1"));
    }

    #[test]
    fn hosts_nobody_asked_for_are_unknown() {
        let own = OwnIdentity::default();
        let policy = Policy { ip: IpVersion::Any, port: 25, own: &own, is_local: &|_| false, allow_private: false };
        let hosts = ["a", "b"].map(|name| Candidate { preference: 10, name: name.into() }).to_vec();
        let candidates = Candidates { hosts, looped: false };
        let answers = vec![Err(Missing::NoSuchName)];
        let error = choose("d.example", candidates, answers, &policy, &mut fastrand::Rng::with_seed(1)).unwrap_err();
        assert_eq!(error.why, Unroutable::Temporary);
    }
}
