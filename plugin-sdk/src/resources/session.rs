//! The session in which a message comes in.

use super::wrapper;
use crate::HostError;

wrapper! {
    /// One session, from greeting to QUIT, or one HTTP request.
    Session
}

impl Session {
    /// The id that each log line of the session carries.
    #[must_use]
    pub fn id(&self) -> String {
        self.0.id()
    }

    /// Name of the listener, as in `[listener.NAME]`.
    #[must_use]
    pub fn listener(&self) -> String {
        self.0.listener()
    }

    /// The client's IP address as text, IPv6 without brackets; it parses as [`std::net::IpAddr`].
    #[must_use]
    pub fn peer_address(&self) -> String {
        self.0.peer_address()
    }

    /// The client's port.
    #[must_use]
    pub fn peer_port(&self) -> u16 {
        self.0.peer_port()
    }

    /// The name that the DNS has for the client's address, where the address is also among those of the name.
    #[must_use]
    pub fn peer_name(&self) -> Option<String> {
        self.0.peer_name()
    }

    /// What the client called itself in EHLO or HELO; empty before it did.
    #[must_use]
    pub fn helo(&self) -> String {
        self.0.helo()
    }

    /// `SMTP`, `ESMTP`: the words of Received's `with` clause.
    #[must_use]
    pub fn protocol(&self) -> String {
        self.0.protocol()
    }

    /// The authenticated user.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        self.0.user()
    }

    /// A note that a plugin left in the session.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.0.attribute(name)
    }

    /// Names of all notes, sorted.
    #[must_use]
    pub fn attribute_names(&self) -> Vec<String> {
        self.0.attribute_names()
    }

    /// Leaves a note for all messages of the session; `None` removes it. In the hooks `connect` and `auth`.
    ///
    /// # Errors
    /// A name or value that is not allowed, too many of them, or another hook.
    pub fn set_attribute(&self, name: &str, value: Option<&str>) -> Result<(), HostError> {
        Ok(self.0.set_attribute(name, value)?)
    }
}
