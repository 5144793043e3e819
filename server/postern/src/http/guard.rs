//! Who may call what: requests of other web sites are turned away, callers are identified, routes ask for a scope.

use super::credentials::{Caller, Credentials, given};
use super::listener::Peer;
use super::problem::Problem;
use super::section::Scope;
use crate::clients::{Clients, Logins, WINDOW, unknown};
use crate::intake::Intake;
use crate::observe::delivery_log;
use crate::spool::Spool;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use postern_core::hook::{Attributes, Credentials as Given, Protocol, Session};
use postern_core::mail::Reply;
use std::net::IpAddr;
use std::sync::Arc;

/// What is told to callers without valid credentials.
const CHALLENGE: &str = "Basic realm=\"postern\", charset=\"UTF-8\", Bearer realm=\"postern\"";

/// What decides about callers.
pub struct Door<S: Spool> {
    credentials: Arc<Credentials>,
    logins: Logins,
    clients: Arc<Clients>,
    intake: Arc<Intake<S>>,
}

impl<S: Spool> Door<S> {
    /// By `[[http.user]]`, then by these logins; `clients` is what one user may do.
    #[must_use]
    pub fn new(credentials: Arc<Credentials>, logins: Logins, clients: Arc<Clients>, intake: Arc<Intake<S>>) -> Self {
        Self { credentials, logins, clients, intake }
    }

    /// Whose credentials these are. Plugins may leave attributes in the session.
    async fn caller(&self, session: &mut Session, given: Given) -> Result<Caller, Problem> {
        let (peer, mut own) = (session.peer_addr.ip(), None);
        let find = async {
            match self.credentials.own(&given).await {
                Some(Some(caller)) => Ok(own.insert(caller).name.clone().unwrap_or_default()),
                Some(None) => Err(unknown(&given)),
                None => {
                    let found = self.logins.find(session, &given, &self.intake).await;
                    if found.is_err() {
                        self.credentials.pretend(&given).await;
                    }
                    found
                }
            }
        };
        let found = self.logins.guarded(peer, &given, self.intake.hostname(), find).await;
        match found {
            Ok(name) => Ok(own.unwrap_or_else(|| Caller { name: Some(name), scopes: [Scope::Submit].into() })),
            Err(refusal) => {
                delivery_log::noqueue(&session.id, session.peer_addr, "AUTH", &refusal.reply, &refusal.detail);
                Err(no_login(&refusal.reply))
            }
        }
    }
}

/// Finds out who calls, and begins the session.
pub async fn identify<S: Spool>(State(door): State<Arc<Door<S>>>, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the client is not known").into_response();
    };
    let mut session = Session {
        id: door.intake.session_id(),
        listener: "http".into(),
        peer_addr: peer.addr,
        peer_name: None,
        helo: literal(peer.addr.ip()).into(),
        protocol: Protocol::Http,
        tls: peer.tls,
        user: None,
        attributes: Attributes::new(),
    };
    let given = match credentials(&door.credentials, request.uri().host(), request.headers()) {
        Ok(given) => given,
        Err(problem) => return refused(problem),
    };
    let caller = match given {
        Some(given) => door.caller(&mut session, given).await,
        None => Ok(Caller::local()),
    };
    match caller {
        Ok(caller) => {
            // Held until the request is answered.
            let _seat = match caller.name.as_ref().map(|name| door.clients.log_in(name)).transpose() {
                Ok(seat) => seat,
                Err(over) => {
                    delivery_log::noqueue(&session.id, session.peer_addr, "AUTH", &over.reply(), &over.limit);
                    return Problem::from(over).into_response();
                }
            };
            session.user.clone_from(&caller.name);
            request.extensions_mut().insert(session);
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => refused(problem),
    }
}

/// The address as a client of SMTP that has no name says it (RFC 5321 section 4.1.3).
#[must_use]
pub fn literal(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("[{ip}]"),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    }
}

/// Why credentials get nowhere.
fn no_login(reply: &Reply) -> Problem {
    let status = match reply.code {
        421 => StatusCode::TOO_MANY_REQUESTS,
        ..500 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNAUTHORIZED,
    };
    let retry_after = (reply.code == 421).then_some(WINDOW.as_secs());
    let of_reply = Problem::from(reply);
    Problem {
        smtp_code: of_reply.smtp_code,
        enhanced: of_reply.enhanced,
        retry_after,
        ..Problem::new(status, reply.text.clone())
    }
}

/// What the request has of them; None where nobody needs any. `host` is the one of the request's target, if that has one.
fn credentials(credentials: &Credentials, host: Option<&str>, headers: &HeaderMap) -> Result<Option<Given>, Problem> {
    let host = host.map(str::to_ascii_lowercase).or_else(|| host_of(text(headers, header::HOST.as_str())?));
    let origin = text(headers, header::ORIGIN.as_str());
    if credentials.is_empty() {
        // A page of another site can make a browser call us, under a name of its own that leads here (DNS rebinding).
        if !host.as_deref().is_some_and(is_local) {
            return Err(forbidden("Host: without credentials it must be a name of this machine, such as localhost"));
        }
        if origin.is_some_and(|origin| !origin_host(origin).is_some_and(|host| is_local(&host))) {
            return Err(forbidden("Origin: requests of other sites are not taken"));
        }
        return Ok(None);
    }
    if origin.is_some_and(|origin| origin_host(origin) != host) {
        return Err(forbidden("Origin: requests of other sites are not taken"));
    }
    let unauthorized = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, detail);
    let Some(authorization) = text(headers, header::AUTHORIZATION.as_str()) else {
        return Err(unauthorized("credentials are needed: Basic or Bearer"));
    };
    given(authorization).ok_or_else(|| unauthorized("the credentials are not valid")).map(Some)
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

    #[test]
    fn without_credentials_only_names_of_this_machine() {
        let users = crate::users::Users::check(&std::collections::BTreeMap::new()).unwrap();
        let nobody = Credentials::new(&[], &users, false).unwrap();
        let check = |host: &str, origin: Option<&str>, allowed: bool| {
            let mut request = Request::builder().uri("/send").header("host", host);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let request = request.header("authorization", "Basic stray").body(Body::empty()).unwrap();
            assert_eq!(credentials(&nobody, None, request.headers()).is_ok(), allowed, "{host} {origin:?}");
        };
        for host in ["localhost:8080", "LOCALHOST", "127.0.0.1:8080", "127.9.9.9", "[::1]:80", "[::ffff:127.0.0.1]:80"]
        {
            check(host, None, true);
        }
        for host in ["evil.example:8080", "localhost.evil.example", "192.0.2.1", "[::2]", "", "0.0.0.0"] {
            check(host, None, false);
        }
        check("localhost:8080", Some("http://localhost:8080"), true);
        check("localhost:8080", Some("http://evil.example"), false);
        check("localhost:8080", Some("null"), false);
    }
}
