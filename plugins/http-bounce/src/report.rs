//! What the service is told of one event, in ZoneMTA's words.

use postern_plugin_sdk::prelude::*;
use serde_json::{Map, Value};

/// The attribute with the message's field X-FBL.
pub(crate) const FBL: &str = "fbl";

/// One event.
#[derive(Debug)]
pub struct Report {
    /// What it is known by: the same whenever the event comes, another one for every other event.
    pub(crate) key: String,
    /// Names and values in order.
    fields: Vec<(&'static str, String)>,
    time: u64,
}

impl Report {
    pub(crate) fn of(event: Event) -> Self {
        let seq = event.seq.unwrap_or_default();
        let key = format!("{}.{seq}-{}-{}", event.id, event.kind, event.time);
        let mut fields = vec![
            ("id", event.id),
            ("to", event.to.unwrap_or_default()),
            ("seq", seq),
            ("returnPath", event.from),
            ("category", event.category.unwrap_or_default()),
            ("time", event.time.to_string()),
            ("response", event.response.or(event.reason).unwrap_or_default()),
        ];
        if let Some(fbl) = event.attributes.get(FBL) {
            fields.push(("fbl", fbl.clone()));
        }
        fields.push(("event", event.kind.to_string()));
        if let Some(status) = event.status {
            fields.push(("status", status));
        }
        Self { key, fields, time: event.time }
    }

    /// For a form.
    pub(crate) fn fields(&self) -> Vec<(&str, &str)> {
        self.fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    /// As a JSON object, with the time as a number.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let value = |name: &str, value: &str| if name == "time" { self.time.into() } else { value.into() };
        self.fields.iter().map(|(name, text)| ((*name).to_owned(), value(name, text))).collect()
    }
}
