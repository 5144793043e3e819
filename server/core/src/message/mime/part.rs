//! What a scan finds: parts in order, with where they lie and what their headers say.

use super::fields::ContentFields;
use crate::message::HeaderBlock;
use bytes::{BufMut, Bytes, BytesMut};
use std::ops::Range;

/// How the octets of a body are written (RFC 2045 section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransferEncoding {
    /// `7bit`, also what holds where nothing is said.
    #[default]
    SevenBit,
    /// `8bit`.
    EightBit,
    /// `binary`.
    Binary,
    /// `base64`.
    Base64,
    /// `quoted-printable`.
    QuotedPrintable,
    /// A word that is none of these; its octets are taken as they are.
    Unknown,
}

/// What a part is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its body is its content, in its transfer encoding.
    Leaf,
    /// Its body is other parts, with delimiters between them.
    Multipart,
    /// Not looked into: past a limit, or a multipart without a usable boundary or without any part. To be read like a
    /// leaf of application/octet-stream, whatever its media type says.
    Opaque,
}

/// One part. Ranges are octets of the body section.
#[derive(Clone, Debug)]
pub struct Part {
    /// The multipart it belongs to, as an index; none for the root, which has index 0.
    pub parent: Option<usize>,
    /// What it is made of.
    pub kind: Kind,
    /// The IMAP section number (RFC 9051 section 6.4.5): `1`, `2.1`; empty for a root that is a multipart.
    pub section: String,
    /// Its header fields without the empty line after them; empty for the root, whose fields are the message's.
    pub header: Range<u64>,
    /// Its body in its transfer encoding, without the line end that belongs to the delimiter after it.
    pub body: Range<u64>,
    /// The octets of `header`; none if they were too long to be kept.
    pub raw_header: Bytes,
    /// `type/subtype` in lower case; what RFC 2045 section 5.2 prescribes where nothing usable is said.
    pub media_type: String,
    /// The media type's parameters: names in lower case, values decoded (RFC 2231, RFC 2047). At most 64.
    pub parameters: Vec<(String, String)>,
    /// Content-Disposition (RFC 2183) in lower case: `inline`, `attachment`, …
    pub disposition: Option<String>,
    /// The file's name as the sender gave it, by Content-Disposition or else Content-Type. Not fit for a path.
    pub file_name: Option<String>,
    /// How the body is encoded.
    pub encoding: TransferEncoding,
    /// Content-ID without its angle brackets.
    pub content_id: Option<String>,
    /// Is it, or does it lie within, multipart/signed or multipart/encrypted (RFC 1847) or S/MIME (RFC 8551)? A change
    /// would break the seal.
    pub is_sealed: bool,
    /// Where the line of the delimiter before it starts.
    pub(super) delimiter: u64,
    /// Where the line of the delimiter starts that ended it; none if the content did.
    pub(super) next: Option<u64>,
    /// Its header was read, so that it can be changed.
    pub(super) header_is_known: bool,
}

/// The parts of a message, depth first: the root, its first child, that child's children and so on.
#[derive(Clone, Debug)]
pub struct Structure {
    pub(super) parts: Vec<Part>,
    /// Octets of the body section.
    pub(super) len: u64,
}

/// What a part in `parent` is that doesn't say (RFC 2046 section 5.1.5).
pub(super) fn default_type(parent: Option<&Part>) -> &'static str {
    match parent {
        Some(parent) if parent.media_type == "multipart/digest" => "message/rfc822",
        _ => "text/plain",
    }
}

impl TransferEncoding {
    /// By its name, whatever its case.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let names = [Self::SevenBit, Self::EightBit, Self::Binary, Self::Base64, Self::QuotedPrintable];
        names.into_iter().find(|known| known.name().eq_ignore_ascii_case(name)).unwrap_or(Self::Unknown)
    }

    /// As it stands in Content-Transfer-Encoding.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SevenBit => "7bit",
            Self::EightBit => "8bit",
            Self::Binary => "binary",
            Self::Base64 => "base64",
            Self::QuotedPrintable => "quoted-printable",
            Self::Unknown => "unknown",
        }
    }

    /// Are the octets written as they are?
    #[must_use]
    pub fn is_identity(self) -> bool {
        !matches!(self, Self::Base64 | Self::QuotedPrintable)
    }
}

impl Part {
    /// A leaf about whose header nothing is known yet.
    pub(super) fn new(parent: Option<usize>, section: String, delimiter: u64, start: u64) -> Self {
        Self {
            parent,
            kind: Kind::Leaf,
            section,
            header: start..start,
            body: start..start,
            raw_header: Bytes::new(),
            media_type: "application/octet-stream".into(),
            parameters: Vec::new(),
            disposition: None,
            file_name: None,
            encoding: TransferEncoding::SevenBit,
            content_id: None,
            is_sealed: false,
            delimiter,
            next: None,
            header_is_known: false,
        }
    }

    pub(super) fn take_fields(&mut self, fields: ContentFields) {
        self.media_type = fields.media_type;
        self.parameters = fields.parameters;
        self.disposition = fields.disposition;
        self.file_name = fields.file_name;
        self.encoding = fields.encoding;
        self.content_id = fields.content_id;
        self.header_is_known = true;
    }

    /// The value of a parameter of the media type; `name` in lower case.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The boundary between the parts of a multipart. White space at its end is not part of it; one with control
    /// characters counts as none.
    #[must_use]
    pub fn boundary(&self) -> Option<&str> {
        self.parameter("boundary")
            .map(str::trim_end)
            .filter(|boundary| !boundary.is_empty() && !boundary.contains(char::is_control))
    }

    /// Can its header and its content be changed? Not past a limit: it can only be removed then.
    #[must_use]
    pub fn can_be_changed(&self) -> bool {
        self.header_is_known
    }

    /// Its header fields one by one; none for the root, whose fields are the message's.
    #[must_use]
    pub fn header_block(&self) -> HeaderBlock {
        if self.raw_header.is_empty() || self.raw_header.ends_with(b"\n") {
            return HeaderBlock::parse(&self.raw_header);
        }
        // The content ended within the header: a field added below must not run into the last one.
        let mut ended = BytesMut::from(&self.raw_header[..]);
        ended.put_slice(b"\r\n");
        HeaderBlock::parse(&ended.freeze())
    }
}

impl Structure {
    /// All parts, depth first. There is always a root, at index 0.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The part at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Part> {
        self.parts.get(index)
    }

    /// Indices of the parts directly within the part at `index`, in order.
    pub fn children(&self, index: usize) -> impl Iterator<Item = usize> {
        self.parts
            .iter()
            .enumerate()
            .skip(index.saturating_add(1))
            .filter(move |(_, part)| part.parent == Some(index))
            .map(|(child, _)| child)
    }

    /// The parts around the part at `index`, from its parent to the root.
    pub(super) fn ancestors(&self, index: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.get(index).and_then(|part| part.parent), |parent| self.parts[*parent].parent)
    }
}
