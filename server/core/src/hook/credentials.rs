//! What a client identifies itself with, as the hook `auth` sees it.

use std::fmt;

/// One try to authenticate. `Debug` does not show what is secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The mechanism's name: `PLAIN`, `LOGIN`, `SCRAM-SHA-256`, `XOAUTH2`, `OAUTHBEARER`, `HTTP-BASIC`, `HTTP-BEARER`.
    pub mechanism: &'static str,
    /// Who the client says it is; empty for mechanisms with nothing but a token.
    pub user: String,
    /// Whom it wants to act as, if that is somebody else (RFC 4616's authzid).
    pub authorization: Option<String>,
    /// How it shows that.
    pub proof: Proof,
}

/// How a client shows who it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// A password.
    Password(String),
    /// A token.
    Token(String),
    /// An exchange that went by what the server keeps of the user's password, and whether it succeeded.
    Exchange(bool),
}

/// What the hook `auth` says of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// They are valid, and this is the user.
    User(std::sync::Arc<str>),
    /// No plugin knows them.
    Unknown,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("mechanism", &self.mechanism)
            .field("user", &self.user)
            .field("authorization", &self.authorization)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password(_) => f.write_str("Password"),
            Self::Token(_) => f.write_str("Token"),
            Self::Exchange(succeeded) => f.debug_tuple("Exchange").field(succeeded).finish(),
        }
    }
}
