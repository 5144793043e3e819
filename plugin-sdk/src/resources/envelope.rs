//! The envelope of one message, and one recipient that is being decided on.

use super::{indexed, milliseconds, wrapper};
use crate::HostError;
use std::time::Duration;

wrapper! {
    /// Reverse-path, recipients, zone, delay and attributes of one message.
    Envelope
}

wrapper! {
    /// The address of one RCPT TO that is being decided on.
    Recipient
}

impl Envelope {
    /// The mailbox of MAIL FROM; empty for the null path `<>`.
    #[must_use]
    pub fn reverse_path(&self) -> String {
        self.0.reverse_path()
    }

    /// Replaces the reverse-path; the empty string makes it `<>`. Not in `rcpt` and `route`.
    ///
    /// # Errors
    /// The text is not a mailbox, or the hook can't do that.
    pub fn set_reverse_path(&self, address: &str) -> Result<(), HostError> {
        Ok(self.0.set_reverse_path(address)?)
    }

    /// How many recipients there are (in `rcpt`: so far).
    #[must_use]
    pub fn recipient_count(&self) -> u32 {
        self.0.recipient_count()
    }

    /// The recipient at `index`, from 0.
    #[must_use]
    pub fn recipient(&self, index: u32) -> Option<String> {
        self.0.recipient(index)
    }

    /// The recipients in order, fetched one by one.
    pub fn recipients(&self) -> impl Iterator<Item = String> {
        indexed(|index| self.recipient(index))
    }

    /// Adds a recipient after the others, unless it is there already. As the other edits of recipients in `spam`,
    /// `rewrite` and `rewrite-part`.
    ///
    /// # Errors
    /// The text is not a mailbox, there are too many, or the hook can't do that.
    pub fn add_recipient(&self, address: &str) -> Result<(), HostError> {
        Ok(self.0.add_recipient(address)?)
    }

    /// Removes the recipient at `index`; those after it move up by one.
    ///
    /// # Errors
    /// There is none at `index`, it is the last one, or the hook can't do that.
    pub fn remove_recipient(&self, index: u32) -> Result<(), HostError> {
        Ok(self.0.remove_recipient(index)?)
    }

    /// Puts another address in the place of the recipient at `index`. If that one is a recipient already, the one at
    /// `index` is removed instead.
    ///
    /// # Errors
    /// There is none at `index`, the text is not a mailbox, or the hook can't do that.
    pub fn replace_recipient(&self, index: u32, address: &str) -> Result<(), HostError> {
        Ok(self.0.replace_recipient(index, address)?)
    }

    /// The zone that a plugin chose before.
    #[must_use]
    pub fn zone(&self) -> Option<String> {
        self.0.zone()
    }

    /// Chooses the zone, over every rule of the config; `None` gives the choice back to the config.
    ///
    /// # Errors
    /// The name cannot be a zone's, or the hook can't do that.
    pub fn set_zone(&self, name: Option<&str>) -> Result<(), HostError> {
        Ok(self.0.set_zone(name)?)
    }

    /// How long the first attempt is held back, if a plugin said so before.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.0.delay().map(Duration::from_millis)
    }

    /// Holds the first attempt back, 30 days at most; `None` withdraws it.
    ///
    /// # Errors
    /// It is too long, or the hook can't do that.
    pub fn set_delay(&self, delay: Option<Duration>) -> Result<(), HostError> {
        Ok(self.0.set_delay(delay.map(milliseconds))?)
    }

    /// A note that an earlier plugin left, in the session or in this message.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.0.attribute(name)
    }

    /// Names of all notes, sorted.
    #[must_use]
    pub fn attribute_names(&self) -> Vec<String> {
        self.0.attribute_names()
    }

    /// Leaves a note for later plugins, which stays with the message in the queue; `None` removes it.
    ///
    /// # Errors
    /// A name or value that is not allowed, too many of them, or a hook that can't do that.
    pub fn set_attribute(&self, name: &str, value: Option<&str>) -> Result<(), HostError> {
        Ok(self.0.set_attribute(name, value)?)
    }
}

impl Recipient {
    /// The mailbox.
    #[must_use]
    pub fn address(&self) -> String {
        self.0.address()
    }

    /// Puts another one in its place. DSNs go on naming the one that the client gave.
    ///
    /// # Errors
    /// The text is not a mailbox.
    pub fn set_address(&self, address: &str) -> Result<(), HostError> {
        Ok(self.0.set_address(address)?)
    }
}
