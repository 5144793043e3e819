//! Questions to the DNS, by the servers of `[dns]`. Needs `grants = { dns = true }`.

use crate::HostError;
use crate::backend::dns as host;

/// The records of a name: `kind` is `A`, `AAAA`, `MX` (`10 mx.example`), `TXT` (its strings joined), `PTR`, `CNAME` or
/// `NS`. A PTR may be asked for by IP address. None: the name or the kind does not exist.
///
/// # Errors
/// No server answered, or the name or the kind is none.
pub fn lookup(name: &str, kind: &str) -> Result<Vec<String>, HostError> {
    Ok(host::lookup(name, kind)?)
}
