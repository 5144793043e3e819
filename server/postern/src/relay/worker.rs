//! A worker: leases the mail of one queue message by message, has it delivered on its connection and settles the
//! outcome, until there is nothing more to do or another queue needs its slot.

use super::before::{self, Plan};
use super::connections::{Connections, Fit, Granted, Held, Limits, Slot};
use super::crew::Crew;
use super::dispatch::Dispatch;
use super::rates::{Blocked, Planned, shown};
use super::routes::names_smart_host;
use crate::deliver::{self, Attempt, Connection};
use crate::spool::{Leased, LeasedRecipient, Spool};
use futures_util::FutureExt as _;
use postern_core::mail::{EnhancedCode, Outcome, Reason, Scope, Seq};
use postern_core::route::{NextHop, QueueKey, Unroutable};
use postern_core::zone::{Group, Source, Zone};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{error, warn};

/// How long a lease lasts in engines whose leases end by time.
pub const LEASE_TTL: Duration = Duration::from_secs(900);
/// A connection is not used for longer: what DNS says of the next hop may have changed (Postfix: 300 s).
const LONGEST_USE: Duration = Duration::from_secs(300);
/// How long the answer to QUIT is waited for.
const FAREWELL: Duration = Duration::from_secs(1);
/// Messages that the only worker of a queue may deliver before it leaves its slot to a queue that waits.
const TURN: usize = 20;

/// What came of trying to deliver.
struct Made {
    attempt: Attempt,
    /// It says something of the queue's next hop.
    tells_of_next_hop: bool,
}

/// One worker. However it ends, the crew knows.
pub struct Worker<S: Spool> {
    dispatch: Arc<Dispatch<S>>,
    queue: QueueKey,
    zone: Arc<Zone>,
    crew: Arc<Crew>,
    connections: Arc<Connections<Connection>>,
    limits: Limits,
    /// Taken only while the connection changes hands.
    slot: Option<Slot>,
    held: Option<Held<Connection>>,
    /// It has looked for mail.
    begun: bool,
    /// A limit of the queue has run out.
    limited: bool,
}

impl<S: Spool> Worker<S> {
    /// A worker that joins the crew, with its right to a connection, and one if there is one.
    pub fn new(
        dispatch: &Arc<Dispatch<S>>,
        (queue, zone, crew): (QueueKey, Arc<Zone>, Arc<Crew>),
        connections: &Arc<Connections<Connection>>,
        limits: Limits,
        slot: Slot,
        held: Option<Held<Connection>>,
    ) -> Self {
        crew.join();
        let (dispatch, connections) = (Arc::clone(dispatch), Arc::clone(connections));
        Self { dispatch, queue, zone, crew, connections, limits, slot: Some(slot), held, begun: false, limited: false }
    }

    /// Works until there is nothing to do, `stop` turns true, the next hop rests or the slot is needed elsewhere; then
    /// parks the connection. `evicted` is a connection that made room for this one.
    pub async fn run(mut self, evicted: Option<Connection>, stop: watch::Receiver<bool>) {
        let farewell = async {
            if let Some(connection) = evicted {
                say_farewell(connection).await;
            }
        };
        tokio::join!(farewell, self.work(&stop));
        if let (Some(held), Some(slot)) = (self.held.take(), self.slot.take()) {
            self.connections.park(&self.queue, held, slot);
        }
    }

    async fn work(&mut self, stop: &watch::Receiver<bool>) {
        let mut done = 0;
        while !*stop.borrow() && self.crew.resting().is_none() {
            let leased = self.lease().await;
            self.begin();
            let Some(leased) = leased else { return };
            self.deliver(&leased).await;
            if self.limited {
                return;
            }
            done += 1;
            let had_its_turn = done >= TURN;
            // Who waits for a domain's connections may be in another zone.
            if had_its_turn && self.limits.domain.is_some() {
                return;
            }
            if (had_its_turn || self.crew.workers() > 1) && self.connections.is_wanted() {
                return;
            }
        }
    }

    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            self.crew.begun();
        }
    }

    /// The next message, if there is one.
    async fn lease(&self) -> Option<Leased> {
        let Dispatch { spool, clock, rates, .. } = &*self.dispatch;
        let now = clock();
        let recipients = rates.most_recipients(&self.zone, &self.queue.destination, now);
        match spool.lease(&self.queue, now, 1, recipients, LEASE_TTL).await {
            Ok(leased) => leased.into_iter().next(),
            Err(error) => {
                warn!(queue = %self.queue, %error, "can't lease from the queue");
                self.crew.rest();
                None
            }
        }
    }

    /// One attempt for one message.
    async fn deliver(&mut self, leased: &Leased) {
        let destination = Arc::clone(&self.queue.destination);
        if self.zone.smart_host.is_some() || NextHop::of(&destination).is_some() || !names_smart_host(&destination) {
            return self.deliver_to(&destination, leased).await;
        }
        // It waited for a smart host that its zone has no longer, and goes where it would go if it came now.
        for (domain, part) in by_domain(leased) {
            self.deliver_to(&domain, &part).await;
            if let Some(held) = self.held.take() {
                say_farewell(held.connection).await;
            }
        }
    }

    /// Each group of recipients from its source address, settled by itself.
    async fn deliver_to(&mut self, destination: &str, leased: &Leased) {
        let groups = self.by_source(leased);
        if let [only] = &groups[..] {
            return self.deliver_group(destination, leased, &only.sources).await;
        }
        for Group { sources, recipients } in groups {
            let of_group = |r: &&LeasedRecipient| recipients.contains(&r.token.recipient.seq);
            let part = Leased {
                message: Arc::clone(&leased.message),
                recipients: leased.recipients.iter().filter(of_group).cloned().collect(),
            };
            self.deliver_group(destination, &part, &sources).await;
        }
    }

    /// The recipients by the address that they are delivered to from: of the pool that a plugin chose for them, else of
    /// the zone's.
    fn by_source(&self, leased: &Leased) -> Vec<Group> {
        let recipient = |r: &LeasedRecipient| {
            let seq = r.token.recipient.seq;
            (seq, &leased.message.envelope.recipients[seq.index()])
        };
        let all = || leased.recipients.iter().map(recipient);
        let mut pools: Vec<Option<&Arc<str>>> = all().map(|(_, recipient)| recipient.pool.as_ref()).collect();
        pools.sort_unstable();
        pools.dedup();
        let group = |name: Option<&Arc<str>>| {
            // A pool that the config no longer has is as if none had been chosen.
            let pool = name.and_then(|name| self.dispatch.zones.pool(name)).unwrap_or(&self.zone.pool);
            let of_pool = all().filter(|(_, recipient)| recipient.pool.as_ref() == name);
            pool.group(of_pool.map(|(seq, recipient)| (seq, &recipient.address)))
        };
        pools.into_iter().flat_map(group).collect()
    }

    async fn deliver_group(&mut self, destination: &str, leased: &Leased, sources: &[Source]) {
        if !self.admit(destination, leased, sources.first().map(|source| source.ip)).await {
            return;
        }
        // A fault of ours that one message brings out must neither end the worker nor keep the message leased.
        let attempt = AssertUnwindSafe(self.attempt(destination, leased, sources)).catch_unwind().await;
        let Made { attempt, tells_of_next_hop } = attempt.unwrap_or_else(|_| {
            error!(id = %leased.message.id, "an attempt ended in a panic; the message is deferred");
            Made::not(not_attempted(leased, "internal error"))
        });
        if tells_of_next_hop {
            self.judge_next_hop(&attempt);
        }
        self.dispatch.settler.settle_or_release(&self.zone, leased, &attempt).await;
    }

    /// Waits a little until the limits let the attempt be made. If it takes longer, puts the recipients off or gives them
    /// back, and is false.
    async fn admit(&mut self, destination: &str, leased: &Leased, source: Option<IpAddr>) -> bool {
        loop {
            let Dispatch { rates, clock, settler, .. } = &*self.dispatch;
            let mail = (&*leased.message, leased.recipients.len());
            let planned = Planned { zone: &self.zone, destination, mail, source, connects: self.held.is_none() };
            let span = match rates.take(&planned, clock()) {
                Ok(()) => return true,
                Err(Blocked::Soon(span)) => span,
                Err(Blocked::Queue) => {
                    self.limited = true;
                    settler.release(leased).await;
                    return false;
                }
                Err(Blocked::Mail(wait, due)) => {
                    settler.postpone(&self.zone, leased, &of_ours(&shown(&wait)), due).await;
                    return false;
                }
            };
            tokio::time::sleep(span).await;
        }
    }

    async fn attempt(&mut self, destination: &str, leased: &Leased, sources: &[Source]) -> Made {
        let id = leased.message.id;
        let dispatch = Arc::clone(&self.dispatch);
        let content = match dispatch.spool.open(id).await {
            Ok(content) => content,
            Err(error) => {
                warn!(%id, %error, "can't read a message; it stays in the queue");
                return Made::not(not_attempted(leased, "the message could not be read from the queue"));
            }
        };
        let terms = dispatch.routes.terms(&self.zone, destination, sources);
        let hooks = dispatch.settler.hooks.get();
        let plan = match before::ask(&*hooks, &self.zone, destination, &terms, leased, content).await {
            Ok(plan) => plan,
            Err(attempt) => return Made::not(attempt),
        };
        let Plan { sources: reordered, tls, redirected, content } = plan;
        let mut route = match &redirected {
            Some(elsewhere) => dispatch.routes.terms(&self.zone, elsewhere, sources),
            None => terms,
        };
        route.tls = tls.unwrap_or(route.tls);
        route.sources = reordered.unwrap_or(route.sources);
        let tells_of_next_hop = redirected.is_none();
        let to = redirected.unwrap_or_else(|| destination.into());
        let fit = Fit { source: route.sources[0].ip, tls: route.tls, destination: to };
        self.change_connection(&fit).await;
        let seqs: Vec<Seq> = leased.recipients.iter().map(|r| r.token.recipient.seq).collect();
        let destination = &*fit.destination;
        match dispatch.routes.hosts(&self.zone, destination, &route.sources).await {
            Ok(hosts) => route.hosts = hosts,
            // A connection that is there needs no DNS.
            Err(error) if error.why == Unroutable::Temporary && self.is_connected() => {}
            Err(error) => {
                let attempt = deliver::unroutable(&seqs, error.why, &error.detail, NextHop::shown(destination));
                return Made { attempt, tells_of_next_hop };
            }
        }
        let held = self.held.take();
        let opened = held.as_ref().map_or_else(Instant::now, |held| held.opened);
        let cached = held.map(|held| held.connection);
        let (attempt, kept) =
            deliver::attempt(cached, &route, &dispatch.options, &leased.message, &seqs, &*content).await;
        self.held = kept.map(|connection| Held { connection, fit, opened });
        Made { attempt, tells_of_next_hop }
    }

    fn is_connected(&mut self) -> bool {
        self.held.as_mut().is_some_and(|held| held.connection.is_alive())
    }

    /// Sees to it that the connection at hand, if there is one, is for this, and not too old.
    async fn change_connection(&mut self, fit: &Fit) {
        if let Some(held) = self.held.take_if(|held| held.opened.elapsed() >= LONGEST_USE) {
            say_farewell(held.connection).await;
        }
        let Some(held) = self.held.take_if(|held| held.fit != *fit) else { return };
        let Some(slot) = self.slot.take() else { return };
        let Granted { slot, held, evicted } =
            self.connections.exchange(&self.queue, &self.crew, &self.limits, (held, slot), fit);
        (self.slot, self.held) = (Some(slot), held);
        if let Some(connection) = evicted {
            say_farewell(connection).await;
        }
    }

    /// Lets the next hop rest if nobody could be reached there, or wakes the dispatcher once it can be again.
    fn judge_next_hop(&self, attempt: &Attempt) {
        let deferred_by = |outcome: &Outcome, scope: Scope| matches!(outcome, Outcome::Deferred(r) if r.scope == scope);
        let all = |scope| attempt.outcomes.iter().all(|(_, outcome)| deferred_by(outcome, scope));
        if all(Scope::Local) {
            return;
        }
        let changed = if all(Scope::NextHop) {
            self.crew.rest();
            true
        } else if all(Scope::Session) {
            self.crew.broke();
            false
        } else {
            let grows = self.crew.answered(self.zone.connections);
            self.crew.reached() || grows
        };
        if changed {
            self.dispatch.look_again.notify_one();
        }
    }
}

impl Made {
    /// The next hop had no part in it.
    fn not(attempt: Attempt) -> Self {
        Self { attempt, tells_of_next_hop: false }
    }
}

impl<S: Spool> Drop for Worker<S> {
    fn drop(&mut self) {
        self.begin();
        self.crew.leave();
        // The slot and its share of the crew go first: whoever looks again must see them free.
        drop((self.held.take(), self.slot.take()));
        self.dispatch.look_again.notify_one();
    }
}

/// QUIT, and a little while for the answer: somebody waits for the slot.
pub async fn say_farewell(connection: Connection) {
    // Whether it answered or not, the connection is gone.
    let _ = tokio::time::timeout(FAREWELL, connection.quit()).await;
}

/// The recipients by domain.
fn by_domain(leased: &Leased) -> Vec<(String, Leased)> {
    let mut parts: Vec<(String, Leased)> = Vec::new();
    for recipient in &leased.recipients {
        let address = &leased.message.envelope.recipients[recipient.token.recipient.seq.index()].address;
        let domain = address.domain().to_lowercase();
        match parts.iter_mut().find(|(of, _)| *of == domain) {
            Some((_, part)) => part.recipients.push(recipient.clone()),
            None => {
                let part = Leased { message: Arc::clone(&leased.message), recipients: vec![recipient.clone()] };
                parts.push((domain, part));
            }
        }
    }
    parts
}

/// A reason that the next hop has no part in.
fn of_ours(why: &str) -> Reason {
    Reason {
        scope: Scope::Local,
        status: EnhancedCode(4, 3, 0),
        remote_reply: None,
        public: why.into(),
        detail: String::new(),
    }
}

/// What there is to say of an attempt that never began, for a reason of ours.
fn not_attempted(leased: &Leased, why: &str) -> Attempt {
    let reason = of_ours(why);
    let outcome = |r: &LeasedRecipient| (r.token.recipient.seq, Outcome::Deferred(reason.clone()));
    Attempt::unmade(leased.recipients.iter().map(outcome).collect())
}
