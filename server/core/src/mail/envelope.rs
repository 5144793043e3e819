//! The envelope: reverse-path, recipients and ESMTP parameters of one transaction (RFC 5321 section 2.3.1).

use super::Address;
use std::fmt;

/// Where failures are reported to: MAIL FROM's path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: no reports, as in DSNs themselves (RFC 5321 section 4.5.5).
    Null,
    /// A mailbox.
    Path(Address),
}

impl ReversePath {
    /// Is this `<>`?
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The mailbox, or the empty string for `<>`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Null => "",
            Self::Path(address) => address.as_str(),
        }
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.as_str())
    }
}

/// One forward-path. Its state in the queue is the spool's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recipient {
    /// Whom the message is for.
    pub address: Address,
}

impl Recipient {
    /// A recipient without ESMTP parameters.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self { address }
    }
}

/// What MAIL's BODY parameter declared (RFC 6152).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BodyType {
    /// `7BIT`, or nothing was said.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBit,
}

/// Reverse-path, recipients and parameters of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// MAIL FROM.
    pub reverse_path: ReversePath,
    /// RCPT TO, in the order given; their place (from 1) is their [`Seq`](super::Seq).
    pub recipients: Vec<Recipient>,
    /// BODY parameter.
    pub body: BodyType,
    /// SMTPUTF8 parameter (RFC 6531).
    pub smtputf8: bool,
}

impl Envelope {
    /// An envelope without recipients yet.
    #[must_use]
    pub fn new(reverse_path: ReversePath) -> Self {
        Self { reverse_path, recipients: Vec::new(), body: BodyType::SevenBit, smtputf8: false }
    }
}
