//! Where a request goes, and where an answer sends it on to (RFC 9110 section 15.4).

use super::grant::Origin;
use super::outgoing::{Outgoing, RequestBody, check_parts};
use crate::services::error::ServiceError;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};

/// At most so many redirects are followed.
pub const MAX_REDIRECTS: usize = 5;

/// A header field whose name has one of these in it is for the origin it was meant for alone.
const SECRETIVE: [&str; 10] =
    ["auth", "cookie", "token", "key", "secret", "passw", "credential", "session", "signature", "csrf"];

/// One request to one server.
pub(super) struct Hop {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: RequestBody,
}

impl Hop {
    pub(super) fn first(request: Outgoing) -> Self {
        Self { method: request.method, url: request.url, headers: request.headers, body: request.body }
    }

    pub(super) fn origin(&self) -> Result<Origin, ServiceError> {
        Origin::of(&self.url).ok_or_else(|| {
            ServiceError::denied(format_args!("{}: URLs can't be requested, only http and https", self.url.scheme()))
        })
    }

    /// The request that `response` asks for instead; None if it is the answer.
    pub(super) fn next(&self, response: &Response, from: &Origin) -> Result<Option<Self>, ServiceError> {
        let keep_method = match response.status() {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method != Method::POST,
            StatusCode::SEE_OTHER => matches!(self.method, Method::GET | Method::HEAD),
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
            _ => return Ok(None),
        };
        // Without a place to go to it is an answer like any other.
        let Some(location) = response.headers().get(LOCATION) else { return Ok(None) };
        let wrong =
            |why: &str| ServiceError::unavailable(format_args!("{from} redirects to what can't be requested: {why}"));
        let location = std::str::from_utf8(location.as_bytes()).map_err(|_| wrong("not UTF-8"))?;
        let url = self.url.join(location).map_err(|error| wrong(&error.to_string()))?;
        if Origin::of(&url).is_some() {
            check_parts(&url).map_err(wrong)?;
        }
        let mut next =
            Self { method: self.method.clone(), url, headers: self.headers.clone(), body: self.body.clone() };
        if !keep_method {
            next.method = Method::GET;
            next.body = RequestBody::Empty;
            for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION] {
                next.headers.remove(name);
            }
        }
        Ok(Some(next))
    }

    /// Drops header fields that another origin must not see.
    pub(super) fn leave_secrets(&mut self) {
        let secretive = |name: &str| SECRETIVE.iter().any(|part| name.contains(part));
        let names: Vec<_> = self.headers.keys().filter(|name| secretive(name.as_str())).cloned().collect();
        for name in names {
            self.headers.remove(name);
        }
    }
}
