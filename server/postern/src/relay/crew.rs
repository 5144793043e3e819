//! The workers of one queue: how many there are, how many connections they have, and whether the next hop rests.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// First and longest rest of a next hop that can't be reached.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Workers that a next hop of which nothing is known gets; each message that it takes or refuses in order adds one.
const FIRST_WORKERS: usize = 2;
/// After so many sessions in a row that broke before they answered, it rests.
const MOST_BROKEN: usize = 3;
/// A rest that ended so long ago is forgotten: its mail is gone.
const FORGET: Duration = Duration::from_secs(600);

/// The workers of one queue.
#[derive(Debug, Default)]
pub struct Crew {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    workers: usize,
    /// Of these, hired and not yet at work: what they will lease still counts as due.
    starting: usize,
    /// Open connections, parked ones included.
    open: usize,
    /// Where it stands among the queues that wait for a connection; the lowest comes first.
    turn: u64,
    /// The last pass of the dispatcher in which its queue had mail that was due.
    seen: u64,
    rest: Option<Rest>,
    /// How many workers more than [`FIRST_WORKERS`] the next hop has earned.
    earned: usize,
    /// Sessions in a row that broke.
    broken: usize,
}

/// The next hop could not be reached.
#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    span: Duration,
}

impl Crew {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more workers `due` recipients want. After a rest one alone goes ahead and tries.
    pub fn wanted(&self, due: usize) -> usize {
        let state = self.state();
        let most = if state.rest.is_some() { 1 } else { FIRST_WORKERS + state.earned };
        let most = most.saturating_sub(state.workers);
        due.saturating_sub(state.starting).min(most)
    }

    /// Goes behind all that have a lower turn.
    pub fn set_turn(&self, turn: u64) {
        self.state().turn = turn;
    }

    /// Its queue had mail that was due in this pass of the dispatcher.
    pub fn see(&self, pass: u64) {
        self.state().seen = pass;
    }

    /// Was it seen in this pass?
    pub fn is_seen(&self, pass: u64) -> bool {
        self.state().seen == pass
    }

    /// Its place among the queues that wait; see [`Crew::set_turn`].
    pub fn turn(&self) -> u64 {
        self.state().turn
    }

    /// How many work.
    pub fn workers(&self) -> usize {
        self.state().workers
    }

    /// One more worker; it must say when it has [begun](Self::begun) and [leave](Self::leave).
    pub fn join(&self) {
        let mut state = self.state();
        (state.workers, state.starting) = (state.workers + 1, state.starting + 1);
    }

    /// The worker has looked for mail.
    pub fn begun(&self) {
        self.state().starting -= 1;
    }

    /// One worker less.
    pub fn leave(&self) {
        self.state().workers -= 1;
    }

    /// One more open connection, unless there are `most` already.
    pub fn open(&self, most: usize) -> bool {
        let mut state = self.state();
        let room = state.open < most;
        state.open += usize::from(room);
        room
    }

    /// One open connection less.
    pub fn closed(&self) {
        self.state().open -= 1;
    }

    /// Nobody tries for a while, twice as long each time.
    pub fn rest(&self) {
        let (mut state, now) = (self.state(), Instant::now());
        if state.rest.is_some_and(|rest| rest.until > now) {
            return;
        }
        let span = state.rest.map_or(REST.0, |rest| (rest.span * 2).min(REST.1));
        state.rest = Some(Rest { until: now + span, span });
    }

    /// The next hop can be reached, or an operator wants to know; true if it rested before.
    pub fn reached(&self) -> bool {
        self.state().rest.take().is_some()
    }

    /// The next hop has answered for a message in order. True if there may be one worker more now, of `most`.
    pub fn answered(&self, most: usize) -> bool {
        let mut state = self.state();
        state.broken = 0;
        let grows = state.earned < most;
        state.earned += usize::from(grows);
        grows
    }

    /// A session broke. After a few in a row the next hop rests.
    pub fn broke(&self) {
        let mut state = self.state();
        (state.broken, state.earned) = (state.broken + 1, 0);
        let rests = state.broken >= MOST_BROKEN;
        drop(state);
        if rests {
            self.rest();
        }
    }

    /// Nobody has reached the next hop since it was last tried in vain.
    pub fn rests(&self) -> bool {
        self.state().rest.is_some()
    }

    /// How long the rest still lasts.
    pub fn resting(&self) -> Option<Duration> {
        let until = self.state().rest?.until;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Is there nothing to remember?
    pub fn is_idle(&self) -> bool {
        let state = self.state();
        let rests = state.rest.is_some_and(|rest| rest.until.elapsed() < FORGET);
        state.workers == 0 && state.open == 0 && !rests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wants_a_worker_for_each_that_is_due_and_not_one_twice() {
        let crew = Crew::default();
        (0..10).for_each(|_| assert!(crew.answered(10)));
        assert_eq!(crew.wanted(3), 3);
        crew.join();
        assert_eq!(crew.wanted(3), 2, "one is on its way");
        crew.begun();
        assert_eq!(crew.wanted(3), 3, "it has taken what it takes");
        crew.leave();
        assert!(crew.is_idle());
    }

    #[test]
    fn who_is_not_known_gets_few_and_who_breaks_off_rests() {
        let crew = Crew::default();
        assert_eq!(crew.wanted(100), FIRST_WORKERS);
        assert!(crew.answered(1) && !crew.answered(1));
        assert_eq!(crew.wanted(100), FIRST_WORKERS + 1);
        crew.broke();
        assert_eq!((crew.wanted(100), crew.rests()), (FIRST_WORKERS, false));
        (1..MOST_BROKEN).for_each(|_| crew.broke());
        assert!(crew.rests());
    }

    #[test]
    fn after_a_rest_one_goes_ahead() {
        let crew = Crew::default();
        crew.join();
        crew.begun();
        crew.rest();
        assert!(crew.resting().is_some());
        assert_eq!(crew.wanted(5), 0, "one still works");
        crew.leave();
        assert_eq!(crew.wanted(5), 1);
        assert!(crew.reached() && !crew.reached());
        assert_eq!(crew.wanted(5), FIRST_WORKERS);
    }

    #[test]
    fn counts_connections() {
        let crew = Crew::default();
        assert!(crew.open(1) && !crew.open(1) && !crew.is_idle());
        crew.closed();
        assert!(crew.is_idle());
    }
}
