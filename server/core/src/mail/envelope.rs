//! The envelope: reverse-path, recipients and ESMTP parameters of one transaction (RFC 5321 section 2.3.1).

use super::{Address, EnvelopeId, Notify, OriginalRecipient, Ret};
use std::fmt;
use std::sync::Arc;

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
    /// NOTIFY parameter (RFC 3461 section 4.1); None is failures, and delays as this server sees fit.
    pub notify: Option<Notify>,
    /// ORCPT parameter (RFC 3461 section 4.2).
    pub orcpt: Option<OriginalRecipient>,
    /// The pool of source addresses that a plugin chose, instead of the zone's.
    pub pool: Option<Arc<str>>,
}

impl Recipient {
    /// A recipient without ESMTP parameters.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self { address, notify: None, orcpt: None, pool: None }
    }

    /// About how many octets of text it holds.
    #[must_use]
    pub fn octets(&self) -> usize {
        let original = self.orcpt.as_ref().map_or(0, |original| original.kind().len() + original.address().len());
        self.address.as_str().len() + original
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
    /// RET parameter (RFC 3461 section 4.3).
    pub ret: Option<Ret>,
    /// ENVID parameter (RFC 3461 section 4.4).
    pub envid: Option<EnvelopeId>,
}

impl Envelope {
    /// An envelope without recipients yet.
    #[must_use]
    pub fn new(reverse_path: ReversePath) -> Self {
        Self { reverse_path, recipients: Vec::new(), body: BodyType::SevenBit, smtputf8: false, ret: None, envid: None }
    }
}
