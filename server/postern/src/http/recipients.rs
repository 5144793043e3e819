//! `GET /api/v1/recipients`: the recipients in the queue, a page at a time.

use super::Api;
use super::problem::Problem;
use crate::spool::{Filter, Listed, Spool};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use postern_core::mail::RecipientId;
use serde::{Deserialize, Serialize};

/// Most rows of a page.
const MAX_PAGE: usize = 1000;

/// What page is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// Which recipients; all if there is none. See [`Filter`].
    filter: Option<String>,
    /// The `next` of the page before.
    pub(super) after: Option<String>,
    /// Most rows; 1,000 at most.
    limit: Option<String>,
}

impl PageQuery {
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = &self.limit else { return Ok(MAX_PAGE) };
        let limit = text.parse().map_err(|_| Problem::field("limit", "limit: it must be a number"))?;
        Ok(usize::clamp(limit, 1, MAX_PAGE))
    }

    pub(super) fn filter(&self) -> Result<Filter, Problem> {
        let filter = self.filter.as_deref().unwrap_or_default();
        filter.parse().map_err(|error| Problem::field("filter", format!("filter: {error}")))
    }
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
    State(api): State<Api<S>>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<RecipientsPage>, Problem> {
    let Query(query) = query?;
    let limit = query.limit()?;
    let listed = api.spool.list(&query.filter()?, parse_after(query.after.as_deref())?, limit).await?;
    Ok(Json(RecipientsPage { recipients: listed.iter().map(row).collect(), next: next(&listed, limit) }))
}

/// Where the next page begins, if this one is full.
pub(super) fn next(listed: &[Listed], limit: usize) -> Option<String> {
    let last = listed.last().filter(|_| listed.len() == limit)?;
    Some(RecipientId { message: last.message.id, seq: last.seq }.to_string())
}

pub(super) fn parse_after(after: Option<&str>) -> Result<Option<RecipientId>, Problem> {
    let parsed = after.map(str::parse).transpose();
    parsed.map_err(|error| Problem::field("after", format!("after: {error}")))
}

pub(super) fn row(listed: &Listed) -> RecipientRow {
    let message = &listed.message;
    let (index, queue) = (listed.seq.index(), &message.queues[listed.seq.index()]);
    RecipientRow {
        id: message.id.to_string(),
        seq: listed.seq.to_string(),
        state: listed.state.name().to_owned(),
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
