//! `/plugin/NAME/…`: requests that plugins answer (hook `http`).
//!
//! A request is read whole before its plugin is called, so that a slow client holds no instance. Credentials are the
//! server's: they are checked before, and the plugin sees the user. What goes wrong with the plugin is told as problem
//! details, and never holds others up: 404 there is no such plugin, 500 it returned an error, 502 it trapped or went past a
//! limit, 503 there is no room or it rests, 504 it did not answer in time.

use super::body::{Pieces, Whole};
use super::credentials::Caller;
use super::problem::Problem;
use axum::body::Body;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use postern_core::hook::{HttpAnswer, HttpRequest, LiveHooks, NoAnswer, Session};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Longest body of a request, in octets.
const MAX_BODY: u64 = 4 << 20;
/// KiB of bodies that may be in memory at once.
const MEMORY: usize = 64 << 10;
/// Fields that plugins do not see: what the server identifies callers by.
const SECRET: [HeaderName; 3] = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE];

/// What these requests share.
pub struct Desk {
    hooks: Arc<LiveHooks>,
    memory: Arc<Semaphore>,
}

impl Desk {
    /// Asks the plugins in force.
    #[must_use]
    pub fn new(hooks: Arc<LiveHooks>) -> Self {
        Self { hooks, memory: Arc::new(Semaphore::new(MEMORY)) }
    }
}

/// The handler.
pub async fn handle(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Extension(session): Extension<Session>,
    Path(parameters): Path<Vec<(String, String)>>,
    request: Request,
) -> Result<Response, Problem> {
    let name = parameters.into_iter().next().map(|(_, name)| name).unwrap_or_default();
    let (parts, body) = request.into_parts();
    let whole = Whole::read(&mut Pieces::plain(body, MAX_BODY), &desk.memory).await?;
    let (body, _place) = whole.split();
    let request = HttpRequest {
        method: parts.method.as_str().to_owned(),
        path: below(parts.uri.path()).to_owned(),
        query: parts.uri.query().map(str::to_owned),
        headers: visible(&parts.headers),
        peer: session.peer_addr.ip(),
        user: caller.name,
        body: Bytes::from(body),
    };
    let hooks = desk.hooks.get();
    match hooks.http(&name, request).await {
        Ok(answer) => Ok(response(answer)),
        Err(none) => Err(problem(&name, none)),
    }
}

/// What follows `/plugin/NAME`.
fn below(path: &str) -> &str {
    let rest = path.strip_prefix("/plugin/").unwrap_or_default();
    rest.find('/').map_or("/", |at| &rest[at..])
}

fn visible(headers: &HeaderMap) -> Vec<(String, Bytes)> {
    let shown = headers.iter().filter(|(name, _)| !SECRET.contains(name));
    shown.map(|(name, value)| (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes()))).collect()
}

fn response(HttpAnswer { status, headers, body }: HttpAnswer) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let fields = response.headers_mut();
    for (name, value) in headers {
        // The host has looked at both.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            fields.append(name, value);
        }
    }
    // A page of a plugin is not a page of the API: its scripts must not call that with the credentials of a browser.
    fields.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn problem(name: &str, none: NoAnswer) -> Problem {
    let (status, detail) = match none {
        NoAnswer::Unknown => (StatusCode::NOT_FOUND, format!("no plugin `{name}` answers requests")),
        NoAnswer::Refused => (StatusCode::INTERNAL_SERVER_ERROR, format!("the plugin `{name}` could not answer")),
        NoAnswer::Failed => (StatusCode::BAD_GATEWAY, format!("the plugin `{name}` failed")),
        NoAnswer::Late => (StatusCode::GATEWAY_TIMEOUT, format!("the plugin `{name}` did not answer in time")),
        NoAnswer::Busy => (StatusCode::SERVICE_UNAVAILABLE, format!("the plugin `{name}` is not called now")),
    };
    Problem::new(status, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_a_plugin() {
        for (path, expected) in
            [("/plugin/a/", "/"), ("/plugin/a/b/c", "/b/c"), ("/plugin/a//b", "//b"), ("/plugin/%61/b%2fc", "/b%2fc")]
        {
            assert_eq!(below(path), expected, "{path}");
        }
    }
}
