//! What happened to messages, for the plugins that want to hear of it (hook `event`).
//!
//! An event is written in the transaction that makes true what it tells of: a commit, a settlement, an operator's
//! action. It is a fact that is appended to the namespace `node/event/NAME` of each plugin that has the hook, so one
//! more row for each of them; where there is none, nothing is made or written. [`feed`] hands the rows on.
//!
//! What an event has in it is a contract: `wit/hooks.wit`, interface `event`. All events of one recipient come in order.
//! Texts from outside are cut, so that a row stays far below what a fact may have; attributes are left out where they
//! would be more than 8 KiB.

mod feed;

pub use feed::run;

use crate::spool::{AppendedFor, Fact, NewMessage, Origin, StoredMessage};
use bytes::Bytes;
use postern_core::hook::{Attributes, HookPoint, Hooks};
use postern_core::mail::{EnhancedCode, Envelope, QueueId, Recipient, Seq};
use postern_core::message::HeaderBlock;
use postern_core::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Events that nobody has taken for so long are dropped.
const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Octets of names and values of attributes in an event.
const MAX_ATTRIBUTES: usize = 8 << 10;
/// Octets of a text from outside.
const MAX_TEXT: usize = 2 << 10;

/// Where the events of a plugin are.
fn namespace(consumer: &str) -> String {
    format!("{CONSUMERS}/{consumer}")
}

/// The namespace of the names of those that there may be events for.
const CONSUMERS: &str = "node/event";

/// What happens to recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The next hop took the message.
    Delivered,
    /// It is tried again.
    Deferred,
    /// It failed for good.
    Bounced,
    /// It failed for its age.
    Expired,
    /// There are no attempts until it is released.
    Held,
    /// It is no longer held.
    Released,
    /// An operator took it out of the queue.
    Deleted,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Deferred => "deferred",
            Self::Bounced => "bounced",
            Self::Expired => "expired",
            Self::Held => "held",
            Self::Released => "released",
            Self::Deleted => "deleted",
        }
    }
}

/// What happened to one recipient, as far as it is known.
#[derive(Clone, Debug)]
pub struct Happened<'a> {
    /// What it was.
    pub kind: Kind,
    /// Attempts so far.
    pub attempts: Option<u32>,
    /// What the next hop said.
    pub response: Option<String>,
    /// RFC 3463.
    pub status: Option<EnhancedCode>,
    /// Why, in a sentence.
    pub reason: Option<&'a str>,
    /// As the log names it; empty if there was none.
    pub next_hop: &'a str,
    /// The address of ours that the attempt was made from.
    pub source: Option<IpAddr>,
    /// The next attempt.
    pub due: Option<Timestamp>,
}

impl<'a> Happened<'a> {
    /// There is nothing to say but what it was.
    #[must_use]
    pub fn new(kind: Kind, reason: Option<&'a str>) -> Self {
        Self { kind, attempts: None, response: None, status: None, reason, next_hop: "", source: None, due: None }
    }
}

/// Makes the rows of events, at one time.
#[derive(Clone, Debug)]
pub struct Outbox {
    consumers: Arc<[Arc<str>]>,
    now: Timestamp,
}

impl Outbox {
    /// For the plugins that want events now; none if there are none.
    #[must_use]
    pub fn of(hooks: &dyn Hooks, now: Timestamp) -> Option<Self> {
        if !hooks.wants(HookPoint::Event) {
            return None;
        }
        let consumers = hooks.event_consumers();
        (!consumers.is_empty()).then_some(Self { consumers, now })
    }

    /// A message, whose body section has `section` octets, is committed; recipients that begin held are.
    #[must_use]
    pub fn accepted(&self, id: QueueId, message: &NewMessage, section: u64) -> Vec<Fact> {
        let NewMessage { envelope, header, queues, origin, starts, .. } = message;
        let block = HeaderBlock::parse(header);
        let about = |seq: Seq| queues.get(seq.index()).map_or("", |queue| &*queue.zone);
        let mut line = self.line("accepted", id, envelope, about(Seq(1)), origin);
        line.recipients = Some(envelope.recipients.len());
        line.size = Some(header.len() as u64 + section);
        line.message_id = block.first("Message-ID").map(|field| cut(field.value()));
        let mut facts = Vec::new();
        self.append(&line, &mut facts);
        for (seq, start) in starts {
            if let (Some(reason), Some(recipient)) = (&start.held, envelope.recipients.get(seq.index())) {
                let line = self.line("held", id, envelope, about(*seq), origin);
                let held = Happened::new(Kind::Held, Some(reason));
                self.append(&line.happened(*seq, recipient, &held), &mut facts);
            }
        }
        facts
    }

    /// Something happened to a recipient in this zone.
    pub fn happened(
        &self,
        (message, seq): (&StoredMessage, Seq),
        zone: &str,
        happened: &Happened<'_>,
        facts: &mut Vec<Fact>,
    ) {
        if let Some(recipient) = message.envelope.recipients.get(seq.index()) {
            let line = self.line(happened.kind.name(), message.id, &message.envelope, zone, &message.origin);
            self.append(&line.happened(seq, recipient, happened), facts);
        }
    }

    /// What an operator does to recipients.
    #[must_use]
    pub fn by_operator(self, kind: Kind) -> AppendedFor {
        Arc::new(move |message, seq| {
            let zone = message.queues.get(seq.index()).map_or("", |queue| &*queue.zone);
            let mut facts = Vec::new();
            self.happened((message, seq), zone, &Happened::new(kind, Some("by an operator")), &mut facts);
            facts
        })
    }

    fn line<'a>(
        &self,
        event: &'static str,
        id: QueueId,
        envelope: &'a Envelope,
        zone: &'a str,
        origin: &'a Origin,
    ) -> Line<'a> {
        Line {
            event,
            time: self.now.0,
            id: id.to_string(),
            from: envelope.reverse_path.as_str(),
            zone,
            session: &origin.session,
            user: origin.user.as_deref(),
            attributes: attributes(&origin.attributes),
            ..Line::default()
        }
    }

    fn append(&self, line: &Line<'_>, facts: &mut Vec<Fact>) {
        let Ok(json) = serde_json::to_vec(line) else { return };
        let (json, expires) = (Bytes::from(json), Some(self.now.after(MAX_AGE)));
        facts.extend(self.consumers.iter().map(|name| Fact::appended(namespace(name), json.clone(), expires)));
    }
}

/// An event as JSON.
#[derive(Default, Serialize)]
struct Line<'a> {
    event: &'static str,
    time: u64,
    id: String,
    from: &'a str,
    zone: &'a str,
    session: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipients: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    next_hop: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<u64>,
}

impl<'a> Line<'a> {
    fn happened(self, seq: Seq, recipient: &'a Recipient, happened: &Happened<'a>) -> Self {
        Self {
            seq: Some(seq.to_string()),
            to: Some(recipient.address.as_str()),
            attempts: happened.attempts,
            response: happened.response.clone().map(cut),
            status: happened.status.map(|status| status.to_string()),
            reason: happened.reason.filter(|reason| !reason.is_empty()).map(|reason| cut(reason.to_owned())),
            next_hop: happened.next_hop,
            source: happened.source,
            due: happened.due.map(|due| due.0),
            ..self
        }
    }
}

/// In the order of their names, as many as fit.
fn attributes(all: &Attributes) -> BTreeMap<&str, &str> {
    let mut left = MAX_ATTRIBUTES;
    let fits = |(name, value): &(&str, &str)| {
        let rest = left.checked_sub(name.len() + value.len());
        left = rest.unwrap_or(left);
        rest.is_some()
    };
    all.iter().map(|(name, value)| (name.as_str(), value.as_str())).filter(fits).collect()
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}
