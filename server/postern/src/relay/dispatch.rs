//! Brings due queues and connections together: sees what is due and hires a worker for it wherever there is a
//! connection to be had.
//!
//! A queue without a worker comes before one that wants another, and a worker that has had its turn leaves where other
//! queues wait: no destination has all of a zone's connections for itself while others have none. A next hop that can't
//! be reached rests for a growing while, in which its mail stays pending; so does mail that a limit of its zone or domain
//! holds back.

use super::connections::{Connections, Full, Limits};
use super::crew::Crew;
use super::rates::Rates;
use super::router::Zones;
use super::routes::Routes;
use super::section::DomainLimits;
use super::settle::Settler;
use super::sweep::{NextHops, Waiting};
use super::worker::{Worker, say_farewell};
use crate::deliver::{self, Connection, TlsClient};
use crate::http::BackOff;
use crate::spool::{Ready, Spool};
use postern_core::route::QueueKey;
use postern_core::smtp::client::TimeLimits;
use postern_core::time::Timestamp;
use postern_core::zone::Zone;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::warn;

/// How long attempts in flight have to end after a stop was asked for.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);
/// Longest time until the dispatcher looks again, whatever is due: wall time may have jumped.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often parked connections are looked at.
const CLOSE_EVERY: Duration = Duration::from_secs(1);
/// A pass that took longer (very many queues) is followed by a pause: as long if it found work, so that looking takes
/// half a core at most, else [`FRUITLESS`] times as long.
const LONG_PASS: Duration = Duration::from_millis(1);
/// See [`LONG_PASS`].
const FRUITLESS: u32 = 9;

/// What the dispatcher and its workers share.
pub struct Dispatch<S: Spool> {
    pub(super) spool: S,
    pub zones: Zones,
    pub(super) routes: Routes,
    pub(super) settler: Arc<Settler<S>>,
    pub(super) rates: Arc<Rates>,
    pub(super) options: deliver::Options,
    pub(super) clock: fn() -> Timestamp,
    /// Something that is not the spool's has changed: a next hop has begun or ended a rest, a worker has left.
    pub(super) look_again: Notify,
    crews: Mutex<HashMap<QueueKey, Arc<Crew>>>,
    /// By name of the zone.
    connections: HashMap<Arc<str>, Arc<Connections<Connection>>>,
    /// Connections that all zones together may have to a recipient domain.
    domains: HashMap<Arc<str>, Arc<Semaphore>>,
    /// The last [turn](Crew::set_turn) that was given.
    turns: AtomicU64,
}

/// A queue with mail that nobody works on yet.
struct Candidate {
    queue: QueueKey,
    zone: Arc<Zone>,
    crew: Arc<Crew>,
    /// How many workers it wants.
    wanted: usize,
}

impl Candidate {
    /// What a worker on it needs.
    fn parts(&self) -> (QueueKey, Arc<Zone>, Arc<Crew>) {
        (self.queue.clone(), Arc::clone(&self.zone), Arc::clone(&self.crew))
    }
}

impl<S: Spool> Dispatch<S> {
    /// A dispatcher of `spool`.
    pub fn new(
        spool: S,
        zones: Zones,
        domains: &[DomainLimits],
        routes: Routes,
        tls: Arc<TlsClient>,
        settler: Arc<Settler<S>>,
        clock: fn() -> Timestamp,
    ) -> Self {
        let options = deliver::Options { limits: TimeLimits::default(), tls, unbound: Arc::default() };
        let connections = zones.all().map(|zone| {
            let connections = Connections::new(zone.connections);
            (Arc::clone(&zone.name), Arc::new(connections))
        });
        let connections = connections.collect();
        let domains = domains.iter().filter_map(|limits| {
            let most = limits.connections?.min(Semaphore::MAX_PERMITS);
            Some((Arc::from(limits.domain.as_str()), Arc::new(Semaphore::new(most))))
        });
        let domains = domains.collect();
        let (look_again, crews, turns) = (Notify::new(), Mutex::default(), AtomicU64::new(1));
        let rates = Arc::clone(&settler.rates);
        Self { spool, zones, routes, settler, rates, options, clock, look_again, crews, connections, domains, turns }
    }

    fn next_turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    fn crews(&self) -> MutexGuard<'_, HashMap<QueueKey, Arc<Crew>>> {
        self.crews.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs until `stop` turns true, then lets attempts in flight finish.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut workers = JoinSet::new();
        let mut closed = Instant::now();
        loop {
            while workers.try_join_next().is_some() {}
            let began = Instant::now();
            let before = workers.len();
            let mut pause = self.pass(&mut workers, &stop);
            let fruitless = workers.len() == before;
            if began.saturating_duration_since(closed) >= CLOSE_EVERY {
                closed = began;
                self.close_idle(Some(began), &mut workers);
            }
            if self.connections.values().any(|connections| connections.any_parked()) {
                pause = pause.min(CLOSE_EVERY);
            }
            let took = began.elapsed();
            tokio::select! {
                () = self.spool.changed() => {}
                () = self.look_again.notified() => {}
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            if took > LONG_PASS {
                let pause = took * if fruitless { FRUITLESS } else { 1 };
                tokio::time::sleep(pause.min(CLOSE_EVERY)).await;
            }
        }
        let all_ended = async {
            while workers.join_next().await.is_some() {}
            self.close_idle(None, &mut workers);
            while workers.join_next().await.is_some() {}
        };
        if tokio::time::timeout(STOP_TIMEOUT, all_ended).await.is_err() {
            warn!(attempts = workers.len(), "attempts in flight were cut off; they will be repeated");
        }
    }

    /// Hires for all that is due; gives the time until something more is.
    fn pass(self: &Arc<Self>, workers: &mut JoinSet<()>, stop: &watch::Receiver<bool>) -> Duration {
        let now = (self.clock)();
        let Ready { queues, next_due } = self.spool.ready(now);
        let mut pause = next_due.map_or(LONGEST_PAUSE, |due| due.since(now).max(Duration::from_millis(1)));
        let pass = self.next_turn();
        let mut crews = self.crews();
        let mut candidates = Vec::with_capacity(queues.len());
        for (queue, due) in queues {
            let Some(zone) = self.zones.policy(&queue.zone) else { continue };
            let crew = crews.entry(queue.clone()).or_insert_with(|| {
                let crew = Crew::default();
                crew.set_turn(self.next_turn());
                Arc::new(crew)
            });
            crew.see(pass);
            if let Some(left) = crew.resting() {
                pause = pause.min(left);
                continue;
            }
            if let Some(span) = self.limited(zone, &queue, now) {
                pause = pause.min(span);
                continue;
            }
            let wanted = crew.wanted(due);
            if wanted > 0 {
                candidates.push(Candidate { zone: Arc::clone(zone), crew: Arc::clone(crew), wanted, queue });
            }
        }
        // In turn: a queue that has just had a connection comes after those that had none since.
        candidates.sort_by_cached_key(|candidate| (candidate.crew.workers() > 0, candidate.crew.turn()));
        let mut waiting: HashMap<Arc<str>, usize> = HashMap::new();
        for candidate in candidates.iter_mut().filter(|candidate| candidate.crew.workers() == 0) {
            match self.hire(candidate, workers, stop) {
                Ok(()) => candidate.wanted -= 1,
                Err(full) => {
                    candidate.wanted = 0;
                    *waiting.entry(Arc::clone(&candidate.zone.name)).or_default() += usize::from(full == Full::Zone);
                }
            }
        }
        for candidate in &candidates {
            for _ in 0..candidate.wanted {
                if self.hire(candidate, workers, stop).is_err() {
                    break;
                }
            }
        }
        for (zone, connections) in &self.connections {
            connections.set_waiting(waiting.get(zone).copied().unwrap_or(0));
        }
        // A queue that waits keeps its place.
        crews.retain(|_, crew| crew.is_seen(pass) || !crew.is_idle());
        pause.min(LONGEST_PAUSE)
    }

    fn hire(
        self: &Arc<Self>,
        candidate: &Candidate,
        workers: &mut JoinSet<()>,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), Full> {
        let Candidate { queue, zone, crew, .. } = candidate;
        // Every zone of `zones` has its connections.
        let connections = self.connections.get(&zone.name).ok_or(Full::Zone)?;
        let limits = self.limits(zone, &queue.destination);
        let granted = match connections.acquire(queue, crew, &limits) {
            Err(Full::Destination) if limits.domain.is_some() && self.make_room(&queue.destination, workers) => {
                connections.acquire(queue, crew, &limits)
            }
            granted => granted,
        }?;
        crew.set_turn(self.next_turn());
        let worker = Worker::new(self, candidate.parts(), connections, limits, granted.slot, granted.held);
        workers.spawn(worker.run(granted.evicted, stop.clone()));
        Ok(())
    }

    fn limits(&self, zone: &Zone, destination: &str) -> Limits {
        const NONE: usize = usize::MAX;
        if zone.smart_host.is_some() {
            // It takes the mail of all domains.
            return Limits { queue: NONE, domain: None };
        }
        match self.domains.get(destination) {
            Some(domain) => Limits { queue: NONE, domain: Some(Arc::clone(domain)) },
            None => Limits { queue: zone.domain_connections.unwrap_or(NONE), domain: None },
        }
    }

    /// How long the rates of zone and domain let none of a queue's mail pass, if that is long.
    fn limited(&self, zone: &Zone, queue: &QueueKey, now: Timestamp) -> Option<Duration> {
        let connections = self.connections.get(&zone.name)?;
        let connects = !connections.has_parked(&queue.destination);
        self.rates.queue_wait(zone, &queue.destination, connects, now)
    }

    /// Closes a connection that is parked for the domain in any zone, for the domain's limit holds over all of them.
    fn make_room(&self, domain: &str, workers: &mut JoinSet<()>) -> bool {
        let parked = self.connections.values().find_map(|connections| connections.take_parked(domain));
        let found = parked.is_some();
        if let Some((connection, slot)) = parked {
            drop(slot);
            workers.spawn(say_farewell(connection));
        }
        found
    }

    /// Says farewell to connections that have been parked for too long; to all if `now` is None.
    fn close_idle(self: &Arc<Self>, now: Option<Instant>, workers: &mut JoinSet<()>) {
        for (connection, slot) in self.connections.values().flat_map(|connections| connections.take_idle(now)) {
            let dispatch = Arc::clone(self);
            workers.spawn(async move {
                say_farewell(connection).await;
                drop(slot);
                dispatch.look_again.notify_one();
            });
        }
    }
}

impl<S: Spool> BackOff for Dispatch<S> {
    /// Ends the rests of the next hops of `queues`: an operator wants them tried now.
    fn clear(&self, queues: &[QueueKey]) {
        let crews = self.crews();
        queues.iter().filter_map(|queue| crews.get(queue)).for_each(|crew| {
            crew.reached();
        });
        drop(crews);
        self.look_again.notify_one();
    }
}

impl<S: Spool> NextHops for Dispatch<S> {
    fn waits(&self, queue: &QueueKey) -> Option<Waiting> {
        if self.crews().get(queue).is_some_and(|crew| crew.rests()) {
            return Some(Waiting::NotReached);
        }
        let zone = self.zones.policy(&queue.zone)?;
        self.limited(zone, queue, (self.clock)()).map(|_| Waiting::Limited)
    }
}
