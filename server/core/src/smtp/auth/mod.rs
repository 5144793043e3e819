//! AUTH (RFC 4954) as a server answers it: the mechanisms and their exchanges, without I/O. Whether a password is right
//! is the caller's to say.

mod exchange;
mod proof;
pub mod scram;

pub use exchange::{Exchange, Step};
pub use proof::ClientFirst;

use std::borrow::Cow;

/// How a client may authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 7677.
    ScramSha256,
    /// RFC 4616.
    Plain,
    /// Without a standard, and all that some clients have.
    Login,
    /// Google's, with a token.
    XOAuth2,
    /// RFC 7628.
    OAuthBearer,
}

impl Mechanism {
    /// In the order in which they are offered.
    const ALL: [Self; 5] = [Self::ScramSha256, Self::Plain, Self::Login, Self::XOAuth2, Self::OAuthBearer];

    /// As in EHLO.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::XOAuth2 => "XOAUTH2",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }

    /// The mechanism of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
}

/// Which mechanisms there are; by default none, and with it no AUTH.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms {
    /// PLAIN and LOGIN.
    pub passwords: bool,
    /// SCRAM-SHA-256.
    pub scram: bool,
    /// XOAUTH2 and OAUTHBEARER.
    pub tokens: bool,
}

impl Mechanisms {
    /// Is this one of them?
    #[must_use]
    pub fn have(self, mechanism: Mechanism) -> bool {
        match mechanism {
            Mechanism::ScramSha256 => self.scram,
            Mechanism::Plain | Mechanism::Login => self.passwords,
            Mechanism::XOAuth2 | Mechanism::OAuthBearer => self.tokens,
        }
    }

    /// Are there none?
    #[must_use]
    pub fn are_none(self) -> bool {
        self == Self::default()
    }

    /// Their names, as in EHLO.
    #[must_use]
    pub fn names(self) -> String {
        let names: Vec<&str> = Mechanism::ALL.into_iter().filter(|one| self.have(*one)).map(Mechanism::name).collect();
        names.join(" ")
    }
}

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
