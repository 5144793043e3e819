//! The workers of one queue: how many there are, which of them wait for work, and whether the next hop rests.
//!
//! Under one lock, so that no call is lost: a worker says that it waits *before* it looks for work the last time, and a
//! worker that leaves does so only while nobody has called it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};

/// First and longest rest of a next hop that can't be reached.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The workers of one queue.
pub struct Crew {
    state: Mutex<State>,
    /// One permit for each waiting worker that is called to work.
    calls: Semaphore,
}

#[derive(Default)]
struct State {
    workers: usize,
    /// Workers that wait and have not been called.
    idle: usize,
    rest: Option<Rest>,
}

/// The next hop could not be reached.
#[derive(Clone, Copy)]
struct Rest {
    until: Instant,
    span: Duration,
}

impl Crew {
    /// Nobody works yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), calls: Semaphore::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls waiting workers for `due` recipients and says how many more are wanted; each of these joins. After a rest
    /// one alone goes ahead and tries.
    pub fn hire(&self, due: usize) -> usize {
        let mut state = self.state();
        let due = if state.rest.is_some() { due.min(1usize.saturating_sub(state.workers - state.idle)) } else { due };
        let called = due.min(state.idle);
        state.idle -= called;
        self.calls.add_permits(called);
        due - called
    }

    /// One more worker; it must [`Crew::leave`], or [`Crew::give_up_waiting`].
    pub fn join(&self) {
        self.state().workers += 1;
    }

    /// One worker less.
    pub fn leave(&self) {
        self.state().workers -= 1;
    }

    /// From now on the worker can be called. It must look for work once more, then [`Crew::wait`] or
    /// [`Crew::stop_waiting`].
    pub fn begin_waiting(&self) {
        self.state().idle += 1;
    }

    /// It found work after all.
    pub async fn stop_waiting(&self) {
        {
            let mut state = self.state();
            if state.idle > 0 {
                state.idle -= 1;
                return;
            }
        }
        // All that waited have been called, this one too.
        self.wait().await;
    }

    /// Resolves when the worker is called.
    pub async fn wait(&self) {
        // The semaphore is never closed.
        let _ = self.calls.acquire().await.map(SemaphorePermit::forget);
    }

    /// The worker has waited long enough. True: it has left. False: it has been called meanwhile and must work.
    pub async fn give_up_waiting(&self) -> bool {
        {
            let mut state = self.state();
            if state.idle > 0 {
                (state.idle, state.workers) = (state.idle - 1, state.workers - 1);
                return true;
            }
        }
        self.wait().await;
        false
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

    /// The next hop can be reached; true if it rested before.
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
        state.workers == 0 && state.rest.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_who_waits_and_wants_more_for_the_rest() {
        let crew = Crew::new();
        assert_eq!(crew.hire(3), 3);
        crew.join();
        crew.begin_waiting();
        assert_eq!(crew.hire(3), 2, "one waits and was called");
        crew.wait().await;
        assert_eq!(crew.hire(1), 1, "it works now");
        crew.leave();
        assert!(crew.is_idle());
    }

    #[tokio::test]
    async fn a_call_is_never_lost() {
        let crew = Crew::new();
        crew.join();
        crew.begin_waiting();
        assert_eq!(crew.hire(1), 0);
        assert!(!crew.give_up_waiting().await, "called: it must not leave");
        crew.begin_waiting();
        assert_eq!(crew.hire(1), 0);
        crew.stop_waiting().await;
        crew.begin_waiting();
        assert!(crew.give_up_waiting().await, "nobody called");
        assert_eq!(crew.hire(1), 1, "it has left: another is wanted");
        assert!(crew.is_idle());
    }

    #[tokio::test]
    async fn after_a_rest_one_goes_ahead() {
        let crew = Crew::new();
        (0..2).for_each(|_| crew.join());
        crew.begin_waiting();
        crew.rest();
        assert!(crew.resting().is_some());
        assert_eq!(crew.hire(5), 0, "one still works: nobody else is called");
        crew.leave();
        assert_eq!(crew.hire(5), 0, "the one that waits is called");
        crew.wait().await;
        crew.leave();
        assert_eq!(crew.hire(5), 1);
        assert!(crew.reached() && !crew.reached());
        assert_eq!(crew.hire(5), 5);
    }
}
