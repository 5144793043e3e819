//! One part of a message.

use super::reader::{Pieces, from_offset};
use super::wrapper;
use crate::HostError;
use std::io::{self, BufRead, Write};

wrapper! {
    /// One part of a message. What a hook writes is encoded by the host.
    ///
    /// Edits are made when the call ends: until then whatever is read of a part is as it was when the call began, so that
    /// a part can be read and written piece by piece.
    Part
}

impl Part {
    /// Its number as IMAP has it (RFC 3501 section 6.4.5): `1`, `2.1`.
    #[must_use]
    pub fn section(&self) -> String {
        self.0.section()
    }

    /// Type and subtype in lower case, `text/plain`.
    #[must_use]
    pub fn content_type(&self) -> String {
        self.0.content_type()
    }

    /// A parameter of Content-Type, decoded.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.0.parameter(name)
    }

    /// `inline` or `attachment`, if it says so.
    #[must_use]
    pub fn disposition(&self) -> Option<String> {
        self.0.disposition()
    }

    /// Does it say that it is an attachment?
    #[must_use]
    pub fn is_attachment(&self) -> bool {
        self.disposition().is_some_and(|disposition| disposition == "attachment")
    }

    /// Its file name, decoded.
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        self.0.file_name()
    }

    /// The types of the multiparts around it, outermost first.
    #[must_use]
    pub fn containers(&self) -> Vec<String> {
        self.0.containers()
    }

    /// Is it signed or encrypted, so that an edit would break it?
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.0.is_sealed()
    }

    /// A field of the part's own header, as [`Message::header`](crate::Message::header) gives it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.0.header(name)
    }

    /// Octets of it as encoded.
    #[must_use]
    pub fn encoded_size(&self) -> u64 {
        self.0.encoded_size()
    }

    /// Reads at most `max` octets of it, decoded, from `offset` (at most 256 KiB); none at its end. Reading on is
    /// cheap, going back begins anew.
    ///
    /// # Errors
    /// The host could not read its store.
    pub fn read(&self, offset: u64, max: u32) -> Result<Vec<u8>, HostError> {
        Ok(self.0.read(offset, max)?)
    }

    /// The decoded content from its start, fetched in pieces of 64 KiB.
    pub fn reader(&self) -> impl BufRead {
        Pieces::new(from_offset(|offset, max| self.read(offset, max)))
    }

    /// The whole as text, decoded from its charset.
    ///
    /// # Errors
    /// It has more than 1 MiB, or the host could not read its store.
    pub fn text(&self) -> Result<String, HostError> {
        Ok(self.0.text()?)
    }

    /// Replaces the content by what this and later calls write, in the original's type. Set Content-Type first, if it is to
    /// be another one.
    ///
    /// # Errors
    /// It is too large or can't be encoded, or the hook can't do that.
    pub fn write(&self, bytes: &[u8]) -> Result<(), HostError> {
        in_pieces(bytes, |piece| Ok(self.0.write(piece)?))
    }

    /// [`Part::write`] as a [`Write`].
    #[must_use]
    pub fn writer(&self) -> PartWriter<'_> {
        PartWriter(self)
    }

    /// Replaces the content by a text in UTF-8, of at most 4 MiB; Content-Type's charset follows.
    ///
    /// # Errors
    /// As [`Part::write`], or the part is no text.
    pub fn set_text(&self, text: &str) -> Result<(), HostError> {
        Ok(self.0.set_text(text)?)
    }

    /// Leaves the content as it is and adds octets, in the part's own charset, at its end.
    ///
    /// # Errors
    /// As [`Part::write`].
    pub fn append(&self, bytes: &[u8]) -> Result<(), HostError> {
        in_pieces(bytes, |piece| Ok(self.0.append(piece)?))
    }

    /// Leaves the content as it is and adds a text of at most 4 MiB at its end, in the part's charset. If that does not
    /// have all of the text, the part becomes UTF-8.
    ///
    /// # Errors
    /// As [`Part::write`], or the part is no text, its charset is not known, or the call has written other content in a
    /// charset that does not have the text.
    pub fn append_text(&self, text: &str) -> Result<(), HostError> {
        Ok(self.0.append_text(text)?)
    }

    /// Takes the part out of the message. The last part of a multipart becomes an empty text; if the message is the part,
    /// its body becomes empty.
    ///
    /// # Errors
    /// The hook can't do that.
    pub fn remove(&self) -> Result<(), HostError> {
        Ok(self.0.remove()?)
    }

    /// Gives a field of the part's header this value. The host keeps Content-Transfer-Encoding itself, and where the message
    /// is the part, only its `Content-` fields are the part's.
    ///
    /// # Errors
    /// A name or value that cannot stand in a header, or a hook that can't do that.
    pub fn set_header(&self, name: &str, value: &str) -> Result<(), HostError> {
        Ok(self.0.set_header(name, value)?)
    }

    /// Removes a field of the part's header.
    ///
    /// # Errors
    /// The name cannot stand in a header, or the hook can't do that.
    pub fn remove_header(&self, name: &str) -> Result<(), HostError> {
        Ok(self.0.remove_header(name)?)
    }
}

/// The host takes no more than 4 MiB at a time. Nothing is a piece, too.
fn in_pieces(bytes: &[u8], mut each: impl FnMut(&[u8]) -> Result<(), HostError>) -> Result<(), HostError> {
    if bytes.is_empty() {
        return each(bytes);
    }
    bytes.chunks(1 << 20).try_for_each(each)
}

/// Writes a part's new content.
#[derive(Debug)]
pub struct PartWriter<'a>(&'a Part);

impl Write for PartWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
