//! Why a service did not do what it was asked for: the WIT's type `error`.

use std::fmt;

/// Longest text, in octets: it may quote what a server or a library said.
const MAX_TEXT: usize = 400;

/// A word of the WIT and a sentence for people. Its `Display` is what a plugin gets: `denied: the grant …`.
///
/// Texts name hosts and keys' owners, never secrets, paths, query strings or values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word}: {text}")]
pub struct ServiceError {
    /// One of the words that `types.wit` lists.
    pub word: &'static str,
    /// One line.
    pub text: String,
}

impl ServiceError {
    /// A name is not valid.
    pub fn bad_name(text: impl fmt::Display) -> Self {
        Self::new("bad-name", text)
    }

    /// A value is not valid, or not of this kind.
    pub fn bad_value(text: impl fmt::Display) -> Self {
        Self::new("bad-value", text)
    }

    /// Past a limit, which the text names.
    pub fn too_large(text: impl fmt::Display) -> Self {
        Self::new("too-large", text)
    }

    /// The plugin's grants don't cover it.
    pub fn denied(text: impl fmt::Display) -> Self {
        Self::new("denied", text)
    }

    /// A store, a server or the network failed.
    pub fn unavailable(text: impl fmt::Display) -> Self {
        Self::new("unavailable", text)
    }

    /// It took longer than it may.
    pub fn timeout(text: impl fmt::Display) -> Self {
        Self::new("timeout", text)
    }

    fn new(word: &'static str, text: impl fmt::Display) -> Self {
        Self { word, text: one_line(&text.to_string()) }
    }
}

/// Foreign text fit for a log line: without control characters, and not long.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_TEXT));
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if line.len() + c.len_utf8() > MAX_TEXT {
            line.push('…');
            break;
        }
        line.push(c);
    }
    line
}

/// A grant of a `[[plugin]]` entry can't be used as it is written. The text names the grant and the entry in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GrantError(pub(super) String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_a_word_and_one_bounded_line() {
        assert_eq!(ServiceError::denied("no\r\nway").to_string(), "denied: no  way");
        let long = ServiceError::unavailable("ä".repeat(1000)).text;
        assert!(long.len() <= MAX_TEXT + '…'.len_utf8() && long.ends_with('…'), "{}", long.len());
    }
}
