//! Many messages in one request: one message with `recipients`, each of whom gets a copy of its own, or a list of
//! messages.
//!
//! What is wrong with the request as a whole refuses it before anything is queued; what is wrong with one message, or
//! can't be queued now, is in that message's result. With an Idempotency-Key each message has a row of its own: a request
//! that is repeated sends what is missing.

use super::super::problem::Problem;
use super::Sent;
use super::idempotency::{Digest, Key};
use super::json::{metadata, unique};
use super::session::{Order, Sender};
use super::value::{Bounded, twice};
use crate::spool::{Facts, Spool};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use postern_core::hook::Attributes;
use postern_core::mail::{Address, QueueId, ReversePath};
use postern_core::message::compose::{Entry, FieldError, Fresh, Message, Object, Substitutions, read_addresses};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// Messages that are on their way in at once: they share the store's syncs.
const AT_ONCE: usize = 32;
/// Octets of texts that the copies of one request that are on their way may have.
const MAX_COPIES: usize = 32 << 20;
/// Values of JSON in one message, or in a list of them.
const MAX_VALUES: usize = 200_000;
/// Those of one of `recipients`.
const MAX_TARGET_VALUES: usize = 10_000;

/// What a body asks for.
pub(super) enum Request {
    One(Object),
    Many(Bulk),
}

/// Many messages.
pub(super) enum Bulk {
    /// One message, a copy for each target.
    Copies(Box<Message>, Attributes, Vec<Target>),
    /// Messages that have nothing in common.
    List(Vec<(Message, Attributes)>),
}

/// Whom a copy is for.
pub(super) struct Target {
    to: Vec<Entry>,
    substitutions: Substitutions,
    attributes: Box<[(String, String)]>,
}

/// The answer.
#[derive(Serialize)]
struct Report {
    accepted: usize,
    refused: usize,
    results: Vec<Row>,
}

/// What became of one message.
#[derive(Serialize)]
struct Row {
    index: usize,
    #[serde(flatten)]
    sent: Option<Sent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Box<Problem>>,
}

impl Bulk {
    /// Reads a body.
    ///
    /// # Errors
    /// It is no JSON, or names the field.
    pub(super) fn read(octets: &[u8], max: usize) -> Result<Request, Problem> {
        let Parsed { value, targets } = serde_json::from_slice(octets)
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")))?;
        Ok(Self::of(value, targets, max)?)
    }

    fn of(value: Value, targets: Option<Targets>, max: usize) -> Result<Request, FieldError> {
        let too_many = |path: &str| Err(FieldError::new(path, format!("there are more than {max}")));
        if let Value::Array(items) = value {
            if items.len() > max {
                return too_many("messages");
            }
            let one = |(index, item): (usize, Value)| {
                let mut object = Object::new(item, &format!("[{index}]"))?;
                let attributes = metadata(&mut object)?;
                let message = Message::read(object)?;
                message.envelope()?;
                Ok((message, attributes))
            };
            let messages = items.into_iter().enumerate().map(one).collect::<Result<_, FieldError>>()?;
            return Ok(Request::Many(Self::List(messages)));
        }
        let mut object = Object::new(value, "")?;
        let Some(Targets(targets)) = targets else { return Ok(Request::One(object)) };
        let targets = targets?;
        if targets.len() > max {
            return too_many("recipients");
        }
        let common = metadata(&mut object)?;
        let message = Message::read(object)?;
        if message.has_recipients() {
            return Err(FieldError::new("recipients", "with them the message has no to, cc, bcc, envelope or raw"));
        }
        message.envelope()?;
        Ok(Request::Many(Self::Copies(Box::new(message), common, targets)))
    }

    /// Messages that may be on their way in at once.
    fn at_once(&self) -> usize {
        match self {
            Self::Copies(message, ..) => (MAX_COPIES / message.text_octets().max(1)).clamp(1, AT_ONCE),
            // These share what was read of the body.
            Self::List(_) => AT_ONCE,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Copies(_, _, targets) => targets.len(),
            Self::List(messages) => messages.len(),
        }
    }

    /// The message at `index`, with its notes.
    fn message(&self, index: usize) -> Result<(Message, Attributes), FieldError> {
        match self {
            Self::Copies(message, common, targets) => {
                let Target { to, substitutions, attributes } = &targets[index];
                let at = |error: FieldError| FieldError {
                    field: format!("recipients[{index}].substitutions"),
                    why: error.to_string(),
                };
                let own = attributes.iter().cloned();
                let attributes = common.clone().into_iter().chain(own).collect();
                Ok((message.filled(to.clone(), substitutions).map_err(at)?, attributes))
            }
            Self::List(messages) => Ok(messages[index].clone()),
        }
    }

    /// Sends all.
    ///
    /// # Errors
    /// The key was for another request, or the store can't be read or written.
    pub(super) async fn send<S: Spool + Facts>(
        self,
        sender: &Sender<S>,
        noted: Option<(Key, Digest)>,
    ) -> Result<Response, Problem> {
        let submission = &sender.submission;
        if let Some((key, digest)) = &noted {
            let now = (submission.clock)();
            if key.seen(&submission.facts, digest, now).await?.is_none() {
                // No message has the id 0. Once this is durable the key is for this request alone.
                submission.facts.write(vec![key.fact(digest, QueueId(0), now)]).await?;
            }
        }
        let this = &self;
        let rows = futures_util::stream::iter((0..this.len()).map(|index| async move {
            let noted = noted.map(|(key, digest)| (key.at(index), digest));
            let (sent, problem) = match this.one(sender, index, noted).await {
                Ok(sent) => (Some(sent), None),
                Err(problem) => (None, Some(Box::new(problem))),
            };
            Row { index, sent, problem }
        }));
        let results: Vec<Row> = rows.buffered(this.at_once()).collect().await;
        let accepted = results.iter().filter(|row| row.sent.is_some()).count();
        let refused = results.len() - accepted;
        let status = if refused == 0 { StatusCode::OK } else { StatusCode::MULTI_STATUS };
        Ok((status, Json(Report { accepted, refused, results })).into_response())
    }

    async fn one<S: Spool + Facts>(
        &self,
        sender: &Sender<S>,
        index: usize,
        noted: Option<(Key, Digest)>,
    ) -> Result<Sent, Problem> {
        let submission = &sender.submission;
        let (message, attributes) = self.message(index)?;
        let (from, to): (ReversePath, Vec<Address>) = message.envelope()?;
        let now = (submission.clock)();
        if let Some((key, digest)) = &noted
            && let Some(id) = key.seen(&submission.facts, digest, now).await?
        {
            return Ok(Sent::new(id, &from, &to));
        }
        let unique = unique()?;
        let content = message.compose(&Fresh { unique: &unique, hostname: submission.intake.hostname(), now })?;
        let international = message.is_international();
        drop(message);
        let order = Order { from: from.clone(), to: to.clone(), international, attributes, size: None };
        let is_eight_bit = content.is_eight_bit();
        let id = sender.send(order, content, is_eight_bit, noted).await?;
        Ok(Sent::new(id, &from, &to))
    }
}

impl Target {
    fn read(value: Value, index: usize) -> Result<Self, FieldError> {
        let path = format!("recipients[{index}]");
        if value.is_string() {
            let to = read_addresses(value, &path)?;
            return Self::checked(to, &path, Substitutions::default(), Attributes::new());
        }
        let mut object = Object::new(value, &path)?;
        let to_path = object.path("to");
        let to = object.take("to").ok_or_else(|| FieldError::new(&to_path, "it is missing"))?;
        let to = read_addresses(to, &to_path)?;
        let substitutions = Substitutions::of(&mut object, "substitutions")?;
        let attributes = metadata(&mut object)?;
        object.finish()?;
        Self::checked(to, &to_path, substitutions, attributes)
    }

    fn checked(
        mut to: Vec<Entry>,
        path: &str,
        substitutions: Substitutions,
        attributes: Attributes,
    ) -> Result<Self, FieldError> {
        if to.is_empty() {
            return Err(FieldError::new(path, "it has no address"));
        }
        to.shrink_to_fit();
        Ok(Self { to, substitutions, attributes: attributes.into_iter().collect() })
    }
}

/// A body whose `recipients` were read one by one: as JSON values all of them would take many times their text.
struct Parsed {
    value: Value,
    targets: Option<Targets>,
}

/// The recipients, or the first mistake in them.
struct Targets(Result<Vec<Target>, FieldError>);

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Body;
        impl<'de> Visitor<'de> for Body {
            type Value = Parsed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a message or a list of messages")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Parsed, A::Error> {
                let (mut map, mut targets, mut left) = (Map::new(), None, MAX_VALUES);
                while let Some(key) = from.next_key::<String>()? {
                    if map.contains_key(&key) || (key == "recipients" && targets.is_some()) {
                        return Err(twice(&key));
                    }
                    if key == "recipients" {
                        targets = Some(from.next_value()?);
                    } else {
                        let value = from.next_value_seed(Bounded(&mut left))?;
                        map.insert(key, value);
                    }
                }
                Ok(Parsed { value: Value::Object(map), targets })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Parsed, A::Error> {
                let (mut items, mut left) = (Vec::new(), MAX_VALUES);
                while let Some(item) = from.next_element_seed(Bounded(&mut left))? {
                    items.push(item);
                }
                Ok(Parsed { value: Value::Array(items), targets: None })
            }
        }
        from.deserialize_any(Body)
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Targets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of recipients")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Targets, A::Error> {
                let (mut targets, mut index) = (Ok(Vec::new()), 0);
                loop {
                    let mut left = MAX_TARGET_VALUES;
                    let Some(item) = from.next_element_seed(Bounded(&mut left))? else { break };
                    if let Ok(known) = &mut targets {
                        match Target::read(item, index) {
                            Ok(target) => known.push(target),
                            Err(error) => targets = Err(error),
                        }
                    }
                    index += 1;
                }
                Ok(Targets(targets))
            }
        }
        from.deserialize_any(List)
    }
}
