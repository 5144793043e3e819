//! What SMTP listeners and the HTTP API are told of their clients: `certificates`, `per_address`, `per_user`.

use super::tls::{Pair, ServerTls};
use crate::config::Pace;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// `per_address`, where an IPv6 address stands for its /64, and `per_user`: without a value there is no limit.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ClientLimits {
    /// At once: sessions; of HTTP the connections of an address, the requests of a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<NonZeroUsize>,
    /// New ones; of a user logins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<Pace>,
    /// Messages: MAIL commands of SMTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<Pace>,
    /// Recipients: RCPT commands of SMTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipients: Option<Pace>,
}

/// One of `certificates`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct CertificateSection {
    /// Certificate and chain (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
}

/// The files of a socket with TLS, as the config names them.
#[derive(Clone, Copy, Debug)]
pub struct Certificates<'a> {
    /// `certificate`
    pub certificate: &'a Path,
    /// `key`
    pub key: &'a Path,
    /// `certificates`
    pub more: &'a [CertificateSection],
}

impl Certificates<'_> {
    /// Reads them; clients may ask for one of the protocols `alpn` (RFC 7301). `table` is where they are named, such as
    /// `listener.feeder`.
    ///
    /// # Errors
    /// One line that begins with the key of a file that is missing or of no use.
    pub fn read(self, table: &str, alpn: &[&str]) -> Result<ServerTls, String> {
        let own = std::iter::once((self.certificate, self.key));
        let more = self.more.iter().map(|pair| (&*pair.certificate, &*pair.key));
        let mut pairs = Vec::new();
        for (index, (certificate, key)) in own.chain(more).enumerate() {
            for (of_key, file) in [(false, certificate), (true, key)] {
                if file.as_os_str().is_empty() {
                    return Err(format!("{}: TLS needs a file (PEM)", pair_key(table, index, of_key)));
                }
            }
            pairs.push(Pair { certificate: certificate.to_owned(), key: key.to_owned() });
        }
        let tls = ServerTls::new(pairs, alpn);
        tls.map_err(|error| format!("{}: {}", pair_key(table, error.index, error.of_key), error.text))
    }
}

/// The key of a file of the pair at `index`; the first is the socket's own.
fn pair_key(table: &str, index: usize, of_key: bool) -> String {
    let key = if of_key { "key" } else { "certificate" };
    match index.checked_sub(1) {
        None => format!("{table}.{key}"),
        Some(index) => format!("{table}.certificates[{index}].{key}"),
    }
}
