//! The line of the delivery log for a message that is in the queue.

use crate::observe::delivery_log;
use crate::spool::NewMessage;
use postern_core::mail::{QueueId, ReversePath};
use std::sync::Arc;

/// What the log says of a message, taken before the commit takes the message away.
pub struct Queued {
    /// Its id.
    pub id: QueueId,
    session: Arc<str>,
    from: ReversePath,
    to: String,
    recipients: usize,
    size: u64,
    zone: Arc<str>,
}

impl Queued {
    /// Of a message whose body section has `section` octets.
    #[must_use]
    pub fn new(id: QueueId, message: &NewMessage, section: u64) -> Self {
        let NewMessage { envelope, header, queues, origin, .. } = message;
        Self {
            id,
            session: Arc::clone(&origin.session),
            from: envelope.reverse_path.clone(),
            to: envelope.recipients.first().map_or_else(String::new, |r| r.address.as_str().to_owned()),
            recipients: envelope.recipients.len(),
            size: header.len() as u64 + section,
            zone: queues.first().map_or_else(|| Arc::from(""), |queue| Arc::clone(&queue.zone)),
        }
    }

    /// Writes the line; `dsn_for` is the message that this one reports on.
    pub fn log(&self, dsn_for: Option<QueueId>) {
        delivery_log::queued(&delivery_log::Queued {
            id: self.id,
            session: &self.session,
            from: &self.from,
            to: &self.to,
            recipients: self.recipients,
            size: self.size,
            zone: &self.zone,
            dsn_for,
        });
    }
}
