//! What went wrong in one attempt.

use super::{indexed, wrapper};
use crate::{Action, HostError, Scope};

wrapper! {
    /// The recipients that failed, of one message.
    Failures
}

/// One recipient that failed.
#[derive(Debug)]
pub struct Failure<'a> {
    failures: &'a Failures,
    index: u32,
    recipient: String,
}

impl Failures {
    /// The queue id.
    #[must_use]
    pub fn id(&self) -> String {
        self.0.id()
    }

    /// The mailbox of MAIL FROM; empty for `<>`.
    #[must_use]
    pub fn reverse_path(&self) -> String {
        self.0.reverse_path()
    }

    /// The zone.
    #[must_use]
    pub fn zone(&self) -> String {
        self.0.zone()
    }

    /// The host that was spoken to: `mx.example[192.0.2.1]:25`. The domain or `host:port` if there was no connection,
    /// empty if nothing was looked up.
    #[must_use]
    pub fn next_hop(&self) -> String {
        self.0.next_hop()
    }

    /// The authenticated user who submitted it.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        self.0.user()
    }

    /// A note that a hook left when the message came in.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.0.attribute(name)
    }

    /// How many recipients failed.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.count()
    }

    /// The failed recipient at `index`, from 0.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<Failure<'_>> {
        self.0.recipient(index).map(|recipient| Failure { failures: self, index, recipient })
    }

    /// All failed recipients, fetched one by one.
    pub fn iter(&self) -> impl Iterator<Item = Failure<'_>> {
        indexed(|index| self.get(index))
    }
}

impl Failure<'_> {
    /// The mailbox.
    #[must_use]
    pub fn recipient(&self) -> &str {
        &self.recipient
    }

    /// Its number in the message, three or more hex digits, as in the log.
    #[must_use]
    pub fn seq(&self) -> String {
        self.failures.0.seq(self.index).unwrap_or_default()
    }

    /// What becomes of it.
    #[must_use]
    pub fn action(&self) -> Action {
        self.failures.0.action(self.index).unwrap_or_default().into()
    }

    /// The status (RFC 3463), `5.1.1`.
    #[must_use]
    pub fn status(&self) -> String {
        self.failures.0.status(self.index).unwrap_or_default()
    }

    /// What the next hop said, `550 5.1.1 No such user`; none if it was not a reply.
    #[must_use]
    pub fn reply(&self) -> Option<String> {
        self.failures.0.reply(self.index)
    }

    /// The failure in a sentence, as a DSN has it.
    #[must_use]
    pub fn text(&self) -> String {
        self.failures.0.text(self.index).unwrap_or_default()
    }

    /// What it is about.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.failures.0.scope(self.index).unwrap_or_default().into()
    }

    /// Attempts so far, this one included.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.failures.0.attempts(self.index).unwrap_or_default()
    }

    /// Makes it a deferral, due by the retry schedule.
    ///
    /// # Errors
    /// It is too old to be tried again.
    pub fn defer(&self) -> Result<(), HostError> {
        Ok(self.failures.0.defer(self.index)?)
    }

    /// Makes it a bounce.
    ///
    /// # Errors
    /// The host refuses it.
    pub fn bounce(&self) -> Result<(), HostError> {
        Ok(self.failures.0.bounce(self.index)?)
    }

    /// Its sender is not told. What the log and the events say stays.
    ///
    /// # Errors
    /// The host refuses it.
    pub fn suppress_dsn(&self) -> Result<(), HostError> {
        Ok(self.failures.0.suppress_dsn(self.index)?)
    }
}
