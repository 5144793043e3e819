//! Messages as bytes: the header block and its edits, Received, DSNs. Bytes in, bytes out.
//!
//! Content is a header block, an empty line and a body. The *header block* is every header field with its line ends,
//! without the empty line; what follows, empty line included, is the *body section*, so that block and section joined
//! are the content to the byte.

mod body_hash;
mod complete;
pub mod compose;
pub mod dsn;
mod header;
mod mailbox;
pub mod mime;
mod received;
mod source;
mod words;

pub use body_hash::{BodyHasher, BodyHashes};
pub use complete::{CompleteError, Completed, Completion};
pub use header::{Field, HeaderBlock, HeaderError, HeaderSplitter, Position};
pub use mailbox::{Mailbox, mailboxes};
pub use received::Received;
pub use source::{ContentSource, MemorySource};
pub use words::{decode_words, encode_words};
