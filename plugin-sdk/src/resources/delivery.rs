//! One attempt that is about to begin, and the keys that sign the message.

use super::{indexed, milliseconds, wrapper};
use crate::{HostError, Tls};
use std::time::Duration;

wrapper! {
    /// The recipients of one message that share an attempt.
    Delivery
}

wrapper! {
    /// The signatures that the message will get, in order.
    Signing
}

impl Delivery {
    /// The queue id.
    #[must_use]
    pub fn id(&self) -> String {
        self.0.id()
    }

    /// The mailbox of MAIL FROM; empty for `<>`.
    #[must_use]
    pub fn reverse_path(&self) -> String {
        self.0.reverse_path()
    }

    /// How many recipients the attempt has.
    #[must_use]
    pub fn recipient_count(&self) -> u32 {
        self.0.recipient_count()
    }

    /// The recipient at `index`, from 0.
    #[must_use]
    pub fn recipient(&self, index: u32) -> Option<String> {
        self.0.recipient(index)
    }

    /// The recipients in order, fetched one by one.
    pub fn recipients(&self) -> impl Iterator<Item = String> {
        indexed(|index| self.recipient(index))
    }

    /// The zone.
    #[must_use]
    pub fn zone(&self) -> String {
        self.0.zone()
    }

    /// What it goes to: a domain whose MX hosts are asked, or `host:port`.
    #[must_use]
    pub fn next_hop(&self) -> String {
        self.0.next_hop()
    }

    /// The source addresses it may leave from, the first choice first.
    #[must_use]
    pub fn sources(&self) -> Vec<String> {
        self.0.sources()
    }

    /// What the attempt asks of TLS.
    #[must_use]
    pub fn tls(&self) -> Tls {
        self.0.tls().into()
    }

    /// How many attempts came before this one, of the recipient that has had most.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts()
    }

    /// When the message was accepted, since 1970 as [`clock::now`](crate::clock::now).
    #[must_use]
    pub fn accepted(&self) -> Duration {
        Duration::from_millis(self.0.accepted())
    }

    /// The authenticated user who submitted it.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        self.0.user()
    }

    /// A note that a hook left when the message came in.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.0.attribute(name)
    }

    /// The value of the first header field of this name, as [`Message::header`](crate::Message::header) gives it.
    ///
    /// # Errors
    /// The host could not read its store.
    pub fn header(&self, name: &str) -> Result<Option<String>, HostError> {
        Ok(self.0.header(name)?)
    }

    /// Leaves from this address.
    ///
    /// # Errors
    /// It is not one of the pool's.
    pub fn set_source(&self, ip: &str) -> Result<(), HostError> {
        Ok(self.0.set_source(ip)?)
    }

    /// Asks for this mode of TLS: `delivery.set_tls(Tls::Require)` or `set_tls("require")`.
    ///
    /// # Errors
    /// There is no such mode, or it is less than what a smart host with credentials needs.
    pub fn set_tls(&self, mode: impl Into<Tls>) -> Result<(), HostError> {
        Ok(self.0.set_tls(mode.into().as_str())?)
    }

    /// Goes to this host instead, this once; in the forms of
    /// [`Destination::set_next_hop`](crate::Destination::set_next_hop).
    ///
    /// # Errors
    /// Not a host.
    pub fn set_next_hop(&self, host: &str) -> Result<(), HostError> {
        Ok(self.0.set_next_hop(host)?)
    }

    /// Puts a header field above the message and its signatures, in this attempt.
    ///
    /// # Errors
    /// A name or value that cannot stand in a header, or more than 64 KiB in all.
    pub fn prepend_header(&self, name: &str, value: &str) -> Result<(), HostError> {
        Ok(self.0.prepend_header(name, value)?)
    }
}

impl Signing {
    /// The domain of the From field, in lower case.
    #[must_use]
    pub fn from_domain(&self) -> Option<String> {
        self.0.from_domain()
    }

    /// Signs with a key of the server's own folder.
    ///
    /// # Errors
    /// There is none of this domain and selector.
    pub fn use_key(&self, domain: &str, selector: &str) -> Result<(), HostError> {
        Ok(self.0.use_key(domain, selector)?)
    }

    /// Signs with this private key (PEM, PKCS #8 or #1: RSA, or Ed25519). The host keeps it in memory for `ttl` at most.
    ///
    /// # Errors
    /// It is no such key.
    pub fn use_private_key(&self, domain: &str, selector: &str, pem: &str, ttl: Duration) -> Result<(), HostError> {
        Ok(self.0.use_private_key(domain, selector, pem, milliseconds(ttl))?)
    }
}
