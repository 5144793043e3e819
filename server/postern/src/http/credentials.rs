//! Who calls: `[[http.user]]`, by Basic (argon2 hashes) or Bearer (SHA-256 of tokens).
//!
//! Neither passwords nor tokens are kept, logged or part of an answer.

use super::section::{HttpUserSection, Scope};
use crate::config::Secret;
use crate::users::{UserSection, Users};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Longer passwords are not tried.
const MAX_PASSWORD: usize = 1024;

/// A caller that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name; None where no credentials are configured.
    pub name: Option<Arc<str>>,
    /// What it may do.
    pub scopes: Arc<[Scope]>,
}

impl Caller {
    /// Somebody on this machine, where no credentials are configured.
    #[must_use]
    pub fn local() -> Self {
        Self { name: None, scopes: Scope::ALL.into() }
    }

    /// May it do this?
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// All who may call.
pub struct Credentials {
    callers: Vec<Known>,
    /// The passwords of `[[http.user]]`.
    own: Users,
    /// `[user]`: they may submit.
    users: Users,
    /// There was nobody at the start, when the address was checked for that.
    began_empty: bool,
}

struct Known {
    caller: Caller,
    token: Option<[u8; 32]>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.callers.iter().map(|known| &known.caller)).finish()
    }
}

impl Credentials {
    /// Reads the secrets. `users` are those of `[user]`.
    ///
    /// # Errors
    /// One line that names the user and the key.
    pub fn new(sections: &[HttpUserSection], users: &Users) -> Result<Self, String> {
        let mut callers: Vec<Known> = Vec::new();
        let mut passwords = BTreeMap::new();
        for section in sections {
            let name = &section.name;
            let known = known(section).map_err(|error| format!("[[http.user]] `{name}`: {error}"))?;
            if callers.iter().any(|other| other.caller.name == known.caller.name) {
                return Err(format!("[[http.user]]: two are named `{name}`"));
            }
            callers.push(known);
            if section.password.is_some() {
                passwords.insert(name.clone(), UserSection { password: section.password.clone(), scram: None });
            }
        }
        // It speaks of `[user."NAME"]`.
        let named = |error: String| match error.strip_prefix("user.\"").and_then(|rest| rest.split_once("\".")) {
            Some((name, why)) => format!("[[http.user]] `{name}`: {why}"),
            None => format!("[[http.user]]: {error}"),
        };
        let own = Users::check(&passwords).map_err(named)?;
        let began_empty = callers.is_empty() && users.is_empty();
        Ok(Self { callers, own, users: users.clone(), began_empty })
    }

    /// Is nobody configured? A reload that takes the last user away does not open what was closed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.began_empty && self.users.is_empty()
    }

    /// Whom the value of an Authorization field belongs to.
    pub async fn caller(&self, authorization: &str) -> Option<Caller> {
        let (scheme, given) = authorization.trim().split_once(' ')?;
        let given = given.trim();
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" => self.by_token(given),
            "basic" => self.by_password(given).await,
            _ => None,
        }
    }

    fn by_token(&self, given: &str) -> Option<Caller> {
        let digest: [u8; 32] = Sha256::digest(given.as_bytes()).into();
        // How long the comparison of digests takes tells nothing of the tokens.
        self.callers.iter().find(|known| known.token == Some(digest)).map(|known| known.caller.clone())
    }

    async fn by_password(&self, given: &str) -> Option<Caller> {
        let decoded = BASE64.decode(given.as_bytes()).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (name, password) = text.split_once(':')?;
        if password.len() > MAX_PASSWORD {
            return None;
        }
        if self.own.get(name).is_some() || self.users.is_empty() {
            let is_right = self.own.verify(name, password).await;
            let known = self.callers.iter().find(|known| known.caller.name.as_deref() == Some(name));
            return known.filter(|_| is_right).map(|known| known.caller.clone());
        }
        // A name that nobody has takes as long as a wrong password.
        let is_right = self.users.verify(name, password).await;
        let name = self.users.get(name).filter(|_| is_right)?;
        Some(Caller { name: Some(name), scopes: [Scope::Submit].into() })
    }
}

fn known(section: &HttpUserSection) -> Result<Known, String> {
    let HttpUserSection { name, password, token, scopes } = section;
    if name.is_empty() || name.len() > 255 || name.contains(|c: char| c == ':' || c.is_control()) {
        return Err("name: it must have 1 to 255 octets without colons and control characters".to_owned());
    }
    if scopes.is_empty() {
        return Err("scopes: it must have at least one of submit, impersonate, read, admin, plugin".to_owned());
    }
    if password.is_none() && token.is_none() {
        return Err("it needs a password or a token".to_owned());
    }
    let token = token.as_ref().map(|secret| {
        let text = secret.read().map_err(|error| format!("token: {error}"))?;
        if !matches!(secret, Secret::Text(_)) {
            return Ok(Sha256::digest(text.as_bytes()).into());
        }
        let digest = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
        digest.and_then(|digest| <[u8; 32]>::try_from(digest).ok()).ok_or_else(|| {
            "token: it must be the SHA-256 of the token in 64 hex digits, or { file = \"…\" } or { env = \"…\" } \
             with the token itself"
                .to_owned()
        })
    });
    let token = token.transpose()?;
    let caller = Caller { name: Some(name.as_str().into()), scopes: scopes.as_slice().into() };
    Ok(Known { caller, token })
}

#[cfg(test)]
mod tests {
    use super::*;
    #[tokio::test]
    async fn callers_are_known_by_password_or_token() {
        let section = |name: &str, password: Option<String>, token: Option<&str>| HttpUserSection {
            name: name.to_owned(),
            password: password.map(Secret::Text),
            token: token.map(|token| Secret::Text(data_encoding::HEXLOWER.encode(&Sha256::digest(token.as_bytes())))),
            scopes: vec![Scope::Submit],
        };
        let hash = |password| crate::users::PasswordHash::new(password).unwrap().to_string();
        let sections = [section("a", Some(hash("correct horse")), None), section("b", None, Some("t0ken"))];
        let user = UserSection { password: Some(Secret::Text(hash("battery"))), scram: None };
        let users = Users::check(&BTreeMap::from([("c".to_owned(), user)])).unwrap();
        let credentials = Credentials::new(&sections, &users).unwrap();
        let basic = |text: &str| format!("Basic {}", BASE64.encode(text.as_bytes()));
        let check = async |authorization: &str, expected: Option<&str>| {
            let caller = credentials.caller(authorization).await;
            assert_eq!(caller.and_then(|caller| caller.name).as_deref(), expected, "{authorization}");
        };
        check(&basic("a:correct horse"), Some("a")).await;
        check(&basic("a:correct horse"), Some("a")).await;
        check(&basic("a:wrong"), None).await;
        check(&basic("b:correct horse"), None).await;
        check(&basic("a"), None).await;
        check(&basic("c:battery"), Some("c")).await;
        check(&basic("c:correct horse"), None).await;
        assert_eq!(&*credentials.caller(&basic("c:battery")).await.unwrap().scopes, [Scope::Submit]);
        check("basic !", None).await;
        check("bearer t0ken", Some("b")).await;
        check("Bearer t0ke", None).await;
        check("Digest x", None).await;
        check("", None).await;
        assert!(!format!("{credentials:?}").contains("argon2"));
        let only_users = Credentials::new(&[], &users).unwrap();
        assert!(!only_users.is_empty());
        users.take_over(&Users::check(&BTreeMap::new()).unwrap());
        assert!(!only_users.is_empty() && only_users.caller(&basic("c:battery")).await.is_none());
    }
}
