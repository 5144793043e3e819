//! HTTP requests to the plugin, and answers: those it gives, and those it gets.

use super::rules::{self, HostResult, error};
use crate::{Http, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::{Cell, RefCell};

/// One request to the plugin. [`Exchange::handle`] runs the hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// `GET`, `POST` …
    pub method: String,
    /// The path after `/plugin/NAME`.
    pub path: String,
    /// What follows the question mark.
    pub query: Option<String>,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// The client's IP address.
    pub peer_address: String,
    /// The authenticated user.
    pub user: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Exchange {
    /// A request from 192.0.2.1; the path may have a query.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        Self {
            method: method.into(),
            path: path.into(),
            query: query.map(str::to_owned),
            headers: Vec::new(),
            peer_address: "192.0.2.1".into(),
            user: None,
            body: Vec::new(),
        }
    }

    /// GET.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// POST.
    #[must_use]
    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    /// The same with one more header field.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with this body.
    #[must_use]
    pub fn with_body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// The same with this user.
    #[must_use]
    pub fn with_user(mut self, user: &str) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Runs the hook `http`.
    ///
    /// # Errors
    /// What the plugin returned: the server would answer 500.
    pub fn handle<P: Http>(&self, plugin: &mut P) -> Result<Answer> {
        let request = Request { exchange: self.clone(), read: Cell::new(0) };
        let response = Response(RefCell::new(Answer::new(200)));
        plugin.handle(crate::Request::of(&request), crate::Response::of(&response))?;
        Ok(response.0.into_inner())
    }
}

/// An HTTP answer: the plugin's own, or one that [`http::respond`](super::http::respond) gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// What goes wrong instead.
    pub(super) failure: Option<String>,
}

impl Answer {
    /// An answer without content.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), failure: None }
    }

    /// An answer with JSON.
    ///
    /// # Panics
    /// The value is none in JSON.
    #[must_use]
    #[track_caller]
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("a value that is one in JSON");
        Self::new(status).with_header("Content-Type", "application/json").with_body(body)
    }

    /// No answer: the request fails with this error, as in `Answer::failed("timeout", "no answer in 5 s")`.
    #[must_use]
    pub fn failed(word: &str, text: &str) -> Self {
        Self { failure: Some(format!("{word}: {text}")), ..Self::new(0) }
    }

    /// The same with one more header field.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with this body.
    #[must_use]
    pub fn with_body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// The first value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
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
    pub fn to<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).expect("the body is JSON of this type")
    }
}

/// The first value of a header field.
pub(super) fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

pub(crate) struct Request {
    exchange: Exchange,
    read: Cell<u64>,
}

impl Request {
    pub fn method(&self) -> String {
        self.exchange.method.clone()
    }
    pub fn path(&self) -> String {
        self.exchange.path.clone()
    }
    pub fn query(&self) -> Option<String> {
        self.exchange.query.clone()
    }
    pub fn header(&self, name: &str) -> Option<String> {
        find(&self.exchange.headers, name).map(str::to_owned)
    }
    pub fn peer_address(&self) -> String {
        self.exchange.peer_address.clone()
    }
    pub fn user(&self) -> Option<String> {
        self.exchange.user.clone()
    }
    pub fn read(&self, max: u32) -> HostResult<Vec<u8>> {
        let piece = rules::piece(&self.exchange.body, self.read.get(), max);
        self.read.set(self.read.get() + piece.len() as u64);
        Ok(piece)
    }
}

pub(crate) struct Response(RefCell<Answer>);

impl Response {
    pub fn set_status(&self, code: u16) -> HostResult {
        if !(200..600).contains(&code) {
            return error("bad-value", "a status is 200 to 599");
        }
        self.0.borrow_mut().status = code;
        Ok(())
    }
    pub fn add_header(&self, name: &str, value: &str) -> HostResult {
        rules::http_name(name)?;
        rules::header_value(value)?;
        let headers = &mut self.0.borrow_mut().headers;
        let octets: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if headers.len() >= rules::MAX_FIELDS || octets + name.len() + value.len() > rules::MAX_FIELD_OCTETS {
            return error("too-large", "an answer has at most 64 fields of 16 KiB together");
        }
        headers.push((name.into(), value.into()));
        Ok(())
    }
    pub fn write(&self, bytes: &[u8]) -> HostResult {
        let body = &mut self.0.borrow_mut().body;
        if body.len() + bytes.len() > rules::MAX_ANSWER {
            return error("too-large", "an answer has 1 MiB at most");
        }
        body.extend_from_slice(bytes);
        Ok(())
    }
}
