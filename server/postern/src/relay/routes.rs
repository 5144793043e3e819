//! From a queue's destination to a route: the hosts that take its mail, and the terms of the zone.

use crate::deliver::Route;
use crate::resolve::{self, Question, Resolver};
use postern_core::route::{Host, NextHop, NoRoute, OwnIdentity};
use postern_core::zone::{IpVersion, Source, Zone};
use std::net::IpAddr;
use std::sync::Arc;

/// What routes depend on besides zone and destination.
pub struct Routes {
    resolver: Arc<dyn Resolver>,
    own: OwnIdentity,
    /// The same without names.
    nameless: OwnIdentity,
    own_names: Arc<[String]>,
    allow_private: bool,
}

impl Routes {
    /// Routes that lead back to `own` are refused, and those to hosts that are not on the internet unless
    /// `allow_private`.
    pub fn new(resolver: Arc<dyn Resolver>, own: OwnIdentity, allow_private: bool) -> Self {
        let own_names = own.names.iter().map(|name| name.to_lowercase()).collect();
        let nameless = OwnIdentity { names: Vec::new(), ..own.clone() };
        Self { resolver, own, nameless, own_names, allow_private }
    }

    /// The hosts that take a zone's mail for a destination (see [`QueueKey`](postern_core::route::QueueKey)).
    ///
    /// # Errors
    /// There is no host to connect to, or DNS did not say.
    pub async fn hosts(&self, zone: &Zone, destination: &str, sources: &[Source]) -> Result<Vec<Host>, NoRoute> {
        let chosen = NextHop::of(destination);
        let named = chosen.as_ref().map(|chosen| &chosen.host).or(zone.smart_host.as_ref().map(|host| &host.host));
        let hosts = match named {
            Some(host) => resolve::smart_host_hosts(&*self.resolver, host, zone.ip).await?,
            None => {
                let own = if self.takes_mail_at(zone.port) { &self.own } else { &self.nameless };
                let question = Question { ip: zone.ip, port: zone.port, own, allow_private: self.allow_private };
                resolve::mx_hosts(&*self.resolver, destination, &question).await?
            }
        };
        Ok(for_source(hosts, zone.ip, sources))
    }

    /// The route of a zone to a destination, from `sources`, without its hosts: enough for a connection that is there
    /// already.
    pub fn terms(&self, zone: &Zone, destination: &str, sources: &[Source]) -> Route {
        if let Some(chosen) = NextHop::of(destination) {
            return Self::terms_to(&chosen, zone, sources);
        }
        let (port, tls, credentials) = match &zone.smart_host {
            Some(host) => (host.port, host.tls, host.credentials.clone()),
            None => (zone.port, zone.tls, None),
        };
        let by_mx = zone.smart_host.is_none() && self.takes_mail_at(port);
        let own_names = if by_mx { Arc::clone(&self.own_names) } else { Arc::new([]) };
        Route { hosts: Vec::new(), port, tls, credentials, sources: sources.to_vec(), own_names }
    }

    /// To a next hop that a plugin chose: the zone's TLS, nobody's credentials.
    fn terms_to(chosen: &NextHop, zone: &Zone, sources: &[Source]) -> Route {
        Route {
            hosts: Vec::new(),
            port: chosen.port,
            tls: zone.tls,
            credentials: None,
            sources: sources.to_vec(),
            own_names: Arc::new([]),
        }
    }

    /// Could a host that has our name, and is asked at this port, be this server? Another one on this machine may share
    /// the name.
    fn takes_mail_at(&self, port: u16) -> bool {
        self.own.listeners.iter().any(|listener| listener.port() == port)
    }
}

/// Is this destination `host:port`, which no domain looks like?
pub fn names_smart_host(destination: &str) -> bool {
    let port = |text: &str| text.parse::<u16>().is_ok();
    destination.rsplit_once(':').is_some_and(|(host, after)| port(after) && !host.is_empty() && !after.ends_with(']'))
}

/// Where the zone leaves the IP version open, the addresses that the best source can reach come first: else the choice
/// of the source would be the target's.
fn for_source(mut hosts: Vec<Host>, ip: IpVersion, sources: &[Source]) -> Vec<Host> {
    let Some(source) = sources.first().map(|source| source.ip) else { return hosts };
    if ip == IpVersion::Any && !source.is_unspecified() {
        let other = |address: &IpAddr| address.is_ipv4() != source.is_ipv4();
        hosts.iter_mut().for_each(|host| host.addresses.sort_by_key(other));
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_that_are_smart_hosts() {
        for (destination, wanted) in [
            ("relay.example:25", true),
            ("[::1]:2700", true),
            ("example.com", false),
            ("[127.0.0.1]", false),
            ("[ipv6:2001:db8::25]", false),
        ] {
            assert_eq!(names_smart_host(destination), wanted, "{destination}");
        }
    }

    #[test]
    fn addresses_that_the_source_reaches_come_first() {
        let hosts =
            || vec![Host { name: "h".into(), addresses: ["::1", "127.0.0.1"].map(|ip| ip.parse().unwrap()).to_vec() }];
        let first = |source: &str, ip| {
            let source = Source { ip: source.parse().unwrap(), helo: String::new() };
            for_source(hosts(), ip, &[source])[0].addresses[0].is_ipv4()
        };
        assert!(first("192.0.2.1", IpVersion::Any) && !first("2001:db8::1", IpVersion::Any));
        assert!(!first("192.0.2.1", IpVersion::Prefer6), "the zone says so");
        assert!(!first("0.0.0.0", IpVersion::Any), "the system chooses the source");
    }
}
