//! Whose credentials are these? First the users of the config are asked, then plugins (hook `auth`), and only about names
//! that the config does not have.

use super::guard::Guard;
use crate::intake::Intake;
use crate::spool::Spool;
use crate::users::Users;
use postern_core::hook::{Credentials, Identity, Proof, Refusal, Session};
use postern_core::mail::{EnhancedCode, Reply};
use postern_core::smtp::auth::Mechanisms;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A failed login is answered so much later.
const DELAY: Duration = Duration::from_secs(1);

/// What decides about logins on one listener.
#[derive(Debug)]
pub struct Logins {
    users: Users,
    guard: Guard,
}

impl Logins {
    /// By these users, and this guard.
    #[must_use]
    pub fn new(users: Users, guard: Guard) -> Self {
        Self { users, guard }
    }

    /// What can be offered; `plugins`: there are plugins to ask.
    #[must_use]
    pub fn mechanisms(&self, plugins: bool) -> Mechanisms {
        let passwords = plugins || !self.users.is_empty();
        Mechanisms { passwords, scram: self.users.has_scram(), tokens: plugins }
    }

    /// The users of the config.
    #[must_use]
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// The user whose credentials these are. Waits after a failure, and holds up nobody else.
    ///
    /// # Errors
    /// The reply: 535 they are nobody's, 454 nobody can tell now, 421 there were too many failures.
    pub async fn check<S: Spool>(
        &self,
        session: &mut Session,
        credentials: &Credentials,
        intake: &Intake<S>,
    ) -> Result<Arc<str>, Refusal> {
        let peer = session.peer_addr.ip();
        let find = self.find(session, credentials, intake);
        self.guarded(peer, credentials, intake.hostname(), find).await
    }

    /// What `find` says of the credentials, unless there were too many failures.
    ///
    /// # Errors
    /// As [`Logins::check`].
    pub async fn guarded(
        &self,
        peer: IpAddr,
        credentials: &Credentials,
        hostname: &str,
        find: impl Future<Output = Result<Arc<str>, Refusal>>,
    ) -> Result<Arc<str>, Refusal> {
        let name = credentials.user.as_str();
        let turned_away = || {
            let text = format!("{hostname} too many failed logins, try again later");
            refusal(Reply::new(421, EnhancedCode(4, 7, 0), text), credentials)
        };
        if self.guard.turns_away(peer, name, Instant::now()) {
            return Err(turned_away());
        }
        let found = find.await;
        // Of many tries at once, too, only so many are answered.
        if self.guard.turns_away(peer, name, Instant::now()) {
            return Err(turned_away());
        }
        match &found {
            Ok(_) => self.guard.succeeded(peer, name, Instant::now()),
            // Nobody could tell: the server's fault.
            Err(refused) if refused.reply.code < 500 => {}
            Err(_) => {
                self.guard.failed(peer, name, Instant::now());
                tokio::time::sleep(DELAY).await;
            }
        }
        found
    }

    /// The user whose credentials these are, whoever tries: first of the config, then by plugins.
    ///
    /// # Errors
    /// The reply: 535 they are nobody's, 454 nobody can tell now.
    pub async fn find<S: Spool>(
        &self,
        session: &mut Session,
        credentials: &Credentials,
        intake: &Intake<S>,
    ) -> Result<Arc<str>, Refusal> {
        match self.of_config(credentials).await {
            Some(found) => found,
            None => self.of_plugins(session, credentials, intake).await,
        }
    }

    /// None if the config does not have the name.
    async fn of_config(&self, credentials: &Credentials) -> Option<Result<Arc<str>, Refusal>> {
        let Credentials { user, authorization, proof, .. } = credentials;
        let right = match proof {
            Proof::Exchange(proved) => *proved,
            Proof::Password(password) => {
                self.users.get(user)?;
                // Nobody acts as somebody else.
                self.users.verify(user, password).await && authorization.is_none()
            }
            Proof::Token(_) => return None,
        };
        let found = self.users.get(user).filter(|_| right);
        Some(found.ok_or_else(|| refusal(nobody(), credentials)))
    }

    async fn of_plugins<S: Spool>(
        &self,
        session: &mut Session,
        credentials: &Credentials,
        intake: &Intake<S>,
    ) -> Result<Arc<str>, Refusal> {
        // On a copy: what plugins noted of a refused client is nobody's.
        let mut noted = session.clone();
        match intake.authenticate(&mut noted, credentials).await {
            Ok(Identity::User(user)) => {
                session.attributes = noted.attributes;
                Ok(user)
            }
            Ok(Identity::Unknown) => {
                if let Proof::Password(password) = &credentials.proof {
                    // Takes as long as a wrong password of a name that the config has.
                    self.users.verify(&credentials.user, password).await;
                }
                Err(refusal(nobody(), credentials))
            }
            Err(Refusal { reply, detail }) => {
                Err(Refusal { reply, detail: format!("{detail}, {}", about(credentials)) })
            }
        }
    }
}

/// The credentials are nobody's.
#[must_use]
pub fn unknown(credentials: &Credentials) -> Refusal {
    refusal(nobody(), credentials)
}

fn nobody() -> Reply {
    Reply::new(535, EnhancedCode(5, 7, 8), "Authentication failed")
}

fn refusal(reply: Reply, credentials: &Credentials) -> Refusal {
    Refusal { reply, detail: about(credentials) }
}

/// For the log.
fn about(credentials: &Credentials) -> String {
    format!("{} as {:?}", credentials.mechanism, credentials.user)
}
