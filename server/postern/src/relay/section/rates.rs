//! Keys that limit how fast mail leaves, wherever they stand.

use crate::config::Pace;
use postern_core::schedule::{Flow, Limit, Unit};
use serde::{Deserialize, Serialize};

/// `rate`, `recipient_rate`, `connection_rate` and `burst` of something that is limited: a zone, a sender, a domain.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct RatesSection {
    /// Messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Pace>,
    /// Recipients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient_rate: Option<Pace>,
    /// New connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_rate: Option<Pace>,
    /// How many may come at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

impl RatesSection {
    /// The limits, named after the key that they are under: `zone.bulk.per_sender.rate`.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(&self, path: &str) -> Result<Vec<Limit>, String> {
        let rates = [
            ("rate", Unit::Messages, self.rate),
            ("recipient_rate", Unit::Recipients, self.recipient_rate),
            ("connection_rate", Unit::Connections, self.connection_rate),
        ];
        let limit = |(key, unit, rate): (&str, Unit, Option<Pace>)| {
            Some(Limit { name: format!("{path}.{key}").into(), unit, flow: Flow::new(rate?.0, self.burst) })
        };
        let limits: Vec<Limit> = rates.into_iter().filter_map(limit).collect();
        match self.burst {
            Some(0) => Err(format!("{path}.burst: must be at least 1")),
            Some(_) if limits.is_empty() => Err(format!("{path}.burst: there is no rate that it belongs to")),
            _ => Ok(limits),
        }
    }

    /// As [`RatesSection::check`], where connections are not kept apart.
    ///
    /// # Errors
    /// As [`RatesSection::check`].
    pub fn check_of_mail(&self, path: &str) -> Result<Vec<Limit>, String> {
        match self.connection_rate {
            Some(_) => Err(format!("{path}.connection_rate: a connection is for mail of any sender and user")),
            None => self.check(path),
        }
    }
}

/// Limits of a recipient domain: `per_domain` of a zone, `[domain."NAME"]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct DomainSection {
    /// Most connections at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
    /// Messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Pace>,
    /// Recipients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient_rate: Option<Pace>,
    /// New connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_rate: Option<Pace>,
    /// How many may come at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

impl DomainSection {
    /// The limits, named after the key that they are under.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(&self, path: &str) -> Result<Vec<Limit>, String> {
        if self.connections == Some(0) {
            return Err(format!("{path}.connections: must be at least 1"));
        }
        let Self { rate, recipient_rate, connection_rate, burst, .. } = *self;
        RatesSection { rate, recipient_rate, connection_rate, burst }.check(path)
    }
}
