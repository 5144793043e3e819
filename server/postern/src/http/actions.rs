//! `POST /api/v1/{retry,hold,release,delete}`: what operators do to recipients in the queue.
//!
//! ```json
//! {"filter": "zone=bulk domain=example.org", "dry_run": false}   →   {"count": 12}
//! ```
//! An empty filter fits all, and is refused unless `"all": true` stands beside it.

use super::Api;
use super::problem::Problem;
use crate::events::{Kind, Outbox};
use crate::spool::{Action, Filter, Spool};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::info;

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Due now; next hops that rest are tried again.
    Retry,
    /// No attempts until released.
    Hold,
    /// Held ones are due now.
    Release,
    /// Out of the queue without a DSN.
    Delete,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Retry, Self::Hold, Self::Release, Self::Delete];

    /// Its name, which is its path.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Delete => "delete",
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ActionRequest {
    /// Whom it is about; see [`Filter`].
    pub filter: String,
    /// An empty filter is meant.
    pub all: bool,
    /// Only count.
    pub dry_run: bool,
}

/// What was done.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct ActionReply {
    /// How many recipients it was done to, or would be.
    pub count: u64,
}

/// The handler of all of them.
pub async fn act<S: Spool>(verb: Verb, api: State<Api<S>>, body: Bytes) -> Result<Json<ActionReply>, Problem> {
    let State(api) = api;
    let now = (api.clock)();
    let action = match verb {
        Verb::Retry => Action::Retry(now),
        Verb::Hold => Action::Hold,
        Verb::Release => Action::Release(now),
        Verb::Delete => Action::Delete,
    };
    let request = read(&body)?;
    let filter: Filter =
        request.filter.parse().map_err(|error| Problem::field("filter", format!("filter: {error}")))?;
    if filter.is_empty() && !request.all {
        return Err(Problem::field(
            "filter",
            "filter: it is empty and would fit all; say \"all\": true if that is meant",
        ));
    }
    if request.dry_run {
        return Ok(Json(ActionReply { count: api.spool.survey(&filter, action).await?.recipients }));
    }
    // Dropping a request must not leave half of it undone: it goes on without the client.
    let task = tokio::spawn(async move {
        // Which queues it is about is seen before they change.
        let reach = match action {
            Action::Retry(_) => Some(api.spool.survey(&filter, action).await?),
            Action::Hold | Action::Release(_) | Action::Delete => None,
        };
        let kind = match action {
            Action::Hold => Some(Kind::Held),
            Action::Release(_) => Some(Kind::Released),
            Action::Delete => Some(Kind::Deleted),
            Action::Retry(_) => None,
        };
        let outbox = kind.and_then(|kind| Some(Outbox::of(&*api.hooks.get(), now)?.by_operator(kind)));
        let count = api.spool.admin_with(&filter, action, outbox).await?;
        if let Some(reach) = reach {
            api.back_off.clear(&reach.queues);
        }
        info!(verb = verb.name(), filter = request.filter.as_str(), count, "OPERATOR");
        Ok::<_, Problem>(ActionReply { count })
    });
    match task.await {
        Ok(done) => done.map(Json),
        Err(ended) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, ended.to_string())),
    }
}

/// Reads a request by hand, so that the field that is wrong can be named.
fn read(body: &[u8]) -> Result<ActionRequest, Problem> {
    let wrong = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let value: Value = serde_json::from_slice(body).map_err(|error| wrong(format!("the body is not JSON: {error}")))?;
    let Value::Object(fields) = value else { return Err(wrong("the body is not a JSON object".to_owned())) };
    let mut request = ActionRequest::default();
    if !fields.contains_key("filter") {
        return Err(Problem::field("filter", "filter: it is missing"));
    }
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("filter", Value::String(filter)) => request.filter = filter,
            ("all", Value::Bool(all)) => request.all = all,
            ("dry_run", Value::Bool(dry_run)) => request.dry_run = dry_run,
            ("filter", _) => return Err(Problem::field(&name, "filter: it must be a string")),
            ("all" | "dry_run", _) => return Err(Problem::field(&name, format!("{name}: it must be true or false"))),
            _ => return Err(Problem::field(&name, format!("{name}: there is no such field"))),
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_that_is_wrong_is_named() {
        let check = |body: &str, field: Option<&str>| {
            let problem = read(body.as_bytes()).unwrap_err();
            assert_eq!((problem.status, problem.field.as_deref()), (400, field), "{body}: {problem:?}");
        };
        check("", None);
        check("[]", None);
        check("{}", Some("filter"));
        check(r#"{"filter": 5}"#, Some("filter"));
        check(r#"{"filter": "", "dry_run": "yes"}"#, Some("dry_run"));
        check(r#"{"filter": "", "dry": true}"#, Some("dry"));
        let request = read(br#"{"filter": "zone=a", "dry_run": true, "all": false}"#).unwrap();
        assert!(request.dry_run && !request.all && request.filter == "zone=a");
    }
}
