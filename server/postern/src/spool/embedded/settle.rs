//! A settlement on its way to the disk, and the rule of what becomes of a recipient.

use super::index::Settling;
use super::shared::Shared;
use super::states::Fate;
use super::writer::{FactRow, Incoming};
use crate::spool::{Action, LeaseToken, Settle, SpoolError};
use postern_core::mail::QueueId;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Leases marked as settling. If the settlement does not come about they are as before.
#[derive(Debug)]
pub(super) struct Marks {
    shared: Arc<Shared>,
    tokens: Vec<LeaseToken>,
}

impl Marks {
    /// Marks all or none.
    pub(super) fn set(
        shared: &Arc<Shared>,
        message: QueueId,
        outcomes: &[(LeaseToken, Settle)],
    ) -> Result<Self, SpoolError> {
        let tokens: Vec<LeaseToken> = outcomes.iter().map(|(token, _)| *token).collect();
        shared.index().begin_settle(message, tokens.iter().copied()).map_err(SpoolError::LeaseLost)?;
        Ok(Self { shared: Arc::clone(shared), tokens })
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        // After a settlement these leases are gone, and newer ones have other fences.
        self.shared.index().abandon_settle(self.tokens.iter().copied());
    }
}

#[derive(Debug)]
pub(super) struct SettleOp {
    pub message: QueueId,
    pub outcomes: Vec<(LeaseToken, Settle)>,
    pub emit: Vec<Incoming>,
    pub facts: Vec<FactRow>,
    pub marks: Option<Marks>,
    /// None if nobody waits.
    pub ack: Option<oneshot::Sender<Result<bool, SpoolError>>>,
}

impl SettleOp {
    /// Leases that nobody took are released.
    pub(super) fn giving_back(shared: &Arc<Shared>, message: QueueId, tokens: Vec<LeaseToken>) -> Self {
        let outcomes: Vec<_> = tokens.into_iter().map(|token| (token, Settle::Release)).collect();
        let marks = Marks::set(shared, message, &outcomes);
        // They were nobody's, so they can't be lost; if they were, there would be nothing to do.
        let outcomes = if marks.is_ok() { outcomes } else { Vec::new() };
        Self { message, outcomes, emit: Vec::new(), facts: Vec::new(), marks: marks.ok(), ack: None }
    }
}

/// What becomes of a leased recipient: its new state, and whether that has to be written.
pub(super) fn fate(settle: &Settle, known: Settling) -> (Fate, bool) {
    let Settling { due, attempts, told, then } = known;
    let (due, attempts, told, changed) = match settle {
        Settle::Done => return (Fate::Done, true),
        Settle::Defer { due, told: now, .. } => (due.0, attempts.saturating_add(1), told || *now, true),
        Settle::Postpone { due, told: now, .. } => (due.0, attempts, told || *now, true),
        Settle::Told => (due, attempts, true, true),
        Settle::Release => (due, attempts, told, false),
    };
    match then {
        None => (Fate::Pending { due, attempts, told }, changed),
        Some(Action::Retry(at) | Action::Release(at)) => (Fate::Pending { due: at.0, attempts, told }, true),
        Some(Action::Hold) => (Fate::Held { due, attempts, told }, true),
        Some(Action::Delete) => (Fate::Done, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_core::time::Timestamp;

    fn check(settle: &Settle, then: Option<Action>, expected: (Fate, bool)) {
        assert_eq!(fate(settle, Settling { due: 5, attempts: 2, told: false, then }), expected, "{settle:?} {then:?}");
    }

    #[test]
    fn operators_are_obeyed_at_the_settlement() {
        let pending = |due, attempts, told| Fate::Pending { due, attempts, told };
        let held = |due, attempts, told| Fate::Held { due, attempts, told };
        let defer = Settle::Defer { due: Timestamp(9), reason: String::new(), told: false };
        check(&defer, None, (pending(9, 3, false), true));
        check(&defer, Some(Action::Hold), (held(9, 3, false), true));
        check(&defer, Some(Action::Retry(Timestamp(6))), (pending(6, 3, false), true));
        check(&defer, Some(Action::Delete), (Fate::Done, true));
        check(
            &Settle::Defer { due: Timestamp(9), reason: String::new(), told: true },
            None,
            (pending(9, 3, true), true),
        );
        let postpone = Settle::Postpone { due: Timestamp(9), reason: String::new(), told: false };
        check(&postpone, None, (pending(9, 2, false), true));
        check(&postpone, Some(Action::Hold), (held(9, 2, false), true));
        check(&Settle::Told, None, (pending(5, 2, true), true));
        check(&Settle::Told, Some(Action::Hold), (held(5, 2, true), true));
        check(&Settle::Release, None, (pending(5, 2, false), false));
        check(&Settle::Release, Some(Action::Hold), (held(5, 2, false), true));
        check(&Settle::Done, Some(Action::Hold), (Fate::Done, true));
    }
}
