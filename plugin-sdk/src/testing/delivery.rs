//! Attempts that are about to begin.

use super::rules::{self, HostResult, error};
use super::{Signing, signing};
use crate::{Decision, DeliveryBefore, Error, Result, Sign};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// One attempt. Set the fields, call a hook, look at the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The queue id.
    pub id: String,
    /// MAIL FROM; empty for `<>`.
    pub reverse_path: String,
    /// The recipients.
    pub recipients: Vec<String>,
    /// The zone.
    pub zone: String,
    /// What it goes to.
    pub next_hop: String,
    /// The source addresses it may leave from.
    pub sources: Vec<String>,
    /// The one that a plugin chose.
    pub source: Option<String>,
    /// `off`, `opportunistic`, `require` or `verify`.
    pub tls: String,
    /// Attempts before this one.
    pub attempts: u32,
    /// When the message was accepted, since 1970; [`clock::now`](crate::clock::now) when the value was made.
    pub accepted: Duration,
    /// The user who submitted it.
    pub user: Option<String>,
    /// Notes of plugins.
    pub attributes: BTreeMap<String, String>,
    /// Header fields of the message, from the top.
    pub headers: Vec<(String, String)>,
    /// Header fields that a plugin put above the message, from the top.
    pub prepended: Vec<(String, String)>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            id: "00123456789abcdef0".into(),
            reverse_path: "sender@example.com".into(),
            recipients: vec!["recipient@example.net".into()],
            zone: "default".into(),
            next_hop: "example.net".into(),
            sources: vec!["192.0.2.10".into(), "2001:db8::10".into()],
            source: None,
            tls: "opportunistic".into(),
            attempts: 0,
            accepted: crate::clock::now(),
            user: None,
            attributes: BTreeMap::new(),
            headers: Vec::new(),
            prepended: Vec::new(),
        }
    }
}

impl Delivery {
    /// The first attempt from `sender@example.com` to `recipient@example.net`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more header field of the message.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with this attribute.
    #[must_use]
    pub fn with_attribute(mut self, name: &str, value: &str) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Runs the hook `delivery-before`.
    ///
    /// # Errors
    /// What the plugin returned, or a decision that is not allowed.
    pub fn before<P: DeliveryBefore>(&mut self, plugin: &mut P) -> Result<Decision> {
        let handle = Handle { delivery: RefCell::new(self.clone()), edits: true };
        let decision = plugin.before(crate::Delivery::of(&handle))?;
        match &decision {
            Decision::Go => {}
            Decision::Defer(reason) => rules::line(reason).map_err(Error::new)?,
            Decision::Bounce(reply) => reply.check_class(5)?,
        }
        *self = handle.delivery.into_inner();
        Ok(decision)
    }

    /// Runs the hook `sign`.
    ///
    /// # Errors
    /// What the plugin returned; the signatures stay.
    pub fn sign<P: Sign>(&self, plugin: &mut P, signing: &mut Signing) -> Result<()> {
        let handle = Handle { delivery: RefCell::new(self.clone()), edits: false };
        let keys = signing::Handle::new(signing);
        plugin.sign(crate::Delivery::of(&handle), crate::Signing::of(&keys))?;
        *signing = keys.into_inner();
        Ok(())
    }
}

pub(crate) struct Handle {
    delivery: RefCell<Delivery>,
    edits: bool,
}

impl Handle {
    fn look<T>(&self, look: impl FnOnce(&Delivery) -> T) -> T {
        look(&self.delivery.borrow())
    }
    fn edit(&self) -> HostResult<std::cell::RefMut<'_, Delivery>> {
        if self.edits {
            return Ok(self.delivery.borrow_mut());
        }
        error("not-now", "an attempt can be changed in delivery-before")
    }

    pub fn id(&self) -> String {
        self.look(|one| one.id.clone())
    }
    pub fn reverse_path(&self) -> String {
        self.look(|one| one.reverse_path.clone())
    }
    pub fn recipient_count(&self) -> u32 {
        self.look(|one| rules::count(&one.recipients))
    }
    pub fn recipient(&self, index: u32) -> Option<String> {
        self.look(|one| one.recipients.get(index as usize).cloned())
    }
    pub fn zone(&self) -> String {
        self.look(|one| one.zone.clone())
    }
    pub fn next_hop(&self) -> String {
        self.look(|one| one.next_hop.clone())
    }
    pub fn sources(&self) -> Vec<String> {
        self.look(|one| one.sources.clone())
    }
    pub fn tls(&self) -> String {
        self.look(|one| one.tls.clone())
    }
    pub fn attempts(&self) -> u32 {
        self.look(|one| one.attempts)
    }
    pub fn accepted(&self) -> u64 {
        self.look(|one| crate::resources::milliseconds(one.accepted))
    }
    pub fn user(&self) -> Option<String> {
        self.look(|one| one.user.clone())
    }
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.look(|one| one.attributes.get(name).cloned())
    }
    pub fn header(&self, name: &str) -> HostResult<Option<String>> {
        let is_it = |(field, _): &&(String, String)| field.eq_ignore_ascii_case(name);
        Ok(self.look(|one| one.headers.iter().find(is_it).map(|(_, value)| super::mime::decoded(value))))
    }
    pub fn set_source(&self, ip: &str) -> HostResult {
        let mut delivery = self.edit()?;
        if ip.parse::<std::net::IpAddr>().is_err() {
            return error("bad-address", "not an IP address");
        }
        if !delivery.sources.iter().any(|source| source == ip) {
            return error("not-found", "it is not one of the pool's addresses");
        }
        delivery.source = Some(ip.into());
        Ok(())
    }
    pub fn set_tls(&self, mode: &str) -> HostResult {
        if !["off", "opportunistic", "require", "verify"].contains(&mode) {
            return error("bad-value", "off, opportunistic, require or verify");
        }
        self.edit()?.tls = mode.into();
        Ok(())
    }
    pub fn set_next_hop(&self, host: &str) -> HostResult {
        rules::next_hop(host)?;
        self.edit()?.next_hop = host.into();
        Ok(())
    }
    pub fn prepend_header(&self, name: &str, value: &str) -> HostResult {
        rules::header_name(name)?;
        rules::header_value(value)?;
        let mut delivery = self.edit()?;
        let octets: usize = delivery.prepended.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        if octets + name.len() + value.len() + 4 > rules::MAX_PREPENDED {
            return error("too-large", "what is put above the message has 64 KiB at most");
        }
        delivery.prepended.insert(0, (name.into(), value.into()));
        Ok(())
    }
}
