//! From a queue's destination to a route: the hosts that take its mail, and the terms of the zone.

use crate::deliver::Route;
use crate::resolve::{self, Question, Resolver};
use postern_core::route::{Host, NoRoute, OwnIdentity};
use postern_core::zone::{IpVersion, SmartHost, Source, TlsMode, Zone};
use std::net::IpAddr;
use std::sync::Arc;

/// What routes depend on besides zone and destination.
pub struct Routes {
    resolver: Arc<dyn Resolver>,
    own: OwnIdentity,
    own_names: Arc<[String]>,
    allow_private: bool,
}

impl Routes {
    /// Routes that lead back to `own` are refused, and those to hosts that are not on the internet unless
    /// `allow_private`.
    pub fn new(resolver: Arc<dyn Resolver>, own: OwnIdentity, allow_private: bool) -> Self {
        let own_names = own.names.iter().map(|name| name.to_lowercase()).collect();
        Self { resolver, own, own_names, allow_private }
    }

    /// The route of a zone to a destination (see [`QueueKey`](postern_core::route::QueueKey)), from `sources`.
    ///
    /// # Errors
    /// There is no host to connect to, or DNS did not say.
    pub async fn find(&self, zone: &Zone, destination: &str, sources: &[Source]) -> Result<Route, NoRoute> {
        // Mail that was queued for a smart host goes there even after its zone has lost it: so it was routed.
        let stored = if zone.smart_host.is_some() { None } else { as_smart_host(destination, zone.tls) };
        let terms = self.terms(zone, stored.as_ref(), sources);
        let hosts = match zone.smart_host.as_ref().or(stored.as_ref()) {
            Some(host) => resolve::smart_host_hosts(&*self.resolver, &host.host, zone.ip).await?,
            None => {
                let question =
                    Question { ip: zone.ip, port: zone.port, own: &self.own, allow_private: self.allow_private };
                resolve::mx_hosts(&*self.resolver, destination, &question).await?
            }
        };
        Ok(Route { hosts: for_source(hosts, zone.ip, sources), ..terms })
    }

    /// A route without hosts, for a connection that is there already.
    pub fn without_hosts(&self, zone: &Zone, sources: &[Source]) -> Route {
        self.terms(zone, None, sources)
    }

    fn terms(&self, zone: &Zone, stored: Option<&SmartHost>, sources: &[Source]) -> Route {
        let (hosts, sources) = (Vec::new(), sources.to_vec());
        match zone.smart_host.as_ref().or(stored) {
            Some(host) => Route {
                hosts,
                port: host.port,
                tls: host.tls,
                credentials: host.credentials.clone(),
                sources,
                own_names: Arc::new([]),
            },
            None => Route {
                hosts,
                port: zone.port,
                tls: zone.tls,
                credentials: None,
                sources,
                own_names: Arc::clone(&self.own_names),
            },
        }
    }
}

/// `host:port`, which no domain looks like.
fn as_smart_host(destination: &str, tls: TlsMode) -> Option<SmartHost> {
    let (host, port) = destination.rsplit_once(':')?;
    let host = host.strip_prefix('[').map_or(Some(host), |host| host.strip_suffix(']'))?;
    Some(SmartHost { host: host.to_owned(), port: port.parse().ok()?, tls, credentials: None })
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
        let check = |destination: &str, wanted: Option<(&str, u16)>| {
            let host = as_smart_host(destination, TlsMode::Off);
            assert_eq!(host.as_ref().map(|host| (host.host.as_str(), host.port)), wanted, "{destination}");
        };
        check("relay.example:25", Some(("relay.example", 25)));
        check("[::1]:2700", Some(("::1", 2700)));
        check("example.com", None);
        check("[127.0.0.1]", None);
        check("[ipv6:2001:db8::25]", None);
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
