//! MIME by streaming: the parts of a message found, decoded, encoded and replaced without holding the message.
//!
//! Content is foreign and may be malformed in any way. [`scan()`] reads a body section once, in pieces, and gives the
//! [`Structure`]: where each part's header and body lie. [`Decoder`] and [`Encoder`] turn transfer encodings into
//! octets and back, piece by piece. [`edit()`] applies changes to parts and gives the new body section as a [`Splice`],
//! which reads what was not changed from where it always was.
//!
//! Not here: the insides of message/rfc822 parts (a leaf), uuencode, S/MIME and OpenPGP (known only as sealed).
//!
//! What is not understood is kept: past a limit a part is opaque, and its octets stay as they are.

mod charset;
mod check;
mod decode;
mod edit;
mod encode;
mod fields;
mod lines;
mod part;
mod scan;
mod splice;
#[cfg(test)]
mod tests;

pub use charset::{Charset, CharsetError, MAX_TEXT, Text, ToUtf8, to_text};
pub use decode::Decoder;
pub use edit::{Edit, EditError, Edited, Replacement, edit};
pub use encode::{Coding, Encoder, NotEncodable, choose};
pub use fields::{charset_of, media_type_of, with_charset};
pub use part::{Kind, Part, Structure, TransferEncoding};
pub use scan::scan;
pub use splice::{Splice, SpliceBuilder};

/// Most parts a structure has; the last of so many is opaque and takes the rest of the content.
pub const MAX_PARTS: usize = 1000;

/// Most multiparts within each other; a multipart below them is opaque.
pub const MAX_DEPTH: usize = 32;

/// Longest boundary in octets. RFC 2046 section 5.1.1 allows 70.
pub const MAX_BOUNDARY: usize = 256;

/// Longest header of one part that is kept, in octets; a part with a longer one is opaque.
pub const MAX_PART_HEADER: usize = 16 << 10;

/// Longest headers of all parts together that are kept, in octets; parts after them are opaque.
pub const MAX_PART_HEADERS: usize = 512 << 10;
