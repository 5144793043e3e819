//! Rates and the buckets that keep to them.

use std::str::FromStr;
use std::time::Duration;

/// So many in a time: `100/s`, `60/m`, `1000/h`, `5000/d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In this time.
    pub per: Duration,
}

const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

impl Rate {
    /// The time that one of them takes.
    #[must_use]
    pub fn interval(self) -> Duration {
        self.per / self.count.max(1)
    }
}

/// The text is not a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rate is written like \"100/s\", \"60/m\", \"1000/h\" or \"5000/d\"")]
pub struct RateError;

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (count, unit) = text.split_once('/').ok_or(RateError)?;
        let count: u32 = count.trim().parse().map_err(|_| RateError)?;
        let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit.trim()).ok_or(RateError)?;
        if count == 0 {
            return Err(RateError);
        }
        Ok(Self { count, per: Duration::from_secs(seconds) })
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.per.as_secs();
        match UNITS.into_iter().find(|(_, unit)| *unit == seconds) {
            Some((name, _)) => write!(f, "{}/{name}", self.count),
            None => write!(f, "{}/{seconds}s", self.count),
        }
    }
}

/// What a rate has let pass, as one instant (the generic cell rate algorithm, ITU-T I.371): when all of it would have
/// passed at an even pace. Times are spans since any fixed start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    pub(super) full_at: Duration,
}

impl Bucket {
    /// Lets `number` pass if no more than `burst` are then ahead of the even pace.
    ///
    /// # Errors
    /// How long to wait until they may pass. More than `burst` never may.
    pub fn take(&mut self, number: u32, rate: Rate, burst: u32, now: Duration) -> Result<(), Duration> {
        let after = self.full_at.max(now) + rate.interval() * number;
        let latest = now + rate.interval() * burst;
        if after > latest {
            return Err(after - latest);
        }
        self.full_at = after;
        Ok(())
    }

    /// Is it as if nothing had ever passed?
    #[must_use]
    pub fn is_idle(&self, now: Duration) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for text in ["100/s", "60/m", "1/h", "5000/d"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for wrong in ["", "100", "0/s", "-1/s", "1/y", "1.5/s", "/s", "1/", "99999999999/s"] {
            assert_eq!(wrong.parse::<Rate>(), Err(RateError), "{wrong}");
        }
    }

    #[test]
    fn a_burst_then_the_even_pace() {
        let rate: Rate = "60/m".parse().unwrap();
        let (mut bucket, at) = (Bucket::default(), Duration::from_secs);
        for _ in 0..60 {
            bucket.take(1, rate, 60, at(0)).unwrap();
        }
        assert_eq!(bucket.take(1, rate, 60, at(0)), Err(at(1)));
        assert_eq!(bucket.take(10, rate, 60, at(3)), Err(at(7)));
        bucket.take(3, rate, 60, at(3)).unwrap();
        assert!(!bucket.is_idle(at(62)) && bucket.is_idle(at(63)));
        assert_eq!(bucket.take(61, rate, 60, at(1000)), Err(at(1)), "never, however idle");
    }

    /// Whatever is asked for when, no window lets more pass than the burst and what the pace gives.
    #[test]
    fn no_window_has_more_than_burst_and_pace() {
        let (rate, burst) = (Rate { count: 7, per: Duration::from_secs(1) }, 5);
        let mut seed = 1_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        let (mut bucket, mut now, mut passed) = (Bucket::default(), Duration::ZERO, Vec::new());
        for _ in 0..5000 {
            now += Duration::from_millis(random() % 200);
            let number = u32::try_from(random() % 3 + 1).unwrap();
            if bucket.take(number, rate, burst, now).is_ok() {
                passed.push((now, number));
            }
        }
        for (first, (start, _)) in passed.iter().enumerate() {
            let mut sum = 0;
            for (at, number) in &passed[first..(first + 60).min(passed.len())] {
                sum += number;
                let pace = (*at - *start).as_nanos() / rate.interval().as_nanos();
                assert!(u128::from(sum) <= u128::from(burst) + pace, "{sum} from {start:?} to {at:?}");
            }
        }
    }
}
