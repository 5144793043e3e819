//! Session, envelope and message as hooks get them: names on the host's objects. Nothing is copied into the plugin
//! until a method asks for it.

use crate::{EditError, Error, Position, ReadError, backend};
use std::time::Duration;

/// The session in which a message came in.
pub struct Session<'a>(pub(crate) &'a backend::Session);

/// Reverse-path, recipients, zone, delay and attributes of one message.
pub struct Envelope<'a>(pub(crate) &'a backend::Envelope);

/// Header fields, which can be edited, and a body.
pub struct Message<'a>(pub(crate) &'a backend::Message);

impl Session<'_> {
    /// The id that each log line of the session carries.
    #[must_use]
    pub fn id(&self) -> String {
        self.0.id()
    }

    /// Name of the listener, as in `[listener.NAME]`.
    #[must_use]
    pub fn listener(&self) -> String {
        self.0.listener()
    }

    /// The client's IP address as text.
    #[must_use]
    pub fn peer_address(&self) -> String {
        self.0.peer_address()
    }

    /// The client's port.
    #[must_use]
    pub fn peer_port(&self) -> u16 {
        self.0.peer_port()
    }

    /// What the client called itself in EHLO or HELO.
    #[must_use]
    pub fn helo(&self) -> String {
        self.0.helo()
    }

    /// `SMTP`, `ESMTP`: the words of Received's `with` clause.
    #[must_use]
    pub fn protocol(&self) -> String {
        self.0.protocol()
    }

    /// The authenticated user.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        self.0.user()
    }
}

impl Envelope<'_> {
    /// The mailbox of MAIL FROM; empty for the null path `<>`.
    #[must_use]
    pub fn reverse_path(&self) -> String {
        self.0.reverse_path()
    }

    /// Replaces the reverse-path; the empty string makes it `<>`.
    ///
    /// # Errors
    /// The text is not a mailbox.
    pub fn set_reverse_path(&self, address: &str) -> Result<(), EditError> {
        self.0.set_reverse_path(address)
    }

    /// How many recipients there are.
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
        (0..).map_while(|index| self.recipient(index))
    }

    /// Adds a recipient after the others, unless it is there already.
    ///
    /// # Errors
    /// The text is not a mailbox, or there are too many.
    pub fn add_recipient(&self, address: &str) -> Result<(), EditError> {
        self.0.add_recipient(address)
    }

    /// Removes the recipient at `index`; those after it move up by one.
    ///
    /// # Errors
    /// There is none at `index`, or it is the last one.
    pub fn remove_recipient(&self, index: u32) -> Result<(), EditError> {
        self.0.remove_recipient(index)
    }

    /// Puts another address in the place of the recipient at `index`.
    ///
    /// # Errors
    /// There is none at `index`, or the text is not a mailbox.
    pub fn replace_recipient(&self, index: u32, address: &str) -> Result<(), EditError> {
        self.0.replace_recipient(index, address)
    }

    /// The zone that a plugin chose before.
    #[must_use]
    pub fn zone(&self) -> Option<String> {
        self.0.zone()
    }

    /// Chooses the zone, over every rule of the config.
    ///
    /// # Errors
    /// The name cannot be a zone's.
    pub fn set_zone(&self, name: Option<&str>) -> Result<(), EditError> {
        self.0.set_zone(name)
    }

    /// How long the first attempt is held back, if a plugin said so before.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.0.delay().map(Duration::from_millis)
    }

    /// Holds the first attempt back this long.
    ///
    /// # Errors
    /// Longer than 30 days.
    pub fn set_delay(&self, delay: Option<Duration>) -> Result<(), EditError> {
        self.0.set_delay(delay.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)))
    }

    /// A note that an earlier plugin left.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.0.attribute(name)
    }

    /// Names of all notes, sorted.
    #[must_use]
    pub fn attribute_names(&self) -> Vec<String> {
        self.0.attribute_names()
    }

    /// Leaves a note for later plugins and the log; `None` removes it.
    ///
    /// # Errors
    /// A name or value that is not allowed, or too many of them.
    pub fn set_attribute(&self, name: &str, value: Option<&str>) -> Result<(), EditError> {
        self.0.set_attribute(name, value)
    }
}

impl Message<'_> {
    /// The queue id: 18 hex digits, as in the log and the 250 reply.
    #[must_use]
    pub fn id(&self) -> String {
        self.0.id()
    }

    /// Octets of the whole content as it stands now.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    /// The decoded value of the first field of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.0.header(name)
    }

    /// The decoded values of all fields of this name, from the top.
    #[must_use]
    pub fn header_all(&self, name: &str) -> Vec<String> {
        self.0.header_all(name)
    }

    /// How many header fields there are.
    #[must_use]
    pub fn header_count(&self) -> u32 {
        self.0.header_count()
    }

    /// Name and decoded value of the field at `index`, from 0 at the top.
    #[must_use]
    pub fn header_at(&self, index: u32) -> Option<(String, String)> {
        self.0.header_at(index)
    }

    /// Every field as it will be sent: its name, and what stands after the colon.
    #[must_use]
    pub fn raw_headers(&self) -> Vec<(String, Vec<u8>)> {
        self.0.raw_headers()
    }

    /// Adds a field; the host folds and encodes the value.
    ///
    /// # Errors
    /// A name or value that cannot stand in a header, or a header grown too large.
    pub fn add_header(&self, name: &str, value: &str, position: Position) -> Result<(), EditError> {
        self.0.add_header(name, value, position)
    }

    /// Gives the first field of this name the value and removes its namesakes; adds it at the bottom if there is none.
    ///
    /// # Errors
    /// As [`Message::add_header`].
    pub fn set_header(&self, name: &str, value: &str) -> Result<(), EditError> {
        self.0.set_header(name, value)
    }

    /// Removes all fields of this name and says how many there were.
    ///
    /// # Errors
    /// The name cannot stand in a header.
    pub fn remove_header(&self, name: &str) -> Result<u32, EditError> {
        self.0.remove_header(name)
    }

    /// Octets of the body.
    #[must_use]
    pub fn body_size(&self) -> u64 {
        self.0.body_size()
    }

    /// Reads at most `max` octets of the body from `offset` (at most 256 KiB); none at its end.
    ///
    /// # Errors
    /// The host could not read its store.
    pub fn read_body(&self, offset: u64, max: u32) -> Result<Vec<u8>, ReadError> {
        self.0.read_body(offset, max)
    }

    /// Reads the body from its start to its end in pieces of at most 64 KiB, so that it never is in memory as a whole.
    ///
    /// # Errors
    /// The host could not read its store, or `each` failed.
    pub fn for_body(&self, mut each: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let mut offset = 0;
        loop {
            let piece = self.read_body(offset, 64 << 10)?;
            if piece.is_empty() {
                return Ok(());
            }
            each(&piece)?;
            offset += piece.len() as u64;
        }
    }
}
