//! `[user."NAME"]`: who may submit by name and password, over SMTP and HTTP alike.
//!
//! Passwords are kept as argon2 hashes. A hash costs tens of milliseconds and megabytes, so that few are computed at
//! once, and what was right is remembered for a while by a keyed hash: a client with a session for each message does
//! not pay for each. A name that nobody has takes as long as a wrong password.

mod hash;
mod section;

pub use hash::PasswordHash;
pub use section::UserSection;

use postern_core::smtp::auth::prepared;
use postern_core::smtp::auth::scram::Verifier;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// How long a password that was right is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Most hashes that are computed at once, where there are as many processors.
const MAX_HASHES: usize = 4;
/// Iterations that a name without a SCRAM verifier seems to have, where nobody has one.
const DECOY_ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");

/// The users of the config. Cheap to clone; a reload changes all clones.
#[derive(Clone)]
pub struct Users(Arc<Inner>);

struct Inner {
    table: RwLock<Arc<Table>>,
    /// Key of what is remembered, and of the decoys of SCRAM; new in each process.
    secret: [u8; 32],
    /// A hash of the password that was right for a user, and when. At most one for each user.
    right: Mutex<HashMap<Arc<str>, (hmac::Tag, Instant)>>,
    places: Semaphore,
}

/// The users of one generation of the config.
struct Table {
    users: BTreeMap<Arc<str>, User>,
    /// What a password for a name that nobody has is compared with.
    decoy: Option<PasswordHash>,
}

struct User {
    password: PasswordHash,
    scram: Option<Verifier>,
}

/// The system gives no random octets.
#[derive(Debug, thiserror::Error)]
#[error("the system has no random octets")]
pub struct NoRandom;

impl Users {
    /// The users of these sections.
    ///
    /// # Errors
    /// One line that begins with the key, without anything of the secrets.
    pub fn check(sections: &BTreeMap<String, UserSection>) -> Result<Self, String> {
        let mut users = BTreeMap::new();
        for (name, section) in sections {
            users.insert(Arc::from(name.as_str()), section.check(name)?);
        }
        let secret = random().map_err(|error| format!("user: {error}"))?;
        let decoy = users.values().next().map(|user: &User| user.password.clone());
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let places = Semaphore::new(processors.min(MAX_HASHES));
        let table = RwLock::new(Arc::new(Table { users, decoy }));
        Ok(Self(Arc::new(Inner { table, secret, right: Mutex::default(), places })))
    }

    /// From now on these are the users. Sessions that have authenticated go on.
    pub fn take_over(&self, newer: &Self) {
        *self.0.table.write().unwrap_or_else(PoisonError::into_inner) = newer.0.table();
        self.0.right.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.table().users.is_empty()
    }

    /// The user of this name, as the config writes it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<str>> {
        self.0.table().name(name)
    }

    /// Is this the user's password? Takes tens of milliseconds of a processor, and waits for its turn before.
    pub async fn verify(&self, name: &str, password: &str) -> bool {
        let table = self.0.table();
        let known = table.name(name);
        let Some(hash) = table.hash_for(name) else { return false };
        let password = prepared(password).into_owned();
        let tag = self.0.tag(name, &password);
        if known.is_some() && self.0.was_right(name, &tag) {
            return true;
        }
        let Ok(_place) = self.0.places.acquire().await else { return false };
        // Somebody with the same password may have been before us in the queue.
        if known.is_some() && self.0.was_right(name, &tag) {
            return true;
        }
        let right = spawn_blocking(move || hash.fits(&password)).await.unwrap_or(false);
        let Some(name) = known.filter(|_| right) else { return false };
        let mut remembered = self.0.right.lock().unwrap_or_else(PoisonError::into_inner);
        // A reload forgets what was right before it, and this may have begun before.
        if Arc::ptr_eq(&table, &self.0.table()) {
            remembered.insert(name, (tag, Instant::now()));
        }
        true
    }

    /// Can anybody authenticate by SCRAM?
    #[must_use]
    pub fn has_scram(&self) -> bool {
        self.0.table().users.values().any(|user| user.scram.is_some())
    }

    /// What SCRAM goes by for this name; for one that has none, what no password fits and looks like the others.
    #[must_use]
    pub fn scram(&self, name: &str) -> Verifier {
        let scram = |user: &User| user.scram.clone();
        let table = self.0.table();
        table.users.get(name).and_then(scram).unwrap_or_else(|| {
            let mut of_others = table.users.values().filter_map(scram);
            let iterations = of_others.next().map_or(DECOY_ITERATIONS, |verifier| verifier.iterations());
            let mut seed = [0; 32];
            seed.copy_from_slice(hmac::sign(&self.0.key(), &[b"scram\0", name.as_bytes()].concat()).as_ref());
            Verifier::decoy(&seed, iterations)
        })
    }
}

impl Table {
    /// The user of this name.
    fn name(&self, name: &str) -> Option<Arc<str>> {
        self.users.get_key_value(name).map(|(name, _)| Arc::clone(name))
    }

    /// What a password is compared with.
    fn hash_for(&self, name: &str) -> Option<PasswordHash> {
        self.users.get(name).map(|user| user.password.clone()).or_else(|| self.decoy.clone())
    }
}

impl Inner {
    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.secret)
    }

    fn tag(&self, name: &str, password: &str) -> hmac::Tag {
        hmac::sign(&self.key(), &[b"password\0", name.as_bytes(), b"\0", password.as_bytes()].concat())
    }

    fn was_right(&self, name: &str, tag: &hmac::Tag) -> bool {
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        match right.get(name) {
            Some((_, since)) if since.elapsed() > REMEMBERED => {
                right.remove(name);
                false
            }
            // Both are keyed hashes: how far they are alike tells nothing of the password.
            Some((remembered, _)) => remembered.as_ref() == tag.as_ref(),
            None => false,
        }
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.table().users.keys()).finish()
    }
}

/// Octets that nobody can guess.
///
/// # Errors
/// The system has none.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut octets = [0; N];
    SystemRandom::new().fill(&mut octets).map_err(|_| NoRandom)?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(text: &str) -> Result<Users, String> {
        #[derive(serde::Deserialize)]
        struct Sections {
            user: BTreeMap<String, UserSection>,
        }
        Users::check(&toml::from_str::<Sections>(text).unwrap().user)
    }

    fn cheap(password: &str) -> String {
        PasswordHash::cheap(password).to_string()
    }

    #[tokio::test]
    async fn passwords() {
        let users = users(&format!("[user.'app@x']\npassword = '{}'", cheap("pässword"))).unwrap();
        for _ in 0..2 {
            assert!(users.verify("app@x", "pässword").await);
            assert!(!users.verify("app@x", "password").await);
            assert!(!users.verify("app@x", "").await);
            assert!(!users.verify("APP@X", "pässword").await);
            assert!(!users.verify("other", "pässword").await, "the decoy's password is nobody's");
        }
        // Decomposed, as another client may write it.
        assert!(users.verify("app@x", "pa\u{308}ssword").await);
        let shown = format!("{users:?}");
        assert!(shown.contains("app@x") && !shown.contains("argon2"), "{shown}");
        assert!(!users.has_scram());
    }

    #[tokio::test]
    async fn a_reload_forgets_old_passwords() {
        let of = |password: &str| users(&format!("[user.app]\npassword = '{}'", cheap(password))).unwrap();
        let live = of("old");
        let clone = live.clone();
        assert!(live.verify("app", "old").await);
        live.take_over(&of("new"));
        assert!(!clone.verify("app", "old").await && clone.verify("app", "new").await);
        live.take_over(&Users::check(&BTreeMap::new()).unwrap());
        assert!(!clone.verify("app", "new").await && clone.is_empty());
    }

    #[test]
    fn decoys_are_the_same_each_time() {
        let text = "SCRAM-SHA-256$9999:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        let users = users(&format!("[user.a]\npassword = '{}'\nscram = '{text}'", cheap("p"))).unwrap();
        assert!(users.has_scram());
        assert_eq!(users.scram("a").to_string(), text);
        assert_eq!(users.scram("b"), users.scram("b"));
        assert_ne!(users.scram("b"), users.scram("c"));
        assert!(users.scram("b").to_string().starts_with("SCRAM-SHA-256$9999:"));
    }

    #[test]
    fn mistakes_name_the_key_and_no_secret() {
        for (text, wanted) in [
            ("[user.a]", "user.\"a\".password: "),
            ("[user.a]\npassword = 's3cret'", "postern user hash"),
            ("[user.a]\npassword = '$argon2id$v=19$m=s3cret'", "user.\"a\".password: "),
            ("[user.a]\npassword = '$argon2id$v=19$m=99999999,t=2,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA'", "MiB"),
            ("[user.\"a\\u0007\"]\npassword = 'x'", "control character"),
            ("[user.'']\npassword = 'x'", "is empty"),
        ] {
            let error = users(text).unwrap_err();
            assert!(error.contains(wanted) && !error.contains("s3cret"), "{error}");
        }
        let text = format!("[user.a]\npassword = '{}'\nscram = 's3cret'", cheap("p"));
        let error = users(&text).unwrap_err();
        assert!(error.starts_with("user.\"a\".scram: ") && !error.contains("s3cret"), "{error}");
    }
}
