//! The one thread that writes: it takes what has collected while the last commit was on its way, makes one transaction
//! of it, and answers everybody once that is durable.
//!
//! There is no timer and no artificial delay: with one client a group is one message, with many it is what came in
//! during one commit. The index follows the disk, never the other way round. Whatever fails here (an I/O error, a full
//! disk that redb ran into, a page that is not what it should be) poisons the store: the group's waiters and all later
//! ones are refused, nothing is tried again, and the process is expected to end.

use super::admin::{self, AdminOp};
use super::budget::Share;
use super::count;
use super::draft::{EmbeddedSealed, Streamed};
use super::dropped::{Dropped, Told};
use super::facts::{Entry, Numbers};
use super::group::Group;
use super::hot::HotMessage;
use super::index::Arrival;
use super::settle::SettleOp;
use super::shared::{Shared, lock};
use super::space::Room;
use super::states::Fate;
use super::store::{self, NewRow, StoreError, Tables};
use crate::spool::SpoolError;
use bytes::Bytes;
use postern_core::mail::QueueId;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use tokio::sync::mpsc::{Receiver, error::TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Most octets in one transaction: bounds memory and the time that others wait.
const GROUP_OCTETS: usize = 4 * 1024 * 1024;
/// Most operations in one transaction.
const GROUP_OPS: usize = 2048;
/// Streamed octets after which a commit is made durable, so that redb can use freed pages again.
const DURABLE_EVERY: usize = 8 * 1024 * 1024;
/// Chunks swept in one transaction.
const SWEEP: usize = 256;
/// Transactions for chores when the store is closed. What is left is marked, and done after the next open.
const CLOSING: usize = 8;
/// Ids are reserved this far ahead of the newest, so that they never go back across a restart: 10 s.
const ID_AHEAD: u64 = 10_000 << 22;
/// Facts looked at for expiry in one transaction, and how long after the last of them it begins again.
const PURGE: usize = 256;
const PURGE_EVERY_MS: u64 = 60_000;

/// Something to be written.
#[derive(Debug)]
pub(super) enum Op {
    Chunk(ChunkOp),
    Commit(Box<CommitOp>),
    Settle(Box<SettleOp>),
    Facts(FactsOp),
    Admin(Box<AdminOp>),
    /// There are chores.
    Wake,
}

/// A chunk of content ahead of its commit.
#[derive(Debug)]
pub(super) struct ChunkOp {
    pub id: u64,
    pub number: u32,
    pub crc: u32,
    pub data: Bytes,
    /// The draft was given up.
    pub ended: Arc<AtomicBool>,
    /// Its octets of the disk.
    pub room: Room,
    pub _permit: OwnedSemaphorePermit,
}

/// A message on its way in.
pub(super) struct Incoming {
    pub new: NewRow,
    pub arrival: Arrival,
    /// Recipients that do not begin like the others: place, state, reason.
    pub starts: Vec<(u32, Fate, Option<String>)>,
    pub hot: Option<HotMessage>,
    pub facts: Vec<FactRow>,
    /// Chunks that become the message's.
    pub chunks: Option<Streamed>,
    /// The content whose place this takes: dropped, and so swept, after the commit.
    pub _first: Option<Box<EmbeddedSealed>>,
    pub _share: Option<Share>,
    /// What it takes of the disk besides chunks that are there already.
    pub room: Room,
}

#[derive(Debug)]
pub(super) struct CommitOp {
    pub incoming: Incoming,
    pub ack: oneshot::Sender<Result<QueueId, SpoolError>>,
}

#[derive(Debug)]
pub(super) struct FactsOp {
    pub facts: Vec<FactRow>,
    pub ack: oneshot::Sender<Result<(), SpoolError>>,
}

/// What is done to a fact.
#[derive(Debug)]
pub(super) enum FactRow {
    Put { key: Vec<u8>, row: Vec<u8> },
    Remove { key: Vec<u8> },
    Append(Entry),
}

impl FactRow {
    fn len(&self) -> usize {
        match self {
            Self::Put { key, row } => key.len() + row.len(),
            Self::Remove { key } => key.len(),
            Self::Append(entry) => entry.base.len() + entry.value.len(),
        }
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Incoming({})", QueueId(self.new.id))
    }
}

impl Incoming {
    fn weight(&self) -> usize {
        self.new.weight() + facts_weight(&self.facts)
    }
}

pub(super) fn facts_weight(facts: &[FactRow]) -> usize {
    facts.iter().map(|fact| 64 + fact.len()).sum()
}

impl Op {
    fn weight(&self) -> usize {
        match self {
            Self::Chunk(chunk) => chunk.data.len(),
            Self::Commit(commit) => commit.incoming.weight(),
            Self::Settle(settle) => {
                256 + facts_weight(&settle.facts) + settle.emit.iter().map(Incoming::weight).sum::<usize>()
            }
            Self::Facts(facts) => facts_weight(&facts.facts),
            Self::Admin(_) | Self::Wake => 0,
        }
    }
}

/// The writer's own state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    ops: Receiver<Op>,
    /// Ids whose chunks belong to no message.
    sweeps: VecDeque<u64>,
    /// No id given out is above this, as the store knows.
    ceiling: u64,
    /// Octets in transactions since the last durable one.
    undurable: usize,
    purge_at: u64,
    purge_cursor: Vec<u8>,
    /// Notes about deletions that the log has been told.
    told: Told,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        ops: Receiver<Op>,
        ceiling: u64,
        sweeps: Vec<u64>,
        told: &[Dropped],
    ) -> Self {
        let now = (shared.options.clock)();
        let purge_at = now.0.saturating_add(PURGE_EVERY_MS);
        let sweeps = sweeps.into();
        let told = Told::new(told, now);
        Self { shared, ops, sweeps, ceiling, undurable: 0, purge_at, purge_cursor: Vec::new(), told }
    }

    /// Runs until all handles are gone. However it ends before that, the store is poisoned.
    pub(super) fn run(mut self) {
        if catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {
            self.shared.poison("the writer panicked");
        }
    }

    fn serve(&mut self) {
        let mut next = None;
        loop {
            if next.is_none() {
                next = match self.wait() {
                    Ok(op) => op,
                    Err(()) => break,
                };
            }
            let (ops, admin) = self.collect(next.take());
            if self.shared.check().is_err() {
                // Dropping an operation refuses it: see `Shared::failure`.
                drop((ops, admin));
                continue;
            }
            self.write(ops);
            if let Some(op) = admin {
                self.administer(*op);
            }
            self.count();
        }
        // The last handle is gone, and with it the last draft. What they left is little if the store was idle.
        self.told.close();
        for _ in 0..CLOSING {
            if self.shared.check().is_err() || !self.has_chores() {
                break;
            }
            self.write(Vec::new());
        }
    }

    /// The next operation; None if there are chores to be done instead.
    fn wait(&mut self) -> Result<Option<Op>, ()> {
        if self.shared.check().is_ok() && self.has_chores() {
            return match self.ops.try_recv() {
                Ok(op) => Ok(Some(op)),
                Err(TryRecvError::Empty) => Ok(None),
                Err(TryRecvError::Disconnected) => Err(()),
            };
        }
        self.ops.blocking_recv().map(Some).ok_or(())
    }

    fn has_chores(&self) -> bool {
        let chores = lock(&self.shared.chores);
        !self.sweeps.is_empty() || self.notes_due() > 0 || !chores.discarded.is_empty() || !chores.returned.is_empty()
    }

    /// What has come in meanwhile, up to a group's size. An admin action is a group of its own.
    fn collect(&mut self, first: Option<Op>) -> (Vec<Op>, Option<Box<AdminOp>>) {
        let mut ops = Vec::new();
        let mut weight = 0;
        let mut next = first;
        while let Some(op) = next {
            if let Op::Admin(admin) = op {
                return (ops, Some(admin));
            }
            weight += op.weight();
            ops.push(op);
            let room = weight < GROUP_OCTETS && ops.len() < GROUP_OPS;
            next = if room { self.ops.try_recv().ok() } else { None };
        }
        (ops, None)
    }

    /// Runs a step. If it fails, the store is poisoned before those who wait for it hear of anything.
    fn guard<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(|| step(self))) {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => self.shared.poison(&error.to_string()),
            Err(_) => self.shared.poison("the writer panicked"),
        }
        None
    }

    /// One transaction of `ops` and chores, and the answers.
    fn write(&mut self, ops: Vec<Op>) {
        let mut group = self.group(ops);
        if self.guard(|writer| writer.transact(&mut group)).is_some() {
            self.guard(|writer| {
                let dropped = group.finish(&writer.shared);
                writer.tell(&dropped);
                Ok(())
            });
        }
    }

    fn transact(&mut self, group: &mut Group) -> Result<(), StoreError> {
        group.prepare(&self.shared.index());
        let sweep = !self.sweeps.is_empty();
        let notes = self.notes_due();
        if group.is_empty() && !sweep && notes == 0 {
            return Ok(());
        }
        let streamed = group.chunk_octets();
        let durable = !group.only_chunks() || sweep || notes > 0 || self.undurable + streamed >= DURABLE_EVERY;
        let txn = store::begin(&self.shared.db, durable, self.shared.options.quick_repair)?;
        let mut tables = Tables::new(&txn);
        let shared = Arc::clone(&self.shared);
        let mut numbers = Numbers::new(&shared);
        group.write(&mut tables, &mut numbers)?;
        self.told.remove(&mut tables, notes, &mut numbers)?;
        let swept = self.sweep(&mut tables)?;
        let ceiling = raise_ceiling(&mut tables, self.ceiling, group.newest().max(numbers.newest))?;
        if durable {
            self.purge(&mut tables)?;
        }
        drop(tables);
        txn.commit()?;

        numbers.tell();
        self.undurable = if durable { 0 } else { self.undurable + streamed };
        self.ceiling = ceiling;
        self.told.removed(notes);
        self.sweeps.drain(..swept);
        self.sweeps.extend(group.loose());
        Ok(())
    }

    /// Deletes chunks that belong to no message. How many ids, the first ones, are done with.
    fn sweep(&self, tables: &mut Tables<'_>) -> Result<usize, StoreError> {
        let mut room = SWEEP;
        for (done, id) in self.sweeps.iter().enumerate() {
            let removed = tables.sweep(*id, room)?;
            if removed == room {
                return Ok(done);
            }
            // An id costs something even if it had no chunks.
            room -= removed.max(1);
            if room == 0 {
                return Ok(done + 1);
            }
        }
        Ok(self.sweeps.len())
    }

    /// The operations, and what was left to be done.
    fn group(&mut self, ops: Vec<Op>) -> Group {
        let (discarded, returned) = {
            let mut chores = lock(&self.shared.chores);
            (std::mem::take(&mut chores.discarded), std::mem::take(&mut chores.returned))
        };
        self.sweeps.extend(discarded);
        let mut group = Group::new(ops);
        for (message, tokens) in returned {
            group.push_settle(SettleOp::giving_back(&self.shared, message, tokens));
        }
        group
    }

    /// Now and then, a step through the facts to remove those that have expired.
    fn purge(&mut self, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        let now = (self.shared.options.clock)().0;
        if now < self.purge_at {
            return Ok(());
        }
        match tables.purge_facts(&self.purge_cursor, now, PURGE)? {
            Some(cursor) => self.purge_cursor = cursor,
            None => {
                self.purge_cursor.clear();
                self.purge_at = now.saturating_add(PURGE_EVERY_MS);
            }
        }
        Ok(())
    }

    /// Looks for room in the store's file, if somebody was refused and it is time to.
    fn count(&mut self) {
        let Some(file) = self.shared.file.as_deref().filter(|_| self.shared.space.count_is_due()) else { return };
        let start = Instant::now();
        match count::used(&self.shared.db) {
            Ok(used) => self.shared.space.counted(file, used, start.elapsed()),
            // Whoever reads that message finds the same.
            Err(error) => {
                tracing::warn!("what the queue takes can't be counted: {error}");
                self.shared.space.counted(file, u64::MAX, start.elapsed());
            }
        }
    }

    fn administer(&mut self, op: AdminOp) {
        let done = self.guard(|writer| {
            writer.undurable = 0;
            let done = admin::run(&writer.shared, &op, writer.ceiling)?;
            writer.ceiling = done.ceiling;
            writer.sweeps.extend(done.loose);
            writer.tell(&done.dropped);
            Ok(done.count)
        });
        if let Some(count) = done {
            // Nobody minds if the waiter is gone.
            let _ = op.ack.send(Ok(count));
        }
    }

    /// Tells the log of deletions that are final and durable.
    fn tell(&mut self, dropped: &[Dropped]) {
        dropped.iter().for_each(Dropped::log);
        self.told.extend(dropped, (self.shared.options.clock)());
    }

    fn notes_due(&self) -> usize {
        self.told.due((self.shared.options.clock)())
    }
}

/// Reserves ids ahead of `newest` if it is above the `ceiling`; gives the one in force.
pub(super) fn raise_ceiling(tables: &mut Tables<'_>, ceiling: u64, newest: u64) -> Result<u64, StoreError> {
    if newest <= ceiling {
        return Ok(ceiling);
    }
    let ceiling = newest.saturating_add(ID_AHEAD);
    tables.set_ceiling(ceiling)?;
    Ok(ceiling)
}
