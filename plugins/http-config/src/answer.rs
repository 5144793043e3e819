//! What the service answers, in ZoneMTA's words. Keys that are not known here are passed over.

use crate::from_field;
use crate::keys::Key;
use postern_plugin_sdk::Mailbox;
use postern_plugin_sdk::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

/// The answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The sender may not send, and why. `false` and null are none.
    #[serde(default)]
    error: Value,
    #[serde(default)]
    code: Value,
    rewrite_from: Option<RewriteFrom>,
    sending_zone: Option<String>,
    dkim: Option<Dkim>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

/// `"a@example.com"`, `"Ann <a@example.com>"`, or an object as Nodemailer has it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RewriteFrom {
    Text(String),
    Object {
        #[serde(default)]
        name: String,
        address: String,
    },
}

#[derive(Debug, Deserialize)]
struct Dkim {
    keys: Option<OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Key),
    Many(Vec<Key>),
}

impl Answer {
    /// What the client is told, if it may not send: deferred by a code of 4yz, else rejected.
    pub(crate) fn refusal(&self) -> Option<Verdict> {
        let text = match &self.error {
            Value::Null | Value::Bool(false) => return None,
            Value::String(text) if text.is_empty() => return None,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let code = match &self.code {
            Value::Number(code) => code.as_u64().and_then(|code| u16::try_from(code).ok()),
            Value::String(code) => code.trim().parse().ok(),
            _ => None,
        };
        Some(match code {
            Some(code @ 400..=499) => Verdict::Defer(Reply::lossy(code, "4.7.1", &text)),
            Some(code @ 500..=599) => Verdict::Reject(Reply::lossy(code, "5.7.1", &text)),
            _ => Verdict::Reject(Reply::lossy(550, "5.7.1", &text)),
        })
    }

    pub(crate) fn zone(&self) -> Option<&str> {
        self.sending_zone.as_deref().filter(|zone| !zone.is_empty())
    }

    /// Whose message it is to be.
    pub(crate) fn from(&self) -> Result<Option<Mailbox>> {
        let (name, address) = match &self.rewrite_from {
            None => return Ok(None),
            Some(RewriteFrom::Text(text)) if text.is_empty() => return Ok(None),
            Some(RewriteFrom::Object { name, address }) => (Some(name.clone()), address.clone()),
            Some(RewriteFrom::Text(text)) => match from_field::parse(text) {
                Some(mailbox) => (mailbox.name, mailbox.address),
                None => return Err(Error::new(format!("the answer's rewriteFrom: {text:?} is no mailbox"))),
            },
        };
        Ok(Some(Mailbox { name: name.filter(|name| !name.is_empty()), address }))
    }

    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn into_keys(self) -> Vec<Key> {
        match self.dkim.and_then(|dkim| dkim.keys) {
            None => Vec::new(),
            Some(OneOrMany::One(key)) => vec![key],
            Some(OneOrMany::Many(keys)) => keys,
        }
    }
}
