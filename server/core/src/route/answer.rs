//! What a DNS lookup can say, as far as routing needs to tell it apart.

/// What was found, or why nothing was.
pub type Answer<T> = Result<Vec<T>, Missing>;

/// Why a lookup gave no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The name exists and has no record of this type.
    NoData,
    /// Nothing is known: no answer, an error, or an answer that makes no sense. The text says which.
    Temporary(String),
}

/// One MX record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mx {
    /// The lower, the sooner it is tried.
    pub preference: u16,
    /// The host's name without its last dot; empty if it is the root (RFC 7505).
    pub host: String,
}

impl Mx {
    /// Puts them together.
    #[must_use]
    pub fn new(preference: u16, host: impl Into<String>) -> Self {
        Self { preference, host: host.into() }
    }
}
