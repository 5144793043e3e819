//! Questions to the DNS: what the server's resolver does for plugins, and which kinds of records there are.

use super::error::ServiceError;
use futures_util::future::BoxFuture;
use std::fmt;
use std::str::FromStr;

/// At most so many records of one answer are given; of more, any.
pub const MAX_DNS_RECORDS: usize = 100;
/// Octets that the texts of one answer have together; records that would go past it are left out.
pub const MAX_DNS_TEXT: usize = 64 * 1024;

/// The texts of the records; none if the name or the kind does not exist.
pub type DnsRecords = Result<Vec<String>, ServiceError>;

/// Asks the servers of `[dns]`; the server implements it.
pub trait Dns: Send + Sync {
    /// The records of `name` as `capabilities.wit` writes them: at most [`MAX_DNS_RECORDS`] with at most
    /// [`MAX_DNS_TEXT`]. It ends within a time limit of the implementation's.
    ///
    /// # Errors
    /// `bad-name`: not a name that can be asked for; `unavailable` or `timeout`: the servers don't say.
    fn lookup<'a>(&'a self, name: &'a str, kind: RecordKind) -> BoxFuture<'a, DnsRecords>;
}

/// What kind of records is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are DNS's own")]
pub enum RecordKind {
    A,
    Aaaa,
    Mx,
    Txt,
    Ptr,
    Cname,
    Ns,
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [Self::A, Self::Aaaa, Self::Mx, Self::Txt, Self::Ptr, Self::Cname, Self::Ns];

    /// As DNS and the WIT name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Mx => "MX",
            Self::Txt => "TXT",
            Self::Ptr => "PTR",
            Self::Cname => "CNAME",
            Self::Ns => "NS",
        }
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RecordKind {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let known = Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(text));
        known.ok_or_else(|| ServiceError::bad_value("the kinds of records are A, AAAA, MX, TXT, PTR, CNAME and NS"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in RecordKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(kind.name().to_lowercase().parse(), Ok(kind));
        }
        for wrong in ["", "ANY", "A ", "SRV"] {
            assert_eq!(wrong.parse::<RecordKind>().unwrap_err().word, "bad-value", "{wrong}");
        }
    }
}
