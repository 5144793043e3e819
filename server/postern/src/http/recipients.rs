//! `GET /api/v1/recipients`: the recipients in the queue, a page at a time.

use crate::spool::{Filter, Listed, Spool, State as RecipientState};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use postern_core::mail::{RecipientId, Seq};
use serde::{Deserialize, Serialize};

/// Most rows of a page.
const MAX_PAGE: usize = 1000;

/// What page is asked for.
#[derive(Debug, Deserialize)]
pub struct PageQuery {
    /// The `next` of the page before.
    after: Option<String>,
    /// Most rows; 1,000 at most.
    limit: Option<usize>,
}

/// One page.
#[derive(Debug, Deserialize, Serialize)]
pub struct RecipientsPage {
    /// By id.
    pub recipients: Vec<RecipientRow>,
    /// What to ask for as `after` next; none after the last page.
    pub next: Option<String>,
}

/// One recipient in the queue.
#[derive(Debug, Deserialize, Serialize)]
pub struct RecipientRow {
    /// Queue id of the message.
    pub id: String,
    /// Place of the recipient in it, three hex digits or more.
    pub seq: String,
    /// `pending`, `attempt` or `held`.
    pub state: String,
    /// Zone that it waits in.
    pub zone: String,
    /// Where it is to go.
    pub destination: String,
    /// MAIL FROM, empty for `<>`.
    pub sender: String,
    /// RCPT TO.
    pub recipient: String,
    /// Octets of the content.
    pub size: u64,
    /// When the message was accepted, RFC 3339.
    pub accepted: String,
    /// Attempts so far.
    pub attempts: u32,
    /// Next attempt, RFC 3339.
    pub due: String,
    /// Why it was deferred last.
    pub reason: String,
}

/// The handler.
pub async fn list<S: Spool>(
    State(spool): State<S>,
    Query(query): Query<PageQuery>,
) -> Result<Json<RecipientsPage>, (StatusCode, String)> {
    let after = match query.after.as_deref().map(parse_id) {
        Some(None) => return Err((StatusCode::BAD_REQUEST, "after: not a recipient id".into())),
        other => other.flatten(),
    };
    let limit = query.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let listed = spool.list(&Filter::default(), after, limit).await;
    let listed = listed.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let last = listed.last().filter(|_| listed.len() == limit);
    let next = last.map(|l| RecipientId { message: l.message.id, seq: l.seq }.to_string());
    Ok(Json(RecipientsPage { recipients: listed.iter().map(row).collect(), next }))
}

fn parse_id(text: &str) -> Option<RecipientId> {
    let (message, seq) = text.split_once('.')?;
    Some(RecipientId { message: message.parse().ok()?, seq: Seq(u32::from_str_radix(seq, 16).ok()?) })
}

fn row(listed: &Listed) -> RecipientRow {
    let message = &listed.message;
    let (index, queue) = (listed.seq.index(), &message.queues[listed.seq.index()]);
    RecipientRow {
        id: message.id.to_string(),
        seq: listed.seq.to_string(),
        state: match listed.state {
            RecipientState::Pending => "pending",
            RecipientState::InAttempt => "attempt",
            RecipientState::Held => "held",
        }
        .into(),
        zone: queue.zone.to_string(),
        destination: queue.destination.to_string(),
        sender: message.envelope.reverse_path.as_str().to_owned(),
        recipient: message.envelope.recipients[index].address.to_string(),
        size: message.len,
        accepted: message.accepted.to_string(),
        attempts: listed.attempts,
        due: listed.due.to_string(),
        reason: listed.reason.clone(),
    }
}
