//! The durable store: messages with their content and recipients' states ([`Spool`]), and namespaced durable state
//! ([`Facts`]). Two traits, so that engines can be exchanged; one engine so far, [`embedded`], in redb.
//!
//! It is the only module that knows redb (later: SQL). It does not know SMTP, zones' policy or what an outcome means
//! beyond "is the recipient finished".
//!
//! # Promises
//! * [`Spool::commit`] resolves when the message is on disk; only then may a client be told 250.
//! * A message leaves only by [`Spool::settle`] or [`Spool::admin`]; a settlement is whole or not at all, with the
//!   DSNs and facts that belong to it.
//! * Leases live in memory: after a crash every recipient that was in an attempt reads as pending.
//! * After a failed sync the store refuses everything ([`Health::Poisoned`]); the sync is never retried.

pub mod embedded;
mod filter;

pub use filter::{Filter, FilterError};

use bytes::Bytes;
use postern_core::hook::Attributes;
use postern_core::mail::{Envelope, QueueId, RecipientId, Seq};
use postern_core::message::{BodyHashes, ContentSource};
use postern_core::route::QueueKey;
use postern_core::time::Timestamp;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Why the store could not do it. `Display` is for the log; clients get a public text by kind.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Too much is in flight or the disk is nearly full: 452, try again.
    #[error("no room: {0}")]
    Busy(String),
    /// A write or sync failed, now or earlier: nothing is taken until a restart. 451.
    #[error("the store failed and takes nothing until it is restarted: {0}")]
    Poisoned(String),
    /// No such message (any more).
    #[error("there is no message {0}")]
    NotFound(QueueId),
    /// A lease was lost: another attempt or an operator got there first. Nothing was changed.
    #[error("the lease of {0} was lost")]
    LeaseLost(RecipientId),
    /// What was read back is not what was written.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// The caller asked for something that can't be stored: no recipients, a fact that is too long. A bug of ours.
    #[error("it can't be stored: {0}")]
    Invalid(String),
}

/// How the store is, without asking the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Takes mail.
    Ok,
    /// Takes none for now (disk nearly full); delivers. The text is for the log.
    Full(String),
    /// Takes none until a restart.
    Poisoned(String),
}

/// Where a message came from; kept with it for log lines and DSNs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Session it came in by; `-` for the server's own DSNs.
    pub session: Arc<str>,
    /// Listener, as in `[listener.NAME]`; `-` for the server's own.
    pub listener: Arc<str>,
    /// The client's end of the connection.
    pub peer_addr: Option<SocketAddr>,
    /// The authenticated user.
    pub user: Option<Arc<str>>,
    /// What plugins noted when it came in.
    pub attributes: Arc<Attributes>,
}

/// A message to be committed with the body section in its draft.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Reverse-path, recipients, parameters.
    pub envelope: Envelope,
    /// The final header block: edits and Received applied.
    pub header: Bytes,
    /// The queue of each recipient, in the order of the envelope.
    pub queues: Vec<QueueKey>,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// Not before this (`accepted` if at once).
    pub deliver_at: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// Recipients that do not begin as pending until `deliver_at`, each once.
    pub starts: Vec<(Seq, Start)>,
    /// DKIM's hashes of its body, where they are known.
    pub body_hashes: Option<BodyHashes>,
    /// State that must be durable with the message.
    pub facts: Vec<Fact>,
}

/// How a recipient begins that does not begin like the others of its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// First attempt not before this.
    pub due: Timestamp,
    /// Held from the beginning, for this reason (one line, cut at 512 octets).
    pub held: Option<String>,
}

/// A message as it stands in the queue: the immutable row.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    /// Its id.
    pub id: QueueId,
    /// Reverse-path, recipients, parameters.
    pub envelope: Envelope,
    /// The queue of each recipient, in the order of the envelope.
    pub queues: Vec<QueueKey>,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// First attempt not before this.
    pub deliver_at: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// Octets of the header block; content is header block and body section.
    pub header_len: u64,
    /// Octets of the content.
    pub len: u64,
    /// DKIM's hashes of its body, where they are known.
    pub body_hashes: Option<BodyHashes>,
}

impl StoredMessage {
    /// When its recipients are too old: age counts from when it was accepted, or was first to be delivered.
    #[must_use]
    pub fn expires(&self, max_age: Duration) -> Timestamp {
        self.accepted.max(self.deliver_at).after(max_age)
    }
}

/// One piece of durable state: `value` None removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Whose it is, such as `plugin/srs`; [`Facts`] says which are shared between nodes.
    pub namespace: String,
    /// At most 1 KiB; empty for a row that is [appended](Fact::appended).
    pub key: Vec<u8>,
    /// At most 64 KiB.
    pub value: Option<Bytes>,
    /// Gone at this time.
    pub expires: Option<Timestamp>,
}

impl Fact {
    /// A row at the end of a namespace: the store gives it a key of eight octets when it writes it, greater than every
    /// key that it gave before, also before a restart. So [`Facts::scan`] gives such rows in the order in which they
    /// became durable, and whoever has read up to a key misses none. (A fact with a value and an empty key.)
    #[must_use]
    pub fn appended(namespace: String, value: Bytes, expires: Option<Timestamp>) -> Self {
        Self { namespace, key: Vec::new(), value: Some(value), expires }
    }
}

/// What is to be [appended](Fact::appended) for a recipient when an operator's action takes effect on it.
pub type AppendedFor = Arc<dyn Fn(&StoredMessage, Seq) -> Vec<Fact> + Send + Sync>;

/// The right to settle one recipient. A token of an older lease is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseToken {
    /// The recipient.
    pub recipient: RecipientId,
    /// Rises with every lease.
    pub fence: u64,
}

/// A recipient in an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedRecipient {
    /// Its right to be settled.
    pub token: LeaseToken,
    /// How many attempts came before this one.
    pub attempts: u32,
    /// The sender was told that it is late.
    pub told: bool,
}

/// The due recipients of one message in one queue.
#[derive(Clone, Debug)]
pub struct Leased {
    /// The message's row.
    pub message: Arc<StoredMessage>,
    /// In order of [`Seq`]; never empty.
    pub recipients: Vec<LeasedRecipient>,
}

/// What becomes of a leased recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settle {
    /// It is finished: delivered, bounced or expired. When the last one is, the message ends.
    Done,
    /// It waits until `due`; one more attempt counts. `reason` (one line, cut at 512 octets) is what `queue list` shows.
    Defer {
        /// Next attempt.
        due: Timestamp,
        /// Why.
        reason: String,
        /// The sender is told of the delay, with this settlement.
        told: bool,
    },
    /// It waits until `due` for a limit of ours: there was no attempt. `reason` as for [`Settle::Defer`].
    Postpone {
        /// Next attempt.
        due: Timestamp,
        /// Why.
        reason: String,
        /// The sender is told of the delay, with this settlement.
        told: bool,
    },
    /// The lease ends, the sender is told of the delay with this settlement, and nothing else changes: there was no
    /// attempt.
    Told,
    /// The lease ends and nothing else changes: the attempt did not happen.
    Release,
}

/// The outcome of an attempt for recipients of one message, applied whole or not at all.
#[derive(Debug)]
pub struct Settlement<S> {
    /// The message.
    pub message: QueueId,
    /// What becomes of its leased recipients.
    pub outcomes: Vec<(LeaseToken, Settle)>,
    /// Messages (DSNs) that are queued in the same transaction.
    pub emit: Vec<(S, NewMessage)>,
    /// State that changes in the same transaction.
    pub facts: Vec<Fact>,
}

/// Where a recipient stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Waits for its due time or for a free connection.
    Pending,
    /// Leased. In memory only.
    InAttempt,
    /// Held by an operator or a hook.
    Held,
}

/// One recipient, as `queue list` shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its message's row.
    pub message: Arc<StoredMessage>,
    /// Which of its recipients.
    pub seq: Seq,
    /// Where it stands.
    pub state: State,
    /// Attempts so far.
    pub attempts: u32,
    /// Next attempt (pending), or what it was before the attempt or hold.
    pub due: Timestamp,
    /// Why it was deferred last; empty if it never was.
    pub reason: String,
    /// The sender was told that it is late.
    pub told: bool,
}

/// Which messages [`Spool::lease_aged`] looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aged {
    /// With this id or a later one.
    pub from: QueueId,
    /// Accepted before this, by the time in the ids, which may be some later than the acceptance.
    pub before: Timestamp,
    /// Only recipients whose sender was not told that they are late.
    pub untold: bool,
}

impl Aged {
    /// All that were accepted before a time.
    #[must_use]
    pub fn all(before: Timestamp) -> Self {
        Self { from: QueueId(0), before, untold: false }
    }
}

/// What an operator does to recipients. Those in an attempt get it when they are settled as deferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Due now.
    Retry(Timestamp),
    /// No attempts until released.
    Hold,
    /// Held ones are due now.
    Release(Timestamp),
    /// Out of the queue, without a DSN.
    Delete,
}

/// Whom an action reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// How many recipients.
    pub recipients: u64,
    /// The queues that they wait in, each once, in order.
    pub queues: Vec<QueueKey>,
}

/// Figures about the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages with at least one unfinished recipient.
    pub messages: u64,
    /// Recipients pending, in attempt or held.
    pub recipients: u64,
    /// Of these, in attempt.
    pub in_attempt: u64,
    /// Octets of drafts that are not committed and are held in memory.
    pub draft_memory: u64,
}

/// Content on its way in. Dropping it leaves nothing behind.
pub trait Draft: Send + 'static {
    /// What [`Draft::seal`] gives.
    type Sealed: SealedDraft;

    /// The id that the message will have.
    fn id(&self) -> QueueId;

    /// Appends to the body section; waits while too much is in flight.
    ///
    /// # Errors
    /// [`SpoolError::Busy`] or [`SpoolError::Poisoned`]; the draft is of no more use.
    fn write(&mut self, chunk: Bytes) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// Ends the content: from now on it can be read by range, and not be changed.
    ///
    /// # Errors
    /// As [`Draft::write`].
    fn seal(self) -> impl Future<Output = Result<Self::Sealed, SpoolError>> + Send;
}

/// Complete content, not yet committed. Dropping it leaves nothing behind.
pub trait SealedDraft: std::fmt::Debug + Send + Sync + 'static {
    /// The id that the message will have.
    fn id(&self) -> QueueId;

    /// The body section.
    fn body(&self) -> Arc<dyn ContentSource>;
}

/// The queue's store.
pub trait Spool: Clone + Send + Sync + 'static {
    /// Content on its way in.
    type Draft: Draft<Sealed = Self::Sealed>;
    /// Complete content.
    type Sealed: SealedDraft;

    /// Starts a draft. `declared` is MAIL's SIZE.
    ///
    /// # Errors
    /// [`SpoolError::Busy`] if there is no room for it, [`SpoolError::Poisoned`].
    fn begin(&self, declared: Option<u64>) -> impl Future<Output = Result<Self::Draft, SpoolError>> + Send;

    /// Starts a draft for the server's own small messages (DSNs): exempt from what is kept free of the disk and from
    /// the clients' memory budget, bounded by a small budget of its own.
    ///
    /// # Errors
    /// [`SpoolError::Busy`] if too many of them are in flight, [`SpoolError::Poisoned`].
    fn begin_own(&self) -> impl Future<Output = Result<Self::Draft, SpoolError>> + Send;

    /// Starts a draft that is never committed: room for what is needed while a message comes in. Sealed, it takes no
    /// memory; the budget that it has until then is not that of clients' content.
    ///
    /// # Errors
    /// As [`Spool::begin`].
    fn begin_scratch(&self) -> impl Future<Output = Result<Self::Draft, SpoolError>> + Send;

    /// Starts the content that takes the place of `first`'s, under the same id: the body section is written to the draft,
    /// `header` is the header block that it will be committed with, and `len` their octets, if known. What `first` has
    /// can be read until the new draft is committed or dropped, and is gone then.
    ///
    /// # Errors
    /// As [`Spool::begin`]; `first` is gone then.
    fn begin_second(
        &self,
        first: Self::Sealed,
        header: Bytes,
        len: Option<u64>,
    ) -> impl Future<Output = Result<Self::Draft, SpoolError>> + Send;

    /// Queues the message; resolves when it is durable. Dropping the future does not take a queued commit back.
    ///
    /// # Errors
    /// The message is not queued; see [`SpoolError`].
    fn commit(
        &self,
        draft: Self::Sealed,
        message: NewMessage,
    ) -> impl Future<Output = Result<QueueId, SpoolError>> + Send;

    /// The queues with recipients that are due at `now` and not leased or held, and when the next one after `now` is
    /// due. At most 10,000 queues a call, those longest due first; if there are more, the next call goes on from there,
    /// and `next_due` is soon.
    fn ready(&self, now: Timestamp) -> Ready;

    /// Resolves once something has become due earlier than the last [`Spool::ready`] knew: a commit, a release, a
    /// retry. May also resolve for nothing. One waiter at a time.
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// Leases due recipients of `queue`, by due time, at most `messages` messages with at most `recipients` recipients
    /// each; at most one lease of a recipient is alive. Empty if nothing is due. `ttl` is for engines that outlive
    /// their clients' processes; the embedded one's leases end with the process.
    ///
    /// # Errors
    /// The store can't be read.
    fn lease(
        &self,
        queue: &QueueKey,
        now: Timestamp,
        messages: usize,
        recipients: usize,
        ttl: Duration,
    ) -> impl Future<Output = Result<Vec<Leased>, SpoolError>> + Send;

    /// Leases due recipients of old messages, at most `recipients` of each, whatever their queue, oldest messages first:
    /// what has expired or is late is found by this even if nobody attempts it.
    ///
    /// # Errors
    /// The store can't be read.
    fn lease_aged(
        &self,
        aged: Aged,
        now: Timestamp,
        messages: usize,
        recipients: usize,
        ttl: Duration,
    ) -> impl Future<Output = Result<Vec<Leased>, SpoolError>> + Send;

    /// Prolongs leases and gives the tokens that were still alive.
    ///
    /// # Errors
    /// The store can't be reached.
    fn renew(
        &self,
        tokens: &[LeaseToken],
        ttl: Duration,
    ) -> impl Future<Output = Result<Vec<LeaseToken>, SpoolError>> + Send;

    /// The whole content (header block and body section) of a queued message. Reading pins nothing.
    ///
    /// # Errors
    /// [`SpoolError::NotFound`], or the store can't be read.
    fn open(&self, id: QueueId) -> impl Future<Output = Result<Arc<dyn ContentSource>, SpoolError>> + Send;

    /// Applies a settlement; resolves when it is durable. True if the message has ended.
    ///
    /// # Errors
    /// [`SpoolError::LeaseLost`] if any token is not the newest of its recipient: nothing was changed.
    fn settle(&self, settlement: Settlement<Self::Sealed>) -> impl Future<Output = Result<bool, SpoolError>> + Send;

    /// What `action` would do something to now, without doing it.
    ///
    /// # Errors
    /// The store can't be read.
    fn survey(&self, filter: &Filter, action: Action) -> impl Future<Output = Result<Reach, SpoolError>> + Send;

    /// Does `action` to every recipient that fits, and says how many there were; resolves when it is durable. A
    /// deletion is told to the delivery log once it is final: at once, or at the end of the attempt that has the
    /// recipient; after a crash in between, at the next open.
    ///
    /// # Errors
    /// See [`SpoolError`].
    fn admin(&self, filter: &Filter, action: Action) -> impl Future<Output = Result<u64, SpoolError>> + Send {
        self.admin_with(filter, action, None)
    }

    /// As [`Spool::admin`], with facts that are appended in the transaction in which the action becomes durable for a
    /// recipient; where it is a deletion during an attempt, in the one in which that becomes final, if it does. A
    /// recipient whose message can't be read gets none.
    ///
    /// # Errors
    /// See [`SpoolError`]; [`SpoolError::Invalid`] if one of the facts is not an appended one.
    fn admin_with(
        &self,
        filter: &Filter,
        action: Action,
        appended: Option<AppendedFor>,
    ) -> impl Future<Output = Result<u64, SpoolError>> + Send;

    /// Recipients that fit, by id, after `after`, at most `limit`.
    ///
    /// # Errors
    /// The store can't be read.
    fn list(
        &self,
        filter: &Filter,
        after: Option<RecipientId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Listed>, SpoolError>> + Send;

    /// How the store is. Cheap.
    fn health(&self) -> Health;

    /// Figures. Cheap.
    fn stats(&self) -> Stats;
}

/// What [`Spool::ready`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Queues with work now, and about how many recipients are due in each: at least one, at most 1,000, and never
    /// more than there are.
    pub queues: Vec<(QueueKey, usize)>,
    /// When to look again if nothing changes before.
    pub next_due: Option<Timestamp>,
}

/// Durable state in namespaces. Facts are also written inside [`Spool::commit`] and [`Spool::settle`].
///
/// | namespace | shared between nodes of one queue? |
/// |---|---|
/// | `plugin/NAME` | shared |
/// | `node/…` | per node |
/// | `node/event` | per node: the plugins that there may be events for, by name |
/// | `node/event/NAME` | per node: events that the plugin has not taken yet, appended |
/// | `node/idempotency` | per node: what became of requests with an Idempotency-Key |
/// | `node/limits` | per node: how far the limits are that take over a second to recover |
/// | `node/dropped` | per node: deletions by operators that the log has not been told yet; the engine's own |
pub trait Facts: Clone + Send + Sync + 'static {
    /// The value, unless it has expired at `now`.
    ///
    /// # Errors
    /// The store can't be read.
    fn get(
        &self,
        namespace: &str,
        key: &[u8],
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Bytes>, SpoolError>> + Send;

    /// Keys that begin with `prefix` and their values, by key, from `after` on, at most `limit`.
    ///
    /// # Errors
    /// The store can't be read.
    fn scan(
        &self,
        namespace: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        now: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Vec<u8>, Bytes)>, SpoolError>> + Send;

    /// Writes facts in one transaction; resolves when they are durable.
    ///
    /// # Errors
    /// None of them was written; see [`SpoolError`].
    fn write(&self, facts: Vec<Fact>) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// Changes whenever something that was [appended](Fact::appended), in whichever namespace, has become durable.
    fn appended(&self) -> watch::Receiver<u64>;
}
