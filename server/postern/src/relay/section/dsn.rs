//! `[dsn]`, and `dsn` of a zone.

use super::queue::QueueSection;
use postern_core::mail::Address;
use postern_core::zone::DsnPolicy;
use serde::{Deserialize, Serialize};

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

/// `dsn` of a zone: what differs from `[dsn]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ZoneDsnSection {
    /// Display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

impl DsnSection {
    /// Checks the values.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(&self, hostname: &str, queue: &QueueSection) -> Result<DsnPolicy, String> {
        let text = if self.address.is_empty() { format!("mailer-daemon@{hostname}") } else { self.address.clone() };
        Ok(DsnPolicy {
            name: name("dsn.name", &self.name)?,
            address: address("dsn.address", &text)?,
            delay_notice: queue.delay_notice()?,
        })
    }
}

impl ZoneDsnSection {
    /// Checks the values for `zone` and puts them in the place of those of `[dsn]`.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(&self, zone: &str, mut policy: DsnPolicy) -> Result<DsnPolicy, String> {
        if let Some(text) = &self.name {
            policy.name = name(&format!("zone.{zone}.dsn.name"), text)?;
        }
        if let Some(text) = &self.address {
            policy.address = address(&format!("zone.{zone}.dsn.address"), text)?;
        }
        Ok(policy)
    }
}

fn name(key: &str, text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err(format!("{key}: must not contain control characters"));
    }
    Ok(text.to_owned())
}

fn address(key: &str, text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|error| format!("{key}: `{text}` is not an address: {error}"))
}
