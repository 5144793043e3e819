//! The embedded engine: one redb file, one thread that writes it, the queue's order in memory.
//!
//! ```text
//! connections ── Op ──▶ writer: one transaction per group, two-phase, fsynced ──▶ index ──▶ answers
//! readers     ── short read transactions on blocking threads; fresh messages come from memory
//! ```
//!
//! What operators do goes `walk` (who fits?) → `admin` (one slice, one transaction) → `dropped` (the log is told). A
//! store that no server has open is read by `vault`, for `inspect` (`spool check`) and `export`.
//!
//! # Limits
//! * One process (`LOCK`). Leases end with the process, so `ttl` counts for nothing.
//! * After any failed write the store is poisoned and the process should end: see [`Embedded::poisoned`]. That a full
//!   disk does this is avoided by [`Options::min_free`]: content is taken only as long as that much is left (see
//!   `space`), while settlements, which free space, go on. Only if the disk is filled beyond that by others is it a
//!   failed write like any other.
//! * An admin action on many recipients is several transactions of some thousands each.
//! * Content of up to 256 KiB is in memory until its commit; see `budget` for the bounds.

mod admin;
mod audit;
mod budget;
mod content;
mod count;
mod draft;
mod dropped;
mod export;
mod facts;
mod group;
mod hot;
mod index;
mod inspect;
mod intake;
mod open;
mod overlay;
mod probe;
mod queues;
mod reader;
mod record;
mod settle;
mod shared;
mod slot;
mod space;
mod states;
mod store;
#[cfg(test)]
mod tests;
mod vault;
mod walk;
mod writer;

pub use audit::{AuditError, audit};
pub use draft::{EmbeddedDraft, EmbeddedSealed};
pub use export::{ExportError, Saved, export};
pub use inspect::{Counts, Damage, check};
pub use open::OpenError;

use crate::spool::{
    Action, Aged, AppendedFor, Filter, Health, LeaseToken, Leased, Listed, NewMessage, Reach, Ready, Settle,
    Settlement, Spool, SpoolError, Stats,
};
use bytes::Bytes;
use open::Opened;
use postern_core::mail::{QueueId, RecipientId};
use postern_core::message::ContentSource;
use postern_core::route::QueueKey;
use postern_core::time::Timestamp;
use settle::{Marks, SettleOp};
use shared::{Shared, lock};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use writer::{CommitOp, Op, Writer};

/// Operations that may wait for the writer.
const QUEUED_OPS: usize = 1024;

/// How the engine is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of this node, in every id that it makes.
    pub node: u16,
    /// Octets that are kept free on the disk: no content is taken that would leave less. At least 16 MiB, or 0 for no
    /// limit. Where the system can't be asked (not Unix) it limits nothing.
    pub min_free: u64,
    /// Asks the system how many octets the disk of a directory has left.
    pub free: fn(&Path) -> u64,
    /// Octets of redb's page cache.
    pub cache: usize,
    /// Octets of content that may be in memory before its commit.
    pub draft_memory: usize,
    /// Octets of fresh messages that are kept in memory for their first attempt.
    pub hot: usize,
    /// How long a draft waits for memory before it is refused as [`SpoolError::Busy`].
    pub patience: Duration,
    /// Octets that a new file is made with, so that it needn't grow under load.
    pub pregrow: usize,
    /// Makes an open after a crash quick at the cost of a few per cent at each commit.
    pub quick_repair: bool,
    /// The clock that ids are made by.
    pub clock: fn() -> Timestamp,
}

impl Options {
    /// The usual set-up, with ids made by `clock`.
    #[must_use]
    pub fn new(clock: fn() -> Timestamp) -> Self {
        Self {
            node: 0,
            min_free: 256 * 1024 * 1024,
            free: space::free_octets,
            cache: 16 * 1024 * 1024,
            draft_memory: 64 * 1024 * 1024,
            hot: 16 * 1024 * 1024,
            patience: Duration::from_secs(30),
            pregrow: 32 * 1024 * 1024,
            quick_repair: true,
            clock,
        }
    }
}

/// The embedded engine; clones share one store.
///
/// When the last clone and draft are dropped, what is queued is written and the store is closed, which blocks for as
/// long as that takes.
#[derive(Clone, Debug)]
pub struct Embedded {
    handle: Handle,
}

/// A way to the writer.
#[derive(Clone, Debug)]
struct Handle {
    shared: Arc<Shared>,
    tail: Arc<Tail>,
}

/// Ends the writer's thread with the last handle.
#[derive(Debug)]
struct Tail {
    ops: Option<mpsc::Sender<Op>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.ops = None;
        if let Some(thread) = self.thread.take() {
            // It catches its panics.
            let _ = thread.join();
        }
    }
}

impl Handle {
    async fn send(&self, op: Op) -> Result<(), SpoolError> {
        self.shared.check()?;
        let ops = self.tail.ops.as_ref().ok_or_else(|| self.shared.failure())?;
        ops.send(op).await.map_err(|_| self.shared.failure())
    }

    /// The writer's answer; it drops the sender only when the store is poisoned.
    async fn answer<T>(&self, answer: oneshot::Receiver<Result<T, SpoolError>>) -> Result<T, SpoolError> {
        answer.await.unwrap_or_else(|_| Err(self.shared.failure()))
    }
}

impl Embedded {
    /// Opens the store in `dir`, or makes one if there never was one. Blocks: for start-up.
    ///
    /// # Errors
    /// See [`OpenError`]; a damaged or lost store is never replaced by an empty one.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        Self::start(open::open(dir, options)?)
    }

    fn start(Opened { shared, ceiling, sweeps, told }: Opened) -> Result<Self, OpenError> {
        let shared = Arc::new(shared);
        let (ops, queued) = mpsc::channel(QUEUED_OPS);
        shared.set_waker(ops.downgrade());
        let writer = Writer::new(Arc::clone(&shared), queued, ceiling, sweeps, &told);
        let thread = std::thread::Builder::new()
            .name("spool-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io { path: "spool-writer".into(), source })?;
        let tail = Arc::new(Tail { ops: Some(ops), thread: Some(thread) });
        Ok(Self { handle: Handle { shared, tail } })
    }

    /// Resolves with the reason once the store is poisoned; the process should then end with a failure.
    pub async fn poisoned(&self) -> String {
        self.handle.shared.poisoned().await
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Gives leases back at once, if that is all that a settlement does. None: it has to go through the writer.
    fn release_now(&self, settlement: &Settlement<EmbeddedSealed>) -> Option<Result<bool, SpoolError>> {
        let Settlement { message, outcomes, emit, facts } = settlement;
        let only_releases = outcomes.iter().all(|(_, settle)| *settle == Settle::Release);
        if !only_releases || !emit.is_empty() || !facts.is_empty() {
            return None;
        }
        let tokens = outcomes.iter().map(|(token, _)| *token);
        let mut index = self.shared().index();
        if let Err(lost) = index.begin_settle(*message, tokens.clone()) {
            return Some(Err(SpoolError::LeaseLost(lost)));
        }
        let released = index.release(tokens.clone());
        if !released {
            index.abandon_settle(tokens);
        }
        if index.take_news() {
            self.shared().news.notify_one();
        }
        released.then_some(Ok(false))
    }
}

impl Spool for Embedded {
    type Draft = EmbeddedDraft;
    type Sealed = EmbeddedSealed;

    async fn begin(&self, declared: Option<u64>) -> Result<EmbeddedDraft, SpoolError> {
        let shared = self.shared();
        shared.check()?;
        let room = shared.space.reserve(declared.unwrap_or(0)).inspect_err(|_| shared.look_for_room())?;
        let share = shared.budget.begin(declared).await?;
        let id = lock(&shared.ids).next((shared.options.clock)());
        Ok(EmbeddedDraft::new(self.handle.clone(), id, share, room, declared))
    }

    async fn begin_own(&self) -> Result<EmbeddedDraft, SpoolError> {
        let shared = self.shared();
        shared.check()?;
        let share = shared.own_budget.begin(None).await?;
        let id = lock(&shared.ids).next((shared.options.clock)());
        Ok(EmbeddedDraft::new(self.handle.clone(), id, share, shared.space.own(), None))
    }

    async fn begin_scratch(&self) -> Result<EmbeddedDraft, SpoolError> {
        let shared = self.shared();
        shared.check()?;
        let room = shared.space.reserve(0).inspect_err(|_| shared.look_for_room())?;
        let share = shared.scratch_budget.begin(None).await?;
        let id = lock(&shared.ids).next((shared.options.clock)());
        EmbeddedDraft::new(self.handle.clone(), id, share, room, None).streaming().await
    }

    async fn begin_second(
        &self,
        first: EmbeddedSealed,
        header: Bytes,
        len: Option<u64>,
    ) -> Result<EmbeddedDraft, SpoolError> {
        let shared = self.shared();
        shared.check()?;
        let room = shared.space.reserve(len.unwrap_or(0)).inspect_err(|_| shared.look_for_room())?;
        let share = shared.scratch_budget.begin(len).await?;
        Ok(EmbeddedDraft::new(self.handle.clone(), first.id, share, room, len).instead_of(first, header))
    }

    async fn commit(&self, draft: EmbeddedSealed, message: NewMessage) -> Result<QueueId, SpoolError> {
        let incoming = intake::prepare(draft, message)?;
        let (ack, answer) = oneshot::channel();
        self.handle.send(Op::Commit(Box::new(CommitOp { incoming, ack }))).await?;
        self.handle.answer(answer).await
    }

    fn ready(&self, now: Timestamp) -> Ready {
        self.shared().index().ready(now)
    }

    async fn changed(&self) {
        self.shared().news.notified().await;
    }

    async fn lease(
        &self,
        queue: &QueueKey,
        now: Timestamp,
        messages: usize,
        recipients: usize,
        _ttl: Duration,
    ) -> Result<Vec<Leased>, SpoolError> {
        self.shared().check()?;
        let groups = self.shared().index().lease(queue, now.0, messages, recipients);
        reader::leased(self.shared(), groups).await
    }

    async fn lease_aged(
        &self,
        aged: Aged,
        now: Timestamp,
        messages: usize,
        recipients: usize,
        _ttl: Duration,
    ) -> Result<Vec<Leased>, SpoolError> {
        self.shared().check()?;
        let groups = self.shared().index().lease_aged(&aged, now.0, messages, recipients);
        reader::leased(self.shared(), groups).await
    }

    async fn renew(&self, tokens: &[LeaseToken], _ttl: Duration) -> Result<Vec<LeaseToken>, SpoolError> {
        let index = self.shared().index();
        Ok(tokens.iter().filter(|token| index.is_leased(token)).copied().collect())
    }

    async fn open(&self, id: QueueId) -> Result<Arc<dyn ContentSource>, SpoolError> {
        reader::open(self.shared(), id).await
    }

    async fn settle(&self, settlement: Settlement<EmbeddedSealed>) -> Result<bool, SpoolError> {
        self.shared().check()?;
        if let Some(answer) = self.release_now(&settlement) {
            return answer;
        }
        let Settlement { message, outcomes, emit, facts } = settlement;
        let marks = Marks::set(self.shared(), message, &outcomes)?;
        let emit = emit.into_iter().map(|(draft, new)| intake::prepare(draft, new)).collect::<Result<Vec<_>, _>>()?;
        let facts = facts::encode(facts)?;
        let (ack, answer) = oneshot::channel();
        let op = SettleOp { message, outcomes, emit, facts, marks: Some(marks), ack: Some(ack) };
        self.handle.send(Op::Settle(Box::new(op))).await?;
        self.handle.answer(answer).await
    }

    async fn survey(&self, filter: &Filter, action: Action) -> Result<Reach, SpoolError> {
        self.shared().check()?;
        walk::survey(self.shared(), filter, action).await
    }

    async fn admin_with(
        &self,
        filter: &Filter,
        action: Action,
        appended: Option<AppendedFor>,
    ) -> Result<u64, SpoolError> {
        self.shared().check()?;
        admin::apply(&self.handle, filter, action, appended).await
    }

    async fn list(&self, filter: &Filter, after: Option<RecipientId>, limit: usize) -> Result<Vec<Listed>, SpoolError> {
        reader::list(self.shared(), filter, after, limit).await
    }

    fn health(&self) -> Health {
        self.shared().health()
    }

    fn stats(&self) -> Stats {
        let (messages, recipients, in_attempt) = self.shared().index().counts();
        let Shared { budget, own_budget, scratch_budget, .. } = &**self.shared();
        let budgets = [budget, own_budget, scratch_budget];
        Stats { messages, recipients, in_attempt, draft_memory: budgets.into_iter().map(budget::Budget::used).sum() }
    }
}
