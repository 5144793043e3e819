//! What a client identifies itself with.

use super::wrapper;
use crate::Mechanism;

wrapper! {
    /// One try to authenticate.
    Credentials
}

impl Credentials {
    /// How the client authenticates.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.0.mechanism().into()
    }

    /// Who the client says it is; empty for mechanisms with nothing but a token.
    #[must_use]
    pub fn user(&self) -> String {
        self.0.user()
    }

    /// Whom it wants to act as, if that is somebody else (RFC 4616's authzid).
    #[must_use]
    pub fn authorization(&self) -> Option<String> {
        self.0.authorization()
    }

    /// The password, for mechanisms that have one.
    #[must_use]
    pub fn password(&self) -> Option<String> {
        self.0.password()
    }

    /// The token, for mechanisms that have one.
    #[must_use]
    pub fn token(&self) -> Option<String> {
        self.0.token()
    }
}
