//! Session, envelope, message and the rest as guests see them. Every text that a guest gives is checked here.
//!
//! Edits go to the plugin's own copy of the subject, which is kept only if its call succeeds.

mod credentials;
mod delivery;
mod envelope;
mod exchange;
mod failures;
mod message;
mod part;
mod routing;
mod session;

use crate::bindings::postern::plugin::types;
use crate::error::{BAD_ADDRESS, BAD_NAME, BAD_VALUE, HostResult, TOO_LARGE, error};
use crate::state::GuestState;
use postern_core::hook::{Attributes, HookPoint, MAX_ATTRIBUTE, MAX_ATTRIBUTES, Transaction};
use postern_core::mail::Address;
use postern_core::message::{Field, HeaderError, decode_words, encode_words};
use std::time::Duration;
use wasmtime::Result;

impl types::Host for GuestState {}

/// The hooks of a message whose content is there and that may change it.
const CONTENT: [HookPoint; 3] = [HookPoint::Spam, HookPoint::Rewrite, HookPoint::RewritePart];

/// Longest delay that a plugin may ask for.
const MAX_DELAY: Duration = Duration::from_secs(30 * 24 * 3600);

impl GuestState {
    /// Makes one edit of the transaction and remembers it, if it was allowed and changed anything.
    fn edit(
        &mut self,
        what: std::fmt::Arguments<'_>,
        edit: impl FnOnce(&mut Transaction) -> HostResult<bool>,
    ) -> Result<HostResult> {
        if let Err(refused) = self.may_edit() {
            return Ok(Err(refused));
        }
        Ok(match edit(self.transaction_mut()?) {
            Ok(true) => {
                self.changed(what);
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        })
    }
}

fn address(text: &str) -> HostResult<Address> {
    Address::parse(text).map_err(|_| error(BAD_ADDRESS, "not a mailbox (RFC 5321 section 4.1.2)"))
}

/// Names of zones, pools and attributes.
fn word(name: &str) -> HostResult {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if (1..=64).contains(&name.len()) && name.bytes().all(ok) {
        Ok(())
    } else {
        Err(error(BAD_NAME, "a name is 1 to 64 of a-z, A-Z, 0-9, dot, dash and underscore"))
    }
}

fn delay(milliseconds: u64) -> HostResult<Duration> {
    let delay = Duration::from_millis(milliseconds);
    if delay > MAX_DELAY { Err(error(TOO_LARGE, "a delay is at most 30 days")) } else { Ok(delay) }
}

/// Sets or removes a note; true if that changed anything.
fn set_attribute(attributes: &mut Attributes, name: &str, value: Option<String>) -> HostResult<bool> {
    word(name)?;
    let Some(value) = value else { return Ok(attributes.remove(name).is_some()) };
    if value.contains(char::is_control) {
        return Err(error(BAD_VALUE, "an attribute has no control characters"));
    }
    if value.len() > MAX_ATTRIBUTE || (!attributes.contains_key(name) && attributes.len() >= MAX_ATTRIBUTES) {
        return Err(error(TOO_LARGE, "there are at most 128 attributes of at most 4 KiB"));
    }
    attributes.insert(name.to_owned(), value);
    Ok(true)
}

/// RFC 5322 section 2.2: `ftext`.
fn field_name(name: &str) -> HostResult {
    if !name.is_empty() && name.bytes().all(|b| (33..=126).contains(&b) && b != b':') {
        Ok(())
    } else {
        Err(error(BAD_NAME, "a header field name is printable ASCII without colon or space"))
    }
}

/// The value as it may stand in a header: without control characters but tab, and ASCII unless the message came with
/// SMTPUTF8.
fn writable(value: String, smtputf8: bool) -> HostResult<String> {
    let is_ascii = value.is_ascii();
    let has_control = match is_ascii {
        true => value.bytes().any(|b| b.is_ascii_control() && b != b'\t'),
        false => value.chars().any(|c| c.is_control() && c != '\t'),
    };
    if has_control {
        return Err(error(BAD_VALUE, "a header field's value has no control characters"));
    }
    if is_ascii || smtputf8 { Ok(value) } else { Ok(encode_words(&value)) }
}

fn header_error(refused: HeaderError) -> String {
    match refused {
        HeaderError::Name => error(BAD_NAME, "a header field name is printable ASCII without colon or space"),
        HeaderError::Value => error(BAD_VALUE, "a header field's value has no control characters"),
        HeaderError::LineTooLong => error(BAD_VALUE, "a word in the value is too long for a line"),
        HeaderError::TooLarge => error(TOO_LARGE, "a header block has at most 1 MiB"),
    }
}

fn value(field: &Field) -> String {
    decode_words(field.value())
}

fn name_of(field: &Field) -> String {
    String::from_utf8_lossy(field.name()).into_owned()
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
