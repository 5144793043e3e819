//! SCRAM-SHA-256 (RFC 5802, RFC 7677): what a server keeps in place of a password, and its side of the exchange.
//!
//! Channel binding is not offered: the mechanism SCRAM-SHA-256-PLUS is another one.

use data_encoding::BASE64;
use ring::{digest, hmac, pbkdf2};
use std::fmt;
use std::num::NonZeroU32;
use subtle::ConstantTimeEq as _;

/// Octets of a key.
const KEY: usize = digest::SHA256_OUTPUT_LEN;
/// What the text of a verifier begins with.
const PREFIX: &str = "SCRAM-SHA-256$";
/// Fewest iterations (RFC 7677 section 4).
const MIN_ITERATIONS: u32 = 4096;
/// More iterations take clients minutes.
const MAX_ITERATIONS: u32 = 10_000_000;
/// Longest salt, in octets.
const MAX_SALT: usize = 64;

/// What a server keeps of a password. `Display` is the form that PostgreSQL has for it,
/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` with base64 for the last three; `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: [u8; KEY],
    server_key: [u8; KEY],
}

impl Verifier {
    /// Of a password. Takes as long as it takes a client: milliseconds for each thousand iterations.
    #[must_use]
    pub fn derive(password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted = [0; KEY];
        let password = super::prepared(password);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password.as_bytes(), &mut salted);
        let stored_key = sha256(&mac(&salted, b"Client Key"));
        Self { iterations, salt: salt.to_owned(), stored_key, server_key: mac(&salted, b"Server Key") }
    }

    /// One that no password fits, for a user who has none: `seed` must be secret, and the same each time.
    #[must_use]
    pub fn decoy(seed: &[u8; KEY], iterations: NonZeroU32) -> Self {
        let salt = mac(seed, b"salt")[..16].to_owned();
        Self { iterations, salt, stored_key: mac(seed, b"stored"), server_key: mac(seed, b"server") }
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// What is wrong with it, without anything of it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let form = "is not of the form SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>";
        let (first, keys) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('$')).ok_or(form)?;
        let ((iterations, salt), (stored, server)) = first.split_once(':').zip(keys.split_once(':')).ok_or(form)?;
        let iterations = iterations.parse::<NonZeroU32>().map_err(|_| form)?;
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations.get()) {
            return Err("must have 4096 to 10000000 iterations");
        }
        let octets = |text: &str| BASE64.decode(text.as_bytes()).map_err(|_| form);
        let key = |text: &str| octets(text)?.try_into().map_err(|_| "must have keys of 32 octets");
        let salt = octets(salt)?;
        if salt.is_empty() || salt.len() > MAX_SALT {
            return Err("must have a salt of 1 to 64 octets");
        }
        Ok(Self { iterations, salt, stored_key: key(stored)?, server_key: key(server)? })
    }

    /// Is this the proof that belongs to the messages of an exchange (RFC 5802 section 3)? If so, the server's own.
    #[must_use]
    pub fn check(&self, messages: &[u8], proof: &[u8; KEY]) -> Option<[u8; KEY]> {
        let mut client_key = mac(&self.stored_key, messages);
        client_key.iter_mut().zip(proof).for_each(|(octet, other)| *octet ^= other);
        let right: bool = sha256(&client_key).ct_eq(&self.stored_key).into();
        right.then(|| mac(&self.server_key, messages))
    }

    /// What a client's password is hashed with.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// How often a client hashes.
    #[must_use]
    pub fn iterations(&self) -> NonZeroU32 {
        self.iterations
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|octets| BASE64.encode(octets));
        write!(f, "{PREFIX}{}:{salt}${stored}:{server}", self.iterations)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

fn mac(key: &[u8], text: &[u8]) -> [u8; KEY] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let mut octets = [0; KEY];
    octets.copy_from_slice(tag.as_ref());
    octets
}

fn sha256(octets: &[u8]) -> [u8; KEY] {
    let mut hash = [0; KEY];
    hash.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    /// The keys of RFC 7677 section 3: user `user`, password `pencil`.
    #[test]
    fn keys_as_in_rfc_7677() {
        let salt = BASE64.decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::derive("pencil", &salt, NonZeroU32::new(4096).unwrap());
        assert_eq!(verifier.to_string(), VERIFIER);
        assert_eq!(Verifier::parse(VERIFIER).unwrap(), verifier);
        assert!(!format!("{verifier:?}").contains("WG5d8o"));
    }

    #[test]
    fn what_is_no_verifier() {
        let keys = &VERIFIER[VERIFIER.rfind('$').unwrap()..];
        for (text, wanted) in [
            (String::new(), "of the form"),
            ("SCRAM-SHA-1$4096:c2FsdA==$a:b".into(), "of the form"),
            (format!("SCRAM-SHA-256$x:c2FsdA=={keys}"), "of the form"),
            (format!("SCRAM-SHA-256$4096:c2FsdA{keys}"), "of the form"),
            (format!("SCRAM-SHA-256$1:c2FsdA=={keys}"), "iterations"),
            (format!("SCRAM-SHA-256$4096:{keys}"), "salt"),
            ("SCRAM-SHA-256$4096:c2FsdA==$c2FsdA==:c2FsdA==".into(), "32 octets"),
        ] {
            assert!(Verifier::parse(&text).unwrap_err().contains(wanted), "{text}");
        }
    }
}
