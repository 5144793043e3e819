//! `[tls]`.

use super::tls::read_roots;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// `[tls]`
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    /// PEM file of certificates that are trusted besides the system's; empty: none.
    pub roots: PathBuf,
}

impl TlsSection {
    /// Checks the values, and reads the file.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn check(&self) -> Result<(), String> {
        match self.extra_roots().map(read_roots) {
            Some(Err(error)) => Err(format!("tls.roots: {error}")),
            _ => Ok(()),
        }
    }

    /// The file for [`TlsClient::new`](super::TlsClient::new).
    #[must_use]
    pub fn extra_roots(&self) -> Option<&Path> {
        (!self.roots.as_os_str().is_empty()).then_some(&*self.roots)
    }
}
