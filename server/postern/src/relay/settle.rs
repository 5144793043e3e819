//! From outcomes to the queue: what an attempt did to each recipient becomes one settlement, with one DSN that tells the
//! sender of all that it is to be told, and the lines of the delivery log once it is durable.
//!
//! The sender is told (RFC 3461 section 4.1) of failures unless NOTIFY leaves them out; of a delay, once, unless NOTIFY
//! leaves it out; and of success only where NOTIFY asks for it and the next hop offers no DSN, since else it tells.

use super::failures::{self, Judged};
use super::rates::Rates;
use super::report::{Reporter, remote_host};
use super::router::Zones;
use crate::deliver::Attempt;
use crate::events::{Happened, Kind, Outbox};
use crate::intake::Queued;
use crate::observe::delivery_log::{self, About};
use crate::spool::{
    Health, LeaseToken, Leased, LeasedRecipient, NewMessage, SealedDraft, Settle, Settlement, Spool, SpoolError,
    StoredMessage,
};
use futures_util::FutureExt as _;
use postern_core::hook::{HookPoint, LiveHooks};
use postern_core::mail::{Outcome, Reason, Recipient, RecipientId, Reply};
use postern_core::message::dsn::{Action, Reported};
use postern_core::time::Timestamp;
use postern_core::zone::Zone;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, error, warn};

/// How long a failure waits whose DSN could not be queued.
const DSN_PAUSE: Duration = Duration::from_secs(60);

/// What settling needs besides the outcomes.
pub struct Settler<S: Spool> {
    /// Where it is recorded.
    pub spool: S,
    /// Where DSNs go.
    pub zones: Zones,
    /// `Reporting-MTA`.
    pub hostname: Arc<str>,
    /// Who judges failures, and who wants to know what became of recipients.
    pub hooks: Arc<LiveHooks>,
    /// How fast mail may leave.
    pub rates: Arc<Rates>,
    /// The time.
    pub clock: fn() -> Timestamp,
}

/// A recipient's fate, decided.
struct Decided<'a> {
    token: LeaseToken,
    recipient: &'a Recipient,
    attempts: u32,
    fate: Fate<'a>,
    /// The sender is to be told of it, if there can be a DSN.
    tell: bool,
}

/// What becomes of a recipient.
pub(super) enum Fate<'a> {
    /// With this reply.
    Delivered(&'a Reply),
    /// It is tried again at that time.
    Deferred(&'a Reason, Timestamp),
    /// For good.
    Failed {
        /// Why.
        reason: &'a Reason,
        /// Only for its age.
        expired: bool,
    },
    /// A limit of ours puts it off until that time.
    Postponed(&'a Reason, Timestamp),
    /// Nobody attempts it, for this reason.
    Waits(&'a Reason),
    /// The attempt said nothing of it.
    Untouched,
}

impl<S: Spool> Settler<S> {
    /// Records what an attempt did; if that can't be done, gives the leases back, so that the recipients are tried
    /// again.
    pub async fn settle_or_release(&self, zone: &Zone, leased: &Leased, attempt: &Attempt) {
        let delivered = |recipient: &LeasedRecipient| {
            let of_it = attempt.outcomes.iter().filter(|(seq, _)| *seq == recipient.token.recipient.seq);
            of_it.into_iter().any(|(_, outcome)| matches!(outcome, Outcome::Delivered(_)))
        };
        let (sure, open): (Vec<_>, Vec<_>) = leased.recipients.iter().cloned().partition(delivered);
        if sure.is_empty() || open.is_empty() || !self.hooks.get().wants(HookPoint::Bounce) {
            return self.settle_part(zone, leased, attempt).await;
        }
        // Plugins take their time over what failed: what was delivered must not wait for them, or a crash would have it
        // delivered twice.
        for recipients in [sure, open] {
            let part = Leased { message: Arc::clone(&leased.message), recipients };
            self.settle_part(zone, &part, attempt).await;
        }
    }

    async fn settle_part(&self, zone: &Zone, leased: &Leased, attempt: &Attempt) {
        let now = (self.clock)();
        let judged = AssertUnwindSafe(self.judge(zone, leased, attempt, now)).catch_unwind().await;
        let judged = judged.unwrap_or_else(|_| {
            error!(id = %leased.message.id, "asking the hook bounce ended in a panic; what was decided stands");
            None
        });
        let (attempt, silent) = judged.as_ref().map_or((attempt, &[][..]), |judged| (&judged.attempt, &judged.silent));
        let mut decided: Vec<_> = decide_all(zone, leased, attempt, now).collect();
        decided.iter_mut().for_each(|d| d.tell &= !silent.contains(&d.token.recipient.seq));
        self.conclude_or_release(zone, leased, decided, attempt, now).await;
    }

    /// What plugins make of the failures.
    async fn judge(&self, zone: &Zone, leased: &Leased, attempt: &Attempt, now: Timestamp) -> Option<Judged> {
        let hooks = self.hooks.get();
        if !hooks.wants(HookPoint::Bounce) {
            return None;
        }
        let decided: Vec<_> = decide_all(zone, leased, attempt, now).collect();
        let fates = decided.iter().map(|d| (d.token.recipient.seq, &d.fate, d.attempts));
        failures::ask(&*hooks, zone, leased, attempt, fates, now).await
    }

    /// Tells the sender of recipients that are late and that nobody attempts, for `reason`; gives the leases back.
    pub async fn tell_of_delay(&self, zone: &Zone, leased: &Leased, reason: &Reason) {
        let now = (self.clock)();
        let waits = |recipient| waits(zone, leased, recipient, Fate::Waits(reason), now);
        let decided: Vec<_> = leased.recipients.iter().map(waits).collect();
        self.conclude_or_release(zone, leased, decided, &Attempt::default(), now).await;
    }

    /// Puts off until `due` what a limit holds back, for `reason`; expires what is too old. The sender is told of what is
    /// late.
    pub async fn postpone(&self, zone: &Zone, leased: &Leased, reason: &Reason, due: Timestamp) {
        let now = (self.clock)();
        let expires = leased.message.expires(zone.max_age);
        if now >= expires {
            let outcome = |r: &LeasedRecipient| (r.token.recipient.seq, Outcome::Deferred(reason.clone()));
            let attempt = Attempt::unmade(leased.recipients.iter().map(outcome).collect());
            return self.settle_or_release(zone, leased, &attempt).await;
        }
        let fate = || Fate::Postponed(reason, due.min(expires));
        let decided: Vec<_> = leased.recipients.iter().map(|r| waits(zone, leased, r, fate(), now)).collect();
        self.conclude_or_release(zone, leased, decided, &Attempt::default(), now).await;
    }

    async fn conclude_or_release(
        &self,
        zone: &Zone,
        leased: &Leased,
        decided: Vec<Decided<'_>>,
        attempt: &Attempt,
        now: Timestamp,
    ) {
        let concluded = AssertUnwindSafe(self.conclude(zone, leased, decided, attempt, now)).catch_unwind();
        match concluded.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.release_unsettled(leased, error).await,
            Err(_) => self.release_unsettled(leased, "panic").await,
        }
    }

    async fn release_unsettled(&self, leased: &Leased, why: impl fmt::Display) {
        delivery_log::unsettled(leased.message.id, why);
        self.release(leased).await;
    }

    /// Gives leases back as if there had been no attempt.
    pub async fn release(&self, leased: &Leased) {
        let outcomes = leased.recipients.iter().map(|r| (r.token, Settle::Release)).collect();
        let settlement = Settlement { message: leased.message.id, outcomes, emit: Vec::new(), facts: Vec::new() };
        if let Err(error) = self.spool.settle(settlement).await {
            // Lost leases are somebody else's; a poisoned store ends the process.
            debug!(id = %leased.message.id, %error, "leases were not given back");
        }
    }

    async fn conclude(
        &self,
        zone: &Zone,
        leased: &Leased,
        mut decided: Vec<Decided<'_>>,
        attempt: &Attempt,
        now: Timestamp,
    ) -> Result<(), SpoolError> {
        let outbox = Outbox::of(&*self.hooks.get(), now);
        let mut dsn = match self.dsn(zone, &leased.message, &decided, &attempt.remote, now).await {
            Ok(Some(dsn)) => Some(dsn),
            Ok(None) => {
                decided.iter_mut().for_each(|d| d.tell = false);
                None
            }
            Err(error) => {
                warn!(id = %leased.message.id, %error, "a DSN can't be queued now; a failure that it is about stays in the queue");
                decided.iter_mut().for_each(|d| d.put_off(now.after(DSN_PAUSE)));
                None
            }
        };
        let queued = dsn.as_ref().map(|(sealed, message)| Queued::new(sealed.id(), message, sealed.body().len()));
        let mut facts = Vec::new();
        if let Some(outbox) = outbox {
            if let Some((sealed, message)) = &mut dsn {
                message.facts = outbox.accepted(sealed.id(), message, sealed.body().len());
            }
            // Of what ends, content leaves with the row that is written; deferrals would fill the disk up.
            let full = matches!(self.spool.health(), Health::Full(_));
            let told = decided.iter().filter_map(|d| Some((d, d.happened(attempt)?)));
            for (d, happened) in told.filter(|(_, happened)| !full || happened.kind != Kind::Deferred) {
                outbox.happened((&leased.message, d.token.recipient.seq), &zone.name, &happened, &mut facts);
            }
        }
        facts.extend(self.rates.facts(zone, leased, attempt.source, now));
        let settlement = Settlement {
            message: leased.message.id,
            outcomes: decided.iter().map(|d| (d.token, d.settle())).collect(),
            emit: dsn.into_iter().collect(),
            facts,
        };
        self.spool.settle(settlement).await?;
        log(leased, &decided, attempt);
        if let Some(queued) = queued {
            queued.log(Some(leased.message.id));
        }
        Ok(())
    }

    /// The DSN for those that the sender is to be told of, if there may be one. On an error there is to be one, and it
    /// can't be made now.
    async fn dsn(
        &self,
        zone: &Zone,
        message: &StoredMessage,
        decided: &[Decided<'_>],
        next_hop: &str,
        now: Timestamp,
    ) -> Result<Option<(S::Sealed, NewMessage)>, SpoolError> {
        let until = message.expires(zone.max_age);
        let reported: Vec<_> = decided.iter().filter_map(|d| d.reported(until, next_hop)).collect();
        if reported.is_empty() {
            return Ok(None);
        }
        let reporter = Reporter { spool: &self.spool, zones: &self.zones, hostname: &self.hostname };
        match reporter.original(zone, message).await {
            Some(original) => reporter.draft(zone, &original, &reported, now).await.map(Some),
            None => Ok(None),
        }
    }
}

impl<'a> Decided<'a> {
    /// There is no DSN now. A recipient that failed stays in the queue until `due`, and what is late is told of later;
    /// what was handed on is gone, and its sender is not told.
    fn put_off(&mut self, due: Timestamp) {
        if let Fate::Failed { reason, .. } = self.fate
            && self.tell
        {
            self.fate = Fate::Deferred(reason, due);
        }
        self.tell = false;
    }

    /// What the DSN says of this recipient.
    fn reported(&self, until: Timestamp, next_hop: &'a str) -> Option<Reported<'a>> {
        let action = match self.fate {
            _ if !self.tell => return None,
            Fate::Delivered(reply) => Action::Relayed { reply },
            Fate::Deferred(reason, _) | Fate::Postponed(reason, _) | Fate::Waits(reason) => {
                Action::Delayed { reason, until }
            }
            Fate::Failed { reason, expired } => Action::Failed { reason, expired },
            Fate::Untouched => return None,
        };
        Some(Reported { recipient: self.recipient, action, remote_mta: remote_host(next_hop) })
    }

    /// What plugins are told, if something has happened.
    fn happened<'h>(&self, attempt: &'h Attempt) -> Option<Happened<'h>>
    where
        'a: 'h,
    {
        let (kind, reason, due) = match self.fate {
            Fate::Delivered(reply) => {
                let (response, status) = (Some(reply.to_string()), reply.enhanced);
                let delivered = Happened { response, status, ..Happened::new(Kind::Delivered, None) };
                return Some(self.attempted(attempt, delivered));
            }
            Fate::Deferred(reason, due) => (Kind::Deferred, reason, Some(due)),
            Fate::Failed { reason, expired: false } => (Kind::Bounced, reason, None),
            Fate::Failed { reason, expired: true } => (Kind::Expired, reason, None),
            Fate::Postponed(..) | Fate::Waits(_) | Fate::Untouched => return None,
        };
        let response = reason.remote_reply.as_ref().map(ToString::to_string);
        let failed =
            Happened { response, status: Some(reason.status), due, ..Happened::new(kind, Some(&reason.public)) };
        Some(self.attempted(attempt, failed))
    }

    fn attempted<'h>(&self, attempt: &'h Attempt, happened: Happened<'h>) -> Happened<'h> {
        Happened { attempts: Some(self.attempts), next_hop: &attempt.remote, source: attempt.source, ..happened }
    }

    fn settle(&self) -> Settle {
        match self.fate {
            Fate::Delivered(_) | Fate::Failed { .. } => Settle::Done,
            Fate::Deferred(reason, due) => {
                Settle::Defer { due, reason: delivery_log::describe(reason), told: self.tell }
            }
            Fate::Postponed(reason, due) => {
                Settle::Postpone { due, reason: delivery_log::describe(reason), told: self.tell }
            }
            Fate::Waits(_) if self.tell => Settle::Told,
            Fate::Waits(_) | Fate::Untouched => Settle::Release,
        }
    }
}

/// What an attempt means for its recipients.
fn decide_all<'a>(
    zone: &Zone,
    leased: &'a Leased,
    attempt: &'a Attempt,
    now: Timestamp,
) -> impl Iterator<Item = Decided<'a>> {
    leased.recipients.iter().map(move |recipient| decide(zone, leased, recipient, attempt, now))
}

/// What an attempt means for a recipient. A deferral past the greatest age is a failure.
fn decide<'a>(
    zone: &Zone,
    leased: &'a Leased,
    leased_recipient: &LeasedRecipient,
    attempt: &'a Attempt,
    now: Timestamp,
) -> Decided<'a> {
    let message = &leased.message;
    let seq = leased_recipient.token.recipient.seq;
    let recipient = &message.envelope.recipients[seq.index()];
    let attempts = leased_recipient.attempts + 1;
    let expires = message.expires(zone.max_age);
    let fate = match attempt.outcomes.iter().find(|(of, _)| *of == seq).map(|(_, outcome)| outcome) {
        None => Fate::Untouched,
        Some(Outcome::Delivered(reply)) => Fate::Delivered(reply),
        Some(Outcome::Bounced(reason)) => Fate::Failed { reason, expired: false },
        Some(Outcome::Deferred(reason)) if now >= expires => Fate::Failed { reason, expired: true },
        Some(Outcome::Deferred(reason)) => {
            Fate::Deferred(reason, zone.retry.next(attempts, now, expires, fastrand::f64()))
        }
    };
    let tell = match fate {
        Fate::Delivered(_) => {
            recipient.notify.is_some_and(|notify| notify.success) && !attempt.passed_on.contains(&seq)
        }
        Fate::Failed { .. } => recipient.notify.is_none_or(|notify| notify.failure),
        Fate::Deferred(..) => is_late(zone, leased, leased_recipient, now),
        Fate::Postponed(..) | Fate::Waits(_) | Fate::Untouched => false,
    };
    Decided { token: leased_recipient.token, recipient, attempts, fate, tell }
}

/// A recipient that nobody attempts.
fn waits<'a>(
    zone: &Zone,
    leased: &'a Leased,
    leased_recipient: &LeasedRecipient,
    fate: Fate<'a>,
    now: Timestamp,
) -> Decided<'a> {
    let LeasedRecipient { token, attempts, .. } = *leased_recipient;
    let recipient = &leased.message.envelope.recipients[token.recipient.seq.index()];
    let tell = is_late(zone, leased, leased_recipient, now);
    Decided { token, recipient, attempts, fate, tell }
}

/// Is the sender to be told that this recipient, which is not delivered to yet, is late?
fn is_late(zone: &Zone, leased: &Leased, leased_recipient: &LeasedRecipient, now: Timestamp) -> bool {
    let message = &leased.message;
    let recipient = &message.envelope.recipients[leased_recipient.token.recipient.seq.index()];
    !leased_recipient.told
        && recipient.notify.is_none_or(|notify| notify.delay)
        && zone.dsn.delay_notice.is_some_and(|after| message.expires(after) <= now)
}

fn log(leased: &Leased, decided: &[Decided<'_>], attempt: &Attempt) {
    let message = &leased.message;
    for d in decided {
        let about = About {
            id: RecipientId { message: message.id, seq: d.token.recipient.seq },
            session: &message.origin.session,
            to: d.recipient.address.as_str(),
            from: &message.envelope.reverse_path,
            next_hop: &attempt.remote,
        };
        match &d.fate {
            Fate::Delivered(reply) => {
                let tls = attempt.tls.as_ref().map(|tls| tls as &dyn fmt::Display);
                delivery_log::accepted(&about, reply, attempt.source, tls);
            }
            Fate::Deferred(reason, due) => delivery_log::deferred(&about, reason, d.attempts, due),
            Fate::Failed { reason, expired } => delivery_log::rejected(&about, reason, *expired, d.tell),
            Fate::Postponed(..) | Fate::Waits(_) | Fate::Untouched => {}
        }
    }
}
