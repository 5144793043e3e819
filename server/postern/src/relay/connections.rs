//! Which connections a zone may have open, and those that are open with nothing to do.
//!
//! Every open connection has a [`Slot`]: a share of the zone's `connections`, of its queue's limit, and of the recipient
//! domain's limit over all zones. A worker that runs out of mail parks its connection with its slot; whoever next works
//! on that queue gets it back, or it is closed to make room for another queue, or after [`IDLE`].
//!
//! Generic over the connection, which nothing here looks into.

use super::crew::Crew;
use postern_core::route::QueueKey;
use postern_core::zone::TlsMode;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a connection without work is kept (ZoneMTA: 5 s).
pub const IDLE: Duration = Duration::from_secs(5);

/// The right to have one connection open.
#[derive(Debug)]
pub struct Slot {
    _zone: OwnedSemaphorePermit,
    _domain: Option<OwnedSemaphorePermit>,
    _crew: CrewShare,
}

/// Counts among the open connections of a queue.
#[derive(Debug)]
struct CrewShare(Arc<Crew>);

impl Drop for CrewShare {
    fn drop(&mut self) {
        self.0.closed();
    }
}

/// What a connection of a queue was opened for: mail for which anything else holds can't use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The first choice of the recipients that it is for; another may have stood in.
    pub source: IpAddr,
    /// The TLS that it was to have.
    pub tls: TlsMode,
    /// Where it leads: not always to the queue's own destination. A plugin may have chosen another for the attempt, and
    /// what waited for a smart host that its zone no longer has goes to each recipient's domain.
    pub destination: Arc<str>,
}

/// An open connection.
#[derive(Debug)]
pub struct Held<C> {
    /// The connection.
    pub connection: C,
    /// What it is for.
    pub fit: Fit,
    /// When it was opened.
    pub opened: Instant,
}

struct Parked<C> {
    held: Held<C>,
    slot: Slot,
    since: Instant,
}

/// What a worker begins with.
#[derive(Debug)]
pub struct Granted<C> {
    /// Its right to a connection.
    pub slot: Slot,
    /// One that is open already.
    pub held: Option<Held<C>>,
    /// One that had to go; say farewell to it.
    pub evicted: Option<C>,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The zone has no connection left.
    Zone,
    /// The destination has as many as it may.
    Destination,
}

/// How many connections one queue may have.
#[derive(Clone, Debug)]
pub struct Limits {
    /// For this queue alone.
    pub queue: usize,
    /// Shared by all zones that deliver to the domain.
    pub domain: Option<Arc<Semaphore>>,
}

/// The connections of one zone.
pub struct Connections<C> {
    slots: Arc<Semaphore>,
    parked: Mutex<HashMap<Arc<str>, Vec<Parked<C>>>>,
    /// Queues that have mail and no worker, for want of a slot.
    waiting: AtomicUsize,
}

impl<C> Connections<C> {
    /// A zone that may have `most` connections.
    pub fn new(most: usize) -> Self {
        let slots = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { slots, parked: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    fn parked(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<Parked<C>>>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for a worker on `queue`, with the connection that was parked last if there is one. Where the zone has no
    /// slot left, the connection of another queue that has been parked longest makes room.
    ///
    /// # Errors
    /// All are in use.
    pub fn acquire(&self, queue: &QueueKey, crew: &Arc<Crew>, limits: &Limits) -> Result<Granted<C>, Full> {
        let mut parked = self.parked();
        if let Some(Parked { held, slot, .. }) = take(&mut parked, &queue.destination, |_| true) {
            return Ok(Granted { slot, held: Some(held), evicted: None });
        }
        match self.new_slot(crew, limits) {
            Ok(slot) => Ok(Granted { slot, held: None, evicted: None }),
            Err(Full::Destination) => Err(Full::Destination),
            Err(Full::Zone) => {
                let Some(Parked { held, slot, .. }) = take_oldest(&mut parked) else { return Err(Full::Zone) };
                drop(slot);
                let slot = self.new_slot(crew, limits)?;
                Ok(Granted { slot, held: None, evicted: Some(held.connection) })
            }
        }
    }

    /// Puts aside a connection that is for something else than `wanted`, and gives one for that if there is one parked.
    /// Without a slot for both, `held` comes back as what has to go.
    pub fn exchange(
        &self,
        queue: &QueueKey,
        crew: &Arc<Crew>,
        limits: &Limits,
        (held, slot): (Held<C>, Slot),
        wanted: &Fit,
    ) -> Granted<C> {
        let mut parked = self.parked();
        let found = take(&mut parked, &queue.destination, |other| other.held.fit == *wanted);
        let (other, new_slot) = match found {
            Some(Parked { held, slot, .. }) => (Some(held), slot),
            None => match self.new_slot(crew, limits) {
                Ok(slot) => (None, slot),
                Err(_) => return Granted { slot, held: None, evicted: Some(held.connection) },
            },
        };
        put(&mut parked, &queue.destination, held, slot);
        Granted { slot: new_slot, held: other, evicted: None }
    }

    /// Keeps a connection for the next worker on `queue`.
    pub fn park(&self, queue: &QueueKey, held: Held<C>, slot: Slot) {
        put(&mut self.parked(), &queue.destination, held, slot);
    }

    /// Takes out a connection to `destination`, if one is parked.
    pub fn take_parked(&self, destination: &str) -> Option<(C, Slot)> {
        take(&mut self.parked(), destination, |_| true).map(|one| (one.held.connection, one.slot))
    }

    /// Is a connection to `destination` parked?
    pub fn has_parked(&self, destination: &str) -> bool {
        self.parked().contains_key(destination)
    }

    /// Takes out the connections that were parked before `now` less [`IDLE`]; all if `now` is None.
    pub fn take_idle(&self, now: Option<Instant>) -> Vec<(C, Slot)> {
        let mut gone = Vec::new();
        let mut parked = self.parked();
        for list in parked.values_mut() {
            let idle = |one: &mut Parked<C>| now.is_none_or(|now| now.saturating_duration_since(one.since) >= IDLE);
            gone.extend(list.extract_if(.., idle).map(|one| (one.held.connection, one.slot)));
        }
        parked.retain(|_, list| !list.is_empty());
        gone
    }

    /// Is there a connection without work?
    pub fn any_parked(&self) -> bool {
        !self.parked().is_empty()
    }

    /// Says how many queues wait for a slot.
    pub fn set_waiting(&self, queues: usize) {
        self.waiting.store(queues, Ordering::Relaxed);
    }

    /// Should a worker that has had its turn leave its slot to another queue? Counts it as done.
    pub fn is_wanted(&self) -> bool {
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| waiting.checked_sub(1)).is_ok()
    }

    fn new_slot(&self, crew: &Arc<Crew>, limits: &Limits) -> Result<Slot, Full> {
        // The zone's limit is asked last: what is refused here holds nothing.
        let share = crew.open(limits.queue).then(|| CrewShare(Arc::clone(crew))).ok_or(Full::Destination)?;
        let domain = limits.domain.as_ref().map(|domain| Arc::clone(domain).try_acquire_owned()).transpose();
        let domain = domain.map_err(|_| Full::Destination)?;
        let zone = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| Full::Zone)?;
        Ok(Slot { _zone: zone, _domain: domain, _crew: share })
    }
}

fn put<C>(parked: &mut HashMap<Arc<str>, Vec<Parked<C>>>, destination: &Arc<str>, held: Held<C>, slot: Slot) {
    let one = Parked { held, slot, since: Instant::now() };
    parked.entry(Arc::clone(destination)).or_default().push(one);
}

/// The last one parked that fits.
fn take<C>(
    parked: &mut HashMap<Arc<str>, Vec<Parked<C>>>,
    destination: &str,
    fits: impl Fn(&Parked<C>) -> bool,
) -> Option<Parked<C>> {
    let list = parked.get_mut(destination)?;
    let found = list.iter().rposition(fits).map(|at| list.remove(at));
    if list.is_empty() {
        parked.remove(destination);
    }
    found
}

/// The one that has been parked longest. Lists are in the order of parking, so it is the first of one of them.
fn take_oldest<C>(parked: &mut HashMap<Arc<str>, Vec<Parked<C>>>) -> Option<Parked<C>> {
    let (destination, _) = parked.iter().min_by_key(|(_, list)| list.first().map(|one| one.since))?;
    let destination = Arc::clone(destination);
    let list = parked.get_mut(&destination)?;
    let oldest = (!list.is_empty()).then(|| list.remove(0));
    if list.is_empty() {
        parked.remove(&destination);
    }
    oldest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(destination: &str) -> QueueKey {
        QueueKey { zone: "z".into(), destination: destination.into() }
    }

    fn fit(source: &str) -> Fit {
        Fit { source: source.parse().unwrap(), tls: TlsMode::Opportunistic, destination: "there:25".into() }
    }

    fn held(connection: u32, source: &str) -> Held<u32> {
        Held { connection, fit: fit(source), opened: Instant::now() }
    }

    const ANY: Limits = Limits { queue: usize::MAX, domain: None };

    #[test]
    fn a_parked_connection_keeps_its_slot_until_another_queue_needs_it() {
        let zone = Connections::new(2);
        let (a, b, c) = (queue("a"), queue("b"), queue("c"));
        let crew = Arc::<Crew>::default();
        let first = zone.acquire(&a, &crew, &ANY).unwrap();
        let second = zone.acquire(&b, &crew, &ANY).unwrap();
        assert_eq!(zone.acquire(&c, &crew, &ANY).unwrap_err(), Full::Zone);
        zone.park(&a, held(1, "0.0.0.0"), first.slot);
        zone.park(&b, held(2, "0.0.0.0"), second.slot);
        let again = zone.acquire(&b, &crew, &ANY).unwrap();
        assert_eq!((again.held.unwrap().connection, again.evicted), (2, None), "its own is there");
        let other = zone.acquire(&c, &crew, &ANY).unwrap();
        assert_eq!((other.held.is_none(), other.evicted), (true, Some(1)), "the oldest of another makes room");
        assert_eq!(zone.acquire(&a, &crew, &ANY).unwrap_err(), Full::Zone);
        drop((again.slot, other.slot));
        assert!(zone.acquire(&a, &crew, &ANY).is_ok());
    }

    #[test]
    fn limits_of_queue_and_domain() {
        let (zone, other_zone) = (Connections::<u32>::new(10), Connections::<u32>::new(10));
        let (crew, other_crew) = (Arc::<Crew>::default(), Arc::<Crew>::default());
        let limits = Limits { queue: 2, domain: None };
        let slots: Vec<_> = (0..2).map(|_| zone.acquire(&queue("a"), &crew, &limits).unwrap()).collect();
        assert_eq!(zone.acquire(&queue("a"), &crew, &limits).unwrap_err(), Full::Destination);
        drop(slots);
        let domain = Limits { queue: usize::MAX, domain: Some(Arc::new(Semaphore::new(1))) };
        let slot = zone.acquire(&queue("a"), &crew, &domain).unwrap();
        assert_eq!(other_zone.acquire(&queue("a"), &other_crew, &domain).unwrap_err(), Full::Destination);
        assert!(other_zone.acquire(&queue("b"), &other_crew, &ANY).is_ok());
        drop(slot);
        assert!(other_zone.acquire(&queue("a"), &other_crew, &domain).is_ok());
    }

    #[test]
    fn connections_are_exchanged_by_what_they_are_for() {
        let zone = Connections::new(2);
        let (a, crew) = (queue("a"), Arc::<Crew>::default());
        let (one, two) = (fit("192.0.2.1"), fit("192.0.2.2"));
        let first = zone.acquire(&a, &crew, &ANY).unwrap();
        let now = zone.exchange(&a, &crew, &ANY, (held(1, "192.0.2.1"), first.slot), &two);
        assert_eq!((now.held.is_none(), now.evicted), (true, None), "there is room for both");
        let now = zone.exchange(&a, &crew, &ANY, (held(2, "192.0.2.2"), now.slot), &one);
        assert_eq!(now.held.as_ref().unwrap().connection, 1);
        let others = [
            fit("192.0.2.3"),
            Fit { tls: TlsMode::Require, ..two.clone() },
            Fit { destination: "via:elsewhere:25".into(), ..two.clone() },
        ];
        let (mut slot, mut connection) = (now.slot, now.held.unwrap().connection);
        for other in others {
            let now = zone.exchange(&a, &crew, &ANY, (held(connection, "192.0.2.1"), slot), &other);
            assert_eq!((now.held.is_none(), now.evicted), (true, Some(connection)), "no room for {other:?}");
            (slot, connection) = (now.slot, connection + 10);
        }
        let now = zone.exchange(&a, &crew, &ANY, (held(connection, "192.0.2.1"), slot), &two);
        assert_eq!(now.held.unwrap().connection, 2, "it is still there");
    }

    #[test]
    fn idle_connections_end() {
        let zone = Connections::new(1);
        let (a, crew) = (queue("a"), Arc::<Crew>::default());
        let slot = zone.acquire(&a, &crew, &ANY).unwrap().slot;
        zone.park(&a, held(1, "0.0.0.0"), slot);
        assert!(zone.take_idle(Some(Instant::now())).is_empty());
        assert_eq!(zone.take_idle(Some(Instant::now() + IDLE)).len(), 1);
        assert!(zone.acquire(&a, &crew, &ANY).unwrap().held.is_none());
    }

    #[test]
    fn a_wish_is_granted_once() {
        let zone = Connections::<u32>::new(1);
        assert!(!zone.is_wanted());
        zone.set_waiting(1);
        assert!(zone.is_wanted() && !zone.is_wanted());
    }
}
