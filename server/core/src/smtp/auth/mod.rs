//! AUTH (RFC 4954) as a server answers it: the mechanisms and their exchanges, without I/O. Whether a password is right
//! is the caller's to say.

pub mod scram;

use std::borrow::Cow;

/// A password as it is compared: in the form of SASLprep (RFC 4013), or as it is where that can't be had, as other
/// servers with SCRAM do.
#[must_use]
pub fn prepared(password: &str) -> Cow<'_, str> {
    stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password))
}

#[cfg(test)]
mod tests {
    use super::prepared;

    /// The examples of RFC 4013 section 3.
    #[test]
    fn saslprep() {
        for (password, expected) in [
            ("I\u{ad}X", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u{aa}", "a"),
            ("\u{2168}", "IX"),
            // Prohibited, and bidirectional: as they are.
            ("\u{7}", "\u{7}"),
            ("\u{627}\u{31}", "\u{627}\u{31}"),
        ] {
            assert_eq!(prepared(password), expected);
        }
    }
}
