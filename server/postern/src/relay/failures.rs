//! The hook `bounce`: what plugins make of the failures of an attempt before they are recorded.

use super::settle::Fate;
use crate::deliver::Attempt;
use crate::observe::delivery_log;
use crate::spool::Leased;
use postern_core::hook::{Failed, FailureAction, Failures, Hooks};
use postern_core::mail::{EnhancedCode, Outcome, Reason, Seq};
use postern_core::time::Timestamp;
use postern_core::zone::Zone;
use std::sync::Arc;

/// What plugins changed.
pub struct Judged {
    /// The attempt with the outcomes as they are to be.
    pub attempt: Attempt,
    /// Recipients that the sender is not told of.
    pub silent: Vec<Seq>,
}

/// A recipient with its fate, and its attempts with this one.
pub type Fated<'a> = (Seq, &'a Fate<'a>, u32);

/// Asks the plugins about those of `fates` that are failures. None: there is none, or nothing was changed.
pub async fn ask(
    hooks: &dyn Hooks,
    zone: &Zone,
    leased: &Leased,
    attempt: &Attempt,
    fates: impl Iterator<Item = Fated<'_>>,
    now: Timestamp,
) -> Option<Judged> {
    let message = &leased.message;
    let may_defer = now < message.expires(zone.max_age);
    let failed: Vec<Failed> = fates.filter_map(|fated| failed(leased, fated, may_defer)).collect();
    if failed.is_empty() {
        return None;
    }
    let mut failures = Failures {
        id: message.id,
        reverse_path: message.envelope.reverse_path.clone(),
        zone: Arc::clone(&zone.name),
        next_hop: attempt.remote.clone(),
        user: message.origin.user.clone(),
        attributes: Arc::clone(&message.origin.attributes),
        failed,
        changes: Vec::new(),
    };
    hooks.bounce(&mut failures).await;
    if failures.changes.is_empty() {
        return None;
    }
    for changes in failures.changes.chunk_by(|a, b| a.author == b.author) {
        delivery_log::changed(message.id, &message.origin.session, changes);
    }
    let mut attempt = attempt.clone();
    for (seq, outcome) in &mut attempt.outcomes {
        if let Some(failed) = failures.failed.iter().find(|failed| failed.seq == *seq) {
            change(outcome, failed.action);
        }
    }
    let silent = failures.failed.iter().filter(|failed| failed.suppress_dsn).map(|failed| failed.seq).collect();
    Some(Judged { attempt, silent })
}

fn failed(leased: &Leased, (seq, fate, attempts): Fated<'_>, may_defer: bool) -> Option<Failed> {
    let (reason, action) = match fate {
        Fate::Deferred(reason, _) => (reason, FailureAction::Defer),
        Fate::Failed { reason, expired: false } => (reason, FailureAction::Bounce),
        Fate::Failed { reason, expired: true } => (reason, FailureAction::Expire),
        Fate::Delivered(_) | Fate::Postponed(..) | Fate::Waits(_) | Fate::Untouched => return None,
    };
    Some(Failed {
        recipient: leased.message.envelope.recipients[seq.index()].address.clone(),
        seq,
        action,
        status: reason.status,
        reply: reason.remote_reply.clone(),
        text: reason.public.clone(),
        scope: reason.scope,
        attempts,
        may_defer,
        suppress_dsn: false,
    })
}

/// The status keeps its meaning, and its class is that of the action. What is to expire stays a deferral, which is too
/// late.
fn change(outcome: &mut Outcome, action: FailureAction) {
    let of_class = |class, reason: &Reason| {
        let EnhancedCode(_, subject, detail) = reason.status;
        Reason { status: EnhancedCode(class, subject, detail), ..reason.clone() }
    };
    match (&*outcome, action) {
        (Outcome::Bounced(reason), FailureAction::Defer) => *outcome = Outcome::Deferred(of_class(4, reason)),
        (Outcome::Deferred(reason), FailureAction::Bounce) => *outcome = Outcome::Bounced(of_class(5, reason)),
        _ => {}
    }
}
