//! Paths of ZoneMTA's API that read: `/queue/:zone`, `/counter/zone`, `/queued/:type/:zone`, `/message/:id`, `/fetch/:id`.
//!
//! What waits for its first attempt, or is in one, is `QUEUED`; what was deferred or is held is `DEFERRED`.

use super::Api;
use super::messages::{self, parse_id};
use super::problem::Problem;
use crate::spool::{Filter, Listed, Spool, State as Standing};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use postern_core::mail::RecipientId;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Recipients that are read at a time.
const PAGE: usize = 1000;
/// Most recipients that are counted; more make an answer that says so.
const MAX_COUNTED: usize = 1_000_000;

/// What waits in a zone.
#[derive(Default)]
struct Counted {
    queued: u64,
    deferred: u64,
}

impl Counted {
    fn add(&mut self, listed: &Listed) {
        if is_deferred(listed) { self.deferred += 1 } else { self.queued += 1 }
    }
}

fn is_deferred(listed: &Listed) -> bool {
    match listed.state {
        Standing::InAttempt => false,
        Standing::Held => true,
        Standing::Pending => listed.attempts > 0,
    }
}

/// `GET /queue/:zone`
pub async fn queue<S: Spool>(State(api): State<Api<S>>, Path(zone): Path<String>) -> Result<Json<Value>, Problem> {
    let mut domains: BTreeMap<String, Counted> = BTreeMap::new();
    each(&api, Filter { zone: Some(zone), ..Filter::default() }, |listed| {
        let recipient = &listed.message.envelope.recipients[listed.seq.index()];
        domains.entry(recipient.address.domain().to_ascii_lowercase()).or_default().add(listed);
    })
    .await?;
    let sum = |part: fn(&Counted) -> u64| domains.values().map(part).sum::<u64>();
    let (queued, deferred) = (sum(|counted| counted.queued), sum(|counted| counted.deferred));
    let rows: Vec<Value> = domains
        .iter()
        .map(|(domain, counted)| json!({"domain": domain, "queued": counted.queued, "deferred": counted.deferred}))
        .collect();
    Ok(Json(json!({"time": (api.clock)().0, "queued": queued, "deferred": deferred, "domains": rows})))
}

/// `GET /counter/zone`: all zones by name.
pub async fn counters<S: Spool>(State(api): State<Api<S>>) -> Result<Json<Value>, Problem> {
    let mut zones: BTreeMap<String, Counted> = BTreeMap::new();
    each(&api, Filter::default(), |listed| {
        let zone = &listed.message.queues[listed.seq.index()].zone;
        zones.entry(zone.to_string()).or_default().add(listed);
    })
    .await?;
    let rows: Map<String, Value> = zones.iter().map(|(zone, counted)| (zone.clone(), rows(counted))).collect();
    Ok(Json(Value::Object(rows)))
}

/// `GET /counter/zone/:zone`
pub async fn counter<S: Spool>(State(api): State<Api<S>>, Path(zone): Path<String>) -> Result<Json<Value>, Problem> {
    let mut counted = Counted::default();
    each(&api, Filter { zone: Some(zone), ..Filter::default() }, |listed| counted.add(listed)).await?;
    Ok(Json(rows(&counted)))
}

fn rows(counted: &Counted) -> Value {
    json!({"active": {"rows": counted.queued}, "deferred": {"rows": counted.deferred}})
}

/// Calls `see` for each recipient that fits, a page at a time.
async fn each<S: Spool>(api: &Api<S>, filter: Filter, mut see: impl FnMut(&Listed)) -> Result<(), Problem> {
    let (mut after, mut seen) = (None, 0);
    loop {
        let page = api.spool.list(&filter, after, PAGE).await?;
        page.iter().for_each(&mut see);
        seen += page.len();
        let Some(last) = page.last().filter(|_| page.len() == PAGE) else { return Ok(()) };
        if seen >= MAX_COUNTED {
            let detail = format!("more than {MAX_COUNTED} recipients are queued; see /metrics for their number");
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
        }
        after = Some(RecipientId { message: last.message.id, seq: last.seq });
    }
}

/// Which page of `/queued/:type/:zone`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    start: Option<usize>,
    #[serde(rename = "pageSize")]
    page_size: Option<usize>,
}

/// `GET /queued/:type/:zone`: recipients by id.
pub async fn queued<S: Spool>(
    State(api): State<Api<S>>,
    Path((kind, zone)): Path<(String, String)>,
    query: Result<Query<PageQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(PageQuery { start, page_size }) = query?;
    let wants_deferred = match kind.as_str() {
        "active" | "queued" => false,
        "deferred" => true,
        _ => return Err(Problem::new(StatusCode::NOT_FOUND, "the type is queued (or active) or deferred")),
    };
    let (start, size) = (start.unwrap_or(0), page_size.unwrap_or(PAGE).clamp(1, PAGE));
    let (mut list, mut at) = (Vec::new(), 0_usize);
    each(&api, Filter { zone: Some(zone.clone()), ..Filter::default() }, |listed| {
        if is_deferred(listed) != wants_deferred {
            return;
        }
        if at >= start && list.len() < size {
            let recipient = &listed.message.envelope.recipients[listed.seq.index()];
            list.push(json!({
                "id": listed.message.id.to_string(),
                "seq": listed.seq.to_string(),
                "zone": zone,
                "recipient": recipient.address.as_str(),
            }));
        }
        at += 1;
    })
    .await?;
    Ok(Json(json!({"zone": zone, "type": kind, "list": list})))
}

/// `GET /message/:id`: up to 1,000 recipients that are not finished.
pub async fn message<S: Spool>(State(api): State<Api<S>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let id = parse_id(&id)?;
    let filter = Filter { message: Some(id), ..Filter::default() };
    let listed = api.spool.list(&filter, None, PAGE).await?;
    let first = listed.first().ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "Selected message does not exist"))?;
    let (message, origin) = (&first.message, &first.message.origin);
    let meta = json!({
        "id": id.to_string(),
        "interface": &*origin.listener,
        "from": message.envelope.reverse_path.as_str(),
        "to": message.envelope.recipients.iter().take(PAGE).map(|to| to.address.as_str()).collect::<Vec<_>>(),
        "origin": origin.peer_addr.map(|peer| peer.ip().to_string()),
        "user": origin.user.as_deref(),
        "time": message.accepted.0,
        "bodySize": message.len.saturating_sub(message.header_len),
    });
    let rows: Vec<Value> = listed.iter().map(row).collect();
    Ok(Json(json!({"meta": meta, "messages": rows})))
}

fn row(listed: &Listed) -> Value {
    let index = listed.seq.index();
    let deferred = (listed.attempts > 0)
        .then(|| json!({"count": listed.attempts, "next": listed.due.0, "response": listed.reason}));
    json!({
        "id": listed.message.id.to_string(),
        "seq": listed.seq.to_string(),
        "zone": &*listed.message.queues[index].zone,
        "recipient": listed.message.envelope.recipients[index].address.as_str(),
        "status": if is_deferred(listed) { "DEFERRED" } else { "QUEUED" },
        "lock": listed.state == Standing::InAttempt,
        "deferred": deferred,
    })
}

/// `GET /fetch/:id`: the content.
pub async fn fetch<S: Spool>(api: State<Api<S>>, id: Path<String>) -> Result<Response, Problem> {
    messages::content(api, id).await
}
