//! Brings due queues and connections together: a dispatcher that sees what is due, and workers, each with one
//! connection at a time, that lease a message, have it delivered and settle the outcome.
//!
//! Limits: a zone's `connections` bounds its workers, and so its connections, over all its queues. A next hop that
//! can't be reached rests for a growing while, in which its mail stays pending.

use super::crew::Crew;
use super::router::Zones;
use super::settle::Settler;
use crate::deliver::{self, Attempt, Connection, NextHop};
use crate::spool::{Leased, LeasedRecipient, Ready, Spool};
use futures_util::FutureExt as _;
use postern_core::mail::{EnhancedCode, Outcome, Reason, Scope, Seq};
use postern_core::route::QueueKey;
use postern_core::smtp::client::{MAX_RECIPIENTS, TimeLimits};
use postern_core::time::Timestamp;
use postern_core::zone::Zone;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{error, warn};

/// How long a connection without work is kept (ZoneMTA: 5 s).
const IDLE: Duration = Duration::from_secs(5);
/// How long a lease lasts in engines whose leases end by time.
pub const LEASE_TTL: Duration = Duration::from_secs(900);
/// How long attempts in flight have to end after a stop was asked for.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);
/// Longest time until the dispatcher looks again, whatever is due: wall time may have jumped.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What the dispatcher and its workers share.
pub struct Dispatch<S: Spool> {
    spool: S,
    zones: Zones,
    settler: Arc<Settler<S>>,
    options: deliver::Options,
    clock: fn() -> Timestamp,
    /// Something that is not the spool's has changed: a next hop has begun or ended a rest, a worker has left.
    look_again: Notify,
}

/// The connections that a zone may still open.
type Slots = HashMap<Arc<str>, Arc<Semaphore>>;

impl<S: Spool> Dispatch<S> {
    /// A dispatcher of `spool` that says `helo` in EHLO.
    pub fn new(spool: S, zones: Zones, settler: Arc<Settler<S>>, helo: &str, clock: fn() -> Timestamp) -> Self {
        let options = deliver::Options { helo: helo.to_owned(), limits: TimeLimits::default() };
        Self { spool, zones, settler, options, clock, look_again: Notify::new() }
    }

    /// Runs until `stop` turns true, then lets attempts in flight finish.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut crews: HashMap<QueueKey, Arc<Crew>> = HashMap::new();
        let mut slots = Slots::new();
        let mut workers = JoinSet::new();
        loop {
            while workers.try_join_next().is_some() {}
            let now = (self.clock)();
            let Ready { queues, next_due } = self.spool.ready(now);
            let mut pause = next_due.map_or(LONGEST_PAUSE, |due| due.since(now).max(Duration::from_millis(1)));
            for (queue, due) in queues {
                let Some(zone) = self.zones.policy(&queue.zone) else { continue };
                let crew = Arc::clone(crews.entry(queue.clone()).or_insert_with(Crew::new));
                if let Some(left) = crew.resting() {
                    pause = pause.min(left);
                    continue;
                }
                let free =
                    slots.entry(Arc::clone(&zone.name)).or_insert_with(|| Arc::new(Semaphore::new(zone.connections)));
                for _ in 0..crew.hire(due) {
                    let Ok(slot) = Arc::clone(free).try_acquire_owned() else { break };
                    crew.join();
                    let worker = Worker { dispatch: Arc::clone(&self), crew: Arc::clone(&crew), here: true };
                    workers.spawn(worker.run(queue.clone(), Arc::clone(zone), slot, stop.clone()));
                }
            }
            crews.retain(|_, crew| !crew.is_idle());
            tokio::select! {
                () = self.spool.changed() => {}
                () = self.look_again.notified() => {}
                () = tokio::time::sleep(pause.min(LONGEST_PAUSE)) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        let all_ended = async { while workers.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, all_ended).await.is_err() {
            warn!(attempts = workers.len(), "attempts in flight were cut off; they will be repeated");
        }
    }

    /// One attempt for one message, on the connection at hand or a new one, and its settlement.
    async fn attempt(&self, zone: &Zone, crew: &Crew, leased: &Leased, connection: &mut Option<Connection>) {
        let id = leased.message.id;
        // A fault of ours that one message brings out must neither end the worker nor keep the message leased.
        let attempt = AssertUnwindSafe(self.deliver(zone, leased, connection)).catch_unwind().await;
        let attempt = attempt.unwrap_or_else(|_| {
            error!(%id, "an attempt ended in a panic; the message is deferred");
            not_attempted(leased, "internal error")
        });
        self.judge_next_hop(crew, &attempt);
        self.settler.settle_or_release(zone, leased, &attempt).await;
    }

    async fn deliver(&self, zone: &Zone, leased: &Leased, connection: &mut Option<Connection>) -> Attempt {
        let id = leased.message.id;
        let content = match self.spool.open(id).await {
            Ok(content) => content,
            Err(error) => {
                warn!(%id, %error, "can't read a message; it stays in the queue");
                return not_attempted(leased, "the message could not be read from the queue");
            }
        };
        let seqs: Vec<Seq> = leased.recipients.iter().map(|r| r.token.recipient.seq).collect();
        let (hop, cached) = (NextHop::from(&zone.smart_host), connection.take());
        let (attempt, kept) = deliver::attempt(cached, &hop, &self.options, &leased.message, &seqs, &*content).await;
        *connection = kept;
        attempt
    }

    /// Lets the next hop rest if nobody could be reached there, or wakes the dispatcher once it can be again.
    fn judge_next_hop(&self, crew: &Crew, attempt: &Attempt) {
        let deferred_by = |outcome: &Outcome, scope: Scope| matches!(outcome, Outcome::Deferred(r) if r.scope == scope);
        let all = |scope| attempt.outcomes.iter().all(|(_, outcome)| deferred_by(outcome, scope));
        if all(Scope::Local) {
            return;
        }
        let changed = if all(Scope::NextHop) {
            crew.rest();
            true
        } else {
            crew.reached()
        };
        if changed {
            self.look_again.notify_one();
        }
    }
}

/// One worker. However it ends, the crew knows.
struct Worker<S: Spool> {
    dispatch: Arc<Dispatch<S>>,
    crew: Arc<Crew>,
    /// It counts among the crew's workers.
    here: bool,
}

impl<S: Spool> Worker<S> {
    /// Leases, delivers, settles, until there has been nothing to do for a while. `slot` is its place among the zone's
    /// connections, given back after the connection is closed.
    async fn run(
        mut self,
        queue: QueueKey,
        zone: Arc<Zone>,
        slot: OwnedSemaphorePermit,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut connection = None;
        while !*stop.borrow() && self.crew.resting().is_none() {
            let Some(leased) = self.lease(&queue).await else { break };
            if let Some(leased) = leased {
                self.dispatch.attempt(&zone, &self.crew, &leased, &mut connection).await;
                continue;
            }
            self.crew.begin_waiting();
            if let Some(Some(leased)) = self.lease(&queue).await {
                self.crew.stop_waiting().await;
                self.dispatch.attempt(&zone, &self.crew, &leased, &mut connection).await;
                continue;
            }
            let called = tokio::select! {
                () = self.crew.wait() => true,
                () = tokio::time::sleep(IDLE) => false,
                _ = stop.wait_for(|stop| *stop) => false,
            };
            if !called && self.crew.give_up_waiting().await {
                self.here = false;
                break;
            }
        }
        if let Some(connection) = connection {
            connection.quit().await;
        }
        drop(slot);
    }

    /// The next message; the outer None if there is no point in going on.
    #[allow(clippy::option_option, reason = "nothing to do now is not the same as nothing to be done")]
    async fn lease(&self, queue: &QueueKey) -> Option<Option<Leased>> {
        let Dispatch { spool, clock, .. } = &*self.dispatch;
        match spool.lease(queue, clock(), 1, MAX_RECIPIENTS, LEASE_TTL).await {
            Ok(leased) => Some(leased.into_iter().next()),
            Err(error) => {
                warn!(%queue, %error, "can't lease from the queue");
                self.crew.rest();
                None
            }
        }
    }
}

impl<S: Spool> Drop for Worker<S> {
    fn drop(&mut self) {
        if self.here {
            self.crew.leave();
        }
        self.dispatch.look_again.notify_one();
    }
}

/// What there is to say of an attempt that never began, for a reason of ours.
fn not_attempted(leased: &Leased, why: &str) -> Attempt {
    let reason = Reason {
        scope: Scope::Local,
        status: EnhancedCode(4, 3, 0),
        remote_reply: None,
        public: why.into(),
        detail: String::new(),
    };
    let outcome = |r: &LeasedRecipient| (r.token.recipient.seq, Outcome::Deferred(reason.clone()));
    Attempt::unmade(leased.recipients.iter().map(outcome).collect())
}
