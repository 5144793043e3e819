//! Sessions and tries to authenticate.

use super::rules::{self, HostResult};
use crate::{Auth, AuthVerdict, Connect, Error, Result, Verdict};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// One session. Set the fields, call a hook, look at the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The id.
    pub id: String,
    /// Name of the listener.
    pub listener: String,
    /// The client's IP address.
    pub peer_address: String,
    /// The client's port.
    pub peer_port: u16,
    /// The name of its address.
    pub peer_name: Option<String>,
    /// What the client called itself.
    pub helo: String,
    /// `SMTP`, `ESMTP`.
    pub protocol: String,
    /// The authenticated user.
    pub user: Option<String>,
    /// Notes of plugins.
    pub attributes: BTreeMap<String, String>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            id: "test".into(),
            listener: "feeder".into(),
            peer_address: "192.0.2.1".into(),
            peer_port: 49152,
            peer_name: None,
            helo: "client.example".into(),
            protocol: "ESMTP".into(),
            user: None,
            attributes: BTreeMap::new(),
        }
    }
}

impl Session {
    /// A session of `client.example` from 192.0.2.1, without a user.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs the hook `connect`.
    ///
    /// # Errors
    /// What the plugin returned, or a reply that breaks the rules.
    pub fn connect<P: Connect>(&mut self, plugin: &mut P) -> Result<Verdict> {
        self.run(|session| checked(plugin.connect(crate::Session::of(session))?))
    }

    /// Runs the hook `auth`; if it accepts, the session has that user.
    ///
    /// # Errors
    /// What the plugin returned, or a verdict that is not allowed.
    pub fn authenticate<P: Auth>(&mut self, plugin: &mut P, credentials: &Credentials) -> Result<AuthVerdict> {
        let credentials = CredentialsHandle(credentials.clone());
        let verdict = self.run(|session| {
            let credentials = crate::Credentials::of(&credentials);
            let verdict = plugin.authenticate(crate::Session::of(session), credentials)?;
            match &verdict {
                AuthVerdict::Reject(reply) => reply.check_class(5)?,
                AuthVerdict::Accept(user) if user.is_empty() || user.contains(char::is_control) => {
                    return Err(Error::new("accept: a user is a line of text"));
                }
                _ => {}
            }
            Ok(verdict)
        })?;
        if let AuthVerdict::Accept(user) = &verdict {
            self.user = Some(user.clone());
        }
        Ok(verdict)
    }

    fn run<R>(&mut self, call: impl FnOnce(&SessionHandle) -> Result<R>) -> Result<R> {
        let handle = SessionHandle { session: Rc::new(RefCell::new(self.clone())), takes_notes: true };
        let answer = call(&handle)?;
        *self = handle.session.take();
        Ok(answer)
    }
}

/// The verdict, if its reply keeps the rules.
pub(crate) fn checked(verdict: Verdict) -> Result<Verdict> {
    match &verdict {
        Verdict::Pass => {}
        Verdict::Reject(reply) => reply.check_class(5)?,
        Verdict::Defer(reply) => reply.check_class(4)?,
    }
    Ok(verdict)
}

/// What a client identifies itself with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// `PLAIN`, `XOAUTH2` …
    pub mechanism: String,
    /// Who the client says it is.
    pub user: String,
    /// Whom it wants to act as.
    pub authorization: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The token.
    pub token: Option<String>,
}

impl Credentials {
    /// User and password by PLAIN.
    #[must_use]
    pub fn plain(user: &str, password: &str) -> Self {
        Self { mechanism: "PLAIN".into(), user: user.into(), password: Some(password.into()), ..Self::default() }
    }

    /// A token by a mechanism that has one.
    #[must_use]
    pub fn token(mechanism: &str, user: &str, token: &str) -> Self {
        Self { mechanism: mechanism.into(), user: user.into(), token: Some(token.into()), ..Self::default() }
    }
}

pub(crate) struct SessionHandle {
    session: Rc<RefCell<Session>>,
    takes_notes: bool,
}

impl SessionHandle {
    /// For hooks that find the session as it is.
    pub(crate) fn fixed(session: &Session) -> Self {
        Self { session: Rc::new(RefCell::new(session.clone())), takes_notes: false }
    }
    pub fn id(&self) -> String {
        self.session.borrow().id.clone()
    }
    pub fn listener(&self) -> String {
        self.session.borrow().listener.clone()
    }
    pub fn peer_address(&self) -> String {
        self.session.borrow().peer_address.clone()
    }
    pub fn peer_port(&self) -> u16 {
        self.session.borrow().peer_port
    }
    pub fn peer_name(&self) -> Option<String> {
        self.session.borrow().peer_name.clone()
    }
    pub fn helo(&self) -> String {
        self.session.borrow().helo.clone()
    }
    pub fn protocol(&self) -> String {
        self.session.borrow().protocol.clone()
    }
    pub fn user(&self) -> Option<String> {
        self.session.borrow().user.clone()
    }
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.session.borrow().attributes.get(name).cloned()
    }
    pub fn attribute_names(&self) -> Vec<String> {
        self.session.borrow().attributes.keys().cloned().collect()
    }
    pub fn set_attribute(&self, name: &str, value: Option<&str>) -> HostResult {
        if !self.takes_notes {
            return rules::error(
                "not-now",
                "the session takes attributes in connect and auth; later the envelope does",
            );
        }
        rules::set_note(&mut self.session.borrow_mut().attributes, name, value)
    }
}

pub(crate) struct CredentialsHandle(Credentials);

impl CredentialsHandle {
    pub fn mechanism(&self) -> String {
        self.0.mechanism.clone()
    }
    pub fn user(&self) -> String {
        self.0.user.clone()
    }
    pub fn authorization(&self) -> Option<String> {
        self.0.authorization.clone()
    }
    pub fn password(&self) -> Option<String> {
        self.0.password.clone()
    }
    pub fn token(&self) -> Option<String> {
        self.0.token.clone()
    }
}
