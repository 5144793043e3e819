//! The servers that the plugin's requests reach: none, until a test answers with [`respond`].

use super::Answer;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// A request that the plugin sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// `GET`, `POST` …
    pub method: String,
    /// The URL.
    pub url: String,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long the plugin gave it.
    pub timeout: Option<Duration>,
}

impl Sent {
    /// The first value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        super::exchange::find(&self.headers, name)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// It is another than `T`.
    #[must_use]
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).expect("the body is JSON of this type")
    }
}

type Responder = Rc<dyn Fn(&Sent) -> Answer>;

#[derive(Default)]
struct State {
    responder: Option<Responder>,
    sent: Vec<Sent>,
    /// Granted origins; none means that all are.
    origins: Option<Vec<String>>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Answers all requests from now on.
pub fn respond(responder: impl Fn(&Sent) -> Answer + 'static) {
    STATE.with_borrow_mut(|state| state.responder = Some(Rc::new(responder)));
}

/// Grants these origins (`https://api.example.com`) and no others.
pub fn grant(origins: &[&str]) {
    let origins = origins.iter().map(|origin| origin.trim_end_matches('/').to_owned()).collect();
    STATE.with_borrow_mut(|state| state.origins = Some(origins));
}

/// The requests so far.
#[must_use]
pub fn requests() -> Vec<Sent> {
    STATE.with_borrow(|state| state.sent.clone())
}

pub(super) fn reset() {
    STATE.take();
}

#[allow(unreachable_pub)]
pub(crate) mod host {
    use super::{STATE, Sent};
    use crate::testing::backend::{Message, Part};
    use crate::testing::rules::{self, HostResult, error};
    use crate::testing::{Answer, exchange};
    use std::cell::{Cell, RefCell};
    use std::time::Duration;

    pub struct Request(RefCell<Sent>);

    /// What the host sets itself.
    const RESERVED: [&str; 7] =
        ["host", "content-length", "connection", "transfer-encoding", "upgrade", "te", "trailer"];

    const MAX_HEADERS: usize = 100;
    /// Octets of all header lines together.
    const MAX_HEADER_OCTETS: usize = 64 << 10;

    impl Request {
        pub fn new(method: &str, url: &str) -> Self {
            Self(RefCell::new(Sent { method: method.into(), url: url.into(), ..Sent::default() }))
        }
        pub fn header(&self, name: &str, value: &str) -> HostResult {
            rules::header_name(name)?;
            rules::header_value(value)?;
            if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
                return error("bad-name", "this field is the host's");
            }
            let headers = &mut self.0.borrow_mut().headers;
            let octets: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
            if headers.len() >= MAX_HEADERS || octets + name.len() + value.len() + 4 > MAX_HEADER_OCTETS {
                return error("too-large", "a request has at most 100 header fields with 64 KiB");
            }
            headers.push((name.into(), value.into()));
            Ok(())
        }
        pub fn body(&self, bytes: &[u8]) -> HostResult {
            self.0.borrow_mut().body = bytes.to_vec();
            Ok(())
        }
        pub fn body_message(&self, message: &Message) -> HostResult {
            self.body(&message.content())
        }
        pub fn body_part(&self, part: &Part) -> HostResult {
            self.body(&part.content())
        }
        pub fn timeout(&self, milliseconds: u32) -> HostResult {
            self.0.borrow_mut().timeout = Some(Duration::from_millis(milliseconds.into()));
            Ok(())
        }
    }

    pub struct Response {
        answer: Answer,
        read: Cell<u64>,
    }

    impl Response {
        pub fn status(&self) -> u16 {
            self.answer.status
        }
        pub fn header(&self, name: &str) -> Option<String> {
            exchange::find(&self.answer.headers, name).map(str::to_owned)
        }
        pub fn read(&self, max: u32) -> HostResult<Vec<u8>> {
            if self.answer.body.len() > rules::MAX_RESPONSE {
                return error("too-large", "an answer has 4 MiB at most");
            }
            let piece = rules::piece(&self.answer.body, self.read.get(), max);
            self.read.set(self.read.get() + piece.len() as u64);
            Ok(piece)
        }
        pub fn body(&self) -> HostResult<Vec<u8>> {
            let mut body = Vec::new();
            loop {
                let piece = self.read(u32::MAX)?;
                if piece.is_empty() {
                    return Ok(body);
                }
                body.extend(piece);
            }
        }
    }

    /// `https://api.example.com` of an absolute URL.
    fn origin(url: &str) -> Option<&str> {
        let host = url.find("://").filter(|&at| matches!(&url[..at], "http" | "https"))? + 3;
        let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
        (end > host && !url[host..end].contains('@')).then_some(&url[..end])
    }

    pub fn send(request: Request) -> HostResult<Response> {
        let sent = request.0.into_inner();
        if sent.method.is_empty() || !sent.method.bytes().all(|b| b.is_ascii_uppercase()) {
            return error("bad-value", "a method is of capital letters");
        }
        let Some(origin) = origin(&sent.url) else {
            return error("bad-value", "a URL is absolute, http or https, without user or password");
        };
        let responder = STATE.with_borrow_mut(|state| {
            if state.origins.as_ref().is_some_and(|granted| !granted.iter().any(|one| one == origin)) {
                return Err(format!("denied: the grant http does not have {origin}"));
            }
            state.sent.push(sent.clone());
            Ok(state.responder.clone())
        })?;
        let Some(responder) = responder else {
            return error("unavailable", "the test has no testing::http::respond");
        };
        let answer = responder(&sent);
        match answer.failure {
            Some(failure) => Err(failure),
            None => Ok(Response { answer, read: Cell::new(0) }),
        }
    }
}
