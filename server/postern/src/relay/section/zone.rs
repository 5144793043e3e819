//! `[zone.NAME]`.

use super::dsn::ZoneDsnSection;
use super::queue::{LONGEST_SPAN, QueueSection};
use postern_core::mail::valid_domain;
use postern_core::schedule::RetrySchedule;
use postern_core::zone::{DsnPolicy, Rules, SmartHost, Zone};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Mail gets at least this long.
const SHORTEST_AGE: Duration = Duration::from_secs(1);

/// `[zone.NAME]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ZoneSection {
    /// Takes part at all.
    pub enabled: bool,
    /// Most connections at once.
    pub connections: usize,
    /// Header fields (on listeners with `trust_headers`) whose value claims a message for the zone.
    pub routing_headers: BTreeMap<String, String>,
    /// Domains of senders (the From header's, else the reverse-path's) that claim it.
    pub sender_domains: Vec<String>,
    /// Domains of recipients that claim them.
    pub recipient_domains: Vec<String>,
    /// Where all its mail is handed to.
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
            connections: 20,
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
    /// TLS to it.
    pub tls: Tls,
}

impl Default for SmartHostSection {
    fn default() -> Self {
        Self { host: String::new(), port: 25, tls: Tls::Off }
    }
}

/// TLS of outbound connections.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// None.
    #[default]
    Off,
}

impl ZoneSection {
    /// Checks the values; None if the zone is not enabled. `dsn` is what `[dsn]` says.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(&self, name: &str, queue: &QueueSection, dsn: &DsnPolicy) -> Result<Option<Zone>, String> {
        if !self.enabled {
            return Ok(None);
        }
        if self.connections == 0 {
            return Err(format!("zone.{name}.connections: must be at least 1"));
        }
        let Some(host) = &self.smart_host else {
            let example = "smart_host = { host = \"127.0.0.1\", port = 2700 }";
            return Err(format!(
                "zone.{name}.smart_host: a zone needs one, as this version does not deliver by MX yet; write: {example}"
            ));
        };
        let is_address = host.host.parse::<std::net::IpAddr>().is_ok();
        if !is_address && (!valid_domain(&host.host) || host.host.starts_with('[')) {
            let what = "must be a host name or an address (IPv6 without brackets)";
            return Err(format!("zone.{name}.smart_host.host: `{}` {what}", host.host));
        }
        if host.port == 0 {
            return Err(format!("zone.{name}.smart_host.port: must not be 0"));
        }
        if queue.max_age.0 < SHORTEST_AGE {
            return Err("queue.max_age: must be at least 1s".into());
        }
        if queue.retry.iter().chain([&queue.max_age]).any(|span| span.0 > LONGEST_SPAN) {
            return Err("queue.retry, queue.max_age: must be at most 10 years".into());
        }
        let retry = RetrySchedule::new(queue.retry.iter().map(|span| span.0).collect())
            .map_err(|error| format!("queue.retry: {error}"))?;
        Ok(Some(Zone {
            name: name.into(),
            connections: self.connections,
            smart_host: SmartHost { host: host.host.clone(), port: host.port },
            retry,
            max_age: queue.max_age.0,
            dsn: self.dsn.check(name, dsn.clone())?,
            rules: self.rules(name)?,
        }))
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
