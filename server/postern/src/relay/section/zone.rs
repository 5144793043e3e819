//! `[zone.NAME]`.

use super::dsn::ZoneDsnSection;
use super::queue::{LONGEST_SPAN, QueueSection};
use super::rates::{DomainSection, RatesSection};
use crate::config::{Pace, Secret};
use postern_core::mail::valid_domain;
use postern_core::schedule::RetrySchedule;
use postern_core::zone::{Credentials, DsnPolicy, IpVersion, Pool, Rules, SmartHost, TlsMode, Zone, ZoneLimits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Mail gets at least this long.
const SHORTEST_AGE: Duration = Duration::from_secs(1);

/// `[zone.NAME]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ZoneSection {
    /// Takes part at all.
    pub enabled: bool,
    /// Pool that its mail leaves from.
    pub pool: String,
    /// Most connections at once.
    pub connections: usize,
    /// Most messages in a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Pace>,
    /// Most recipients in a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient_rate: Option<Pace>,
    /// Most new connections in a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_rate: Option<Pace>,
    /// How many of them may come at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Limits of each recipient domain.
    pub per_domain: DomainSection,
    /// Limits of each source address.
    pub per_source: RatesSection,
    /// Limits of each reverse-path.
    pub per_sender: RatesSection,
    /// Limits of each user that submits.
    pub per_user: RatesSection,
    /// Port of MX hosts.
    pub port: u16,
    /// Which of their addresses.
    pub ip: Ip,
    /// TLS to them, and to the smart host where that does not say otherwise.
    pub tls: Tls,
    /// Header fields (on listeners with `trust_headers`) whose value claims a message for the zone.
    pub routing_headers: BTreeMap<String, String>,
    /// Domains of senders (the From header's, else the reverse-path's) that claim it.
    pub sender_domains: Vec<String>,
    /// Domains of recipients that claim them.
    pub recipient_domains: Vec<String>,
    /// Where all its mail is handed to, rather than to MX hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smart_host: Option<SmartHostSection>,
    /// What differs from `[dsn]`.
    #[serde(skip_serializing_if = "is_default")]
    pub dsn: ZoneDsnSection,
}

fn is_default(dsn: &ZoneDsnSection) -> bool {
    *dsn == ZoneDsnSection::default()
}

impl Default for ZoneSection {
    fn default() -> Self {
        Self {
            enabled: true,
            pool: "default".into(),
            connections: 20,
            rate: None,
            recipient_rate: None,
            connection_rate: None,
            burst: None,
            per_domain: DomainSection::default(),
            per_source: RatesSection::default(),
            per_sender: RatesSection::default(),
            per_user: RatesSection::default(),
            port: 25,
            ip: Ip::Any,
            tls: Tls::Opportunistic,
            routing_headers: BTreeMap::new(),
            sender_domains: Vec::new(),
            recipient_domains: Vec::new(),
            smart_host: None,
            dsn: ZoneDsnSection::default(),
        }
    }
}

/// `smart_host` of a zone.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct SmartHostSection {
    /// Name or address. Needed, but not in each layer.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS to it; the zone's by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Whom to authenticate as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

impl Default for SmartHostSection {
    fn default() -> Self {
        Self { host: String::new(), port: 25, tls: None, user: None, password: None }
    }
}

/// TLS of outbound connections: see [`TlsMode`].
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Never.
    Off,
    /// Where it is offered.
    Opportunistic,
    /// Always.
    Require,
    /// Always, with a valid certificate.
    Verify,
}

impl From<Tls> for TlsMode {
    fn from(tls: Tls) -> Self {
        match tls {
            Tls::Off => Self::Off,
            Tls::Opportunistic => Self::Opportunistic,
            Tls::Require => Self::Require,
            Tls::Verify => Self::Verify,
        }
    }
}

/// IP versions of MX hosts: see [`IpVersion`].
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Ip {
    /// Both.
    Any,
    /// IPv4 alone.
    #[serde(rename = "4")]
    V4,
    /// IPv6 alone.
    #[serde(rename = "6")]
    V6,
    /// Both, IPv4 first.
    Prefer4,
    /// Both, IPv6 first.
    Prefer6,
}

impl From<Ip> for IpVersion {
    fn from(ip: Ip) -> Self {
        match ip {
            Ip::Any => Self::Any,
            Ip::V4 => Self::V4,
            Ip::V6 => Self::V6,
            Ip::Prefer4 => Self::Prefer4,
            Ip::Prefer6 => Self::Prefer6,
        }
    }
}

impl ZoneSection {
    /// Checks the values; None if the zone is not enabled. `dsn` is what `[dsn]` says.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(
        &self,
        name: &str,
        queue: &QueueSection,
        pools: &[Arc<Pool>],
        dsn: &DsnPolicy,
    ) -> Result<Option<Zone>, String> {
        if !self.enabled {
            return Ok(None);
        }
        if self.connections == 0 {
            return Err(format!("zone.{name}.connections: must be at least 1"));
        }
        if self.port == 0 {
            return Err(format!("zone.{name}.port: must not be 0"));
        }
        let Some(pool) = pools.iter().find(|pool| *pool.name == self.pool) else {
            let known: Vec<String> = pools.iter().map(|pool| format!("`{}`", pool.name)).collect();
            let known = known.join(", ");
            return Err(format!("zone.{name}.pool: there is no pool `{}`, only {known}", self.pool));
        };
        if queue.max_age.0 < SHORTEST_AGE {
            return Err("queue.max_age: must be at least 1s".into());
        }
        if queue.retry.iter().chain([&queue.max_age]).any(|span| span.0 > LONGEST_SPAN) {
            return Err("queue.retry, queue.max_age: must be at most 10 years".into());
        }
        let retry = RetrySchedule::new(queue.retry.iter().map(|span| span.0).collect())
            .map_err(|error| format!("queue.retry: {error}"))?;
        let smart_host = self.smart_host.as_ref().map(|host| host.check(name, self.tls)).transpose()?;
        Ok(Some(Zone {
            name: name.into(),
            connections: self.connections,
            domain_connections: self.per_domain.connections,
            limits: self.limits(name)?,
            smart_host,
            port: self.port,
            ip: self.ip.into(),
            tls: self.tls.into(),
            pool: Arc::clone(pool),
            retry,
            max_age: queue.max_age.0,
            dsn: self.dsn.check(name, dsn.clone())?,
            rules: self.rules(name)?,
        }))
    }

    fn limits(&self, name: &str) -> Result<ZoneLimits, String> {
        let Self { rate, recipient_rate, connection_rate, burst, .. } = *self;
        let under = |key: &str| format!("zone.{name}.{key}");
        Ok(ZoneLimits {
            own: RatesSection { rate, recipient_rate, connection_rate, burst }.check(&format!("zone.{name}"))?,
            per_domain: self.per_domain.check(&under("per_domain"))?,
            per_source: self.per_source.check(&under("per_source"))?,
            per_sender: self.per_sender.check_of_mail(&under("per_sender"))?,
            per_user: self.per_user.check_of_mail(&under("per_user"))?,
        })
    }

    fn rules(&self, name: &str) -> Result<Rules, String> {
        let domains = |key: &str, domains: &[String]| match domains.iter().find(|domain| !valid_domain(domain)) {
            Some(wrong) => Err(format!("zone.{name}.{key}: `{wrong}` is not a domain")),
            None => Ok(domains.iter().map(|domain| domain.to_lowercase()).collect()),
        };
        Ok(Rules {
            routing_headers: self.routing_headers.clone().into_iter().collect(),
            sender_domains: domains("sender_domains", &self.sender_domains)?,
            recipient_domains: domains("recipient_domains", &self.recipient_domains)?,
        })
    }
}

impl SmartHostSection {
    fn check(&self, zone: &str, tls: Tls) -> Result<SmartHost, String> {
        let is_address = self.host.parse::<std::net::IpAddr>().is_ok();
        if !is_address && (!valid_domain(&self.host) || self.host.starts_with('[')) {
            let what = "must be a host name or an address (IPv6 without brackets)";
            return Err(format!("zone.{zone}.smart_host.host: `{}` {what}", self.host));
        }
        if self.port == 0 {
            return Err(format!("zone.{zone}.smart_host.port: must not be 0"));
        }
        let credentials = match (&self.user, &self.password) {
            (None, None) => None,
            (Some(user), Some(password)) => {
                let password = password.read().map_err(|error| format!("zone.{zone}.smart_host.password: {error}"))?;
                // NUL separates the parts of AUTH PLAIN (RFC 4616).
                if user.is_empty() || [user, &password].iter().any(|text| text.contains('\0')) {
                    return Err(format!("zone.{zone}.smart_host: user and password must be text without NUL"));
                }
                Some(Credentials { user: user.clone(), password })
            }
            (Some(_), None) => return Err(format!("zone.{zone}.smart_host.password: is missing beside `user`")),
            (None, Some(_)) => return Err(format!("zone.{zone}.smart_host.user: is missing beside `password`")),
        };
        Ok(SmartHost { host: self.host.clone(), port: self.port, tls: self.tls.unwrap_or(tls).into(), credentials })
    }
}
