//! The queue in memory: every unfinished recipient with its state, the leases, and what is fresh. Built from the store
//! at open and changed only after the store has been.
//!
//! All of it stands behind one mutex that is held for microseconds; nobody holds it across an await or I/O. A queued
//! single-recipient message costs about 90 octets here; envelope and content are on disk.

use super::hot::{Hot, HotMessage};
use super::queues::Queues;
use super::slot::{CHUNKS, STATES, Slot, SlotState};
use super::states::Fate;
use super::store::Extent;
use crate::spool::{Action, Aged, Filter, LeaseToken, LeasedRecipient, Ready};
use postern_core::mail::{QueueId, RecipientId, Seq};
use postern_core::route::QueueKey;
use postern_core::time::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

#[derive(Debug)]
enum Entry {
    One(Slot),
    Many(Box<Many>),
}

#[derive(Debug)]
struct Many {
    slots: Box<[Slot]>,
    live: u32,
    flags: u8,
}

impl Entry {
    fn slots(&self) -> &[Slot] {
        match self {
            Self::One(slot) => std::slice::from_ref(slot),
            Self::Many(many) => &many.slots,
        }
    }

    fn slot_mut(&mut self, seq: u32) -> Option<&mut Slot> {
        let place = seq.checked_sub(1)? as usize;
        match self {
            Self::One(slot) => (place == 0).then_some(slot),
            Self::Many(many) => many.slots.get_mut(place),
        }
    }

    fn flags_mut(&mut self) -> &mut u8 {
        match self {
            Self::One(slot) => &mut slot.flags,
            Self::Many(many) => &mut many.flags,
        }
    }

    fn live(&self) -> u32 {
        match self {
            Self::One(slot) => u32::from(slot.state != SlotState::Done),
            Self::Many(many) => many.live,
        }
    }

    fn extent(&self) -> Extent {
        let (flags, recipients) = match self {
            Self::One(slot) => (slot.flags, 1),
            Self::Many(many) => (many.flags, u32::try_from(many.slots.len()).unwrap_or(u32::MAX)),
        };
        Extent { chunks: flags & CHUNKS, states: flags & STATES != 0, recipients }
    }
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    fence: u64,
    /// Its settlement is on its way to the disk: no second one.
    settling: bool,
    /// What an operator did meanwhile; it is on disk already.
    then: Option<Action>,
}

/// A message that enters the index.
pub(super) struct Arrival {
    pub id: u64,
    pub due: u64,
    /// As in [`Extent`].
    pub chunks: u8,
    pub recipients: u32,
    pub queues: Vec<QueueKey>,
    /// Index into `queues` by recipient; empty if there is only one.
    pub queue_of: Vec<u32>,
}

/// What is known of a leased recipient when its settlement is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settling {
    pub due: u64,
    pub attempts: u16,
    pub told: bool,
    pub then: Option<Action>,
}

/// A recipient that an admin action is about to change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selected {
    pub id: u64,
    pub seq: u32,
    pub due: u64,
    pub attempts: u16,
    pub told: bool,
    /// An attempt has it: it keeps its lease.
    pub in_attempt: bool,
}

#[derive(Debug)]
pub(super) struct Index {
    messages: BTreeMap<u64, Entry>,
    queues: Queues,
    leases: HashMap<(u64, u32), Lease>,
    pub(super) hot: Hot,
    recipients: u64,
    fence: u64,
    /// When the last [`Index::ready`] said that the next one is due.
    known: u64,
    /// Something is due earlier than that.
    news: bool,
}

impl Index {
    pub(super) fn new(hot: usize) -> Self {
        Self {
            messages: BTreeMap::new(),
            queues: Queues::default(),
            leases: HashMap::new(),
            hot: Hot::new(hot),
            recipients: 0,
            fence: 0,
            known: u64::MAX,
            news: false,
        }
    }

    /// A message is durable: its recipients wait.
    pub(super) fn insert(&mut self, arrival: &Arrival) {
        let flags = arrival.chunks & CHUNKS;
        let slot = |queue| Slot { due: arrival.due, queue, attempts: 0, state: SlotState::Pending, flags };
        let entry = if arrival.recipients == 1 {
            let queue = self.queues.join(&arrival.queues[0], 1);
            self.queues.insert(queue, (arrival.due, arrival.id, 1));
            Entry::One(slot(queue))
        } else {
            let places = (0..arrival.recipients).map(|at| arrival.queue_of.get(at as usize).copied().unwrap_or(0));
            let mut members = vec![0usize; arrival.queues.len()];
            places.clone().for_each(|place| members[place as usize] += 1);
            let numbers: Vec<u32> =
                arrival.queues.iter().zip(members).map(|(key, members)| self.queues.join(key, members)).collect();
            let slots: Box<[Slot]> = places.map(|place| slot(numbers[place as usize])).collect();
            for (seq, slot) in (1..).zip(&slots) {
                self.queues.insert(slot.queue, (arrival.due, arrival.id, seq));
            }
            Entry::Many(Box::new(Many { slots, live: arrival.recipients, flags }))
        };
        self.messages.insert(arrival.id, entry);
        self.recipients += u64::from(arrival.recipients);
        self.news |= arrival.due < self.known;
    }

    /// Whether something has become due earlier than the last look at what is ready knew; asked once.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    pub(super) fn ready(&mut self, now: Timestamp) -> Ready {
        let ready = self.queues.ready(now);
        self.known = ready.next_due.map_or(u64::MAX, |due| due.0);
        ready
    }

    /// Leases what is due.
    pub(super) fn lease(
        &mut self,
        key: &QueueKey,
        now: u64,
        messages: usize,
        recipients: usize,
    ) -> Vec<(u64, Vec<LeasedRecipient>)> {
        let Some(queue) = self.queues.find(key) else { return Vec::new() };
        let groups = self.queues.due(queue, now, messages, recipients);
        groups
            .into_iter()
            .map(|(id, seqs)| (id, seqs.into_iter().filter_map(|seq| self.lease_one(id, seq)).collect()))
            .collect()
    }

    /// Leases what is due of old messages.
    pub(super) fn lease_aged(
        &mut self,
        aged: &Aged,
        now: u64,
        messages: usize,
        recipients: usize,
    ) -> Vec<(u64, Vec<LeasedRecipient>)> {
        let wanted = |slot: &Slot| !(aged.untold && slot.is_told());
        let due = |slot: &Slot| slot.state == SlotState::Pending && slot.due <= now && wanted(slot);
        let floor = QueueId::floor(aged.before).0;
        let seqs_due = |entry: &Entry| -> Vec<u32> {
            let slots = entry.slots().iter().zip(1..);
            slots.filter(|(slot, _)| due(slot)).map(|(_, seq)| seq).take(recipients).collect()
        };
        let old = self.messages.range(aged.from.0.min(floor)..floor).map(|(id, entry)| (*id, seqs_due(entry)));
        let groups: Vec<_> = old.filter(|(_, seqs)| !seqs.is_empty()).take(messages).collect();
        groups
            .into_iter()
            .map(|(id, seqs)| (id, seqs.into_iter().filter_map(|seq| self.lease_one(id, seq)).collect()))
            .collect()
    }

    fn lease_one(&mut self, id: u64, seq: u32) -> Option<LeasedRecipient> {
        let (attempts, told) = self.take(id, seq)?;
        let token = LeaseToken { recipient: recipient(id, seq), fence: self.fence };
        Some(LeasedRecipient { token, attempts: u32::from(attempts), told })
    }

    /// Takes a pending or held recipient out of the order under a new lease.
    fn take(&mut self, id: u64, seq: u32) -> Option<(u16, bool)> {
        let slot = self.messages.get_mut(&id)?.slot_mut(seq)?;
        if slot.state == SlotState::Pending {
            self.queues.remove(slot.queue, (slot.due, id, seq));
        }
        slot.state = SlotState::Leased;
        let known = (slot.attempts, slot.is_told());
        self.fence += 1;
        self.leases.insert((id, seq), Lease { fence: self.fence, settling: false, then: None });
        Some(known)
    }

    pub(super) fn is_leased(&self, token: &LeaseToken) -> bool {
        let RecipientId { message, seq } = token.recipient;
        self.leases.get(&(message.0, seq.0)).is_some_and(|lease| lease.fence == token.fence && !lease.settling)
    }

    /// Marks the leases as settling: all, or none and the first that is lost.
    pub(super) fn begin_settle(
        &mut self,
        message: QueueId,
        tokens: impl Iterator<Item = LeaseToken> + Clone,
    ) -> Result<(), RecipientId> {
        for (done, token) in tokens.clone().enumerate() {
            if token.recipient.message != message || !self.is_leased(&token) {
                self.abandon_settle(tokens.take(done));
                return Err(token.recipient);
            }
            self.set_settling(&token, true);
        }
        Ok(())
    }

    /// The settlement did not come about: the leases are as before.
    pub(super) fn abandon_settle(&mut self, tokens: impl Iterator<Item = LeaseToken>) {
        tokens.for_each(|token| self.set_settling(&token, false));
    }

    fn set_settling(&mut self, token: &LeaseToken, settling: bool) {
        let RecipientId { message, seq } = token.recipient;
        if let Some(lease) = self.leases.get_mut(&(message.0, seq.0)).filter(|lease| lease.fence == token.fence) {
            lease.settling = settling;
        }
    }

    /// Gives leases back as if they had never been, unless an operator's action waits for one: that goes through the
    /// store. True if all were given back.
    pub(super) fn release(&mut self, tokens: impl Iterator<Item = LeaseToken> + Clone) -> bool {
        let plain = |token: LeaseToken| {
            let RecipientId { message, seq } = token.recipient;
            self.leases.get(&(message.0, seq.0)).is_none_or(|lease| lease.then.is_none())
        };
        if !tokens.clone().all(plain) {
            return false;
        }
        for token in tokens {
            let (id, seq) = (token.recipient.message.0, token.recipient.seq.0);
            if let Some(Settling { due, attempts, told, .. }) = self.settling(id, seq) {
                self.apply(id, seq, Fate::Pending { due, attempts, told }, false);
            }
        }
        true
    }

    pub(super) fn settling(&self, id: u64, seq: u32) -> Option<Settling> {
        let lease = self.leases.get(&(id, seq))?;
        let slot = self.slot(id, seq)?;
        Some(Settling { due: slot.due, attempts: slot.attempts, told: slot.is_told(), then: lease.then })
    }

    pub(super) fn slot(&self, id: u64, seq: u32) -> Option<&Slot> {
        self.messages.get(&id)?.slots().get(seq.checked_sub(1)? as usize)
    }

    /// How many recipients of a message are not finished, and what it takes to remove it.
    pub(super) fn extent(&self, id: u64) -> Option<(u32, Extent)> {
        self.messages.get(&id).map(|entry| (entry.live(), entry.extent()))
    }

    /// A leased recipient's new state is durable (or needs not be): the lease ends. `written`: there is a page now.
    pub(super) fn apply(&mut self, id: u64, seq: u32, fate: Fate, written: bool) {
        self.leases.remove(&(id, seq));
        let Some(entry) = self.messages.get_mut(&id) else { return };
        if written {
            *entry.flags_mut() |= STATES;
        }
        let Some(slot) = entry.slot_mut(seq) else { return };
        let queue = slot.queue;
        match fate {
            Fate::Done => {
                slot.state = SlotState::Done;
                if let Entry::Many(many) = entry {
                    many.live -= 1;
                }
                let ended = entry.live() == 0;
                self.recipients -= 1;
                self.queues.leave(queue);
                if ended {
                    self.messages.remove(&id);
                    self.hot.remove(id);
                }
            }
            Fate::Pending { due, attempts, told } => {
                slot.wait(SlotState::Pending, due, attempts, told);
                self.queues.insert(queue, (due, id, seq));
                self.news |= due < self.known;
            }
            Fate::Held { due, attempts, told } => slot.wait(SlotState::Held, due, attempts, told),
        }
    }

    /// A recipient's durable state, in a message that was just inserted.
    pub(super) fn restore(&mut self, id: u64, seq: u32, fate: Fate) {
        if self.take(id, seq).is_some() {
            self.apply(id, seq, fate, true);
        }
    }

    /// There is a page of states of this message now.
    pub(super) fn mark_written(&mut self, id: u64) {
        if let Some(entry) = self.messages.get_mut(&id) {
            *entry.flags_mut() |= STATES;
        }
    }

    /// Takes those of `recipients` for an admin action that still fit. Those that no attempt has are taken under a
    /// lease, so that none begins meanwhile; the others' leases remember what to do at their settlement.
    pub(super) fn select(&mut self, filter: &Filter, action: Action, recipients: &[Selected]) -> Vec<Selected> {
        let mut selected = Vec::with_capacity(recipients.len());
        for Selected { id, seq, .. } in recipients {
            let (id, seq) = (*id, *seq);
            let Some(slot) = self.slot(id, seq).filter(|slot| slot.state != SlotState::Done) else { continue };
            let lease = self.leases.get(&(id, seq)).filter(|_| slot.state == SlotState::Leased);
            if !self.matches(filter, seq, slot) || !reached_by(action, slot, lease) {
                continue;
            }
            let in_attempt = lease.is_some();
            let (due, attempts, told) = (slot.due, slot.attempts, slot.is_told());
            selected.push(Selected { id, seq, due, attempts, told, in_attempt });
            if !in_attempt {
                self.take(id, seq);
            } else if let Some(lease) = self.leases.get_mut(&(id, seq)) {
                lease.then = Some(action);
            }
        }
        selected
    }

    /// Recipients that fit, by id, after `after`: at most `max`, among at most about `scan`. With an action, those that
    /// it would do something to. The second value is where to go on.
    pub(super) fn list(
        &self,
        filter: &Filter,
        action: Option<Action>,
        after: Option<RecipientId>,
        scan: usize,
        max: usize,
    ) -> (Vec<Selected>, Option<RecipientId>) {
        let fits = |slot: &Slot, lease: Option<&Lease>| action.is_none_or(|action| reached_by(action, slot, lease));
        let mut found = Vec::new();
        let mut seen = 0;
        let (first, last) = filter.message.map_or((0, u64::MAX), |id| (id.0, id.0));
        let start = after.map_or(first, |after| after.message.0.max(first));
        if start > last {
            return (found, None);
        }
        let range = (Bound::Included(start), Bound::Included(last));
        for (&id, entry) in self.messages.range(range) {
            for (seq, slot) in (1u32..).zip(entry.slots()) {
                let here = recipient(id, seq);
                if after.is_some_and(|after| here <= after) || slot.state == SlotState::Done {
                    continue;
                }
                seen += 1;
                let lease = self.leases.get(&(id, seq)).filter(|_| slot.state == SlotState::Leased);
                if self.matches(filter, seq, slot) && fits(slot, lease) {
                    let in_attempt = lease.is_some();
                    let (due, attempts, told) = (slot.due, slot.attempts, slot.is_told());
                    found.push(Selected { id, seq, due, attempts, told, in_attempt });
                }
                if found.len() >= max || seen >= scan {
                    return (found, Some(here));
                }
            }
        }
        (found, None)
    }

    /// The queue that a recipient waits in.
    pub(super) fn queue_of(&self, id: u64, seq: u32) -> Option<QueueKey> {
        self.slot(id, seq).map(|slot| self.queues.key(slot.queue).clone())
    }

    fn matches(&self, filter: &Filter, seq: u32, slot: &Slot) -> bool {
        let key = self.queues.key(slot.queue);
        filter.seq.is_none_or(|wanted| wanted.0 == seq)
            && filter.zone.as_ref().is_none_or(|zone| **zone == *key.zone)
            && filter.destination.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(&key.destination))
            && filter.state.is_none_or(|state| Some(state) == slot.state.shown())
    }

    pub(super) fn counts(&self) -> (u64, u64, u64) {
        (self.messages.len() as u64, self.recipients, self.leases.len() as u64)
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.messages.contains_key(&id)
    }

    pub(super) fn add_hot(&mut self, message: HotMessage) {
        self.hot.insert(message);
    }
}

/// Would the action do anything to this recipient?
fn reached_by(action: Action, slot: &Slot, lease: Option<&Lease>) -> bool {
    let then = |fits: fn(Option<Action>) -> bool| lease.is_some_and(|lease| fits(lease.then));
    match action {
        Action::Retry(_) => slot.state == SlotState::Pending || then(|then| then.is_none()),
        Action::Hold => {
            slot.state == SlotState::Pending
                || then(|then| matches!(then, None | Some(Action::Retry(_) | Action::Release(_))))
        }
        Action::Release(_) => slot.state == SlotState::Held || then(|then| then == Some(Action::Hold)),
        Action::Delete => lease.is_none_or(|lease| lease.then != Some(Action::Delete)),
    }
}

pub(super) fn recipient(id: u64, seq: u32) -> RecipientId {
    RecipientId { message: QueueId(id), seq: Seq(seq) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_stays_small() {
        assert_eq!(size_of::<Slot>(), 16);
        assert!(size_of::<Entry>() <= 24, "{}", size_of::<Entry>());
    }
}
