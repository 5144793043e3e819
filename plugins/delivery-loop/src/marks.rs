//! Marks of recipients: what a message carries away, so that it is known when it comes back.

use hmac::{Hmac, Mac};
use postern_plugin_sdk::prelude::*;
use sha2::Sha256;
use std::fmt::Write as _;

/// Octets of the hash that a mark has: as many that two recipients never share one.
const OCTETS: usize = 8;
/// Marks in one field.
const PER_FIELD: usize = 40;
/// Recipients of one attempt that are marked: 18 KiB of header.
const MAX_MARKS: usize = 1000;

/// Makes marks with a secret, so that nobody else can make one or learn who a recipient is.
pub struct Marks {
    secret: String,
}

impl std::fmt::Debug for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Marks")
    }
}

impl Marks {
    pub(crate) fn new(secret: String) -> Self {
        Self { secret }
    }

    /// The mark of a recipient, in whatever case its address is written.
    pub(crate) fn of(&self, recipient: &str) -> Result<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes())
            .map_err(|_| Error::new("the secret can't be a key of HMAC"))?;
        mac.update(recipient.to_lowercase().as_bytes());
        let mut mark = String::with_capacity(2 * OCTETS);
        for byte in mac.finalize().into_bytes().iter().take(OCTETS) {
            let _ = write!(mark, "{byte:02x}");
        }
        Ok(mark)
    }

    /// The values of the fields that mark these recipients.
    pub(crate) fn lines(&self, recipients: impl Iterator<Item = String>) -> Result<Vec<String>> {
        let marks = recipients.take(MAX_MARKS).map(|recipient| self.of(&recipient)).collect::<Result<Vec<_>>>()?;
        Ok(marks.chunks(PER_FIELD).map(|chunk| chunk.join(" ")).collect())
    }
}
