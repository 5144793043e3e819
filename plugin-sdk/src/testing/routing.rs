//! Where recipients' mail goes.

use super::Transaction;
use super::rules::{self, HostResult, error};
use std::cell::RefCell;
use std::time::Duration;

/// Where the mail of each recipient goes. [`Transaction::route`] runs the hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// The recipients in the order of the envelope.
    pub destinations: Vec<Destination>,
    /// The zones of the config; if none is named, every name is one.
    pub zones: Vec<String>,
    /// The pools of the config; if none is named, every name is one.
    pub pools: Vec<String>,
}

/// One recipient and where its mail goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destination {
    /// The mailbox.
    pub recipient: String,
    /// The zone.
    pub zone: String,
    /// A domain whose MX hosts are asked, or `host:port`.
    pub next_hop: String,
    /// The pool that the plugin chose.
    pub pool: Option<String>,
    /// How long the plugin holds the first attempt back.
    pub delay: Option<Duration>,
    /// Why the plugin holds it.
    pub held: Option<String>,
}

impl Routing {
    /// All recipients of a message, each to its domain, in the envelope's zone or in `default`.
    #[must_use]
    pub fn of(transaction: &Transaction) -> Self {
        let destination = |recipient: &String| Destination {
            recipient: recipient.clone(),
            zone: transaction.zone.clone().unwrap_or_else(|| "default".into()),
            next_hop: recipient.rsplit_once('@').map_or("", |(_, domain)| domain).to_owned(),
            ..Destination::default()
        };
        Self { destinations: transaction.recipients.iter().map(destination).collect(), ..Self::default() }
    }
}

pub(crate) struct Handle(RefCell<Routing>);

impl Handle {
    pub(super) fn new(routing: &Routing) -> Self {
        Self(RefCell::new(routing.clone()))
    }
    pub(super) fn into_inner(self) -> Routing {
        self.0.into_inner()
    }

    fn look<T>(&self, index: u32, look: impl FnOnce(&Destination) -> T) -> Option<T> {
        self.0.borrow().destinations.get(index as usize).map(look)
    }
    fn edit(&self, index: u32, edit: impl FnOnce(&mut Destination)) -> HostResult {
        rules::at(&mut self.0.borrow_mut().destinations, index).map(edit)
    }

    pub fn recipient_count(&self) -> u32 {
        rules::count(&self.0.borrow().destinations)
    }
    pub fn recipient(&self, index: u32) -> Option<String> {
        self.look(index, |one| one.recipient.clone())
    }
    pub fn zone(&self, index: u32) -> Option<String> {
        self.look(index, |one| one.zone.clone())
    }
    pub fn next_hop(&self, index: u32) -> Option<String> {
        self.look(index, |one| one.next_hop.clone())
    }
    pub fn set_zone(&self, index: u32, name: &str) -> HostResult {
        known(&self.0.borrow().zones, name, "no such zone")?;
        self.edit(index, |one| one.zone = name.into())
    }
    pub fn set_next_hop(&self, index: u32, host: &str) -> HostResult {
        rules::next_hop(host)?;
        self.edit(index, |one| one.next_hop = host.into())
    }
    pub fn set_pool(&self, index: u32, name: &str) -> HostResult {
        known(&self.0.borrow().pools, name, "no such pool")?;
        self.edit(index, |one| one.pool = Some(name.into()))
    }
    pub fn set_delay(&self, index: u32, milliseconds: u64) -> HostResult {
        rules::delay(milliseconds)?;
        self.edit(index, |one| one.delay = Some(Duration::from_millis(milliseconds)))
    }
    pub fn hold(&self, index: u32, reason: &str) -> HostResult {
        rules::line(reason)?;
        self.edit(index, |one| one.held = Some(reason.into()))
    }
}

fn known(all: &[String], name: &str, text: &str) -> HostResult {
    rules::name(name)?;
    if all.is_empty() || all.iter().any(|one| one == name) { Ok(()) } else { error("not-found", text) }
}
