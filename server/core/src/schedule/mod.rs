//! What to try next, and when; and rates.

mod limits;
mod rate;

pub use limits::{Claim, Flow, Limit, Limiter, Unit, Wait};
pub use rate::{Bucket, Rate, RateError};

use crate::time::Timestamp;
use std::time::Duration;

/// When a deferred recipient is tried again: the n-th deferral waits the n-th step, the last step repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySchedule {
    steps: Vec<Duration>,
}

/// A retry schedule needs at least one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a retry schedule needs at least one step, none of them zero")]
pub struct NoSteps;

impl RetrySchedule {
    /// A schedule of these steps.
    ///
    /// # Errors
    /// There is no step, or one of no length.
    pub fn new(steps: Vec<Duration>) -> Result<Self, NoSteps> {
        if steps.is_empty() || steps.iter().any(Duration::is_zero) { Err(NoSteps) } else { Ok(Self { steps }) }
    }

    /// When to try again after the attempt numbered `attempts` (1 is the first) was deferred at `now`: the step, less
    /// or more by up to a tenth of it. `jitter` is drawn evenly from 0 to 1. Never past `expires`.
    #[must_use]
    pub fn next(&self, attempts: u32, now: Timestamp, expires: Timestamp, jitter: f64) -> Timestamp {
        let index = (attempts.max(1) as usize - 1).min(self.steps.len() - 1);
        let step = self.steps[index].mul_f64(0.9 + 0.2 * jitter.clamp(0.0, 1.0));
        now.after(step.max(Duration::from_millis(1))).min(expires.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_repeat_the_last_and_end_at_expiry() {
        let schedule = RetrySchedule::new(vec![Duration::from_secs(10), Duration::from_secs(100)]).unwrap();
        let (now, never) = (Timestamp(1_000_000), Timestamp(u64::MAX));
        let wait = |attempts, jitter| schedule.next(attempts, now, never, jitter).since(now).as_millis();
        assert_eq!([wait(1, 0.5), wait(2, 0.5), wait(9, 0.5)], [10_000, 100_000, 100_000]);
        assert_eq!([wait(1, 0.0), wait(1, 1.0)], [9_000, 11_000]);
        assert_eq!(schedule.next(2, now, Timestamp(1_005_000), 0.5), Timestamp(1_005_000));
        assert_eq!(RetrySchedule::new(vec![]), Err(NoSteps));
    }
}
