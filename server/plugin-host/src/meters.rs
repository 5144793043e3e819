//! The meters that end a call which takes too much: CPU time and memory of one instance.

use crate::engine::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE, MAX_TABLES};
use crate::state::GuestState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use wasmtime::{ResourceLimiter, Store, StoreContextMut, UpdateDeadline};

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
    /// How long host functions have waited in this call.
    pub(crate) wait: Duration,
}

/// Since when a host function waits.
pub(crate) struct Wait {
    tick: u64,
    at: Instant,
}

/// After so many ticks a guest yields to the other tasks of its thread.
const SLICE: u64 = 10;

impl CpuMeter {
    pub(crate) fn new(ticks: Arc<AtomicU64>) -> Self {
        Self { ticks, slice_start: Arc::default(), slice: 0, waited: 0, left: 0, exceeded: false, wait: Duration::ZERO }
    }

    /// The tick it is.
    pub(crate) fn now(&self) -> u64 {
        self.ticks.load(Relaxed)
    }

    /// A host function begins to wait.
    pub(crate) fn wait_begins(&self) -> Wait {
        Wait { tick: self.now(), at: Instant::now() }
    }

    /// It has waited since then.
    pub(crate) fn waited(&mut self, since: &Wait) {
        self.waited += self.now().saturating_sub(since.tick);
        self.wait += since.at.elapsed();
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
    pub(crate) fn new(max: usize) -> Self {
        Self { max, used: 0, exceeded: false }
    }

    /// The limit in bytes.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Bytes in use; memory does not shrink, so this is also the most that ever were.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

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
