//! What the host keeps beside each instance: the transaction of the call in progress, and the meters that end a call
//! which takes too much.

use crate::engine::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE, MAX_TABLES};
use crate::log::LogLimiter;
use postern_core::hook::{Change, Transaction};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wasmtime::{ResourceLimiter, Store, StoreContextMut, UpdateDeadline};

/// Behind a guest's `session`. A guest can't forge handles, and there is one session a call, so it holds nothing.
pub struct SessionHandle;
/// Behind a guest's `envelope`.
pub struct EnvelopeHandle;
/// Behind a guest's `message`.
pub struct MessageHandle;

/// How many edits one call may make.
const MAX_EDITS: usize = 10_000;
/// How many of them are remembered with their author, for the log; the others are counted.
const MAX_CHANGES: usize = 50;
/// Longest description of an edit in characters.
const MAX_WHAT: usize = 200;

/// Who a plugin is, shared by its instances.
pub(crate) struct Identity {
    /// As in `[[plugin]]`.
    pub(crate) name: Arc<str>,
    /// Name and version: the author of changes.
    pub(crate) author: Arc<str>,
    /// The config as JSON.
    pub(crate) config: serde_json::Value,
    pub(crate) log: LogLimiter,
}

pub(crate) struct GuestState {
    pub(crate) identity: Arc<Identity>,
    pub(crate) cpu: CpuMeter,
    pub(crate) memory: MemoryMeter,
    /// The plugin's copy of the transaction, during a call of a hook.
    transaction: Option<Transaction>,
    edits: usize,
}

impl GuestState {
    pub(crate) fn new(identity: Arc<Identity>, ticks: Arc<AtomicU64>, memory: usize) -> Self {
        Self {
            identity,
            cpu: CpuMeter::new(ticks),
            memory: MemoryMeter { max: memory, used: 0, exceeded: false },
            transaction: None,
            edits: 0,
        }
    }

    /// Puts the transaction in for a call.
    pub(crate) fn begin(&mut self, transaction: Transaction) {
        self.transaction = Some(transaction);
        self.edits = 0;
    }

    /// Takes the transaction out with its edits.
    pub(crate) fn finish(&mut self) -> Option<Transaction> {
        let mut transaction = self.transaction.take()?;
        if let Some(more) = self.edits.checked_sub(MAX_CHANGES).filter(|more| *more > 0) {
            let what = format!("and {} more", thousands(more));
            transaction.changes.push(Change { author: self.identity.author.clone(), what });
        }
        Some(transaction)
    }

    /// The transaction of the call in progress. Without one no guest holds a handle whose methods ask for it.
    pub(crate) fn transaction(&self) -> wasmtime::Result<&Transaction> {
        self.transaction.as_ref().ok_or_else(no_call)
    }

    pub(crate) fn transaction_mut(&mut self) -> wasmtime::Result<&mut Transaction> {
        self.transaction.as_mut().ok_or_else(no_call)
    }

    /// For the log: the message that is being worked on, if any.
    pub(crate) fn current(&self) -> Option<&Transaction> {
        self.transaction.as_ref()
    }

    /// May the call make one more edit?
    pub(crate) fn may_edit(&self) -> bool {
        self.edits < MAX_EDITS
    }

    /// Remembers an edit under the plugin's name.
    pub(crate) fn changed(&mut self, what: std::fmt::Arguments<'_>) {
        self.edits += 1;
        if self.edits > MAX_CHANGES {
            return;
        }
        let mut what = what.to_string();
        if let Some((end, _)) = what.char_indices().nth(MAX_WHAT) {
            what.truncate(end);
        }
        if what.contains(char::is_control) {
            what = what.replace(char::is_control, " ");
        }
        let author = self.identity.author.clone();
        if let Some(transaction) = &mut self.transaction {
            transaction.changes.push(Change { author, what });
        }
    }
}

/// At most six digits, as `9,950`.
fn thousands(number: usize) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", number / 1000, number % 1000) }
}

fn no_call() -> wasmtime::Error {
    wasmtime::Error::msg("there is no call in progress")
}

/// Counts the time that the guest itself runs, in ticks, and hands the thread back between slices.
///
/// Ticks pass by the wall clock, so a slice is charged at most its length: on a busy machine a guest must not pay for
/// the time in which its thread did not run. Time in which a host function waits is not charged either.
pub(crate) struct CpuMeter {
    ticks: Arc<AtomicU64>,
    /// Tick at which the slice began. Shared with the future of a yield, which sets it when the guest goes on.
    slice_start: Arc<AtomicU64>,
    /// Length of the slice.
    slice: u64,
    /// Ticks of this slice in which the host waited.
    waited: u64,
    /// Ticks that the call may still use, this slice included.
    left: u64,
    /// Did the limit end the call?
    pub(crate) exceeded: bool,
}

/// After so many ticks a guest yields to the other tasks of its thread.
const SLICE: u64 = 10;

impl CpuMeter {
    fn new(ticks: Arc<AtomicU64>) -> Self {
        Self { ticks, slice_start: Arc::default(), slice: 0, waited: 0, left: 0, exceeded: false }
    }

    /// The tick it is.
    pub(crate) fn now(&self) -> u64 {
        self.ticks.load(Relaxed)
    }

    /// A host function waited since the tick `start`.
    pub(crate) fn waited_since(&mut self, start: u64) {
        self.waited += self.now().saturating_sub(start);
    }

    /// Starts the meter of one call.
    pub(crate) fn begin(store: &mut Store<GuestState>, limit: u64) {
        let meter = &mut store.data_mut().cpu;
        meter.left = limit.max(1);
        meter.exceeded = false;
        meter.slice_start.store(meter.now(), Relaxed);
        let deadline = meter.next_slice();
        store.set_epoch_deadline(deadline);
    }

    fn next_slice(&mut self) -> u64 {
        self.waited = 0;
        self.slice = self.left.min(SLICE);
        // The tick that is running has already lost some of its length.
        self.slice + 1
    }

    /// The epoch deadline has passed: is the limit used up, or is it time to yield?
    pub(crate) fn on_deadline(mut store: StoreContextMut<'_, GuestState>) -> wasmtime::Result<UpdateDeadline> {
        let meter = &mut store.data_mut().cpu;
        let elapsed = meter.now().saturating_sub(meter.slice_start.load(Relaxed));
        let used = elapsed.saturating_sub(meter.waited).min(meter.slice);
        meter.left -= used;
        if meter.left == 0 {
            meter.exceeded = true;
            return Err(wasmtime::Error::msg("the call used up its CPU limit"));
        }
        let (ticks, start) = (meter.ticks.clone(), meter.slice_start.clone());
        let deadline = meter.next_slice();
        Ok(UpdateDeadline::YieldCustom(
            deadline,
            Box::pin(async move {
                tokio::task::yield_now().await;
                start.store(ticks.load(Relaxed), Relaxed);
            }),
        ))
    }
}

/// Bounds the linear memories and the tables of one instance, all together.
pub(crate) struct MemoryMeter {
    max: usize,
    used: usize,
    /// Did the limit end the call?
    pub(crate) exceeded: bool,
}

/// What an entry of a table takes in the host.
const TABLE_ENTRY: usize = size_of::<usize>();

impl MemoryMeter {
    fn grow(&mut self, by: usize) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(by);
        if used > self.max {
            self.exceeded = true;
            // A guest that was merely told no would abort with nothing but `unreachable` in the log.
            return Err(wasmtime::Error::msg(format!("it wanted {used} bytes of memory and may have {}", self.max)));
        }
        self.used = used;
        Ok(true)
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > MAX_TABLE {
            return Ok(false);
        }
        self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ENTRY))
    }

    // The pool checks the same when a component is loaded; without a pool nothing else does.

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }
}
