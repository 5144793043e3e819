//! The workers of one queue: how many there are, how many connections they have, and whether the next hop rests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// First and longest rest of a next hop that can't be reached.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

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
    rest: Option<Rest>,
}

/// The next hop could not be reached.
#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    span: Duration,
}

impl Crew {
    /// Nobody works yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more workers `due` recipients want. After a rest one alone goes ahead and tries.
    pub fn wanted(&self, due: usize) -> usize {
        let state = self.state();
        let most = if state.rest.is_some() { 1_usize.saturating_sub(state.workers) } else { usize::MAX };
        due.saturating_sub(state.starting).min(most)
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

    /// How long the rest still lasts.
    pub fn resting(&self) -> Option<Duration> {
        let until = self.state().rest?.until;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Is there nothing to remember?
    pub fn is_idle(&self) -> bool {
        let state = self.state();
        state.workers == 0 && state.open == 0 && state.rest.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wants_a_worker_for_each_that_is_due_and_not_one_twice() {
        let crew = Crew::new();
        assert_eq!(crew.wanted(3), 3);
        crew.join();
        assert_eq!(crew.wanted(3), 2, "one is on its way");
        crew.begun();
        assert_eq!(crew.wanted(3), 3, "it has taken what it takes");
        crew.leave();
        assert!(crew.is_idle());
    }

    #[test]
    fn after_a_rest_one_goes_ahead() {
        let crew = Crew::new();
        crew.join();
        crew.begun();
        crew.rest();
        assert!(crew.resting().is_some());
        assert_eq!(crew.wanted(5), 0, "one still works");
        crew.leave();
        assert_eq!(crew.wanted(5), 1);
        assert!(crew.reached() && !crew.reached());
        assert_eq!(crew.wanted(5), 5);
    }

    #[test]
    fn counts_connections() {
        let crew = Crew::new();
        assert!(crew.open(1) && !crew.open(1) && !crew.is_idle());
        crew.closed();
        assert!(crew.is_idle());
    }
}
