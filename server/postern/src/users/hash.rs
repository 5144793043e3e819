//! Argon2 hashes of passwords, in the form of the password hashing competition: `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.

use super::{NoRandom, random};
use argon2::Config;
use data_encoding::BASE64_NOPAD;
use postern_core::smtp::auth::prepared;
use std::fmt;
use std::sync::Arc;

/// Most memory that a hash may take, in KiB.
const MAX_MEMORY: u32 = 1 << 20;
/// Most passes, and most lanes.
const MAX_PASSES: u32 = 100;
/// Fewest octets of a salt, and of a hash.
const MIN_SALT: usize = 8;
const MIN_HASH: usize = 16;

/// The hash of a password. `Display` is its text; `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Arc<str>);

impl PasswordHash {
    /// Hashes a password: argon2id with 19 MiB and two passes.
    ///
    /// # Errors
    /// The system has no random octets for the salt.
    pub fn new(password: &str) -> Result<Self, NoRandom> {
        let salt: [u8; 16] = random()?;
        Ok(Self::with(password, &salt, &Config::default()))
    }

    #[cfg(test)]
    pub(super) fn cheap(password: &str) -> Self {
        Self::with(password, b"saltsalt", &Config { mem_cost: 64, time_cost: 1, ..Config::default() })
    }

    fn with(password: &str, salt: &[u8], config: &Config<'_>) -> Self {
        let hash = argon2::hash_encoded(prepared(password).as_bytes(), salt, config);
        Self(hash.expect("the settings are ours and within argon2's bounds").into())
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// What is wrong with it, without anything of it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let form = "is no argon2 hash ($argon2id$v=19$…); `postern user hash` makes one of a password";
        let fields: Vec<&str> = text.split('$').collect();
        let ["", "argon2id" | "argon2i" | "argon2d", "v=19", settings, salt, hash] = fields[..] else {
            return Err(form);
        };
        let settings: Vec<&str> = settings.split(',').collect();
        let [memory, passes, lanes] = settings[..] else { return Err(form) };
        let number = |text: &str, name| text.strip_prefix(name).and_then(|text| text.parse::<u32>().ok()).ok_or(form);
        let (memory, passes, lanes) = (number(memory, "m=")?, number(passes, "t=")?, number(lanes, "p=")?);
        if memory > MAX_MEMORY || passes > MAX_PASSES || lanes > MAX_PASSES {
            return Err("is an argon2 hash with more than 1024 MiB, 100 passes or 100 lanes");
        }
        if passes == 0 || lanes == 0 || memory < 8 * lanes {
            return Err("is an argon2 hash with settings that argon2 does not have");
        }
        let octets = |text: &str| BASE64_NOPAD.decode(text.as_bytes()).map_err(|_| form);
        if octets(salt)?.len() < MIN_SALT || octets(hash)?.len() < MIN_HASH {
            return Err("is an argon2 hash with a salt of less than 8 octets, or itself of less than 16");
        }
        Ok(Self(text.into()))
    }

    /// Is it this password's (as [`prepared`])? Blocks for as long as the hash takes.
    #[must_use]
    pub fn fits(&self, password: &str) -> bool {
        argon2::verify_encoded(&self.0, password.as_bytes()).unwrap_or(false)
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by the reference implementation: `echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1`.
    #[test]
    fn hashes_of_others() {
        let text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let hash = PasswordHash::parse(text).unwrap();
        assert!(hash.fits("password") && !hash.fits("passwore"));
        assert!(!format!("{hash:?}").contains("c29t"));
        let own = PasswordHash::cheap("p");
        assert_eq!(PasswordHash::parse(&own.to_string()), Ok(own));
    }
}
