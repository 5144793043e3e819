//! Brings due queues and connections together: a dispatcher that sees what is due, and workers, each with one
//! connection at a time, that lease a message, have it delivered and settle the outcome.
//!
//! Limits: a zone's `connections` bounds its workers, and so its connections. A next hop that can't be reached rests for
//! a growing while, in which its mail stays pending.

use super::router::Zones;
use super::settle::Settler;
use crate::deliver::{self, Attempt, Connection, NextHop};
use crate::observe::delivery_log;
use crate::spool::{Leased, LeasedRecipient, Ready, Spool};
use futures_util::FutureExt as _;
use postern_core::mail::{EnhancedCode, Outcome, Reason, Scope, Seq};
use postern_core::route::QueueKey;
use postern_core::smtp::client::{MAX_RECIPIENTS, TimeLimits};
use postern_core::time::Timestamp;
use postern_core::zone::Zone;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;
use tracing::{error, warn};

/// How long a connection without work is kept (ZoneMTA: 5 s).
const IDLE: Duration = Duration::from_secs(5);
/// How long a lease lasts in engines whose leases end by time.
const LEASE_TTL: Duration = Duration::from_secs(900);
/// First and longest rest of a next hop that can't be reached.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long attempts in flight have to end after a stop was asked for.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);

/// Longest time until the dispatcher looks again, whatever is due.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// What the dispatcher and its workers share.
pub struct Dispatch<S: Spool> {
    spool: S,
    zones: Zones,
    settler: Settler<S>,
    options: deliver::Options,
    clock: fn() -> Timestamp,
    /// A next hop has begun or ended a rest.
    look_again: Notify,
}

/// The workers of one queue.
struct Crew {
    state: Mutex<CrewState>,
    /// One permit for each idle worker that is called to work.
    calls: Semaphore,
}

#[derive(Default)]
struct CrewState {
    workers: usize,
    /// Workers that wait and have not been called.
    idle: usize,
    rest: Option<Rest>,
}

/// The next hop could not be reached.
#[derive(Clone, Copy)]
struct Rest {
    until: Timestamp,
    span: Duration,
}

impl Crew {
    fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), calls: Semaphore::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, CrewState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls idle workers for `due` recipients and says how many more are to be started. After a rest one alone goes
    /// ahead and tries.
    fn hire(&self, due: usize, limit: usize) -> usize {
        let mut state = self.state();
        let called = due.min(state.idle);
        state.idle -= called;
        self.calls.add_permits(called);
        let limit = if state.rest.is_some() { 1 } else { limit };
        let more = (due - called).min(limit.saturating_sub(state.workers));
        state.workers += more;
        more
    }

    /// True once there may be work; false if there was none for [`IDLE`] or the server stops.
    async fn wait_for_work(&self, stop: &mut watch::Receiver<bool>) -> bool {
        self.state().idle += 1;
        tokio::select! {
            call = self.calls.acquire() => return call.map(SemaphorePermit::forget).is_ok(),
            () = tokio::time::sleep(IDLE) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        {
            let mut state = self.state();
            if state.idle > 0 {
                state.idle -= 1;
                return false;
            }
        }
        // Every idle worker has been called: the call that is on its way is for this one.
        self.calls.acquire().await.map(SemaphorePermit::forget).is_ok()
    }

    /// Nobody tries for a while, twice as long each time.
    fn rest(&self, now: Timestamp) {
        let mut state = self.state();
        if state.rest.is_some_and(|rest| rest.until > now) {
            return;
        }
        let span = state.rest.map_or(REST.0, |rest| (rest.span * 2).min(REST.1));
        state.rest = Some(Rest { until: now.after(span), span });
    }

    /// The next hop can be reached; true if it rested before.
    fn reached(&self) -> bool {
        self.state().rest.take().is_some()
    }

    fn resting(&self, now: Timestamp) -> Option<Timestamp> {
        self.state().rest.map(|rest| rest.until).filter(|until| *until > now)
    }

    /// Is there nothing to remember?
    fn is_idle(&self) -> bool {
        let state = self.state();
        state.workers == 0 && state.rest.is_none()
    }
}

impl<S: Spool> Dispatch<S> {
    /// A dispatcher of `spool` that says `helo` in EHLO.
    pub fn new(spool: S, zones: Zones, settler: Settler<S>, helo: &str, clock: fn() -> Timestamp) -> Self {
        let options = deliver::Options { helo: helo.to_owned(), limits: TimeLimits::default() };
        Self { spool, zones, settler, options, clock, look_again: Notify::new() }
    }

    /// Runs until `stop` turns true, then lets attempts in flight finish.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut crews: HashMap<QueueKey, Arc<Crew>> = HashMap::new();
        let mut workers = JoinSet::new();
        loop {
            while workers.try_join_next().is_some() {}
            let now = (self.clock)();
            let Ready { queues, mut next_due } = self.spool.ready(now);
            for (queue, due) in queues {
                let Some(zone) = self.zones.policy(&queue.zone) else {
                    warn!(%queue, "there is no zone for this queue, nor a zone `default`: its mail waits");
                    continue;
                };
                let crew = Arc::clone(crews.entry(queue.clone()).or_insert_with(Crew::new));
                if let Some(until) = crew.resting(now) {
                    next_due = Some(next_due.map_or(until, |due| due.min(until)));
                    continue;
                }
                for _ in 0..crew.hire(due, zone.connections) {
                    let (dispatch, queue, zone) = (Arc::clone(&self), queue.clone(), Arc::clone(zone));
                    workers.spawn(dispatch.work(queue, zone, Arc::clone(&crew), stop.clone()));
                }
            }
            crews.retain(|_, crew| !crew.is_idle());
            let pause = next_due.map_or(LONGEST_PAUSE, |due| due.since(now).max(Duration::from_millis(1)));
            tokio::select! {
                () = self.spool.changed() => {}
                () = self.look_again.notified() => {}
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        let all_ended = async { while workers.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, all_ended).await.is_err() {
            warn!(attempts = workers.len(), "attempts in flight were cut off; they will be repeated");
        }
    }

    /// One worker: leases, delivers, settles, until there has been nothing to do for a while.
    async fn work(self: Arc<Self>, queue: QueueKey, zone: Arc<Zone>, crew: Arc<Crew>, mut stop: watch::Receiver<bool>) {
        let mut connection = None;
        while !*stop.borrow() && crew.resting((self.clock)()).is_none() {
            match self.spool.lease(&queue, (self.clock)(), 1, MAX_RECIPIENTS, LEASE_TTL).await {
                Ok(leased) if leased.is_empty() => {
                    if !crew.wait_for_work(&mut stop).await {
                        break;
                    }
                }
                Ok(leased) => {
                    for leased in leased {
                        self.attempt(&zone, &crew, &leased, &mut connection).await;
                    }
                }
                Err(error) => {
                    warn!(%queue, %error, "can't lease from the queue");
                    crew.rest((self.clock)());
                }
            }
        }
        crew.state().workers -= 1;
        if let Some(connection) = connection {
            connection.quit().await;
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
        if let Err(error) = self.settler.settle(zone, leased, &attempt.outcomes, &attempt.remote).await {
            delivery_log::unsettled(id, error);
        }
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
        let failed = |outcome: &Outcome| matches!(outcome, Outcome::Deferred(reason) if reason.scope == Scope::NextHop);
        if attempt.outcomes.iter().all(|(_, outcome)| failed(outcome)) {
            crew.rest((self.clock)());
            // It must hear when the rest ends.
            self.look_again.notify_one();
        } else if crew.reached() {
            self.look_again.notify_one();
        }
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
    let outcomes = leased.recipients.iter().map(outcome).collect();
    Attempt { outcomes, reusable: false, stale: false, remote: String::new() }
}
