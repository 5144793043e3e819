//! The `config` table.

use postern_plugin_sdk::prelude::*;
use std::collections::BTreeMap;

/// The `config` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `http://127.0.0.1:11333`.
    pub(crate) url: String,
    pub(crate) timeout: Option<Span>,
    #[serde(default = "max_size")]
    pub(crate) max_size: Size,
    #[serde(default)]
    pub(crate) actions: BTreeMap<String, Treatment>,
    #[serde(default = "reject_reply")]
    pub(crate) reject_reply: Reply,
    #[serde(default = "defer_reply")]
    pub(crate) defer_reply: Reply,
    #[serde(default)]
    pub(crate) headers: Fields,
    #[serde(default = "yes")]
    pub(crate) milter_headers: bool,
    pub(crate) settings_id: Option<String>,
    pub(crate) mta_name: Option<String>,
}

/// Rspamd's own limit, `options.max_message`.
fn max_size() -> Size {
    Size(50 << 20)
}

fn reject_reply() -> Reply {
    Reply::new(550, "5.7.1", "This message was classified as SPAM and may not be delivered")
}

fn defer_reply() -> Reply {
    Reply::new(451, "4.7.1", "Try again later")
}

fn yes() -> bool {
    true
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Treatment {
    Accept,
    Defer,
    Reject,
    Hold,
    Discard,
}

impl std::fmt::Display for Treatment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Accept => "accept",
            Self::Defer => "defer",
            Self::Reject => "reject",
            Self::Hold => "hold",
            Self::Discard => "discard",
        })
    }
}

/// Treatments by Rspamd's action.
#[derive(Debug)]
pub struct Treatments(BTreeMap<String, Treatment>);

impl Treatments {
    /// What holds where the config says nothing. An action that is not here is accepted.
    const DEFAULTS: [(&str, Treatment); 5] = [
        ("reject", Treatment::Reject),
        ("soft reject", Treatment::Defer),
        ("greylist", Treatment::Defer),
        ("quarantine", Treatment::Hold),
        ("discard", Treatment::Discard),
    ];

    pub(crate) fn new(mut own: BTreeMap<String, Treatment>) -> Result<Self> {
        if let Some(name) = own.keys().find(|name| name.contains('_') || name.to_ascii_lowercase() != **name) {
            let text =
                format!("actions.{name}: Rspamd writes its actions in lower case and with spaces, `soft reject`");
            return Err(Error::new(text));
        }
        for (action, treatment) in Self::DEFAULTS {
            own.entry(action.to_owned()).or_insert(treatment);
        }
        Ok(Self(own))
    }

    pub(crate) fn of(&self, action: &str) -> Treatment {
        self.0.get(action).copied().unwrap_or(Treatment::Accept)
    }
}

/// Names of the fields that are added to messages which were checked; none where the config has an empty text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    #[serde(deserialize_with = "name_or_none")]
    pub(crate) action: Option<HeaderName>,
    #[serde(deserialize_with = "name_or_none")]
    pub(crate) status: Option<HeaderName>,
    #[serde(deserialize_with = "name_or_none")]
    pub(crate) score: Option<HeaderName>,
    #[serde(deserialize_with = "name_or_none")]
    pub(crate) symbols: Option<HeaderName>,
}

impl Default for Fields {
    /// ZoneMTA's.
    fn default() -> Self {
        Self {
            action: HeaderName::parse("X-Zone-Spam-Resolution").ok(),
            status: HeaderName::parse("X-Zone-Spam-Status").ok(),
            score: None,
            symbols: None,
        }
    }
}

impl Fields {
    pub(crate) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        [&self.action, &self.status, &self.score, &self.symbols].into_iter().flatten()
    }
}

fn name_or_none<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<HeaderName>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    HeaderName::parse(&text).map(Some).map_err(serde::de::Error::custom)
}
