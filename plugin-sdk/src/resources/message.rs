//! The content of one message.

use super::reader::{Pieces, from_offset};
use super::{Part, indexed, wrapper};
use crate::{Error, HostError, Mailbox};
use std::io::BufRead;

wrapper! {
    /// Header fields, which can be edited, and a body of parts.
    Message
}

impl Message {
    /// The queue id: 18 hex digits, as in the log and the 250 reply.
    #[must_use]
    pub fn id(&self) -> String {
        self.0.id()
    }

    /// Octets of the whole content: header fields as they stand now, empty line and body.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    /// The value of the first field of this name, on one line and decoded.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.0.header(name)
    }

    /// The values of all fields of this name, from the top.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = String> {
        self.0.header_all(name).into_iter()
    }

    /// Name and value of every field, from the top, fetched one by one.
    pub fn fields(&self) -> impl Iterator<Item = (String, String)> {
        indexed(|index| self.header_at(index))
    }

    /// How many header fields there are.
    #[must_use]
    pub fn header_count(&self) -> u32 {
        self.0.header_count()
    }

    /// Name and value of the field at `index`, from 0 at the top.
    #[must_use]
    pub fn header_at(&self, index: u32) -> Option<(String, String)> {
        self.0.header_at(index)
    }

    /// Every field as it will be sent: its name, and what stands after the colon.
    #[must_use]
    pub fn raw_headers(&self) -> Vec<(String, Vec<u8>)> {
        self.0.raw_headers()
    }

    /// The mailboxes in all fields of this name (From, To, Cc …), members of groups among them; what is no mailbox is left
    /// out. Not for deciding where mail goes: that is the envelope's.
    ///
    /// They are taken from the fields as they are sent: in a value that was decoded first, an encoded word could pass
    /// for an address.
    #[must_use]
    pub fn mailboxes(&self, name: &str) -> Vec<Mailbox> {
        self.0.mailboxes(name).into_iter().map(|(name, address)| Mailbox { name, address }).collect()
    }

    /// Adds a field above all others. The host folds long lines and encodes what is not ASCII.
    ///
    /// # Errors
    /// A name or value that cannot stand in a header, or a header grown too large.
    pub fn prepend_header(&self, name: &str, value: &str) -> Result<(), HostError> {
        Ok(self.0.prepend_header(name, value)?)
    }

    /// Adds a field below all others.
    ///
    /// # Errors
    /// As [`Message::prepend_header`].
    pub fn append_header(&self, name: &str, value: &str) -> Result<(), HostError> {
        Ok(self.0.append_header(name, value)?)
    }

    /// Gives the first field of this name the value and removes its namesakes; adds it at the bottom if there is none.
    ///
    /// # Errors
    /// As [`Message::prepend_header`].
    pub fn set_header(&self, name: &str, value: &str) -> Result<(), HostError> {
        Ok(self.0.set_header(name, value)?)
    }

    /// Removes all fields of this name and says how many there were.
    ///
    /// # Errors
    /// The name cannot stand in a header.
    pub fn remove_header(&self, name: &str) -> Result<u32, HostError> {
        Ok(self.0.remove_header(name)?)
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
    pub fn read_body(&self, offset: u64, max: u32) -> Result<Vec<u8>, HostError> {
        Ok(self.0.read_body(offset, max)?)
    }

    /// The body from its start, fetched in pieces of 64 KiB.
    pub fn body(&self) -> impl BufRead {
        Pieces::new(from_offset(|offset, max| self.read_body(offset, max)))
    }

    /// Reads the body from its start to its end in pieces of at most 64 KiB, so that it never is in memory as a whole.
    ///
    /// # Errors
    /// The host could not read its store, or `each` failed.
    pub fn for_body(&self, mut each: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let mut offset = 0;
        loop {
            let piece = self.read_body(offset, super::reader::PIECE)?;
            if piece.is_empty() {
                return Ok(());
            }
            each(&piece)?;
            offset += piece.len() as u64;
        }
    }

    /// The parts that have content of their own, in order. The first call in a message reads it once from end to end.
    ///
    /// # Errors
    /// The host could not read its store.
    pub fn parts(&self) -> Result<Vec<Part>, HostError> {
        Ok(self.0.parts()?.into_iter().map(Part).collect())
    }
}
