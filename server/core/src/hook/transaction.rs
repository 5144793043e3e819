//! A message on its way into the queue, as hooks see and change it.

use super::{Attributes, Scratch, Session};
use crate::mail::{Envelope, QueueId, Reply};
use crate::message::{ContentSource, HeaderBlock, MemorySource};
use std::sync::Arc;
use std::time::Duration;

/// A message on its way into the queue: what hooks see and may change.
///
/// A clone is cheap (its large parts are shared); the plugin host runs each plugin on a clone and keeps it only if the
/// call succeeds, so that a failed plugin leaves no edits.
#[derive(Clone)]
pub struct Transaction {
    /// The session it came in by.
    pub session: Arc<Session>,
    /// The id it will be queued under; none before its content has begun to come.
    pub queue_id: Option<QueueId>,
    /// Reverse-path and recipients; changed by [`Transaction::envelope_mut`].
    pub envelope: Arc<Envelope>,
    /// The header block, ready for edits; empty before the content is there.
    pub header: HeaderBlock,
    /// The content after the header block: empty line and body. Edits of parts put another source in its place.
    pub body: Arc<dyn ContentSource>,
    /// Has anything put another source in its place?
    pub body_is_edited: bool,
    /// Where edits of the body are kept until the message is queued.
    pub scratch: Arc<dyn Scratch>,
    /// The zone a plugin chose; it overrides every rule of the config.
    pub zone: Option<Arc<str>>,
    /// The zone that the config's rules give the message by header or sender, before plugins; none before the content.
    pub claimed: Option<Arc<str>>,
    /// Hold the first attempt back this long.
    pub delay: Option<Duration>,
    /// Notes from plugin to plugin, which stay with the message.
    pub attributes: Attributes,
    /// What plugins changed, in order.
    pub changes: Vec<Change>,
    /// How long hooks have taken of this transaction so far.
    pub spent: Duration,
}

impl Transaction {
    /// A transaction as it is at MAIL: no content yet.
    #[must_use]
    pub fn new(session: Arc<Session>, envelope: Envelope, scratch: Arc<dyn Scratch>) -> Self {
        let attributes = session.attributes.clone();
        Self {
            session,
            queue_id: None,
            envelope: Arc::new(envelope),
            header: HeaderBlock::default(),
            body: Arc::new(MemorySource::default()),
            body_is_edited: false,
            scratch,
            zone: None,
            claimed: None,
            delay: None,
            attributes,
            changes: Vec::new(),
            spent: Duration::ZERO,
        }
    }

    /// The envelope, to be changed: copies of the transaction keep theirs.
    pub fn envelope_mut(&mut self) -> &mut Envelope {
        Arc::make_mut(&mut self.envelope)
    }
}

/// One change of a message, with its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Plugin name and version, `header-rewrite@0.1.0`.
    pub author: Arc<str>,
    /// What it did, one line without control characters: `add X-Tag`.
    pub what: String,
}

/// A hook, or a failed plugin's `on_error`, refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is told.
    pub reply: Reply,
    /// Who refused and why, for the log.
    pub detail: String,
}

/// What the hook `spam` says of a message that is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It goes on.
    Accept,
    /// It is queued with every recipient held.
    Hold {
        /// Who held it, for the log: name and version.
        by: Arc<str>,
        /// Why, for the operator.
        reason: String,
    },
    /// The client is told that it was queued, and it is dropped.
    Discard {
        /// Who dropped it.
        by: Arc<str>,
        /// Why, for the log.
        reason: String,
    },
}
