//! `[queue]`, `[zone.NAME]`, `[dsn]` and `[[plugin]]`: as written, and checked into what is used.

use crate::config::{Size, Span};
use postern_core::mail::{Address, valid_domain};
use postern_core::schedule::RetrySchedule;
use postern_core::zone::{Rules, SmartHost, Zone};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// `[queue]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSection {
    /// The store.
    pub engine: Engine,
    /// Recipients older than this are bounced as expired.
    pub max_age: Span,
    /// Waits between attempts; the last repeats.
    pub retry: Vec<Span>,
    /// Mail is refused (452) when the disk has less room than this.
    pub min_free: Size,
}

/// Stores that there are.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// In `data_dir`, for one node.
    #[default]
    Embedded,
}

impl Default for QueueSection {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        let retry = [5, 7, 8, 25, 75, 120, 240].map(|minutes| Span::secs(minutes * MINUTE)).to_vec();
        Self { engine: Engine::Embedded, max_age: Span::secs(5 * 86_400), retry, min_free: Size(64 << 20) }
    }
}

/// Mail gets at least this long.
const SHORTEST_AGE: Duration = Duration::from_secs(1);
/// No span is longer.
const LONGEST_SPAN: Duration = Duration::from_secs(10 * 365 * 86_400);

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
    /// Checks the values; None if the zone is not enabled.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(&self, name: &str, queue: &QueueSection) -> Result<Option<Zone>, String> {
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

/// `[dsn]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct DsnSection {
    /// Display name DSNs are from.
    pub name: String,
    /// Address DSNs are from; empty: `mailer-daemon@` and the server's name.
    pub address: String,
}

impl Default for DsnSection {
    fn default() -> Self {
        Self { name: "Mail Delivery Subsystem".into(), address: String::new() }
    }
}

/// Who DSNs are from.
#[derive(Clone, Debug)]
pub struct DsnSender {
    /// Display name.
    pub name: String,
    /// Address.
    pub address: Address,
}

impl DsnSection {
    /// Checks the values.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(&self, hostname: &str) -> Result<DsnSender, String> {
        let text = if self.address.is_empty() { format!("mailer-daemon@{hostname}") } else { self.address.clone() };
        let address =
            Address::parse(&text).map_err(|error| format!("dsn.address: `{text}` is not an address: {error}"))?;
        if self.name.chars().any(char::is_control) {
            return Err("dsn.name: must not contain control characters".into());
        }
        Ok(DsnSender { name: self.name.clone(), address })
    }
}

/// `[[plugin]]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PluginSection {
    /// Its name, in log lines and errors. Tables of the same name in several files are one plugin.
    pub name: String,
    /// The component's file. Needed, but not in each layer.
    #[serde(default)]
    pub component: PathBuf,
    /// What a failed call means for the message.
    #[serde(default)]
    pub on_error: OnError,
    /// Guest time of one call.
    #[serde(default = "cpu")]
    pub cpu: Span,
    /// Wall time of one call, host calls included.
    #[serde(default = "deadline")]
    pub deadline: Span,
    /// Memory of one instance.
    #[serde(default = "memory")]
    pub memory: Size,
    /// Most instances, and so calls, at once.
    #[serde(default = "instances")]
    pub instances: usize,
    /// Capabilities beyond those that need no grant.
    #[serde(default)]
    pub grants: toml::Table,
    /// The plugin's own.
    #[serde(default)]
    pub config: toml::Table,
}

/// What a failed call means for the message.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The client is told 451 and tries again later.
    #[default]
    Defer,
    /// The message goes on as if the plugin were not there.
    Skip,
    /// The client is told 550.
    Reject,
}

fn cpu() -> Span {
    Span(std::time::Duration::from_millis(100))
}

fn deadline() -> Span {
    Span::secs(5)
}

fn memory() -> Size {
    Size(16 << 20)
}

fn instances() -> usize {
    8
}

impl PluginSection {
    /// Checks the values.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return Err(format!("[[plugin]] name: `{}` must be letters, digits, `-` and `_`", self.name));
        }
        if self.component.as_os_str().is_empty() {
            return Err(format!(
                "[[plugin]] {}: needs a component, the file that `postern plugin build` makes",
                self.name
            ));
        }
        if self.cpu.0.is_zero() || self.deadline.0.is_zero() || self.instances == 0 || self.memory.0 < 64 << 10 {
            return Err(format!(
                "[[plugin]] {}: cpu, deadline and instances must not be zero, memory at least 64KiB",
                self.name
            ));
        }
        Ok(())
    }
}
