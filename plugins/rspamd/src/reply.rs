//! What Rspamd answers.

use postern_plugin_sdk::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Octets of a list of symbols; the others are counted.
const MAX_SYMBOLS: usize = 2 << 10;

/// The reply to `/checkv2`, as far as it is used. Later versions may have more.
#[derive(Debug, Deserialize)]
pub struct Checked {
    pub(crate) action: String,
    #[serde(default)]
    pub(crate) score: f64,
    #[serde(default)]
    pub(crate) required_score: f64,
    #[serde(default)]
    pub(crate) symbols: BTreeMap<String, Symbol>,
    /// What the subject is to be, for the action `rewrite subject`.
    pub(crate) subject: Option<String>,
    /// Texts for others; `smtp_message` is the client's.
    #[serde(default)]
    messages: BTreeMap<String, Value>,
    #[serde(default)]
    pub(crate) milter: Milter,
}

#[derive(Debug, Deserialize)]
pub struct Symbol {
    #[serde(default)]
    pub(crate) score: f64,
}

/// Header edits that Rspamd asks for.
#[derive(Debug, Default, Deserialize)]
pub struct Milter {
    /// Values by name: a text, an object with `value` and `order`, or a list of such.
    #[serde(default)]
    pub(crate) add_headers: BTreeMap<String, Value>,
    /// By name which of the fields goes: 0 is all, 1 the first, -1 the last.
    #[serde(default)]
    pub(crate) remove_headers: BTreeMap<String, Value>,
}

impl Checked {
    pub(crate) fn read(status: u16, body: &[u8]) -> Result<Self> {
        if status != 200 {
            let said = serde_json::from_slice::<Value>(body).ok();
            let text = said.as_ref().and_then(|value| value.get("error")).and_then(Value::as_str).unwrap_or_default();
            let text: String = text.chars().take(200).collect();
            return Err(Error::new(format!("Rspamd answered with status {status} {text}").trim_end().to_owned()));
        }
        serde_json::from_slice(body).map_err(|e| Error::from(e).context("Rspamd's reply"))
    }

    /// `score=4.10 required=15.00 action="add header"`.
    pub(crate) fn summary(&self) -> String {
        let action: String = self.action.chars().filter(|c| !c.is_control()).take(64).collect();
        format!("score={:.2} required={:.2} action={action:?}", self.score, self.required_score)
    }

    /// Is it one of the actions that mark spam? As ZoneMTA's `is_spam`.
    pub(crate) fn is_spam(&self) -> bool {
        !matches!(self.action.as_str(), "no action" | "greylist" | "soft reject")
    }

    /// The action as the name of a metric.
    pub(crate) fn metric(&self) -> String {
        let name = self.action.chars().take(50).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
        format!("action_{}", name.collect::<String>())
    }

    /// The text that Rspamd has for the client.
    pub(crate) fn text(&self) -> Option<&str> {
        self.messages.get("smtp_message").and_then(Value::as_str).filter(|text| !text.trim().is_empty())
    }

    /// `[NAME=1.50, OTHER=-0.10]`, what weighs most first.
    pub(crate) fn symbols_by_weight(&self) -> String {
        let mut symbols: Vec<_> = self.symbols.iter().map(|(name, symbol)| (name, symbol.score)).collect();
        symbols.sort_by(|(_, a), (_, b)| b.abs().total_cmp(&a.abs()));
        let mut text = String::from("[");
        for (at, (name, score)) in symbols.iter().enumerate() {
            if text.len() + name.len() > MAX_SYMBOLS {
                let _ = write!(text, ", {} more", symbols.len() - at);
                break;
            }
            let comma = if at == 0 { "" } else { ", " };
            let _ = write!(text, "{comma}{name}={score:.2}");
        }
        text.push(']');
        text
    }
}
