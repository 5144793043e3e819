//! `GET /api/v1/messages/{id}` and `…/content`: one message of the queue.

use super::problem::Problem;
use super::recipients::{PageQuery, next, parse_after, row};
use super::{Api, RecipientRow};
use crate::spool::{Filter, Spool};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use data_encoding::BASE64;
use postern_core::mail::{BodyType, QueueId};
use postern_core::message::{BodyHashes, ContentSource};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Octets of content in one piece of an answer.
const PIECE: usize = 64 * 1024;
/// Most octets of a header block that are shown; intake takes less.
const MAX_HEADER: u64 = 1 << 20;

/// One message.
#[derive(Debug, Deserialize, Serialize)]
pub struct MessageView {
    /// Queue id.
    pub id: String,
    /// MAIL FROM, empty for `<>`.
    pub sender: String,
    /// `7BIT` or `8BITMIME`.
    pub body: String,
    /// Was SMTPUTF8 asked for?
    pub smtputf8: bool,
    /// MAIL's RET (RFC 3461).
    pub ret: Option<String>,
    /// MAIL's ENVID (RFC 3461), decoded.
    pub envid: Option<String>,
    /// Octets of the content.
    pub size: u64,
    /// Octets of its header block.
    pub header_size: u64,
    /// DKIM's hashes of its body, in base64 as in `bh=`.
    pub body_hashes: Option<BodyHashesView>,
    /// When it was accepted, RFC 3339.
    pub accepted: String,
    /// First attempt not before this, RFC 3339.
    pub deliver_at: String,
    /// Session it came in by, `-` for DSNs of the server.
    pub session: String,
    /// Listener, as in `[listener.NAME]`.
    pub listener: String,
    /// The client's end of the connection.
    pub peer: Option<String>,
    /// The authenticated user.
    pub user: Option<String>,
    /// How many recipients it was accepted for.
    pub accepted_recipients: usize,
    /// Those that are still in the queue, a page of them.
    pub recipients: Vec<RecipientRow>,
    /// What to ask for as `after` for the next page; none after the last.
    pub next: Option<String>,
    /// The header block; what is not UTF-8 in it is replaced. None if it can't be read.
    pub header: Option<String>,
}

/// SHA-256 of a body by canonicalization (RFC 6376 section 3.4).
#[derive(Debug, Deserialize, Serialize)]
pub struct BodyHashesView {
    /// As it is, but for empty lines at its end.
    pub simple: String,
    /// With white space made one.
    pub relaxed: String,
}

/// The message, with the first (or next) page of its recipients.
pub async fn show<S: Spool>(
    State(api): State<Api<S>>,
    Path(id): Path<String>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<MessageView>, Problem> {
    let id = parse_id(&id)?;
    let Query(query) = query?;
    let limit = query.limit()?;
    let filter = Filter { message: Some(id), ..query.filter()? };
    let listed = api.spool.list(&filter, parse_after(query.after.as_deref())?, limit).await?;
    let Some(first) = listed.first() else {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no message {id} in the queue")));
    };
    let message = Arc::clone(&first.message);
    let next = next(&listed, limit);
    let header = match api.spool.open(id).await {
        Ok(content) => header_text(&*content, message.header_len.min(MAX_HEADER)).await,
        Err(_) => None,
    };
    let origin = &message.origin;
    Ok(Json(MessageView {
        id: id.to_string(),
        sender: message.envelope.reverse_path.as_str().to_owned(),
        body: match message.envelope.body {
            BodyType::SevenBit => "7BIT",
            BodyType::EightBit => "8BITMIME",
        }
        .to_owned(),
        smtputf8: message.envelope.smtputf8,
        ret: message.envelope.ret.map(|ret| ret.as_str().to_owned()),
        envid: message.envelope.envid.as_ref().map(|envid| envid.as_str().to_owned()),
        size: message.len,
        header_size: message.header_len,
        body_hashes: message.body_hashes.map(|BodyHashes { simple, relaxed }| BodyHashesView {
            simple: BASE64.encode(&simple),
            relaxed: BASE64.encode(&relaxed),
        }),
        accepted: message.accepted.to_string(),
        deliver_at: message.deliver_at.to_string(),
        session: origin.session.to_string(),
        listener: origin.listener.to_string(),
        peer: origin.peer_addr.map(|peer| peer.to_string()),
        user: origin.user.as_deref().map(str::to_owned),
        accepted_recipients: message.envelope.recipients.len(),
        recipients: listed.iter().map(row).collect(),
        next,
        header,
    }))
}

/// The content as it is stored, octet for octet, streamed: a client that reads slowly holds one piece in memory.
pub async fn content<S: Spool>(State(api): State<Api<S>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let source = api.spool.open(id).await?;
    let len = source.len();
    let pieces = futures_util::stream::try_unfold((source, 0u64), |(source, at)| async move {
        let piece = source.read(at, PIECE).await?;
        let at = at + piece.len() as u64;
        Ok::<_, std::io::Error>((!piece.is_empty()).then_some((piece, (source, at))))
    });
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("message/rfc822"));
    // A client sees by it that the content was cut off, if a piece of it can't be read.
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    Ok(response)
}

async fn header_text(content: &dyn ContentSource, len: u64) -> Option<String> {
    let mut header = Vec::new();
    while (header.len() as u64) < len {
        let missing = usize::try_from(len - header.len() as u64).unwrap_or(PIECE);
        let piece: Bytes = content.read(header.len() as u64, missing).await.ok().filter(|piece| !piece.is_empty())?;
        header.extend_from_slice(&piece);
    }
    Some(String::from_utf8_lossy(&header).into_owned())
}

pub(super) fn parse_id(text: &str) -> Result<QueueId, Problem> {
    text.parse().map_err(|_| Problem::field("id", format!("`{text}` is not a queue id (18 hex digits)")))
}
