//! Errors that guests see: a word, a colon, and a sentence (see `wit/types.wit`).

use std::fmt;

/// `WORD: text`.
pub(crate) type HostError = String;
/// What most host functions give a guest.
pub(crate) type HostResult<T = ()> = Result<T, HostError>;

pub(crate) const BAD_NAME: &str = "bad-name";
pub(crate) const BAD_VALUE: &str = "bad-value";
pub(crate) const BAD_ADDRESS: &str = "bad-address";
pub(crate) const NOT_FOUND: &str = "not-found";
pub(crate) const LAST_RECIPIENT: &str = "last-recipient";
pub(crate) const TOO_LARGE: &str = "too-large";
pub(crate) const NOT_NOW: &str = "not-now";
pub(crate) const UNAVAILABLE: &str = "unavailable";

/// An error for a guest.
pub(crate) fn error(word: &str, text: impl fmt::Display) -> HostError {
    format!("{word}: {text}")
}
