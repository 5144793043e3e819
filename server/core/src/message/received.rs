//! The Received field that the server adds to each message it accepts (RFC 5321 section 4.4).

use crate::hook::{Protocol, Session};
use crate::mail::{Address, QueueId};
use crate::time::Timestamp;
use std::fmt::Write as _;

/// What goes into the trace field.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The session the message came in by.
    pub session: &'a Session,
    /// The server's name, `hostname` of the config.
    pub hostname: &'a str,
    /// The id it is queued under.
    pub queue_id: QueueId,
    /// Named only if the message has this one recipient: a list would tell them of each other (RFC 5321 section 7.2).
    pub only_recipient: Option<&'a Address>,
    /// Does the envelope need SMTPUTF8? Then `with` says UTF8 (RFC 6531 section 4.3).
    pub smtputf8: bool,
    /// When it came in.
    pub at: Timestamp,
}

impl Received<'_> {
    /// Appends the field with its line ends to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut text = String::with_capacity(256);
        let session = self.session;
        let with = if self.smtputf8 && session.protocol != Protocol::Http {
            format!("UTF8{}", session.with().trim_start_matches('E'))
        } else {
            session.with().to_owned()
        };
        // Writing to a String does not fail. The HELO name was validated when it was given.
        let (helo, address) = (&session.helo, Literal(session.peer_addr));
        let _ = match &session.peer_name {
            Some(name) => write!(text, "Received: from {helo} ({name} {address})\r\n\t"),
            None => write!(text, "Received: from {helo} ({address})\r\n\t"),
        };
        if let Some(tls) = &session.tls {
            let _ = write!(text, "(using {} with cipher {})\r\n\t", tls.version, tls.cipher);
        }
        let _ = write!(text, "by {}", self.hostname);
        if let Some(user) = &session.user {
            let _ = write!(text, "\r\n\t(Authenticated sender: {})", Comment(user));
        }
        let _ = write!(text, " with {with} id {}", self.queue_id);
        if let Some(address) = self.only_recipient {
            let _ = write!(text, "\r\n\tfor <{address}>");
        }
        let _ = write!(text, ";\r\n\t{}\r\n", self.at.to_rfc5322());
        out.extend_from_slice(text.as_bytes());
    }
}

/// A peer's address as an address literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
struct Literal(std::net::SocketAddr);

impl std::fmt::Display for Literal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.ip().to_canonical() {
            std::net::IpAddr::V4(ip) => write!(f, "[{ip}]"),
            std::net::IpAddr::V6(ip) => write!(f, "[IPv6:{ip}]"),
        }
    }
}

/// Text inside a comment: what would end it or the line is left out.
struct Comment<'a>(&'a str);

impl std::fmt::Display for Comment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().filter(|c| !c.is_control() && !matches!(c, '(' | ')' | '\\')).try_for_each(|c| write!(f, "{c}"))
    }
}
