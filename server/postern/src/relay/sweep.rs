//! What is due by age though nobody attempts it, as its next hop rests, a limit holds it back or its zone is gone: mail that has grown too old
//! is bounced, and senders of mail that is late are told.
//!
//! Expiry looks at all that is old enough each time, and ends what waits so: everything else has
//! its attempt, which decides, however late (after the server was off, say). Delays are looked for in rounds by a cursor
//! in memory, since what it finds stays: each message once in a round, and those whose sender has been told (a durable
//! flag) not at all. Later rounds find what was in an attempt or not due before.

use super::router::Zones;
use super::settle::Settler;
use super::worker::LEASE_TTL;
use crate::deliver::Attempt;
use crate::spool::{Aged, Leased, LeasedRecipient, Spool};
use postern_core::mail::{EnhancedCode, Outcome, QueueId, Reason, Scope, Seq};
use postern_core::route::QueueKey;
use postern_core::smtp::client::MAX_RECIPIENTS;
use postern_core::time::Timestamp;
use postern_core::zone::Zone;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tracing::warn;

/// Messages that are looked at at once, each with at most [`MAX_RECIPIENTS`].
const BATCH: usize = 100;

/// Why nobody attempts a queue at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Its next hop could not be reached.
    NotReached,
    /// A limit on how fast mail leaves holds it back.
    Limited,
}

/// Who knows which queues wait.
pub trait NextHops: Send + Sync {
    /// Why nobody attempts this queue at present, if nobody does.
    fn waits(&self, queue: &QueueKey) -> Option<Waiting>;
}

/// The least ages at which any zone has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// Mail expires.
    max_age: Duration,
    /// Senders are told of a delay.
    delay_notice: Option<Duration>,
}

impl Ages {
    /// Of these zones.
    #[must_use]
    pub fn new(zones: &[Zone]) -> Self {
        let max_age = zones.iter().map(|zone| zone.max_age).min().unwrap_or(Duration::MAX);
        Self { max_age, delay_notice: zones.iter().filter_map(|zone| zone.dsn.delay_notice).min() }
    }

    /// Between two looks.
    fn pause(&self) -> Duration {
        let shortest = self.delay_notice.map_or(self.max_age, |after| after.min(self.max_age));
        (shortest / 20).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }
}

/// Where the search for delays stands.
struct Cursor {
    next: QueueId,
    round: Timestamp,
}

/// Sweeps `spool` until `stop` turns true.
pub async fn run<S: Spool>(
    spool: S,
    zones: Zones,
    settler: Arc<Settler<S>>,
    next_hops: Arc<dyn NextHops>,
    ages: Ages,
    clock: fn() -> Timestamp,
    mut stop: watch::Receiver<bool>,
) {
    let sweep = Sweep { spool, zones, settler, next_hops };
    let mut cursor = Cursor { next: QueueId(0), round: clock() };
    loop {
        tokio::select! {
            () = tokio::time::sleep(ages.pause()) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let mut from = QueueId(0);
        while sweep.expire(ages.max_age, &mut from, clock()).await && !*stop.borrow() {}
        if let Some(after) = ages.delay_notice {
            cursor.begin_round(after, clock());
            while sweep.tell(after, &mut cursor, clock()).await && !*stop.borrow() {}
        }
    }
}

impl Cursor {
    /// From the start again now and then, or if the clock went back.
    fn begin_round(&mut self, after: Duration, now: Timestamp) {
        let span = (after / 6).clamp(Duration::from_secs(1), Duration::from_secs(1800));
        if now < self.round || now >= self.round.after(span) {
            *self = Self { next: QueueId(0), round: now };
        }
    }
}

struct Sweep<S: Spool> {
    spool: S,
    zones: Zones,
    settler: Arc<Settler<S>>,
    next_hops: Arc<dyn NextHops>,
}

/// Recipients of one message that wait alike.
struct Part<'z> {
    /// Whose policy holds for them.
    zone: Option<&'z Arc<Zone>>,
    /// Nobody attempts them, for this.
    waits: Option<Waiting>,
    leased: Leased,
}

impl<S: Spool> Sweep<S> {
    /// Expires a batch; true if there may be more.
    async fn expire(&self, max_age: Duration, from: &mut QueueId, now: Timestamp) -> bool {
        let aged = Aged { from: *from, ..Aged::all(now.before(max_age)) };
        let Some(leased) = self.lease(aged, now).await else { return false };
        let more = leased.len() == BATCH;
        let Some(last) = leased.last().map(|last| last.message.id) else { return false };
        // A message of which only a part was leased is looked at again once that part is gone.
        let mut again = None;
        for leased in leased {
            let (id, in_part) = (leased.message.id, leased.recipients.len() == MAX_RECIPIENTS);
            for Part { zone, waits, leased } in self.parts(leased) {
                match (zone, waits) {
                    (Some(zone), Some(waits)) if leased.message.expires(zone.max_age) <= now => {
                        self.settler.settle_or_release(zone, &leased, &too_old(&leased, waits)).await;
                        again = again.or(in_part.then_some(id));
                    }
                    _ => self.settler.release(&leased).await,
                }
            }
        }
        *from = again.unwrap_or(QueueId(last.0 + 1));
        more || again.is_some()
    }

    /// Tells senders of a batch that is late; true if there may be more.
    async fn tell(&self, after: Duration, cursor: &mut Cursor, now: Timestamp) -> bool {
        let before = now.before(after);
        let aged = Aged { from: cursor.next, before, untold: true };
        let Some(leased) = self.lease(aged, now).await else { return false };
        let full = leased.len() == BATCH;
        cursor.next = match leased.last() {
            Some(last) if full => QueueId(last.message.id.0 + 1),
            _ => QueueId::floor(before).max(cursor.next),
        };
        for Part { zone, waits, leased } in leased.into_iter().flat_map(|leased| self.parts(leased)) {
            match zone {
                Some(zone) => self.settler.tell_of_delay(zone, &leased, &not_yet(&leased, waits)).await,
                None => self.settler.release(&leased).await,
            }
        }
        full
    }

    async fn lease(&self, aged: Aged, now: Timestamp) -> Option<Vec<Leased>> {
        let leased = self.spool.lease_aged(aged, now, BATCH, MAX_RECIPIENTS, LEASE_TTL).await;
        leased.map_err(|error| warn!(%error, "can't look for mail by its age")).ok()
    }

    /// The recipients by zone, and by why nobody attempts them.
    fn parts(&self, leased: Leased) -> Vec<Part<'_>> {
        let mut parts: Vec<Part<'_>> = Vec::new();
        for recipient in leased.recipients {
            let queue = &leased.message.queues[recipient.token.recipient.seq.index()];
            let (zone, waits) = (self.zones.policy(&queue.zone), self.next_hops.waits(queue));
            let same = |part: &&mut Part<'_>| {
                part.waits == waits && part.zone.map(|zone| &zone.name) == zone.map(|zone| &zone.name)
            };
            match parts.iter_mut().find(same) {
                Some(part) => part.leased.recipients.push(recipient),
                None => {
                    let leased = Leased { message: Arc::clone(&leased.message), recipients: vec![recipient] };
                    parts.push(Part { zone, waits, leased });
                }
            }
        }
        parts
    }
}

/// A deferral, which the settler makes a failure, as the message is too old for another.
fn too_old(leased: &Leased, waits: Waiting) -> Attempt {
    let public = |attempts| match attempts {
        0 if waits == Waiting::Limited => "limits on how fast mail leaves held it back in all that time".to_owned(),
        0 => "the next hop could not be reached in all that time".to_owned(),
        _ => format!("none of {attempts} attempts succeeded"),
    };
    let outcome = |r: &LeasedRecipient| -> (Seq, Outcome) {
        (r.token.recipient.seq, Outcome::Deferred(reason(EnhancedCode(4, 4, 7), public(r.attempts))))
    };
    Attempt::unmade(leased.recipients.iter().map(outcome).collect())
}

/// Why what is late was not delivered yet.
fn not_yet(leased: &Leased, waits: Option<Waiting>) -> Reason {
    let public = match leased.recipients.iter().map(|recipient| recipient.attempts).max() {
        _ if waits == Some(Waiting::Limited) => "a limit on how fast mail leaves holds it back".to_owned(),
        _ if waits.is_none() => "it still waits for its turn".to_owned(),
        None | Some(0) => "the next hop could not be reached yet".to_owned(),
        Some(attempts) => format!("none of {attempts} attempts succeeded, and the next hop can't be reached now"),
    };
    reason(EnhancedCode(4, 4, 1), public)
}

fn reason(status: EnhancedCode, public: String) -> Reason {
    Reason { scope: Scope::Local, status, remote_reply: None, public, detail: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_begin_again_now_and_then() {
        let hours = |n: u64| Timestamp(n * 3_600_000);
        let three = Duration::from_secs(3 * 3600);
        let mut cursor = Cursor { next: QueueId(7), round: hours(10) };
        let mut check = |now: Timestamp, next| {
            cursor.begin_round(three, now);
            assert_eq!(cursor.next, QueueId(next));
            cursor.next = QueueId(7);
        };
        check(hours(10).after(Duration::from_secs(1799)), 7);
        check(hours(10).after(Duration::from_secs(1800)), 0);
        check(hours(10).after(Duration::from_secs(1801)), 7);
        check(hours(9), 0);
    }
}
