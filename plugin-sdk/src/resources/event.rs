//! What happened to messages.

use crate::{EventKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One to 100 events, oldest first, read when they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a>(&'a [String]);

impl<'a> Batch<'a> {
    /// Events as the host gives them, each a JSON object.
    #[must_use]
    pub fn new(events: &'a [String]) -> Self {
        Self(events)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The events as JSON objects, for plugins that pass them on as they are.
    #[must_use]
    pub fn json(&self) -> &'a [String] {
        self.0
    }

    /// The events, read one by one. An error means that the host and this SDK don't understand each other.
    pub fn iter(&self) -> impl Iterator<Item = Result<Event>> + use<'a> {
        self.0.iter().map(|json| Event::parse(json))
    }
}

/// What happened to a message or to one of its recipients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Map<String, Value>")]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    #[serde(rename = "event")]
    pub kind: EventKind,
    /// When, in milliseconds since 1970.
    pub time: u64,
    /// The queue id.
    pub id: String,
    /// The mailbox of MAIL FROM; empty for `<>`.
    pub from: String,
    /// The zone.
    pub zone: String,
    /// The session in which the message came in.
    pub session: String,
    /// The user who submitted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Notes of plugins.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// How many recipients (`accepted`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipients: Option<u64>,
    /// Octets (`accepted`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The Message-ID field (`accepted`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The recipient's number in the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<String>,
    /// The recipient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Attempts so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u64>,
    /// What the next hop said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// The status (RFC 3463).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What kind of failure it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Why it was held, deferred or given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The host that was spoken to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<String>,
    /// The source address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When it is tried again, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<u64>,
    /// What this version of the SDK does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Event {
    /// Reads one.
    ///
    /// # Errors
    /// The text is not a JSON object.
    pub fn parse(json: &str) -> Result<Self> {
        Ok(Self::from(serde_json::from_str::<Map<String, Value>>(json)?))
    }
}

impl From<Map<String, Value>> for Event {
    /// Takes what it knows; a field of another type than expected stays in `other`.
    fn from(mut all: Map<String, Value>) -> Self {
        let attributes = notes(&mut all);
        let map = &mut all;
        Self {
            kind: text(map, "event").unwrap_or_default().into(),
            time: number(map, "time").unwrap_or_default(),
            id: text(map, "id").unwrap_or_default(),
            from: text(map, "from").unwrap_or_default(),
            zone: text(map, "zone").unwrap_or_default(),
            session: text(map, "session").unwrap_or_default(),
            user: text(map, "user"),
            attributes,
            recipients: number(map, "recipients"),
            size: number(map, "size"),
            message_id: text(map, "message_id"),
            seq: text(map, "seq"),
            to: text(map, "to"),
            attempts: number(map, "attempts"),
            response: text(map, "response"),
            status: text(map, "status"),
            category: text(map, "category"),
            reason: text(map, "reason"),
            next_hop: text(map, "next_hop"),
            source: text(map, "source"),
            due: number(map, "due"),
            other: all,
        }
    }
}

fn text(map: &mut Map<String, Value>, key: &str) -> Option<String> {
    if !map.get(key)?.is_string() {
        return None;
    }
    match map.remove(key) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

fn number(map: &mut Map<String, Value>, key: &str) -> Option<u64> {
    let number = map.get(key)?.as_u64()?;
    map.remove(key);
    Some(number)
}

fn notes(map: &mut Map<String, Value>) -> BTreeMap<String, String> {
    let is_notes = |value: &Value| value.as_object().is_some_and(|notes| notes.values().all(Value::is_string));
    if !map.get("attributes").is_some_and(is_notes) {
        return BTreeMap::new();
    }
    let Some(Value::Object(notes)) = map.remove("attributes") else { return BTreeMap::new() };
    let text = |(name, value)| if let Value::String(text) = value { Some((name, text)) } else { None };
    notes.into_iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_keeps_all_that_it_was_made_of() {
        let value = json!({
            "event": "deferred", "time": 1_700_000_000_000_u64, "id": "00123456789abcdef0", "from": "a@example.com",
            "zone": "bulk", "session": "s1", "attributes": { "campaign": "7" }, "seq": "001", "to": "b@example.net",
            "attempts": 2, "response": "451 4.7.1 Later", "status": "4.7.1", "due": 1_700_000_600_000_u64,
            "shoe_size": 44, "reason": ["not", "a", "text"],
        });
        let event = Event::parse(&value.to_string()).unwrap();
        assert_eq!((event.kind.clone(), event.attempts), (EventKind::Deferred, Some(2)));
        assert_eq!((event.to.as_deref(), event.reason.as_deref()), (Some("b@example.net"), None));
        assert_eq!(event.attributes["campaign"], "7");
        assert_eq!(event.other["shoe_size"], 44);
        assert_eq!(serde_json::to_value(&event).unwrap(), value);
        assert_eq!(serde_json::from_value::<Event>(value).unwrap(), event);
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        let events = [r#"{"event":"later-kind"}"#.to_owned(), "[]".to_owned()];
        let read: Vec<_> = Batch::new(&events).iter().collect();
        assert_eq!(read[0].as_ref().unwrap().kind, EventKind::Other("later-kind".into()));
        assert!(read[1].is_err());
    }
}
