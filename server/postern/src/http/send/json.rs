//! `POST /send`: messages as JSON of Nodemailer's shape.

use super::super::body::{Pieces, Whole};
use super::super::credentials::Caller;
use super::super::problem::Problem;
use super::idempotency::{Digest, Key};
use super::session::{Order, Sender};
use super::{Sent, Submission, bulk};
use crate::spool::{Facts, Spool};
use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use postern_core::hook::{Attributes, MAX_ATTRIBUTE, MAX_ATTRIBUTES, Session};
use postern_core::message::compose::{FieldError, Fresh, Message, Object, Substitutions};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// The types that a body may have.
const TYPES: [&str; 1] = ["application/json"];

/// The handler.
pub async fn send<S: Spool + Facts>(
    State(submission): State<Arc<Submission<S>>>,
    Extension(caller): Extension<Caller>,
    Extension(session): Extension<Session>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let mut pieces = Pieces::new(&parts.headers, body, &TYPES, submission.limits.max_body)?;
    let whole = Whole::read(&mut pieces, &submission.bodies).await?;
    // The request is complete: it is worked off even if nobody waits for the answer.
    let work = tokio::spawn(work(submission, caller, session, parts.headers, whole));
    work.await.map_err(|ended| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, ended.to_string()))?
}

async fn work<S: Spool + Facts>(
    submission: Arc<Submission<S>>,
    caller: Caller,
    session: Session,
    headers: HeaderMap,
    whole: Whole,
) -> Result<Response, Problem> {
    let (octets, _place) = whole.split();
    let digest: Digest = Sha256::new().chain_update(b"json\0").chain_update(&octets).finalize().into();
    let request = bulk::Bulk::read(&octets, submission.limits.max_recipients)?;
    drop(octets);
    let sender = Sender::new(Arc::clone(&submission), &caller, session, &headers).await?;
    let key = Key::of(&headers, sender.user())?;
    let _reserved = match key {
        Some(key) => Some(submission.reservations.reserve(key).await),
        None => None,
    };
    let noted = key.map(|key| (key, digest));
    match request {
        bulk::Request::Many(bulk) => bulk.send(&sender, noted).await,
        bulk::Request::One(object) => Ok(Json(one(&sender, object, noted).await?).into_response()),
    }
}

/// Sends one message.
async fn one<S: Spool + Facts>(
    sender: &Sender<S>,
    mut object: Object,
    noted: Option<(Key, Digest)>,
) -> Result<Sent, Problem> {
    let attributes = metadata(&mut object)?;
    let message = Message::read(object)?;
    let (from, to) = message.envelope()?;
    let submission = &sender.submission;
    if let Some((key, digest)) = &noted
        && let Some(id) = key.seen(&submission.facts, digest, (submission.clock)()).await?
    {
        return Ok(Sent::new(id, &from, &to));
    }
    let unique = unique()?;
    let hostname = submission.intake.hostname();
    let content = message.compose(&Fresh { unique: &unique, hostname, now: (submission.clock)() })?;
    let international = message.is_international();
    let order = Order { from: from.clone(), to: to.clone(), international, attributes, size: None };
    let is_eight_bit = content.is_eight_bit();
    let id = sender.send(order, content, is_eight_bit, noted).await?;
    Ok(Sent::new(id, &from, &to))
}

/// `metadata`: notes that plugins find as attributes `metadata.NAME`.
pub(super) fn metadata(object: &mut Object) -> Result<Attributes, FieldError> {
    let path = object.path("metadata");
    let mut attributes = Attributes::new();
    for (name, value) in Substitutions::of(object, "metadata")?.iter() {
        let ok =
            (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if !ok {
            return Err(FieldError::new(&path, "a name has 1 to 64 letters, digits, `_`, `-` or `.`"));
        }
        if value.len() > MAX_ATTRIBUTE || value.contains(char::is_control) {
            let why = format!("it must have at most {MAX_ATTRIBUTE} octets and no control characters");
            return Err(FieldError::new(format!("{path}.{name}"), why));
        }
        attributes.insert(format!("metadata.{name}"), value.to_owned());
    }
    if attributes.len() > MAX_ATTRIBUTES / 2 {
        return Err(FieldError::new(path, format!("there are more than {}", MAX_ATTRIBUTES / 2)));
    }
    Ok(attributes)
}

/// 128 random bits in hex.
pub(super) fn unique() -> Result<String, Problem> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets)
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the system has no random octets"))?;
    Ok(data_encoding::HEXLOWER.encode(&octets))
}
