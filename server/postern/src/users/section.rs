//! `[user."NAME"]` as written.

use super::{PasswordHash, User};
use crate::config::Secret;
use postern_core::smtp::auth::scram::Verifier;
use serde::{Deserialize, Serialize};

/// Longest name, in octets.
const MAX_NAME: usize = 255;

/// `[user."NAME"]`; `postern user hash` makes the values.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct UserSection {
    /// Argon2 hash of the password. Needed, but not in each layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// What SCRAM-SHA-256 goes by; without it the user has PLAIN and LOGIN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scram: Option<Secret>,
}

impl UserSection {
    pub(super) fn check(&self, name: &str) -> Result<User, String> {
        let wrong = |key: &str, text: &str| format!("user.{name:?}.{key}: {text}");
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            let why = if name.is_empty() { "is empty" } else { "has a control character, or more than 255 octets" };
            return Err(format!("user.{name:?}: the name {why}"));
        }
        let Some(password) = &self.password else {
            return Err(wrong("password", "a user needs one, as `postern user hash` prints it"));
        };
        let password = password.read().map_err(|error| wrong("password", &error))?;
        let password = PasswordHash::parse(&password).map_err(|error| wrong("password", error))?;
        let scram = match &self.scram {
            None => None,
            Some(secret) => {
                let text = secret.read().map_err(|error| wrong("scram", &error))?;
                Some(Verifier::parse(&text).map_err(|error| wrong("scram", error))?)
            }
        };
        Ok(User { password, scram })
    }
}
