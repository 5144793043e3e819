//! Expiry by wall time: mail that has grown too old is bounced even if its next hop rests or its zone is gone, when no
//! attempt would ever say so.

use super::router::Zones;
use super::settle::Settler;
use super::worker::LEASE_TTL;
use crate::spool::{Leased, Spool};
use postern_core::mail::{EnhancedCode, Outcome, Reason, Scope, Seq};
use postern_core::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tracing::warn;

/// Messages that are looked at at once.
const BATCH: usize = 100;

/// Sweeps `spool` until `stop` turns true, for mail older than `max_age`.
pub async fn run<S: Spool>(
    spool: S,
    zones: Zones,
    settler: Arc<Settler<S>>,
    max_age: Duration,
    clock: fn() -> Timestamp,
    mut stop: watch::Receiver<bool>,
) {
    let pause = (max_age / 20).clamp(Duration::from_secs(1), Duration::from_secs(60));
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        while sweep(&spool, &zones, &settler, max_age, clock()).await && !*stop.borrow() {}
    }
}

/// Expires a batch; true if there may be more.
async fn sweep<S: Spool>(spool: &S, zones: &Zones, settler: &Settler<S>, max_age: Duration, now: Timestamp) -> bool {
    let before = now.before(max_age);
    let leased = match spool.lease_aged(before, now, BATCH, LEASE_TTL).await {
        Ok(leased) => leased,
        Err(error) => {
            warn!(%error, "can't look for mail that has expired");
            return false;
        }
    };
    let full = leased.len() == BATCH;
    let mut expired = 0;
    for leased in leased {
        let queue = &leased.message.queues[leased.recipients[0].token.recipient.seq.index()];
        match zones.policy(&queue.zone) {
            Some(zone) if leased.message.expires(zone.max_age) <= now => {
                settler.settle_or_release(zone, &leased, &too_old(&leased), "").await;
                expired += 1;
            }
            // Not yet (it was to be delivered later), or nobody's: no DSN could be sent.
            _ => settler.release(&leased).await,
        }
    }
    full && expired > 0
}

/// A deferral, which the settler makes a failure, as the message is too old for another.
fn too_old(leased: &Leased) -> Vec<(Seq, Outcome)> {
    let reason = |attempts| Reason {
        scope: Scope::Local,
        status: EnhancedCode(4, 4, 7),
        remote_reply: None,
        public: match attempts {
            0 => "the next hop could not be reached in all that time".to_owned(),
            _ => format!("none of {attempts} attempts succeeded"),
        },
        detail: String::new(),
    };
    let outcome = |r: &crate::spool::LeasedRecipient| (r.token.recipient.seq, Outcome::Deferred(reason(r.attempts)));
    leased.recipients.iter().map(outcome).collect()
}
