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
use crate::spool::{Facts, Spool};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use postern_core::hook::Attributes;
use postern_core::mail::{Address, QueueId, ReversePath};
use postern_core::message::compose::{Entry, FieldError, Fresh, Message, Object, Substitutions, read_addresses};
use serde::Serialize;
use serde_json::Value;

/// Messages that are on their way in at once: they share the store's syncs.
const AT_ONCE: usize = 32;

/// What a body asks for.
pub(super) enum Request {
    One(Object),
    Many(Bulk),
}

/// Many messages.
pub(super) enum Bulk {
    /// One message, a copy for each target.
    Copies(Box<Message>, Vec<Target>),
    /// Messages that have nothing in common.
    List(Vec<(Message, Attributes)>),
}

/// Whom a copy is for.
pub(super) struct Target {
    to: Vec<Entry>,
    substitutions: Substitutions,
    attributes: Attributes,
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
    problem: Option<Problem>,
}

impl Bulk {
    /// Reads a body.
    ///
    /// # Errors
    /// Names the field.
    pub(super) fn read(value: Value, max: usize) -> Result<Request, FieldError> {
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
        let Some(recipients) = object.take("recipients") else { return Ok(Request::One(object)) };
        let Value::Array(recipients) = recipients else {
            return Err(FieldError::new("recipients", "it must be a list"));
        };
        if recipients.len() > max {
            return too_many("recipients");
        }
        let common = metadata(&mut object)?;
        let message = Message::read(object)?;
        if message.has_recipients() {
            return Err(FieldError::new("recipients", "with them the message has no to, cc, bcc, envelope or raw"));
        }
        message.envelope()?;
        let target = |(index, item)| Target::read(item, index, &common);
        let targets = recipients.into_iter().enumerate().map(target).collect::<Result<_, _>>()?;
        Ok(Request::Many(Self::Copies(Box::new(message), targets)))
    }

    fn len(&self) -> usize {
        match self {
            Self::Copies(_, targets) => targets.len(),
            Self::List(messages) => messages.len(),
        }
    }

    /// The message at `index`, with its notes.
    fn message(&self, index: usize) -> Result<(Message, Attributes), FieldError> {
        match self {
            Self::Copies(message, targets) => {
                let Target { to, substitutions, attributes } = &targets[index];
                let at = |error: FieldError| FieldError {
                    field: format!("recipients[{index}].substitutions"),
                    why: error.to_string(),
                };
                Ok((message.filled(to.clone(), substitutions).map_err(at)?, attributes.clone()))
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
                Err(problem) => (None, Some(problem)),
            };
            Row { index, sent, problem }
        }));
        let results: Vec<Row> = rows.buffered(AT_ONCE).collect().await;
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
    fn read(value: Value, index: usize, common: &Attributes) -> Result<Self, FieldError> {
        let path = format!("recipients[{index}]");
        if value.is_string() {
            let to = read_addresses(value, &path)?;
            return Self::checked(to, &path, Substitutions::default(), common.clone());
        }
        let mut object = Object::new(value, &path)?;
        let to_path = object.path("to");
        let to = object.take("to").ok_or_else(|| FieldError::new(&to_path, "it is missing"))?;
        let to = read_addresses(to, &to_path)?;
        let substitutions = Substitutions::of(&mut object, "substitutions")?;
        let mut attributes = common.clone();
        attributes.extend(metadata(&mut object)?);
        object.finish()?;
        Self::checked(to, &to_path, substitutions, attributes)
    }

    fn checked(
        to: Vec<Entry>,
        path: &str,
        substitutions: Substitutions,
        attributes: Attributes,
    ) -> Result<Self, FieldError> {
        if to.is_empty() {
            return Err(FieldError::new(path, "it has no address"));
        }
        Ok(Self { to, substitutions, attributes })
    }
}
