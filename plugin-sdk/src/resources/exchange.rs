//! One HTTP request to the plugin, and its answer.

use super::{Pieces, wrapper};
use crate::{Error, HostError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::BufRead;

wrapper! {
    /// A request to `/plugin/NAME/…` of the server's HTTP address.
    Request
}

wrapper! {
    /// The answer: 200 without content unless it is said otherwise.
    Response
}

impl Request {
    /// `GET`, `POST` …
    #[must_use]
    pub fn method(&self) -> String {
        self.0.method()
    }

    /// The path after `/plugin/NAME`, beginning with a slash.
    #[must_use]
    pub fn path(&self) -> String {
        self.0.path()
    }

    /// What follows the question mark, as it came.
    #[must_use]
    pub fn query(&self) -> Option<String> {
        self.0.query()
    }

    /// The first value of this name in the query, decoded.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<String> {
        let query = self.query()?;
        crate::form::pairs(&query).find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The first value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.0.header(name)
    }

    /// The client's IP address.
    #[must_use]
    pub fn peer_address(&self) -> String {
        self.0.peer_address()
    }

    /// The user that it authenticated as.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        self.0.user()
    }

    /// The next octets of the body, at most `max` and at most 256 KiB; none is the end.
    ///
    /// # Errors
    /// The client stopped sending.
    pub fn read(&self, max: u32) -> Result<Vec<u8>, HostError> {
        Ok(self.0.read(max)?)
    }

    /// The body, fetched in pieces of 64 KiB.
    pub fn reader(&self) -> impl BufRead {
        Pieces::new(|max| self.read(max))
    }

    /// The rest of the body, if it has at most `max` octets.
    ///
    /// # Errors
    /// It has more (`too-large`), or the client stopped sending.
    pub fn body(&self, max: usize) -> Result<Vec<u8>, HostError> {
        let mut body = Vec::new();
        loop {
            let piece = self.read(super::reader::PIECE)?;
            if piece.is_empty() {
                return Ok(body);
            }
            if body.len() + piece.len() > max {
                return Err(HostError::new("too-large", "the request's body is longer than the plugin takes"));
            }
            body.extend_from_slice(&piece);
        }
    }

    /// The rest of the body, at most 1 MiB of it, as JSON.
    ///
    /// # Errors
    /// It is too long, or other than `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(serde_json::from_slice(&self.body(1 << 20)?)?)
    }
}

impl Response {
    /// The status.
    ///
    /// # Errors
    /// It is no status of an answer.
    pub fn set_status(&self, code: u16) -> Result<(), HostError> {
        Ok(self.0.set_status(code)?)
    }

    /// Adds a header field.
    ///
    /// # Errors
    /// A name or value that cannot stand there, or that is the host's.
    pub fn add_header(&self, name: &str, value: &str) -> Result<(), HostError> {
        Ok(self.0.add_header(name, value)?)
    }

    /// Appends to the body.
    ///
    /// # Errors
    /// It has more than 1 MiB.
    pub fn write(&self, bytes: &[u8]) -> Result<(), HostError> {
        Ok(self.0.write(bytes)?)
    }

    /// Answers with a text.
    ///
    /// # Errors
    /// As [`Response::write`].
    pub fn text(&self, text: &str) -> Result<(), HostError> {
        self.add_header("Content-Type", "text/plain; charset=utf-8")?;
        self.write(text.as_bytes())
    }

    /// Answers with JSON.
    ///
    /// # Errors
    /// The value is none in JSON, or it is too long.
    pub fn json(&self, value: &impl Serialize) -> Result<(), Error> {
        let body = serde_json::to_vec(value)?;
        self.add_header("Content-Type", "application/json")?;
        Ok(self.write(&body)?)
    }

    /// Answers with a status and a line of text.
    ///
    /// # Errors
    /// As [`Response::set_status`].
    pub fn error(&self, code: u16, text: &str) -> Result<(), HostError> {
        self.set_status(code)?;
        self.text(text)
    }
}
