//! How fast mail may leave: the limits of zones and domains, asked before each attempt, kept over a restart.

use super::section::DomainLimits;
use crate::spool::{Fact, Facts, Leased, SpoolError, StoredMessage};
use bytes::Bytes;
use postern_core::mail::QueueId;
use postern_core::schedule::{Claim, Limit, Limiter, Unit, Wait};
use postern_core::smtp::client::MAX_RECIPIENTS;
use postern_core::time::Timestamp;
use postern_core::zone::Zone;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where the levels of slow limits are kept.
const NAMESPACE: &str = "node/limits";
/// What recovers sooner is not kept: a restart takes longer.
const KEPT: Duration = Duration::from_secs(1);
/// Rows that are read at once.
const ROWS: usize = 1000;

/// All limits of one generation of the config, and how far they are.
pub struct Rates {
    state: Mutex<State>,
    /// Of domains that have a table of their own.
    domains: HashMap<String, Vec<Limit>>,
}

#[derive(Default)]
struct State {
    limiter: Limiter,
    /// Messages that wait for a time that they were promised. They come before those that are new.
    promised: HashSet<QueueId>,
}

/// So many messages are remembered as having been promised a time; the others have to ask like new ones.
const MOST_PROMISED: usize = 100_000;

/// An attempt that is about to be made.
#[derive(Clone, Copy)]
pub struct Planned<'a> {
    /// The zone it is of.
    pub zone: &'a Zone,
    /// Recipient domain, next hop of a plugin, or smart host.
    pub destination: &'a str,
    /// The message, and how many of its recipients.
    pub mail: (&'a StoredMessage, usize),
    /// The first choice.
    pub source: Option<IpAddr>,
    /// It needs a connection that is not there.
    pub connects: bool,
}

/// A worker keeps its connection for so long while a limit lets nothing pass.
pub const PATIENCE: Duration = Duration::from_millis(250);
/// The same for a new message and a limit of its own, for which others in the queue need not wait.
const LITTLE_PATIENCE: Duration = Duration::from_millis(5);

/// What an attempt has to do for a limit.
pub enum Blocked {
    /// Ask again soon.
    Soon(Duration),
    /// It is one that holds for all mail of its queue: try none of it for longer than [`PATIENCE`].
    Queue,
    /// It is one of its source, sender or user: try the recipients again at that time.
    Mail(Wait, Timestamp),
}

/// What limits are kept apart by.
struct Keys {
    source: String,
    sender: String,
    user: String,
}

impl Rates {
    /// Limits as `domains` and the zones that are asked for have them, all of them unused.
    #[must_use]
    pub fn new(domains: &[DomainLimits]) -> Self {
        let domains = domains.iter().map(|domain| (domain.domain.clone(), domain.limits.clone())).collect();
        Self { state: Mutex::default(), domains }
    }

    /// Brings the levels back that were kept.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn restore(&self, facts: &impl Facts, now: Timestamp) -> Result<(), SpoolError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = facts.scan(NAMESPACE, b"", after.as_deref(), now, ROWS).await?;
            for (key, value) in &rows {
                let key = std::str::from_utf8(key).ok().and_then(|key| key.split_once('\0'));
                let level = <[u8; 8]>::try_from(&value[..]).map(u64::from_be_bytes).map(Duration::from_nanos);
                if let (Some((limit, subject)), Ok(level)) = (key, level) {
                    self.state().limiter.restore(limit, subject, level);
                }
            }
            if rows.len() < ROWS {
                return Ok(());
            }
            after = rows.into_iter().next_back().map(|(key, _)| key);
        }
    }

    /// How long no mail of a queue can be attempted, if that is longer than a worker waits. `connects` if that takes a new
    /// connection.
    #[must_use]
    pub fn queue_wait(&self, zone: &Zone, destination: &str, connects: bool, now: Timestamp) -> Option<Duration> {
        let mut claims = Vec::new();
        self.of_queue(zone, destination, (1, connects), &mut claims);
        if claims.is_empty() {
            return None;
        }
        let wait = self.state().limiter.wait(&claims, now.since_epoch());
        wait.map(|wait| wait.span).filter(|span| *span > PATIENCE)
    }

    /// How many recipients a transaction may have: as many as the strictest limit lets pass at once.
    #[must_use]
    pub fn most_recipients(&self, zone: &Zone, destination: &str, now: Timestamp) -> usize {
        let of_recipients = |limit: &&Limit| limit.unit == Unit::Recipients;
        let limits = &zone.limits;
        let of_mail = [&limits.per_source, &limits.per_sender, &limits.per_user].into_iter().flatten();
        let bursts = of_mail.filter(of_recipients).map(|limit| limit.flow.burst);
        let mut claims = Vec::new();
        self.of_queue(zone, destination, (1, false), &mut claims);
        claims.retain(|claim| of_recipients(&claim.limit));
        let state = (!claims.is_empty()).then(|| self.state());
        let room = state.iter().flat_map(|state| {
            claims.iter().map(|claim| state.limiter.room(claim.limit, claim.subject, now.since_epoch()))
        });
        bursts.chain(room).map(|most| most as usize).fold(MAX_RECIPIENTS, usize::min)
    }

    /// Lets an attempt be made, or says what it has to wait for. Nothing has counted then.
    ///
    /// # Errors
    /// See [`Blocked`].
    pub fn take(&self, planned: &Planned<'_>, now: Timestamp) -> Result<(), Blocked> {
        let Planned { zone, destination, mail: (message, recipients), source, connects } = *planned;
        let number = u32::try_from(recipients).unwrap_or(u32::MAX);
        let keys = Keys::of(zone, message, source);
        let (mut of_queue, mut of_mail) = (Vec::new(), Vec::new());
        self.of_queue(zone, destination, (number, connects), &mut of_queue);
        keys.claims(zone, (number, connects), &mut of_mail);
        if of_queue.is_empty() && of_mail.is_empty() {
            return Ok(());
        }
        let mut state = self.state();
        let (State { limiter, promised }, now) = (&mut *state, now.since_epoch());
        if !of_mail.is_empty() {
            let is_old = promised.contains(&message.id);
            let patience = if is_old { PATIENCE } else { LITTLE_PATIENCE };
            match limiter.wait(&of_mail, now) {
                Some(wait) if wait.span <= patience => return Err(Blocked::Soon(wait.span)),
                None if is_old || !limiter.is_promised(&of_mail, now) => {}
                wait => {
                    let due = Timestamp::of_epoch(limiter.promise(&of_mail, now));
                    if promised.len() < MOST_PROMISED {
                        promised.insert(message.id);
                    }
                    return Err(Blocked::Mail(wait.unwrap_or_else(|| behind_others(&of_mail)), due));
                }
            }
        }
        let all = [of_queue, of_mail].concat();
        match limiter.take(&all, now) {
            Ok(()) => {
                promised.remove(&message.id);
                Ok(())
            }
            Err(wait) if wait.span <= PATIENCE => Err(Blocked::Soon(wait.span)),
            Err(_) => Err(Blocked::Queue),
        }
    }

    /// The levels that an attempt changed, as far as a restart could make a difference.
    #[must_use]
    pub fn facts(&self, zone: &Zone, leased: &Leased, source: Option<IpAddr>, now: Timestamp) -> Vec<Fact> {
        let keys = Keys::of(zone, &leased.message, source);
        let mut claims = Vec::new();
        let destination = leased.recipients.first().map(|r| &leased.message.queues[r.token.recipient.seq.index()]);
        self.of_queue(zone, destination.map_or("", |queue| &queue.destination), (1, true), &mut claims);
        keys.claims(zone, (1, true), &mut claims);
        if claims.is_empty() {
            return Vec::new();
        }
        let state = self.state();
        let fact = |claim: Claim<'_>| {
            let level = state.limiter.level(&claim.limit.name, claim.subject)?;
            if level < now.since_epoch() + KEPT {
                return None;
            }
            Some(Fact {
                namespace: NAMESPACE.to_owned(),
                key: format!("{}\0{}", claim.limit.name, claim.subject).into_bytes(),
                value: Some(Bytes::copy_from_slice(&u64::try_from(level.as_nanos()).unwrap_or(u64::MAX).to_be_bytes())),
                expires: Some(Timestamp::of_epoch(level)),
            })
        };
        claims.into_iter().filter_map(fact).collect()
    }

    /// The limits of zone and domain. A table of the domain's own takes the place of the zone's `per_domain` in what it
    /// limits; a smart host takes mail for all domains.
    fn of_queue<'a>(&'a self, zone: &'a Zone, destination: &'a str, per: (u32, bool), claims: &mut Vec<Claim<'a>>) {
        push(&zone.limits.own, "", per, claims);
        if zone.smart_host.is_some() {
            return;
        }
        let own = self.domains.get(destination).map_or(&[][..], |limits| limits);
        push(own, "", per, claims);
        let others = zone.limits.per_domain.iter().filter(|limit| own.iter().all(|own| own.unit != limit.unit));
        push(others, destination, per, claims);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Claims of one attempt with so many recipients, which connects or not.
fn push<'a>(
    limits: impl IntoIterator<Item = &'a Limit>,
    subject: &'a str,
    (recipients, connects): (u32, bool),
    claims: &mut Vec<Claim<'a>>,
) {
    for limit in limits {
        let number = match limit.unit {
            Unit::Messages => 1,
            Unit::Recipients => recipients,
            Unit::Connections => u32::from(connects),
        };
        if number > 0 {
            claims.push(Claim { limit, subject, number });
        }
    }
}

impl Keys {
    fn of(zone: &Zone, message: &StoredMessage, source: Option<IpAddr>) -> Self {
        let limits = &zone.limits;
        let wanted =
            |limits: &[Limit], text: &dyn Fn() -> String| if limits.is_empty() { String::new() } else { text() };
        Self {
            source: wanted(&limits.per_source, &|| source.map_or_else(String::new, |ip| ip.to_string())),
            sender: wanted(&limits.per_sender, &|| message.envelope.reverse_path.to_string().to_lowercase()),
            user: wanted(&limits.per_user, &|| message.origin.user.as_deref().unwrap_or_default().to_owned()),
        }
    }

    /// Mail without a user, and an attempt whose source is not known, is in no limit of them.
    fn claims<'a>(&'a self, zone: &'a Zone, per: (u32, bool), claims: &mut Vec<Claim<'a>>) {
        let limits = &zone.limits;
        push(&limits.per_sender, &self.sender, per, claims);
        for (limits, subject) in [(&limits.per_source, &self.source), (&limits.per_user, &self.user)] {
            if !subject.is_empty() {
                push(limits, subject, per, claims);
            }
        }
    }
}

/// There would be something left, but others were promised it.
fn behind_others(claims: &[Claim<'_>]) -> Wait {
    let (limit, subject) = claims.first().map_or_else(Default::default, |claim| (&*claim.limit.name, claim.subject));
    Wait { span: Duration::ZERO, limit: limit.into(), subject: subject.to_owned() }
}

/// The name of the limit, and whom it is kept for, for people.
pub fn shown(wait: &Wait) -> String {
    let Wait { limit, subject, .. } = wait;
    if subject.is_empty() { format!("limit {limit}") } else { format!("limit {limit} of {subject}") }
}
