//! The places of a listener's sessions. When most of them are taken there is stress: each session may hold its place for
//! less time and with fewer mistakes, so that those who send mail find one (Postfix's `STRESS_README`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tracing::{info, warn};

/// How long a session may be silent under stress (Postfix: `smtpd_timeout`).
pub const STRESS_TIMEOUT: Duration = Duration::from_secs(10);
/// Refused commands that end a session under stress.
pub const STRESS_ERRORS: usize = 3;

/// Stress begins when so many in a hundred places are taken …
const BEGINS: usize = 80;
/// … and ends when no more than so many are.
const ENDS: usize = 60;

/// The places of a listener.
#[derive(Debug)]
pub struct Places {
    listener: String,
    most: usize,
    taken: AtomicUsize,
    stress: watch::Sender<bool>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Places>);

impl Places {
    /// So many, all free.
    pub fn new(listener: &str, most: usize) -> Arc<Self> {
        let (taken, stress) = (AtomicUsize::new(0), watch::Sender::new(false));
        Arc::new(Self { listener: listener.to_owned(), most, taken, stress })
    }

    /// A free one.
    pub fn take(self: &Arc<Self>) -> Option<Place> {
        let one_more = |taken| (taken < self.most).then_some(taken + 1);
        let before = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        self.weigh(before + 1);
        Some(Place(Arc::clone(self)))
    }

    /// Whether there is stress.
    pub fn stress(&self) -> watch::Receiver<bool> {
        self.stress.subscribe()
    }

    /// The system has no room for more connections: stress, until one comes or goes.
    pub fn exhausted(&self) {
        self.stress.send_if_modified(|on| !std::mem::replace(on, true));
    }

    fn weigh(&self, taken: usize) {
        self.stress.send_if_modified(|on| {
            let share = taken.saturating_mul(100);
            let after = if *on { share > self.most.saturating_mul(ENDS) } else { share >= self.most.saturating_mul(BEGINS) };
            let turned = after != *on;
            *on = after;
            if turned && after {
                warn!(listener = %self.listener, sessions = taken, max_sessions = self.most, "STRESS: idle sessions end sooner");
            } else if turned {
                info!(listener = %self.listener, sessions = taken, max_sessions = self.most, "stress is over");
            }
            turned
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let before = self.0.taken.fetch_sub(1, Ordering::Relaxed);
        self.0.weigh(before.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_there_are() {
        let places = Places::new("l", 2);
        let (one, _two) = (places.take().unwrap(), places.take().unwrap());
        assert!(places.take().is_none());
        drop(one);
        assert!(places.take().is_some());
    }

    #[test]
    fn stress() {
        let places = Places::new("l", 10);
        let stress = places.stress();
        let mut taken: Vec<Place> = Vec::new();
        for (sessions, expected) in
            [(7, false), (8, true), (10, true), (7, true), (6, false), (7, false), (8, true), (0, false)]
        {
            while taken.len() < sessions {
                taken.push(places.take().unwrap());
            }
            taken.truncate(sessions);
            assert_eq!(*stress.borrow(), expected, "{sessions}");
        }
        places.exhausted();
        assert!(*stress.borrow());
        drop(places.take().unwrap());
        assert!(!*stress.borrow());
    }
}
