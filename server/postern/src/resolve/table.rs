//! A resolver without DNS: answers from memory, for tests and for servers that only have smart hosts.

use super::Resolver;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use postern_core::route::{Answer, Missing, Mx};
use postern_core::zone::IpVersion;
use std::collections::HashMap;
use std::net::IpAddr;

/// Names with their answers; names are in lower case.
#[derive(Clone, Debug)]
pub struct Table {
    mx: HashMap<String, Answer<Mx>>,
    addresses: HashMap<String, Answer<IpAddr>>,
    names: HashMap<IpAddr, Vec<String>>,
    otherwise: Missing,
}

impl Default for Table {
    fn default() -> Self {
        Self::new(Missing::NoSuchName)
    }
}

impl Table {
    /// An empty one. `otherwise` is what it says about names that it does not have.
    #[must_use]
    pub fn new(otherwise: Missing) -> Self {
        Self { mx: HashMap::new(), addresses: HashMap::new(), names: HashMap::new(), otherwise }
    }

    /// With MX records of a domain.
    #[must_use]
    pub fn with_mx(self, domain: &str, records: &[(u16, &str)]) -> Self {
        let records = records.iter().map(|(preference, host)| Mx::new(*preference, *host)).collect();
        self.with_mx_answer(domain, Ok(records))
    }

    /// With any answer about a domain's MX records.
    #[must_use]
    pub fn with_mx_answer(mut self, domain: &str, answer: Answer<Mx>) -> Self {
        self.mx.insert(domain.to_ascii_lowercase(), answer);
        self
    }

    /// With addresses of a host.
    #[must_use]
    pub fn with_host(self, name: &str, addresses: &[IpAddr]) -> Self {
        self.with_host_answer(name, Ok(addresses.to_vec()))
    }

    /// With the names of an address.
    #[must_use]
    pub fn with_names(mut self, address: IpAddr, names: &[&str]) -> Self {
        self.names.insert(address, names.iter().map(|name| (*name).to_owned()).collect());
        self
    }

    /// With any answer about a host's addresses.
    #[must_use]
    pub fn with_host_answer(mut self, name: &str, answer: Answer<IpAddr>) -> Self {
        self.addresses.insert(name.to_ascii_lowercase(), answer);
        self
    }
}

impl Resolver for Table {
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Answer<Mx>> {
        let domain = domain.to_ascii_lowercase();
        let answer = match (self.mx.get(&domain), self.addresses.get(&domain)) {
            (Some(answer), _) => answer.clone(),
            // A name with an address exists.
            (None, Some(Ok(_))) => Err(Missing::NoData),
            (None, _) => Err(self.otherwise.clone()),
        };
        ready(answer).boxed()
    }

    fn addresses<'a>(&'a self, host: &'a str, ip: IpVersion) -> BoxFuture<'a, Answer<IpAddr>> {
        let host = host.to_ascii_lowercase();
        let answer = match (self.addresses.get(&host), self.mx.get(&host)) {
            (Some(Ok(addresses)), _) => of_version(addresses.clone(), ip),
            (Some(answer), _) => answer.clone(),
            (None, Some(_)) => Err(Missing::NoData),
            (None, None) => Err(self.otherwise.clone()),
        };
        ready(answer).boxed()
    }

    fn names(&self, address: IpAddr) -> BoxFuture<'_, Answer<String>> {
        ready(self.names.get(&address).cloned().ok_or_else(|| self.otherwise.clone())).boxed()
    }

    fn configured_addresses<'a>(&'a self, host: &'a str, ip: IpVersion) -> BoxFuture<'a, Answer<IpAddr>> {
        self.addresses(host, ip)
    }
}

/// Those that a zone of this IP version uses, as a lookup would have given them.
pub(super) fn of_version(addresses: Vec<IpAddr>, ip: IpVersion) -> Answer<IpAddr> {
    let fits = |address: &IpAddr| match ip {
        IpVersion::V4 => address.is_ipv4(),
        IpVersion::V6 => address.is_ipv6(),
        IpVersion::Any | IpVersion::Prefer4 | IpVersion::Prefer6 => true,
    };
    let addresses: Vec<IpAddr> = addresses.into_iter().filter(fits).collect();
    if addresses.is_empty() { Err(Missing::NoData) } else { Ok(addresses) }
}
