//! What an attempt did to a recipient. A failed delivery is data, not an error.

use super::{EnhancedCode, Reply};

/// What a failure is about, which decides what else it stops (the idea of Postfix's failure policy by scope).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This recipient alone.
    Recipient,
    /// The message: all its recipients at this next hop.
    Message,
    /// The session: this connection and what it still had to do.
    Session,
    /// The next hop: whoever connects to it now.
    NextHop,
    /// Our side: configuration, content that can't be read, a limit of ours.
    Local,
}

impl Scope {
    /// As plugins read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Recipient => "recipient",
            Self::Message => "message",
            Self::Session => "session",
            Self::NextHop => "next-hop",
            Self::Local => "local",
        }
    }
}

/// Why a recipient was deferred or bounced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What the failure is about.
    pub scope: Scope,
    /// True status for DSN and log (RFC 3463).
    pub status: EnhancedCode,
    /// What the next hop said, if it said anything.
    pub remote_reply: Option<Reply>,
    /// One line for the sender: no paths, config or internals.
    pub public: String,
    /// One line for the operator's log; may be empty.
    pub detail: String,
}

/// What one attempt did to one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop took responsibility with this reply.
    Delivered(Reply),
    /// Try again later.
    Deferred(Reason),
    /// Never try again.
    Bounced(Reason),
}
