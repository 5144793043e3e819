//! What goes wrong: [`HostError`], which the host says, and [`Error`], which a plugin's functions end with.

use std::fmt;

/// What most functions of a plugin return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A text for the operator's log. `?` makes one of any [`std::error::Error`], with its causes.
pub struct Error(String);

impl Error {
    /// An error that says this.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The same error, with what was being done in front.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Self {
        Self(format!("{what}: {}", self.0))
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

// `Error` itself is no `std::error::Error`, so that this covers every type that is one.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            text.push_str(": ");
            text.push_str(&source.to_string());
            cause = source.source();
        }
        Self(text)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why the host did not do what it was asked for. What was asked for has not happened.
#[derive(Clone, PartialEq, Eq)]
pub struct HostError {
    /// `WORD: text`, as the host wrote it.
    said: String,
}

/// The kinds of [`HostError`]; later hosts may have others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A name of a header field, a zone, an attribute, a key… is not valid.
    BadName,
    /// A value contains a character that must not stand there.
    BadValue,
    /// Not a mailbox, an IP address or a host.
    BadAddress,
    /// There is nothing at that index or of that name.
    NotFound,
    /// The edit would leave the message without a recipient.
    LastRecipient,
    /// It would go past a limit, which the text names.
    TooLarge,
    /// This hook can't do that; the text says which can.
    NotNow,
    /// The plugin's grants do not cover it; the text names what is missing.
    Denied,
    /// A store, a server or the network failed.
    Unavailable,
    /// It took longer than it may.
    Timeout,
    /// A word that this version of the SDK does not know; [`HostError::word`] has it.
    Other,
}

impl HostError {
    /// An error with this word and text, as the host would make it.
    #[must_use]
    pub fn new(word: &str, text: &str) -> Self {
        let mut said = String::with_capacity(word.len() + text.len() + 2);
        for piece in [word, ": ", text] {
            said.push_str(piece);
        }
        Self { said }
    }

    /// What kind it is, for plugins that go on after some.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self.word() {
            "bad-name" => ErrorKind::BadName,
            "bad-value" => ErrorKind::BadValue,
            "bad-address" => ErrorKind::BadAddress,
            "not-found" => ErrorKind::NotFound,
            "last-recipient" => ErrorKind::LastRecipient,
            "too-large" => ErrorKind::TooLarge,
            "not-now" => ErrorKind::NotNow,
            "denied" => ErrorKind::Denied,
            "unavailable" => ErrorKind::Unavailable,
            "timeout" => ErrorKind::Timeout,
            _ => ErrorKind::Other,
        }
    }

    /// The word itself, `bad-name`.
    #[must_use]
    pub fn word(&self) -> &str {
        self.said.split_once(": ").map_or(self.said.as_str(), |(word, _)| word)
    }

    /// The sentence for people.
    #[must_use]
    pub fn text(&self) -> &str {
        self.said.split_once(": ").map_or("", |(_, text)| text)
    }
}

impl From<String> for HostError {
    fn from(said: String) -> Self {
        Self { said }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

impl fmt::Debug for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

impl std::error::Error for HostError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_error_is_a_word_and_a_text() {
        let check = |said: &str, kind: ErrorKind, word: &str, text: &str| {
            let error = HostError::from(said.to_owned());
            assert_eq!((error.kind(), error.word(), error.text()), (kind, word, text));
            assert_eq!(Error::from(error).text(), said);
        };
        check("bad-name: a b", ErrorKind::BadName, "bad-name", "a b");
        check("timeout: after 3 s: too slow", ErrorKind::Timeout, "timeout", "after 3 s: too slow");
        check("new-word: whatever", ErrorKind::Other, "new-word", "whatever");
        check("denied", ErrorKind::Denied, "denied", "");
        check("", ErrorKind::Other, "", "");
        assert_eq!(HostError::new("not-found", "no zone x").to_string(), "not-found: no zone x");
    }

    #[test]
    fn an_error_tells_its_causes() {
        let error = Error::from("x".parse::<u8>().unwrap_err()).context("port");
        assert_eq!(error.text(), "port: invalid digit found in string");
    }
}
