//! A request as a plugin puts it together. Whatever it may be given is checked here.

use crate::services::error::ServiceError;
use bytes::Bytes;
use postern_core::message::ContentSource;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

const MAX_METHOD: usize = 32;
const MAX_URL: usize = 8 * 1024;
const MAX_HEADERS: usize = 100;
/// Octets of all header lines together.
const MAX_HEADER_OCTETS: usize = 64 * 1024;

/// Header fields about the connection or the framing: they are the host's.
const HOST_FIELDS: [&str; 10] = [
    "host",
    "content-length",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "http2-settings",
];

/// What a request carries.
#[derive(Clone, Default)]
pub enum RequestBody {
    /// Nothing.
    #[default]
    Empty,
    /// Octets in memory.
    Bytes(Bytes),
    /// Octets in memory (a message's header block) and what is read from a source behind them; streamed.
    Source(Bytes, Arc<dyn ContentSource>),
}

impl RequestBody {
    /// Octets.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Source(head, source) => source.len().saturating_add(head.len() as u64),
        }
    }

    /// Is there nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Empty => "Empty",
            Self::Bytes(_) => "Bytes",
            Self::Source(..) => "Source",
        };
        f.debug_tuple(kind).field(&self.len()).finish()
    }
}

/// A request that can be sent. It shows neither its URL nor its header, which may hold secrets.
pub struct Outgoing {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    header_octets: usize,
    pub(super) body: RequestBody,
    pub(super) timeout: Option<Duration>,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("method", &self.method).field("body", &self.body).finish_non_exhaustive()
    }
}

impl Outgoing {
    /// A request without body and header fields.
    ///
    /// # Errors
    /// `bad-value`: the method is not a word in capitals, or the URL can't be requested.
    pub fn new(method: &str, url: &str) -> Result<Self, ServiceError> {
        Ok(Self {
            method: checked_method(method)?,
            url: checked_url(url)?,
            headers: HeaderMap::new(),
            header_octets: 0,
            body: RequestBody::Empty,
            timeout: None,
        })
    }

    /// Adds a header field.
    ///
    /// # Errors
    /// `bad-name`, also for a field that is the host's; `bad-value`; `too-large`.
    pub fn header(&mut self, name: &str, value: &str) -> Result<(), ServiceError> {
        let parsed = HeaderName::from_bytes(name.as_bytes());
        let name =
            parsed.map_err(|_| ServiceError::bad_name("a header field name is a token (RFC 9110 section 5.1)"))?;
        if HOST_FIELDS.contains(&name.as_str()) || name.as_str().starts_with("proxy-") {
            return Err(ServiceError::bad_name(format_args!("the header field {name} is the host's")));
        }
        let octets = self.header_octets + name.as_str().len() + value.len() + ": \r\n".len();
        if octets > MAX_HEADER_OCTETS || self.headers.len() >= MAX_HEADERS {
            let text = format!("a request has at most {MAX_HEADERS} header fields with {MAX_HEADER_OCTETS} octets");
            return Err(ServiceError::too_large(text));
        }
        let parsed = HeaderValue::from_bytes(value.as_bytes());
        let value = parsed
            .map_err(|_| ServiceError::bad_value(format_args!("the value of {name} has a control character in it")))?;
        self.headers.append(name, value);
        self.header_octets = octets;
        Ok(())
    }

    /// Sets the body.
    pub fn body(&mut self, body: RequestBody) {
        self.body = body;
    }

    /// How long all of it may take.
    ///
    /// # Errors
    /// `bad-value`: no time at all.
    pub fn timeout(&mut self, timeout: Duration) -> Result<(), ServiceError> {
        if timeout.is_zero() {
            return Err(ServiceError::bad_value("a timeout of 0"));
        }
        self.timeout = Some(timeout);
        Ok(())
    }
}

fn checked_method(method: &str) -> Result<Method, ServiceError> {
    let fits = |octet: u8| octet.is_ascii_uppercase() || octet == b'-';
    if !(1..=MAX_METHOD).contains(&method.len()) || !method.bytes().all(fits) {
        return Err(ServiceError::bad_value("a method is a word in capitals, such as GET"));
    }
    if method == "CONNECT" {
        return Err(ServiceError::bad_value("CONNECT is for proxies"));
    }
    Method::from_bytes(method.as_bytes()).map_err(|_| ServiceError::bad_value("a method that can't be sent"))
}

/// A URL that can be requested; for that of a redirect too.
pub(super) fn checked_url(text: &str) -> Result<Url, ServiceError> {
    if text.len() > MAX_URL {
        return Err(ServiceError::bad_value(format_args!("a URL of more than {MAX_URL} octets")));
    }
    let url =
        Url::parse(text).map_err(|error| ServiceError::bad_value(format_args!("not an absolute URL: {error}")))?;
    check_parts(&url).map_err(ServiceError::bad_value)?;
    Ok(url)
}

/// What a URL must and must not have besides being one.
pub(super) fn check_parts(url: &Url) -> Result<(), &'static str> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err("a URL begins with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL must not have a user or password in it");
    }
    if url.as_str().len() > MAX_URL {
        return Err("the URL is too long");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_urls() {
        let check = |method: &str, url: &str, expected: bool| {
            let made = Outgoing::new(method, url);
            assert_eq!(made.is_ok(), expected, "{method} {url}: {made:?}");
            assert!(made.err().is_none_or(|error| error.word == "bad-value"));
        };
        check("GET", "https://a.example", true);
        check("M-SEARCH", "http://127.0.0.1:1/x?y#z", true);
        for method in ["", "get", "GET ", "G\r\nT", "CONNECT", &"X".repeat(33)] {
            check(method, "https://a.example", false);
        }
        for url in ["", "/x", "a.example", "ftp://a.example", "file:///etc/passwd", "https://", "https://u@a.example"] {
            check("GET", url, false);
        }
        check("GET", "https://:p@a.example", false);
        check("GET", &format!("https://a.example/{}", "x".repeat(MAX_URL)), false);
        // The URL itself must not become longer by normalisation than is let pass.
        check("GET", &format!("https://a.example/{}", "ä".repeat(MAX_URL / 3)), false);
    }

    #[test]
    fn header_fields() {
        let mut request = Outgoing::new("GET", "https://a.example").unwrap();
        let mut check = |name: &str, value: &str, expected: &str| {
            let word = request.header(name, value).err().map_or("", |error| error.word);
            assert_eq!(word, expected, "{name}: {value:?}");
        };
        check("X-Key", "sécret", "");
        check("X-Key", "again", "");
        check("", "x", "bad-name");
        check("X Y", "x", "bad-name");
        check("X:", "x", "bad-name");
        check("X\r\nY", "x", "bad-name");
        check("X-A", "a\r\nHost: b", "bad-value");
        check("X-A", "a\0", "bad-value");
        check("X-A", &"x".repeat(MAX_HEADER_OCTETS), "too-large");
        for name in ["Host", "content-LENGTH", "Connection", "Transfer-Encoding", "TE", "Upgrade", "Trailer", "Expect"]
        {
            check(name, "x", "bad-name");
        }
        check("Proxy-Authorization", "x", "bad-name");
        for n in 2..MAX_HEADERS {
            check(&format!("X-{n}"), "x", "");
        }
        check("X-One-More", "x", "too-large");
        assert!(!format!("{request:?}").contains("secret"));
    }
}
