//! Who calls: `[[http.user]]`, by Basic (argon2 hashes) or Bearer (SHA-256 of tokens). Those of `[user]` and of plugins are
//! [`Logins`](crate::clients::Logins)' to know.
//!
//! Neither passwords nor tokens are kept, logged or part of an answer.

use super::section::{HttpUserSection, Scope};
use crate::config::Secret;
use crate::users::{UserSection, Users};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use postern_core::hook::{Credentials as Given, Proof};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Longer passwords are not tried.
const MAX_PASSWORD: usize = 1024;
/// Nor names, in octets.
const MAX_NAME: usize = 255;

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
    /// `[user]`.
    users: Users,
    /// `auth_required`
    required: bool,
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
    pub fn new(sections: &[HttpUserSection], users: &Users, required: bool) -> Result<Self, String> {
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
        Ok(Self { callers, own, users: users.clone(), required, began_empty })
    }

    /// Does nobody have to say who it is? A reload that takes the last user away does not open what was closed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.required && self.began_empty && self.users.is_empty()
    }

    /// Which of `[[http.user]]` it is; `Some(None)` if the name is one of theirs and the password is not.
    pub async fn own(&self, given: &Given) -> Option<Option<Caller>> {
        let password = match &given.proof {
            Proof::Token(token) => return self.by_token(token).map(Some),
            Proof::Password(password) => password,
            Proof::Exchange(_) => return None,
        };
        self.own.get(&given.user)?;
        let is_right = self.own.verify(&given.user, password).await;
        let known = self.callers.iter().find(|known| known.caller.name.as_deref() == Some(&*given.user));
        Some(known.filter(|_| is_right).map(|known| known.caller.clone()))
    }

    /// A name that nobody has takes as long as a wrong password, also where `[user]` has none to compare with.
    pub async fn pretend(&self, given: &Given) {
        if let Proof::Password(password) = &given.proof
            && self.users.is_empty()
        {
            self.own.verify(&given.user, password).await;
        }
    }

    fn by_token(&self, given: &str) -> Option<Caller> {
        let digest: [u8; 32] = Sha256::digest(given.as_bytes()).into();
        // How long the comparison of digests takes tells nothing of the tokens.
        self.callers.iter().find(|known| known.token == Some(digest)).map(|known| known.caller.clone())
    }
}

/// What an Authorization field has: None if it is neither Basic nor Bearer, or is no such thing.
#[must_use]
pub fn given(authorization: &str) -> Option<Given> {
    let (scheme, given) = authorization.trim().split_once(' ')?;
    let given = given.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        let proof = Proof::Token(given.to_owned());
        return Some(Given { mechanism: "HTTP-BEARER", user: String::new(), authorization: None, proof });
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64.decode(given.as_bytes()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (name, password) = text.split_once(':')?;
    // The name may come to stand in the log, in Received and in the queue.
    if name.is_empty() || name.len() > MAX_NAME || name.contains(char::is_control) || password.len() > MAX_PASSWORD {
        return None;
    }
    let proof = Proof::Password(password.to_owned());
    Some(Given { mechanism: "HTTP-BASIC", user: name.to_owned(), authorization: None, proof })
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
        let users = Users::check(&BTreeMap::new()).unwrap();
        let credentials = Credentials::new(&sections, &users, false).unwrap();
        let basic = |text: &str| format!("Basic {}", BASE64.encode(text.as_bytes()));
        let check = async |authorization: &str, expected: Option<Option<&str>>| {
            let found = match given(authorization) {
                Some(given) => credentials.own(&given).await,
                None => None,
            };
            let name = |caller: Caller| caller.name.unwrap().to_string();
            let found = found.map(|caller| caller.map(name));
            assert_eq!(found, expected.map(|name| name.map(str::to_owned)), "{authorization}");
        };
        check(&basic("a:correct horse"), Some(Some("a"))).await;
        check(&basic("a:correct horse"), Some(Some("a"))).await;
        check(&basic("a:wrong"), Some(None)).await;
        check(&basic("b:correct horse"), None).await;
        check(&basic("c:correct horse"), None).await;
        check("bearer t0ken", Some(Some("b"))).await;
        check("Bearer t0ke", None).await;
        for none in
            ["basic !", &basic("a"), &basic(":x"), &basic("a\r\nb:x"), "Digest x", "", &basic(&"x".repeat(2000))]
        {
            assert!(given(none).is_none(), "{none}");
        }
        assert!(!format!("{credentials:?}").contains("argon2"));
        assert!(!Credentials::new(&[], &users, true).unwrap().is_empty());
        let user = UserSection { password: Some(Secret::Text(hash("battery"))), scram: None };
        let users = Users::check(&BTreeMap::from([("c".to_owned(), user)])).unwrap();
        let only_users = Credentials::new(&[], &users, false).unwrap();
        assert!(!only_users.is_empty());
        users.take_over(&Users::check(&BTreeMap::new()).unwrap());
        assert!(!only_users.is_empty());
    }
}
