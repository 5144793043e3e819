//! The sending side of SMTP (RFC 5321) as a state machine: bytes in, bytes out, no I/O and no clock.
//!
//! [`Client`] runs one session: greeting, EHLO or HELO, STARTTLS and AUTH as its [`Terms`] say, then transactions one
//! after another, then QUIT. It says at which [`Stage`] it waits, the caller keeps the time ([`TimeLimits`]) and tells
//! it when the connection is lost. What became of each recipient comes out as the next hop's reply or as a
//! [`Failure`]; what a failure means (defer or bounce) is [`crate::bounce`]'s.
//!
//! Limits: a reply line of [`MAX_LINE`] octets, a reply of [`MAX_REPLY`], [`MAX_RECIPIENTS`] recipients in a
//! transaction. A peer that breaks the protocol loses the session, never more.

mod auth;
mod content;
mod extensions;
mod machine;
mod reply;
mod transaction;

pub use auth::Mechanisms;
pub use content::{ContentEncoder, Unclean};
pub use extensions::Extensions;
pub use machine::{Client, Status, Terms};
pub use reply::{MAX_LINE, MAX_REPLY, Malformed, ReplyParser};
pub use transaction::Transaction;

use crate::mail::Reply;
use crate::route::Unroutable;
use std::fmt;
use std::time::Duration;

/// Recipients that every server must take in one transaction (RFC 5321 section 4.5.3.1.8); callers split above it.
pub const MAX_RECIPIENTS: usize = 100;

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The address of the next hop, or its TCP connection. Before the state machine; here for time limits and
    /// failures.
    Connect,
    /// The 220 greeting.
    Greeting,
    /// The reply to EHLO or HELO.
    Ehlo,
    /// The reply to STARTTLS.
    StartTls,
    /// The TLS handshake.
    Handshake,
    /// The reply to AUTH, or to what answers a challenge.
    Auth,
    /// The reply to RSET.
    Rset,
    /// The reply to MAIL.
    Mail,
    /// The reply to a RCPT.
    Rcpt,
    /// The reply to DATA.
    Data,
    /// The content is on its way.
    Content,
    /// The reply to the final dot.
    Dot,
    /// The reply to QUIT.
    Quit,
}

impl Stage {
    /// For texts: `reply to RCPT TO`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connection",
            Self::Greeting => "greeting",
            Self::Ehlo => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Handshake => "TLS handshake",
            Self::Auth => "AUTH",
            Self::Rset => "RSET",
            Self::Mail => "MAIL FROM",
            Self::Rcpt => "RCPT TO",
            Self::Data => "DATA",
            Self::Content => "content",
            Self::Dot => "end of data",
            Self::Quit => "QUIT",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How long to wait at each stage for one reply (or, for content, for one block to be taken).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimits {
    /// Name lookup and connection, for each address.
    pub connect: Duration,
    /// Greeting.
    pub greeting: Duration,
    /// EHLO and HELO.
    pub ehlo: Duration,
    /// STARTTLS.
    pub starttls: Duration,
    /// The whole TLS handshake.
    pub handshake: Duration,
    /// AUTH, and each answer to a challenge.
    pub auth: Duration,
    /// MAIL and RSET.
    pub mail: Duration,
    /// Each RCPT.
    pub rcpt: Duration,
    /// DATA.
    pub data: Duration,
    /// Each block of content.
    pub content: Duration,
    /// The final dot. The longest: giving up on a server that is about to say 250 makes a duplicate.
    pub dot: Duration,
    /// QUIT. Short: nothing depends on it.
    pub quit: Duration,
}

impl TimeLimits {
    /// RFC 5321 section 4.5.3.2; it gives none for connecting, EHLO, STARTTLS, the handshake, AUTH, RSET and
    /// QUIT.
    pub const RFC: Self = Self {
        connect: Duration::from_secs(30),
        greeting: Duration::from_secs(300),
        ehlo: Duration::from_secs(300),
        starttls: Duration::from_secs(300),
        handshake: Duration::from_secs(60),
        auth: Duration::from_secs(300),
        mail: Duration::from_secs(300),
        rcpt: Duration::from_secs(300),
        data: Duration::from_secs(120),
        content: Duration::from_secs(180),
        dot: Duration::from_secs(600),
        quit: Duration::from_secs(5),
    };

    /// The same limit everywhere.
    #[must_use]
    pub fn all(limit: Duration) -> Self {
        Self {
            connect: limit,
            greeting: limit,
            ehlo: limit,
            starttls: limit,
            handshake: limit,
            auth: limit,
            mail: limit,
            rcpt: limit,
            data: limit,
            content: limit,
            dot: limit,
            quit: limit,
        }
    }

    /// The limit of one stage.
    #[must_use]
    pub fn of(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Connect => self.connect,
            Stage::Greeting => self.greeting,
            Stage::Ehlo => self.ehlo,
            Stage::StartTls => self.starttls,
            Stage::Handshake => self.handshake,
            Stage::Auth => self.auth,
            Stage::Rset | Stage::Mail => self.mail,
            Stage::Rcpt => self.rcpt,
            Stage::Data => self.data,
            Stage::Content => self.content,
            Stage::Dot => self.dot,
            Stage::Quit => self.quit,
        }
    }
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self::RFC
    }
}

/// How a session ended without a reply that says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The name of the next hop has no address (now).
    NoAddress,
    /// No connection: refused, unreachable, no route.
    Unreachable,
    /// The peer closed or reset the connection.
    Closed,
    /// A time limit passed.
    TimedOut,
    /// Something came that is not a reply, or one past the size limits.
    Malformed,
    /// A reply that the protocol does not allow here, such as 250 to DATA or one before its command.
    Unexpected,
}

/// What the next hop would have to offer for this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unsupported {
    /// The message is larger than this SIZE in octets (RFC 1870).
    Size(u64),
    /// An address or the header is international (RFC 6531).
    SmtpUtf8,
    /// The content is 8-bit (RFC 6152).
    EightBit,
}

/// Why there is no TLS where there has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsFault {
    /// The server does not offer STARTTLS.
    NotOffered,
    /// The handshake failed.
    Handshake,
    /// The certificate is not valid, or not for the host's name.
    Certificate,
}

/// Why we did not authenticate where we have to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthFault {
    /// The server offers no mechanism that is known here.
    NotOffered,
    /// It would have to be in clear, which is not wanted.
    InClear,
}

/// What went wrong on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The content could not be read, or there was less of it than there should be.
    Unreadable,
    /// The content has a bare CR, bare LF or NUL, which never leaves.
    Unclean,
    /// There is no source address that could be used.
    Source,
}

/// Why a recipient was not delivered to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The next hop said so.
    Reply(Reply),
    /// The session ended.
    Lost(Loss),
    /// The next hop can't take such a message; it was not asked.
    Unsupported(Unsupported),
    /// It is our fault.
    Fault(Fault),
    /// There has to be TLS and is none.
    Tls(TlsFault),
    /// There has to be AUTH and is none; nothing was sent.
    Auth(AuthFault),
    /// There is no host to connect to, or only ourselves.
    Unroutable(Unroutable),
}

/// A failure, where it happened and for the log in more words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the session was waiting for.
    pub stage: Stage,
    /// What happened.
    pub cause: Cause,
    /// For the operator's log; may be empty.
    pub detail: String,
}

impl Failure {
    /// A failure without further detail.
    #[must_use]
    pub fn new(stage: Stage, cause: Cause) -> Self {
        Self { stage, cause, detail: String::new() }
    }

    /// The same with a line for the log.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }
}
