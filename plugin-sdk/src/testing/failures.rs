//! What went wrong in attempts.

use super::rules::{self, HostResult, error};
use crate::{Bounce, Result};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The recipients that failed in one attempt. Set the fields, call the hook, look at the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// The queue id.
    pub id: String,
    /// MAIL FROM; empty for `<>`.
    pub reverse_path: String,
    /// The zone.
    pub zone: String,
    /// The host that was spoken to.
    pub next_hop: String,
    /// The user who submitted it.
    pub user: Option<String>,
    /// Notes of plugins.
    pub attributes: BTreeMap<String, String>,
    /// The recipients.
    pub list: Vec<Failure>,
}

/// One recipient that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The mailbox.
    pub recipient: String,
    /// Its number in the message.
    pub seq: String,
    /// `defer`, `bounce` or `expire`.
    pub action: String,
    /// The status (RFC 3463).
    pub status: String,
    /// What the next hop said.
    pub reply: Option<String>,
    /// The failure in a sentence.
    pub text: String,
    /// `recipient`, `message`, `session`, `next-hop` or `local`.
    pub scope: String,
    /// Attempts, this one included.
    pub attempts: u32,
    /// Is its sender not told?
    pub dsn_suppressed: bool,
}

impl Failure {
    /// A recipient that the next hop refused for good with this reply, at the first attempt.
    #[must_use]
    pub fn bounce(recipient: &str, reply: &str) -> Self {
        Self::refused(recipient, "bounce", "5.0.0", reply)
    }

    /// A recipient that the next hop refused for now with this reply, at the first attempt.
    #[must_use]
    pub fn defer(recipient: &str, reply: &str) -> Self {
        Self::refused(recipient, "defer", "4.0.0", reply)
    }

    fn refused(recipient: &str, action: &str, status: &str, reply: &str) -> Self {
        let said = reply.split(' ').nth(1).filter(|word| word.split('.').count() == 3);
        Self {
            recipient: recipient.into(),
            seq: "001".into(),
            action: action.into(),
            status: said.unwrap_or(status).into(),
            reply: Some(reply.into()),
            text: format!("mx.example.net[192.0.2.25]:25 said: {reply}"),
            scope: "recipient".into(),
            attempts: 1,
            dsn_suppressed: false,
        }
    }
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            id: "00123456789abcdef0".into(),
            reverse_path: "sender@example.com".into(),
            zone: "default".into(),
            next_hop: "mx.example.net[192.0.2.25]:25".into(),
            user: None,
            attributes: BTreeMap::new(),
            list: Vec::new(),
        }
    }
}

impl Failures {
    /// An attempt from `sender@example.com` in which nobody failed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more recipient.
    #[must_use]
    pub fn with(mut self, mut failure: Failure) -> Self {
        failure.seq = format!("{:03x}", self.list.len() + 1);
        self.list.push(failure);
        self
    }

    /// Runs the hook `bounce`.
    ///
    /// # Errors
    /// What the plugin returned; the decisions stand.
    pub fn bounce<P: Bounce>(&mut self, plugin: &mut P) -> Result<()> {
        let handle = Handle(RefCell::new(self.clone()));
        plugin.bounce(crate::Failures::of(&handle))?;
        *self = handle.0.into_inner();
        Ok(())
    }
}

pub(crate) struct Handle(RefCell<Failures>);

impl Handle {
    fn look<T>(&self, index: u32, look: impl FnOnce(&Failure) -> T) -> Option<T> {
        self.0.borrow().list.get(index as usize).map(look)
    }
    fn edit(&self, index: u32, edit: impl FnOnce(&mut Failure)) -> HostResult {
        rules::at(&mut self.0.borrow_mut().list, index).map(edit)
    }

    pub fn id(&self) -> String {
        self.0.borrow().id.clone()
    }
    pub fn reverse_path(&self) -> String {
        self.0.borrow().reverse_path.clone()
    }
    pub fn zone(&self) -> String {
        self.0.borrow().zone.clone()
    }
    pub fn next_hop(&self) -> String {
        self.0.borrow().next_hop.clone()
    }
    pub fn user(&self) -> Option<String> {
        self.0.borrow().user.clone()
    }
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.0.borrow().attributes.get(name).cloned()
    }
    pub fn count(&self) -> u32 {
        rules::count(&self.0.borrow().list)
    }
    pub fn recipient(&self, index: u32) -> Option<String> {
        self.look(index, |one| one.recipient.clone())
    }
    pub fn seq(&self, index: u32) -> Option<String> {
        self.look(index, |one| one.seq.clone())
    }
    pub fn action(&self, index: u32) -> Option<String> {
        self.look(index, |one| one.action.clone())
    }
    pub fn status(&self, index: u32) -> Option<String> {
        self.look(index, |one| one.status.clone())
    }
    pub fn reply(&self, index: u32) -> Option<String> {
        self.look(index, |one| one.reply.clone()).flatten()
    }
    pub fn text(&self, index: u32) -> Option<String> {
        self.look(index, |one| one.text.clone())
    }
    pub fn scope(&self, index: u32) -> Option<String> {
        self.look(index, |one| one.scope.clone())
    }
    pub fn attempts(&self, index: u32) -> Option<u32> {
        self.look(index, |one| one.attempts)
    }
    pub fn defer(&self, index: u32) -> HostResult {
        if self.look(index, |one| one.action == "expire") == Some(true) {
            return error("not-now", "the recipient is too old to be tried again");
        }
        self.edit(index, |one| one.action = "defer".into())
    }
    pub fn bounce(&self, index: u32) -> HostResult {
        self.edit(index, |one| one.action = "bounce".into())
    }
    pub fn suppress_dsn(&self, index: u32) -> HostResult {
        self.edit(index, |one| one.dsn_suppressed = true)
    }
}
