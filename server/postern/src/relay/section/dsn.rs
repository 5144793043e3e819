//! `[dsn]`.

use postern_core::mail::Address;
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
