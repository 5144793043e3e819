//! One HTTP request to a plugin, and its answer, as the hook `http` has them.

use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;

/// A request to `/plugin/NAME/…`, complete: a client that sends slowly holds no plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `POST` …
    pub method: String,
    /// What follows `/plugin/NAME`, as it came: it begins with a slash.
    pub path: String,
    /// What follows the question mark, as it came.
    pub query: Option<String>,
    /// Header fields in their order, names in lower case. Without credentials.
    pub headers: Vec<(String, Bytes)>,
    /// The client's address.
    pub peer: IpAddr,
    /// The user that it authenticated as.
    pub user: Option<Arc<str>>,
    /// The body.
    pub body: Bytes,
}

/// What a plugin answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status, 200 to 599.
    pub status: u16,
    /// Header fields that may stand in an answer, in the order in which they were added.
    pub headers: Vec<(String, String)>,
    /// The body, at most [`HttpAnswer::MAX_BODY`] octets.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// Most octets of a body.
    pub const MAX_BODY: usize = 1 << 20;
    /// Most header fields.
    pub const MAX_FIELDS: usize = 64;
    /// Most octets of the names and values of header fields.
    pub const MAX_HEADER: usize = 16 << 10;
}

impl Default for HttpAnswer {
    /// 200 without content.
    fn default() -> Self {
        Self { status: 200, headers: Vec::new(), body: Vec::new() }
    }
}

/// Why there is no answer of a plugin. What was wrong is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// No plugin of this name has the hook, or none for this user.
    Unknown,
    /// The plugin returned an error.
    Refused,
    /// It trapped, or went past a limit of its own.
    Failed,
    /// It did not answer in time.
    Late,
    /// The server has no room for the call, or the plugin rests after failures.
    Busy,
}
