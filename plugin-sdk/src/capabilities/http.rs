//! Requests to HTTP servers. Needs `grants = { http = ["https://api.example.com"] }`: the origins that it may reach. (The
//! hook that answers requests is [`Http`](crate::Http).)
//!
//! ```
//! use postern_plugin_sdk::{http, testing};
//! use std::time::Duration;
//!
//! # testing::http::respond(|_| testing::Answer::json(200, &serde_json::json!({ "score": 3 })));
//! let response = http::Request::post("https://api.example.com/check")
//!     .header("Authorization", "Bearer 123")
//!     .json(&serde_json::json!({ "ip": "192.0.2.1" }))
//!     .timeout(Duration::from_secs(2))
//!     .send()?;
//! let answer: serde_json::Value = response.json()?;
//! # assert_eq!(answer["score"], 3);
//! # Ok::<(), postern_plugin_sdk::Error>(())
//! ```

use crate::backend::http_client as host;
use crate::resources::{Pieces, milliseconds};
use crate::{Error, HostError, Message, Part, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::BufRead;
use std::time::Duration;

/// A request that is being put together. What goes wrong on the way is told by [`Request::send`].
#[must_use]
pub struct Request {
    request: host::Request,
    wrong: Option<HostError>,
}

impl Request {
    /// `method` in capitals; `url` absolute, http or https, without user or password.
    pub fn new(method: &str, url: &str) -> Self {
        Self { request: host::Request::new(method, url), wrong: None }
    }

    /// GET.
    pub fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    /// POST.
    pub fn post(url: &str) -> Self {
        Self::new("POST", url)
    }

    /// PUT.
    pub fn put(url: &str) -> Self {
        Self::new("PUT", url)
    }

    /// DELETE.
    pub fn delete(url: &str) -> Self {
        Self::new("DELETE", url)
    }

    fn noting(mut self, result: Result<(), String>) -> Self {
        if let (Err(error), None) = (result, &self.wrong) {
            self.wrong = Some(error.into());
        }
        self
    }

    /// Adds a header field. Host, Content-Length, Connection and their like are the host's.
    pub fn header(self, name: &str, value: &str) -> Self {
        let result = self.request.header(name, value);
        self.noting(result)
    }

    /// Authenticates as this user (RFC 7617).
    pub fn basic_auth(self, user: &str, password: &str) -> Self {
        let credentials = crate::base64::encode(format!("{user}:{password}").as_bytes());
        self.header("Authorization", &format!("Basic {credentials}"))
    }

    /// The body.
    pub fn body(self, bytes: impl AsRef<[u8]>) -> Self {
        let result = self.request.body(bytes.as_ref());
        self.noting(result)
    }

    /// The body is this as JSON.
    pub fn json(self, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => self.header("Content-Type", "application/json").body(json),
            Err(error) => self.noting(Err(format!("bad-value: {error}"))),
        }
    }

    /// The body is a form of names and values.
    pub fn form(self, pairs: &[(&str, &str)]) -> Self {
        self.header("Content-Type", "application/x-www-form-urlencoded").body(crate::form::encode(pairs))
    }

    /// Authenticates as this user with HTTP's Basic, with the secret `password`.
    ///
    /// # Errors
    /// The plugin was not given that secret.
    pub fn basic_auth_by_secret(self, user: &str) -> Result<Self> {
        let password = crate::secrets::get("password");
        let password = password.ok_or_else(|| Error::new("there is a user, but no secret `password`"))?;
        Ok(self.basic_auth(user, &password))
    }

    /// The body is the message as it stands now. The host streams it; nothing of it enters the plugin.
    pub fn body_message(self, message: &Message) -> Self {
        let result = self.request.body_message(&message.0);
        self.noting(result)
    }

    /// The body is a part's decoded content, streamed by the host.
    pub fn body_part(self, part: &Part) -> Self {
        let result = self.request.body_part(&part.0);
        self.noting(result)
    }

    /// How long it may take from connecting to the last octet that is read; never longer than what is left of the call's
    /// deadline, which is the default.
    pub fn timeout(self, timeout: Duration) -> Self {
        let result = self.request.timeout(u32::try_from(milliseconds(timeout)).unwrap_or(u32::MAX));
        self.noting(result)
    }

    /// Sends it, once. An answer of any status is `Ok`.
    ///
    /// # Errors
    /// Something in the request is wrong, its origin is not granted, or the server could not be reached in time.
    pub fn send(self) -> Result<Response, HostError> {
        match self.wrong {
            Some(error) => Err(error),
            None => Ok(Response(host::send(self.request)?)),
        }
    }
}

/// Names and values as the body of a form, `application/x-www-form-urlencoded`: what [`Request::form`] sends.
#[must_use]
pub fn form<K: AsRef<str>, V: AsRef<str>>(pairs: &[(K, V)]) -> String {
    crate::form::encode(pairs)
}

/// The answer.
pub struct Response(host::Response);

impl Response {
    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.0.status()
    }

    /// Is the status one of success, 200 to 299?
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status())
    }

    /// The answer if the status is one of success.
    ///
    /// # Errors
    /// Another status; the text names it.
    pub fn success(self) -> Result<Self> {
        let status = self.status();
        if self.is_success() { Ok(self) } else { Err(Error::new(format!("the server answered with status {status}"))) }
    }

    /// The first value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.0.header(name)
    }

    /// The next octets of the body, at most `max` and at most 256 KiB; none is the end.
    ///
    /// # Errors
    /// The server stopped sending, it took too long, or the whole has more than 4 MiB.
    pub fn read(&self, max: u32) -> Result<Vec<u8>, HostError> {
        Ok(self.0.read(max)?)
    }

    /// The body, fetched in pieces of 64 KiB.
    pub fn reader(&self) -> impl BufRead {
        Pieces::new(|max| self.read(max))
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// As [`Response::read`].
    pub fn body(&self) -> Result<Vec<u8>, HostError> {
        Ok(self.0.body()?)
    }

    /// The rest of the body as text; octets that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// As [`Response::read`].
    pub fn text(&self) -> Result<String, HostError> {
        let body = self.body()?;
        Ok(String::from_utf8(body).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The rest of the body as JSON.
    ///
    /// # Errors
    /// As [`Response::read`], or the body is another than `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_slice(&self.body()?)?)
    }
}
