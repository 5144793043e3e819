//! The session in which messages come in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// How a session spoke when it handed a message in: the `with` clause of Received (RFC 5321 section 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HELO.
    Smtp,
    /// EHLO.
    Esmtp,
    /// LHLO (RFC 2033).
    Lmtp,
    /// The HTTP API.
    Http,
}

impl Protocol {
    /// As in Received and the log: `SMTP`, `ESMTP`, `LMTP`, `HTTP`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "SMTP",
            Self::Esmtp => "ESMTP",
            Self::Lmtp => "LMTP",
            Self::Http => "HTTP",
        }
    }
}

/// What TLS a session has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionTls {
    /// `TLSv1.3`.
    pub version: String,
    /// `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
}

/// The session in which a message came in.
#[derive(Clone, Debug)]
pub struct Session {
    /// Printed in each log line of the session.
    pub id: Arc<str>,
    /// Name of the listener, as in `[listener.NAME]`.
    pub listener: Arc<str>,
    /// The client's end of the connection.
    pub peer_addr: SocketAddr,
    /// The name that the DNS has for the client's address, and the address for the name (RFC 8601 section 3, iprev).
    pub peer_name: Option<Arc<str>>,
    /// What the client called itself in EHLO or HELO; empty before it did.
    pub helo: Arc<str>,
    /// How it spoke.
    pub protocol: Protocol,
    /// None in clear.
    pub tls: Option<Arc<SessionTls>>,
    /// The authenticated user.
    pub user: Option<Arc<str>>,
    /// Notes of plugins; each message of the session begins with a copy.
    pub attributes: Attributes,
}

impl Session {
    /// The `with` clause of Received: `SMTP`, `ESMTP`, `LMTP`, and RFC 3848's with `S` for TLS and `A` for AUTH: `ESMTPSA`.
    #[must_use]
    pub fn with(&self) -> &'static str {
        match (self.protocol, self.tls.is_some(), self.user.is_some()) {
            (Protocol::Esmtp, true, true) => "ESMTPSA",
            (Protocol::Esmtp, true, false) => "ESMTPS",
            (Protocol::Esmtp, false, true) => "ESMTPA",
            (Protocol::Lmtp, true, true) => "LMTPSA",
            (Protocol::Lmtp, true, false) => "LMTPS",
            (Protocol::Lmtp, false, true) => "LMTPA",
            (protocol, ..) => protocol.name(),
        }
    }
}

/// Notes of plugins by name: at most [`MAX_ATTRIBUTES`], each of at most [`MAX_ATTRIBUTE`] octets without control
/// characters.
pub type Attributes = BTreeMap<String, String>;

/// Most attributes of a session or a message.
pub const MAX_ATTRIBUTES: usize = 128;
/// Longest value of an attribute, in octets.
pub const MAX_ATTRIBUTE: usize = 4 << 10;
