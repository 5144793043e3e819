//! Limits on the rate at which mail leaves: named paces, each kept for every zone, domain, sender … apart.

use super::{Bucket, Rate};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A rate, and how far ahead of it a burst may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The rate.
    pub rate: Rate,
    /// So many may come at once; at least 1.
    pub burst: u32,
}

/// What without a configured burst may come at once: as much as the rate gives in this time, and 1 at least.
const SHORT: Duration = Duration::from_millis(100);

impl Flow {
    /// A flow; without a `burst` it is even.
    #[must_use]
    pub fn new(rate: Rate, burst: Option<u32>) -> Self {
        let even = SHORT.as_nanos() / rate.interval().as_nanos().max(1);
        Self { rate, burst: burst.unwrap_or_else(|| u32::try_from(even).unwrap_or(u32::MAX)).max(1) }
    }
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// MAIL transactions.
    Messages,
    /// Recipients of them.
    Recipients,
    /// New connections.
    Connections,
}

/// A limit: a flow with a name, kept apart for each of its subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// As the config has it: `zone.bulk.per_sender.rate`.
    pub name: Arc<str>,
    /// What it counts.
    pub unit: Unit,
    /// How fast.
    pub flow: Flow,
}

/// What is about to happen, in the eyes of one limit.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The limit.
    pub limit: &'a Limit,
    /// Whom it is kept for: a domain, a sender; empty where it is kept for one alone.
    pub subject: &'a str,
    /// How many of its units; never more than its burst at once.
    pub number: u32,
}

/// The limit that has to be waited for longest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// At least so long.
    pub span: Duration,
    /// Its name.
    pub limit: Arc<str>,
    /// Whom it is kept for.
    pub subject: String,
}

/// How far the buckets of all limits are. Times are spans since the Unix epoch, so that they mean the same after a
/// restart.
#[derive(Debug, Default)]
pub struct Limiter {
    buckets: HashMap<Arc<str>, HashMap<String, Level>>,
    /// Buckets that there were when idle ones were last dropped.
    swept: usize,
    count: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Level {
    bucket: Bucket,
    /// When the one comes that was promised a time last.
    promised: Duration,
}

/// Idle buckets are dropped each time there are so many more.
const SWEEP: usize = 1000;

impl Limiter {
    /// Lets it happen if every limit does, and counts it; none counts it otherwise.
    ///
    /// # Errors
    /// What has to be waited for longest.
    pub fn take(&mut self, claims: &[Claim<'_>], now: Duration) -> Result<(), Wait> {
        if let Some(wait) = self.wait(claims, now) {
            return Err(wait);
        }
        for claim in claims {
            let Claim { limit, subject, number } = *claim;
            let buckets = self.buckets.entry(Arc::clone(&limit.name)).or_default();
            if !buckets.contains_key(subject) {
                buckets.insert(subject.to_owned(), Level::default());
                self.count += 1;
            }
            if let Some(level) = buckets.get_mut(subject) {
                // It was asked just now.
                let _ = taken(&mut level.bucket, claim, number, now);
            }
        }
        if self.count > self.swept + SWEEP {
            self.sweep(now);
        }
        Ok(())
    }

    /// What would have to be waited for, if anything.
    #[must_use]
    pub fn wait(&self, claims: &[Claim<'_>], now: Duration) -> Option<Wait> {
        let of = |claim: &Claim<'_>| {
            let mut level = self.buckets.get(&claim.limit.name)?.get(claim.subject).copied()?;
            let span = taken(&mut level.bucket, claim, claim.number, now).err()?;
            Some(Wait { span, limit: Arc::clone(&claim.limit.name), subject: claim.subject.to_owned() })
        };
        claims.iter().filter_map(of).max_by_key(|wait| wait.span)
    }

    /// How many a limit would let pass now; 1 if there are none, as one has to ask.
    #[must_use]
    pub fn room(&self, limit: &Limit, subject: &str, now: Duration) -> u32 {
        let Flow { rate, burst } = limit.flow;
        let level = self.buckets.get(&limit.name).and_then(|buckets| buckets.get(subject));
        let ahead = level.map_or(Duration::ZERO, |level| level.bucket.full_at.saturating_sub(now));
        let used = ahead.as_nanos().div_ceil(rate.interval().as_nanos().max(1));
        burst.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX)).max(1)
    }

    /// Was a time promised to others that is yet to come?
    #[must_use]
    pub fn is_promised(&self, claims: &[Claim<'_>], now: Duration) -> bool {
        let level = |claim: &Claim<'_>| self.buckets.get(&claim.limit.name)?.get(claim.subject);
        claims.iter().filter_map(level).any(|level| level.promised > now)
    }

    /// When to ask again for what was refused: after all that were promised a time before. It comes to nothing if others
    /// take what there is by then.
    pub fn promise(&mut self, claims: &[Claim<'_>], now: Duration) -> Duration {
        let mut latest = now;
        for claim in claims {
            let span = self.wait(&[*claim], now).map_or(Duration::ZERO, |wait| wait.span);
            let buckets = self.buckets.get_mut(&claim.limit.name);
            let Some(level) = buckets.and_then(|buckets| buckets.get_mut(claim.subject)) else { continue };
            let Flow { rate, burst } = claim.limit.flow;
            let next = level.promised + rate.interval() * claim.number.min(burst);
            if span > Duration::ZERO || level.promised > now {
                level.promised = next.max(now + span);
                latest = latest.max(level.promised);
            }
        }
        latest
    }

    /// The bucket of a limit and a subject as it stands, to be kept over a restart: a span since the Unix epoch, in which
    /// all that passed would have passed at an even pace.
    #[must_use]
    pub fn level(&self, limit: &str, subject: &str) -> Option<Duration> {
        self.buckets.get(limit)?.get(subject).map(|level| level.bucket.full_at)
    }

    /// Puts back what [`Limiter::level`] gave.
    pub fn restore(&mut self, limit: &str, subject: &str, level: Duration) {
        let buckets = self.buckets.entry(limit.into()).or_default();
        let level = Level { bucket: Bucket { full_at: level }, promised: Duration::ZERO };
        self.count += usize::from(buckets.insert(subject.to_owned(), level).is_none());
    }

    fn sweep(&mut self, now: Duration) {
        self.buckets.values_mut().for_each(|buckets| buckets.retain(|_, level| !level.is_idle(now)));
        self.buckets.retain(|_, buckets| !buckets.is_empty());
        self.count = self.buckets.values().map(HashMap::len).sum();
        self.swept = self.count;
    }
}

impl Level {
    fn is_idle(&self, now: Duration) -> bool {
        self.bucket.is_idle(now) && self.promised <= now
    }
}

/// Takes from a bucket. One that is further ahead than its flow allows has another flow now, or the clock went back: it
/// is full.
fn taken(bucket: &mut Bucket, claim: &Claim<'_>, number: u32, now: Duration) -> Result<(), Duration> {
    let Flow { rate, burst } = claim.limit.flow;
    bucket.full_at = bucket.full_at.min(now + rate.interval() * burst);
    bucket.take(number.min(burst), rate, burst, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(name: &str, unit: Unit, rate: &str, burst: Option<u32>) -> Limit {
        Limit { name: name.into(), unit, flow: Flow::new(rate.parse().unwrap(), burst) }
    }

    fn claim<'a>(limit: &'a Limit, subject: &'a str, number: u32) -> Claim<'a> {
        Claim { limit, subject, number }
    }

    const START: Duration = Duration::from_secs(1_800_000_000);

    #[test]
    fn a_pace_is_even_unless_it_has_a_burst() {
        let burst = |rate: &str, burst| Flow::new(rate.parse().unwrap(), burst).burst;
        assert_eq!(
            [burst("5/s", None), burst("100/s", None), burst("1000/s", None), burst("9/d", None)],
            [1, 10, 100, 1]
        );
        assert_eq!([burst("5/s", Some(50)), burst("5/s", Some(0))], [50, 1]);
    }

    #[test]
    fn all_limits_or_none() {
        let (zone, sender) =
            (limit("zone", Unit::Messages, "10/s", None), limit("sender", Unit::Messages, "1/s", None));
        let mut limiter = Limiter::default();
        let of = |who| [claim(&zone, "", 1), claim(&sender, who, 1)];
        limiter.take(&of("a"), START).unwrap();
        let later = START + Duration::from_millis(100);
        let wait = limiter.take(&of("a"), later).unwrap_err();
        assert_eq!((wait.span, &*wait.limit, &*wait.subject), (Duration::from_millis(900), "sender", "a"));
        limiter.take(&of("b"), later).expect("the refused one has not counted for the zone");
        let wait = limiter.take(&of("c"), later).unwrap_err();
        assert_eq!((wait.span, &*wait.limit), (Duration::from_millis(100), "zone"));
    }

    #[test]
    fn more_than_a_burst_at_once_counts_as_a_burst() {
        let recipients = limit("r", Unit::Recipients, "100/s", None);
        let mut limiter = Limiter::default();
        limiter.take(&[claim(&recipients, "", 1000)], START).unwrap();
        assert_eq!(limiter.take(&[claim(&recipients, "", 10)], START).unwrap_err().span, SHORT);
    }

    #[test]
    fn what_there_is_room_for_passes() {
        let limit = limit("r", Unit::Recipients, "60/m", Some(10));
        let mut limiter = Limiter::default();
        let now = |seconds| START + Duration::from_secs(seconds);
        assert_eq!(limiter.room(&limit, "", now(0)), 10);
        limiter.take(&[claim(&limit, "", 10)], now(0)).unwrap();
        for (seconds, room) in [(0, 1), (1, 1), (4, 4), (60, 10)] {
            assert_eq!(limiter.room(&limit, "", now(seconds)), room, "after {seconds} s");
        }
        assert!(limiter.take(&[claim(&limit, "", 5)], now(4)).is_err());
        limiter.take(&[claim(&limit, "", 4)], now(4)).unwrap();
    }

    #[test]
    fn levels_survive_and_clocks_may_jump() {
        let hourly = limit("h", Unit::Messages, "1/h", None);
        let mut limiter = Limiter::default();
        limiter.take(&[claim(&hourly, "x", 1)], START).unwrap();
        let level = limiter.level("h", "x").unwrap();
        let mut after = Limiter::default();
        after.restore("h", "x", level);
        let soon = START + Duration::from_secs(600);
        assert_eq!(after.take(&[claim(&hourly, "x", 1)], soon).unwrap_err().span, Duration::from_secs(3000));
        // A day back: it waits for an hour, not for a day.
        let before = START - Duration::from_secs(86_400);
        assert_eq!(after.take(&[claim(&hourly, "x", 1)], before).unwrap_err().span, Duration::from_secs(3600));
    }

    #[test]
    fn who_is_refused_is_told_a_time_of_its_own() {
        let each = limit("s", Unit::Messages, "1/s", None);
        let mut limiter = Limiter::default();
        let asked = [claim(&each, "a", 1)];
        limiter.take(&asked, START).unwrap();
        let promised: Vec<u64> = (0..3).map(|_| (limiter.promise(&asked, START) - START).as_secs()).collect();
        assert_eq!(promised, [1, 2, 3]);
        for second in 1..4 {
            limiter.take(&asked, START + Duration::from_secs(second)).unwrap();
        }
        assert_eq!(limiter.promise(&asked, START + Duration::from_secs(10)), START + Duration::from_secs(10));
    }

    #[test]
    fn subjects_that_are_idle_are_forgotten() {
        let each = limit("s", Unit::Messages, "10/s", None);
        let mut limiter = Limiter::default();
        for n in 0..10_000_u32 {
            limiter.take(&[claim(&each, &n.to_string(), 1)], START + Duration::from_millis(n.into())).unwrap();
        }
        assert!(limiter.count <= 2 * SWEEP, "{}", limiter.count);
    }

    /// Whatever comes when: in no window of two seconds or more is there over 5 % more than the rate gives; and who always
    /// asks gets nine tenths of it at least, although timers are late.
    #[test]
    fn a_busy_queue_keeps_to_the_rate() {
        for rate in ["5/s", "40/s", "100/s", "700/s", "300/m"] {
            let limit = limit("z", Unit::Messages, rate, None);
            let per_second = 1.0 / limit.flow.rate.interval().as_secs_f64();
            let (mut limiter, mut now, mut passed) = (Limiter::default(), START, Vec::new());
            let mut late = 0_u64;
            while now < START + Duration::from_secs(30) {
                match limiter.take(&[claim(&limit, "", 1)], now) {
                    Ok(()) => passed.push(now),
                    Err(wait) => {
                        late = (late * 7 + 3) % 11;
                        now += wait.span + Duration::from_micros(late * 200);
                    }
                }
            }
            let average = passed.len() as f64 / 30.0;
            assert!(average > per_second * 0.9 && average <= per_second * 1.02, "{rate}: {average} a second");
            let window = Duration::from_secs(2);
            for (first, start) in passed.iter().enumerate() {
                let within = passed[first..].iter().take_while(|at| **at < *start + window).count();
                let most = (per_second * 2.0 * 1.05).ceil();
                assert!(within as f64 <= most, "{rate}: {within} in two seconds");
            }
        }
    }
}
