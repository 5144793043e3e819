//! Who may call what: requests of other web sites are turned away, callers are identified, routes ask for a scope.

use super::credentials::{Caller, Credentials};
use super::problem::Problem;
use super::section::Scope;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::net::IpAddr;
use std::sync::Arc;

/// What is told to callers without valid credentials.
const CHALLENGE: &str = "Basic realm=\"postern\", charset=\"UTF-8\", Bearer realm=\"postern\"";

/// Finds out who calls.
pub async fn identify(State(credentials): State<Arc<Credentials>>, mut request: Request, next: Next) -> Response {
    let host = request.uri().host().map(str::to_ascii_lowercase);
    match caller(&credentials, host, request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => refused(problem),
    }
}

/// `host` is the one of the request's target, if that has one.
async fn caller(credentials: &Credentials, host: Option<String>, headers: &HeaderMap) -> Result<Caller, Problem> {
    let host = host.or_else(|| host_of(text(headers, header::HOST.as_str())?));
    let origin = text(headers, header::ORIGIN.as_str());
    if credentials.is_empty() {
        // A page of another site can make a browser call us, under a name of its own that leads here (DNS rebinding).
        if !host.as_deref().is_some_and(is_local) {
            return Err(forbidden("Host: without credentials it must be a name of this machine, such as localhost"));
        }
        if origin.is_some_and(|origin| !origin_host(origin).is_some_and(|host| is_local(&host))) {
            return Err(forbidden("Origin: requests of other sites are not taken"));
        }
        return Ok(Caller::local());
    }
    if origin.is_some_and(|origin| origin_host(origin) != host) {
        return Err(forbidden("Origin: requests of other sites are not taken"));
    }
    let unauthorized = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, detail);
    let Some(authorization) = text(headers, header::AUTHORIZATION.as_str()) else {
        return Err(unauthorized("credentials are needed: Basic or Bearer"));
    };
    credentials.caller(authorization).await.ok_or_else(|| unauthorized("the credentials are not valid"))
}

/// Lets the request pass if its caller has the scope.
pub async fn require(State(scope): State<Scope>, request: Request, next: Next) -> Response {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.may(scope) => next.run(request).await,
        Some(_) => forbidden(format!("the caller does not have the scope `{}`", scope.name())).into_response(),
        None => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the caller was not identified").into_response(),
    }
}

fn forbidden(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, detail)
}

fn refused(problem: Problem) -> Response {
    let is_challenge = problem.status == StatusCode::UNAUTHORIZED.as_u16();
    let mut response = problem.into_response();
    if is_challenge {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
    }
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The host of `host[:port]`, in lower case.
fn host_of(authority: &str) -> Option<String> {
    let authority: axum::http::uri::Authority = authority.parse().ok()?;
    Some(authority.host().to_ascii_lowercase())
}

fn origin_host(origin: &str) -> Option<String> {
    host_of(origin.split_once("://")?.1)
}

fn is_local(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[tokio::test]
    async fn without_credentials_only_names_of_this_machine() {
        let users = crate::users::Users::check(&std::collections::BTreeMap::new()).unwrap();
        let nobody = Credentials::new(&[], &users).unwrap();
        let check = async |host: &str, origin: Option<&str>, allowed: bool| {
            let mut request = Request::builder().uri("/send").header("host", host);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let request = request.header("authorization", "Basic stray").body(Body::empty()).unwrap();
            assert_eq!(caller(&nobody, None, request.headers()).await.is_ok(), allowed, "{host} {origin:?}");
        };
        for host in ["localhost:8080", "LOCALHOST", "127.0.0.1:8080", "127.9.9.9", "[::1]:80", "[::ffff:127.0.0.1]:80"]
        {
            check(host, None, true).await;
        }
        for host in ["evil.example:8080", "localhost.evil.example", "192.0.2.1", "[::2]", "", "0.0.0.0"] {
            check(host, None, false).await;
        }
        check("localhost:8080", Some("http://localhost:8080"), true).await;
        check("localhost:8080", Some("http://evil.example"), false).await;
        check("localhost:8080", Some("null"), false).await;
    }
}
