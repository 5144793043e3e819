//! Messages made from JSON of the shape that Nodemailer takes: read ([`Message::read`]), then written as content
//! ([`Message::compose`]).
//!
//! Nothing outside the JSON is read: `path` and `href` may be `data:` URIs and nothing else. Each error names its field,
//! as in `attachments[2].path`. Random octets and the time are arguments.
//!
//! The tree is Nodemailer's: multipart/mixed (if there are attachments) around multipart/alternative (if there are several
//! views) around multipart/related (if HTML has attachments with a `cid`). Bcc is for the envelope alone.

mod address;
mod content;
mod fields;
mod media_types;
mod message;
mod object;
mod part;
mod template;
#[cfg(test)]
mod tests;
mod tree;

pub use address::{Entry, Person, read as read_addresses};
pub use content::Content;
pub use message::{Fresh, Message};
pub use object::{FieldError, Object};
pub use template::{Substitutions, TemplateError};
