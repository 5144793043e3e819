//! A group of operations that becomes one transaction: what to write, then what to tell the index and the waiters.

use super::dropped::{self, Dropped};
use super::facts::{self, Numbers};
use super::index::Index;
use super::settle::{self, SettleOp};
use super::shared::Shared;
use super::states::Fate;
use super::store::{Extent, StoreError, Tables};
use super::writer::{ChunkOp, CommitOp, FactsOp, Incoming, Op};
use crate::spool::{Action, Settle, SpoolError};
use postern_core::mail::QueueId;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

#[derive(Default)]
pub(super) struct Group {
    chunks: Vec<ChunkOp>,
    commits: Vec<CommitOp>,
    settles: Vec<Planned>,
    facts: Vec<FactsOp>,
    /// Messages that settlements of this group are about, as they stand before or (while writing) after each of them.
    messages: HashMap<u64, (u32, Extent)>,
    loose: Vec<u64>,
    /// Deletions by operators that became final at these settlements.
    dropped: Vec<Dropped>,
    newest: u64,
}

struct Planned {
    op: SettleOp,
    changes: Vec<Change>,
    ended: bool,
    /// The leases it is about are not there: it is not applied.
    lost: bool,
}

/// What becomes of one recipient.
#[derive(Clone, Copy)]
struct Change {
    seq: u32,
    fate: Fate,
    /// It has to be written, unless the message ends.
    write: bool,
    /// An operator has deleted it during the attempt.
    deleted: bool,
    /// Place of the outcome, for its reason.
    outcome: usize,
}

impl Group {
    pub(super) fn new(ops: Vec<Op>) -> Self {
        let mut group = Self::default();
        for op in ops {
            match op {
                Op::Chunk(chunk) => group.chunks.push(chunk),
                Op::Commit(commit) => {
                    group.newest = group.newest.max(commit.incoming.new.id);
                    group.commits.push(*commit);
                }
                Op::Settle(settle) => group.push_settle(*settle),
                Op::Facts(facts) => group.facts.push(facts),
                // `Writer::collect` keeps these apart.
                Op::Admin(_) | Op::Wake => {}
            }
        }
        group
    }

    pub(super) fn push_settle(&mut self, op: SettleOp) {
        self.newest = op.emit.iter().fold(self.newest, |newest, emit| newest.max(emit.new.id));
        self.settles.push(Planned { op, changes: Vec::new(), ended: false, lost: false });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.only_chunks() && self.chunks.is_empty()
    }

    pub(super) fn only_chunks(&self) -> bool {
        self.commits.is_empty() && self.settles.is_empty() && self.facts.is_empty()
    }

    pub(super) fn chunk_octets(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.data.len()).sum()
    }

    /// The greatest id of its new messages.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Ids of ended messages whose chunks are still to be swept.
    pub(super) fn loose(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.loose)
    }

    /// Decides what becomes of each recipient. Only this thread changes what is decided on: the leases are marked.
    pub(super) fn prepare(&mut self, index: &Index) {
        for planned in &mut self.settles {
            let id = planned.op.message.0;
            let Some((live, extent)) = index.extent(id) else {
                planned.lost = !planned.op.outcomes.is_empty();
                continue;
            };
            for (outcome, (token, settle)) in planned.op.outcomes.iter().enumerate() {
                let seq = token.recipient.seq.0;
                let Some(known) = index.settling(id, seq) else { continue };
                let (fate, write) = settle::fate(settle, known);
                let deleted = known.then == Some(Action::Delete);
                planned.changes.push(Change { seq, fate, write, deleted, outcome });
            }
            if planned.changes.len() < planned.op.outcomes.len() {
                planned.lost = true;
                planned.changes.clear();
                continue;
            }
            planned.changes.sort_unstable_by_key(|change| change.seq);
            let (left, _) = self.messages.entry(id).or_insert((live, extent));
            let done = planned.changes.iter().filter(|change| change.fate == Fate::Done).count();
            *left = left.saturating_sub(u32::try_from(done).unwrap_or(u32::MAX));
            planned.ended = done > 0 && *left == 0;
        }
    }

    pub(super) fn write(&mut self, tables: &mut Tables<'_>, numbers: &mut Numbers<'_>) -> Result<(), StoreError> {
        for chunk in &self.chunks {
            if !chunk.ended.load(Ordering::Acquire) {
                tables.put_loose(chunk.id, chunk.number, chunk.crc, &chunk.data)?;
            }
        }
        for commit in &self.commits {
            write_incoming(tables, &commit.incoming, numbers)?;
        }
        for planned in self.settles.iter().filter(|planned| !planned.lost) {
            let id = planned.op.message.0;
            // First what is appended about its message, then about those that tell of it.
            facts::write(tables, &planned.op.facts, numbers)?;
            for emit in &planned.op.emit {
                write_incoming(tables, emit, numbers)?;
            }
            for change in planned.changes.iter().filter(|change| change.deleted) {
                let note = dropped::key(id, change.seq);
                match planned.op.outcomes[change.outcome].1 {
                    // The attempt ended it before the operator could.
                    Settle::Done => tables.put_fact(&note, None)?,
                    Settle::Defer { .. } | Settle::Postpone { .. } | Settle::Told | Settle::Release => {
                        self.dropped.extend(Dropped::made_final(tables, &note, numbers)?);
                    }
                }
            }
            let Some((_, extent)) = self.messages.get_mut(&id) else { continue };
            if planned.ended {
                if tables.remove(id, *extent)? {
                    self.loose.push(id);
                }
                continue;
            }
            let outcomes = &planned.op.outcomes;
            let states: Vec<_> = planned
                .changes
                .iter()
                .filter(|change| change.write)
                .map(|change| (change.seq - 1, change.fate, reason(&outcomes[change.outcome].1)))
                .collect();
            if !states.is_empty() {
                tables.set_states(id, &states)?;
                extent.states = true;
            }
        }
        for facts in &self.facts {
            facts::write(tables, &facts.facts, numbers)?;
        }
        Ok(())
    }

    /// It is durable: the index follows, then everybody is told. Gives the deletions that the log is to be told.
    pub(super) fn finish(self, shared: &Shared) -> Vec<Dropped> {
        let Self { mut chunks, mut commits, mut settles, facts, dropped, .. } = self;
        chunks.iter_mut().for_each(|chunk| chunk.room.spend());
        drop(chunks);
        let news = {
            let mut index = shared.index();
            for commit in &mut commits {
                arrive(&mut index, &mut commit.incoming);
            }
            for planned in settles.iter_mut().filter(|planned| !planned.lost) {
                for emit in &mut planned.op.emit {
                    arrive(&mut index, emit);
                }
                for change in &planned.changes {
                    index.apply(planned.op.message.0, change.seq, change.fate, change.write);
                }
            }
            index.take_news()
        };
        // Nobody minds if a waiter is gone.
        for CommitOp { incoming, ack } in commits {
            let _ = ack.send(Ok(QueueId(incoming.new.id)));
        }
        for Planned { op: SettleOp { ack, outcomes, marks, .. }, ended, lost, .. } in settles {
            drop(marks);
            let lost = outcomes.first().filter(|_| lost);
            let answer = lost.map_or(Ok(ended), |(token, _)| Err(SpoolError::LeaseLost(token.recipient)));
            let _ = ack.map(|ack| ack.send(answer));
        }
        for FactsOp { ack, .. } in facts {
            let _ = ack.send(Ok(()));
        }
        if news {
            shared.news.notify_one();
        }
        dropped
    }
}

fn arrive(index: &mut Index, incoming: &mut Incoming) {
    index.insert(&incoming.arrival);
    for (place, fate, _) in &incoming.starts {
        index.restore(incoming.arrival.id, place + 1, *fate);
    }
    incoming.room.spend();
    if let Some(hot) = incoming.hot.take() {
        index.add_hot(hot);
    }
    if let Some(chunks) = &incoming.chunks {
        chunks.adopted();
    }
}

fn reason(settle: &Settle) -> Option<&str> {
    match settle {
        Settle::Defer { reason, .. } | Settle::Postpone { reason, .. } => Some(reason),
        Settle::Done | Settle::Told | Settle::Release => None,
    }
}

fn write_incoming(tables: &mut Tables<'_>, incoming: &Incoming, numbers: &mut Numbers<'_>) -> Result<(), StoreError> {
    tables.put(&incoming.new)?;
    if !incoming.starts.is_empty() {
        let states: Vec<_> =
            incoming.starts.iter().map(|(place, fate, reason)| (*place, *fate, reason.as_deref())).collect();
        tables.set_states(incoming.new.id, &states)?;
    }
    facts::write(tables, &incoming.facts, numbers)
}
