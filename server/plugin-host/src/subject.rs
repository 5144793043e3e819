//! What a call is about, and what it answers.

use postern_core::hook::{Delivery, Failures, Routing, Session, Transaction};
use postern_core::mail::{QueueId, Recipient};

/// What a call is about: the plugin's own copy, which is kept only if the call succeeds.
#[derive(Clone, Default)]
#[allow(clippy::large_enum_variant, reason = "moved a few times a call; a box would cost more")]
pub(crate) enum Subject {
    #[default]
    None,
    Session(Session),
    Message(Transaction),
    Recipient(Transaction, Recipient),
    Routing(Transaction, Routing),
    Delivery(Delivery),
    Failures(Failures),
    /// Events, each as JSON.
    Events(Vec<String>),
}

impl Subject {
    pub(crate) fn queue_id(&self) -> Option<QueueId> {
        match self {
            Self::Message(transaction) | Self::Recipient(transaction, _) | Self::Routing(transaction, _) => {
                transaction.queue_id
            }
            Self::Delivery(delivery) => Some(delivery.id),
            Self::Failures(failures) => Some(failures.id),
            Self::None | Self::Session(_) | Self::Events(_) => None,
        }
    }

    /// For the log.
    pub(crate) fn session_id(&self) -> Option<&str> {
        match self {
            Self::Session(session) => Some(&session.id),
            Self::Message(transaction) | Self::Recipient(transaction, _) | Self::Routing(transaction, _) => {
                Some(&transaction.session.id)
            }
            Self::None | Self::Delivery(_) | Self::Failures(_) | Self::Events(_) => None,
        }
    }
}

/// What a plugin says, replies as it wrote them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Go on.
    Pass,
    Reject(String),
    Defer(String),
    Hold(String),
    Discard(String),
    Bounce(String),
}
