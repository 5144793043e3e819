//! What the engine's handles, its drafts, its readers and its writer share: database, index, budget, and whether the
//! store still works.

use super::Options;
use super::budget::Budget;
use super::index::Index;
use super::open::QUEUE;
use super::space::Space;
use super::writer::Op;
use crate::spool::{Health, LeaseToken, SpoolError};
use postern_core::mail::{IdGenerator, QueueId};
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::mpsc::WeakSender;
use tokio::sync::{Notify, watch};

/// Memory for the server's own messages on their way in: 48 DSNs of usual size, two large ones.
const OWN_MEMORY: usize = 2 * 1024 * 1024;
/// Memory for what plugins write and for second drafts: 16 that stream at once. Apart from that of clients' content, as
/// whoever waits for it may hold some of that.
const SCRATCH_MEMORY: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Shared {
    pub db: redb::Database,
    pub index: Mutex<Index>,
    pub ids: Mutex<IdGenerator>,
    pub budget: Budget,
    /// For the server's own messages.
    pub own_budget: Budget,
    /// For what is written while a message comes in, and is not what a client sent.
    pub scratch_budget: Budget,
    pub space: Arc<Space>,
    pub options: Options,
    /// The store's file, if it is in one.
    pub file: Option<PathBuf>,
    /// For the one who waits for [`crate::spool::Spool::changed`].
    pub news: Notify,
    /// The last key that was given to a fact that was appended and is durable.
    pub appended: watch::Sender<u64>,
    /// Why the store takes nothing any more.
    broken: watch::Sender<Option<Arc<str>>>,
    pub chores: Mutex<Chores>,
    waker: OnceLock<WeakSender<Op>>,
    /// Held as long as the database is open: dropped last.
    _lock: Option<File>,
}

/// What others leave for the writer without being able to wait for it.
#[derive(Debug, Default)]
pub(super) struct Chores {
    /// Drafts that were dropped after some of their content had been written.
    pub discarded: Vec<u64>,
    /// Leases that nobody took, of recipients that an operator has acted on meanwhile.
    pub returned: Vec<(QueueId, Vec<LeaseToken>)>,
}

impl Shared {
    pub(super) fn new(
        db: redb::Database,
        index: Index,
        last: u64,
        options: Options,
        home: Option<(PathBuf, File)>,
    ) -> Self {
        let (dir, lock) = home.unzip();
        let file = dir.as_ref().map(|dir: &PathBuf| dir.join(QUEUE));
        Self {
            db,
            index: Mutex::new(index),
            ids: Mutex::new(IdGenerator::new(options.node, Some(QueueId(last)))),
            budget: Budget::new(options.draft_memory, options.patience),
            own_budget: Budget::new(OWN_MEMORY, options.patience),
            scratch_budget: Budget::new(SCRATCH_MEMORY, options.patience),
            space: Arc::new(Space::new(dir, options.min_free, options.free)),
            options,
            file,
            news: Notify::new(),
            appended: watch::Sender::new(0),
            broken: watch::Sender::new(None),
            chores: Mutex::default(),
            waker: OnceLock::new(),
            _lock: lock,
        }
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(|poisoned| {
            self.poison("a holder of the index panicked: it may differ from the disk");
            poisoned.into_inner()
        })
    }

    pub(super) fn set_waker(&self, ops: WeakSender<Op>) {
        // It is set once, at start.
        let _ = self.waker.set(ops);
    }

    /// There are chores. If there is no room to say so, the writer is awake.
    pub(super) fn wake(&self) {
        if let Some(ops) = self.waker.get().and_then(WeakSender::upgrade) {
            let _ = ops.try_send(Op::Wake);
        }
    }

    /// Nothing is taken from now on. The first reason stays.
    pub(super) fn poison(&self, why: &str) {
        self.broken.send_if_modified(|broken| {
            let first = broken.is_none();
            if first {
                tracing::error!("the spool failed and takes nothing until a restart: {why}");
                *broken = Some(why.into());
            }
            first
        });
    }

    /// Fails if the store is poisoned.
    pub(super) fn check(&self) -> Result<(), SpoolError> {
        match &*self.broken.borrow() {
            None => Ok(()),
            Some(why) => Err(SpoolError::Poisoned(why.to_string())),
        }
    }

    /// The error to give when the writer did not answer: it only ever does so when the store is poisoned.
    pub(super) fn failure(&self) -> SpoolError {
        self.check().err().unwrap_or_else(|| SpoolError::Poisoned("the writer has ended".to_owned()))
    }

    /// Resolves when the store is poisoned.
    pub(super) async fn poisoned(&self) -> String {
        let mut broken = self.broken.subscribe();
        match broken.wait_for(Option::is_some).await {
            Ok(why) => why.as_deref().unwrap_or_default().to_owned(),
            Err(_) => std::future::pending().await,
        }
    }

    pub(super) fn health(&self) -> Health {
        match self.check() {
            Err(SpoolError::Poisoned(why)) => Health::Poisoned(why),
            _ => self.space.full().map_or(Health::Ok, |why| {
                self.look_for_room();
                Health::Full(why)
            }),
        }
    }

    /// Has the writer count what there is in the store's file, if it is time to.
    pub(super) fn look_for_room(&self) {
        if self.space.count_is_due() {
            self.wake();
        }
    }
}

/// Locks a mutex. A holder that panicked left memory behind that the store does not depend on; the index, on which it
/// does, is locked by [`Shared::index`].
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
