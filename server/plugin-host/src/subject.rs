//! What a call is about, and what it answers.

use postern_core::hook::{
    Change, Credentials, Delivery, Failures, HttpAnswer, HttpRequest, Routing, Session, Transaction,
};
use postern_core::mail::{QueueId, Recipient};

/// What a call is about: the plugin's own copy, which is kept only if the call succeeds.
#[derive(Default)]
#[allow(clippy::large_enum_variant, reason = "moved a few times a call; a box would cost more")]
pub(crate) enum Subject {
    #[default]
    None,
    Session(Session),
    Login(Session, Credentials),
    Message(Transaction),
    Recipient(Transaction, Recipient),
    Routing(Transaction, Routing),
    Delivery(Delivery),
    Failures(Failures),
    /// Events, each as JSON.
    Events(Vec<String>),
    Exchange(Box<Exchange>),
}

/// An HTTP request, its body as far as the plugin has not read it, and the answer.
pub(crate) struct Exchange {
    pub(crate) request: HttpRequest,
    pub(crate) answer: HttpAnswer,
}

/// What the caller of a hook has: each plugin gets a copy, which takes its place if the call succeeds.
pub(crate) enum Held<'a> {
    Session(&'a mut Session),
    Login(&'a mut Session, &'a Credentials),
    Message(&'a mut Transaction),
    Recipient(&'a mut Transaction, &'a mut Recipient),
    Routing(&'a mut Transaction, &'a mut Routing),
    Delivery(&'a mut Delivery),
    Failures(&'a mut Failures),
}

impl Held<'_> {
    pub(crate) fn copy(&self) -> Subject {
        match self {
            Self::Session(session) => Subject::Session((*session).clone()),
            Self::Login(session, credentials) => Subject::Login((*session).clone(), (*credentials).clone()),
            Self::Message(transaction) => Subject::Message((*transaction).clone()),
            Self::Recipient(transaction, recipient) => Subject::Recipient((*transaction).clone(), (*recipient).clone()),
            Self::Routing(transaction, routing) => Subject::Routing((*transaction).clone(), (*routing).clone()),
            Self::Delivery(delivery) => Subject::Delivery((*delivery).clone()),
            Self::Failures(failures) => Subject::Failures((*failures).clone()),
        }
    }

    /// Puts what a plugin made of its copy in the place of it.
    pub(crate) fn replace(&mut self, edited: Subject) {
        match (self, edited) {
            (Self::Session(session), Subject::Session(edited)) => **session = edited,
            (Self::Login(session, _), Subject::Login(edited, _)) => **session = edited,
            (Self::Message(transaction), Subject::Message(edited)) => **transaction = edited,
            (Self::Recipient(transaction, recipient), Subject::Recipient(edited, address)) => {
                (**transaction, **recipient) = (edited, address);
            }
            // Nothing but the routing can be changed there.
            (Self::Routing(_, routing), Subject::Routing(_, edited)) => **routing = edited,
            (Self::Delivery(delivery), Subject::Delivery(edited)) => **delivery = edited,
            (Self::Failures(failures), Subject::Failures(edited)) => **failures = edited,
            // A call gives back what it was given.
            _ => {}
        }
    }

    /// What plugins did to it so far, in order.
    pub(crate) fn changes(&mut self) -> Option<&mut Vec<Change>> {
        match self {
            Self::Session(_) | Self::Login(..) => None,
            Self::Message(transaction) | Self::Recipient(transaction, _) | Self::Routing(transaction, _) => {
                Some(&mut transaction.changes)
            }
            Self::Delivery(delivery) => Some(&mut delivery.changes),
            Self::Failures(failures) => Some(&mut failures.changes),
        }
    }
}

impl Subject {
    pub(crate) fn queue_id(&self) -> Option<QueueId> {
        match self {
            Self::Message(transaction) | Self::Recipient(transaction, _) | Self::Routing(transaction, _) => {
                transaction.queue_id
            }
            Self::Delivery(delivery) => Some(delivery.id),
            Self::Failures(failures) => Some(failures.id),
            Self::None | Self::Session(_) | Self::Login(..) | Self::Events(_) | Self::Exchange(_) => None,
        }
    }

    /// For the log.
    pub(crate) fn session_id(&self) -> Option<&str> {
        match self {
            Self::Session(session) | Self::Login(session, _) => Some(&session.id),
            Self::Message(transaction) | Self::Recipient(transaction, _) | Self::Routing(transaction, _) => {
                Some(&transaction.session.id)
            }
            Self::None | Self::Delivery(_) | Self::Failures(_) | Self::Events(_) | Self::Exchange(_) => None,
        }
    }
}

/// What a plugin says, replies as it wrote them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Go on.
    Pass,
    /// Credentials are this user's.
    Accept(String),
    Reject(String),
    Defer(String),
    Hold(String),
    Discard(String),
    Bounce(String),
}
