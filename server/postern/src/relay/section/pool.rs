//! `[pool.NAME]` and `[domain."NAME"]`.

use super::rates::DomainSection;
use postern_core::mail::valid_domain;
use postern_core::schedule::Limit;
use postern_core::zone::{Pool, PoolAddress, Source};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// `[pool.NAME]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct PoolSection {
    /// What mail leaves from.
    pub addresses: Vec<PoolAddressSection>,
}

/// One of a pool's `addresses`.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PoolAddressSection {
    /// An address of this machine; an unspecified one leaves the choice to the system.
    pub ip: IpAddr,
    /// Name in EHLO; empty: the server's.
    #[serde(default)]
    pub helo: String,
    /// Share of the recipients, relative to the others'.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

impl Default for PoolSection {
    fn default() -> Self {
        let any = PoolAddressSection { ip: Ipv4Addr::UNSPECIFIED.into(), helo: String::new(), weight: 1.0 };
        Self { addresses: vec![any] }
    }
}

impl PoolSection {
    /// Checks the values; `hostname` is the name of addresses that have none.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(&self, name: &str, hostname: &str) -> Result<Pool, String> {
        let mut addresses = Vec::with_capacity(self.addresses.len());
        for PoolAddressSection { ip, helo, weight } in &self.addresses {
            let helo = if helo.is_empty() { hostname } else { helo };
            if !valid_domain(helo) {
                return Err(format!("pool.{name}.addresses: helo `{helo}` of {ip} is not a host name"));
            }
            let ip = ip.to_canonical();
            if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
                return Err(format!("pool.{name}.addresses: {ip} is no machine's address"));
            }
            addresses.push(PoolAddress { source: Source { ip, helo: helo.to_owned() }, weight: *weight });
        }
        Pool::new(name.into(), addresses).map_err(|error| format!("pool.{name}.addresses: {error}"))
    }
}

/// Limits of one recipient domain over all zones; in place of their `per_domain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainLimits {
    /// Lower case.
    pub domain: String,
    /// Most connections.
    pub connections: Option<usize>,
    /// On how fast mail leaves.
    pub limits: Vec<Limit>,
}

impl DomainLimits {
    /// Checks what `[domain."NAME"]` says.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(section: &DomainSection, name: &str) -> Result<Self, String> {
        if !valid_domain(name) {
            return Err(format!("domain.\"{name}\": `{name}` is not a domain"));
        }
        let limits = section.check(&format!("domain.\"{name}\""))?;
        Ok(Self { domain: name.to_lowercase(), connections: section.connections, limits })
    }
}
