//! The clock of the guests' CPU limits: a thread that advances the engine's epoch each millisecond while calls are in
//! progress, and sleeps while there are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use wasmtime::Engine;

/// Length of one tick.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// How many ticks go on after the last call, so that the next one, if it comes soon, need not wake the thread.
const LINGER: u32 = 50;

/// Stops the thread when it is dropped.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Ticks so far: the engine's epoch can't be read back.
    ticks: Arc<AtomicU64>,
    /// Calls in progress.
    calls: AtomicUsize,
    /// Is the thread ticking (or about to look whether it should)?
    awake: AtomicBool,
    stop: AtomicBool,
}

impl Ticker {
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            ticks: Arc::default(),
            calls: AtomicUsize::new(0),
            awake: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let theirs = shared.clone();
        let thread = thread::Builder::new().name("plugin-ticker".into()).spawn(move || theirs.run(&engine))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The count of ticks, for measuring.
    pub(crate) fn ticks(&self) -> Arc<AtomicU64> {
        self.shared.ticks.clone()
    }

    /// Keeps the ticks coming until the guard is dropped.
    pub(crate) fn during_call(&self) -> DuringCall<'_> {
        self.shared.calls.fetch_add(1, SeqCst);
        if !self.shared.awake.load(SeqCst) && !self.shared.awake.swap(true, SeqCst) {
            self.unpark();
        }
        DuringCall(&self.shared)
    }

    fn unpark(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.unpark();
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }
}

/// A call is in progress.
pub(crate) struct DuringCall<'a>(&'a Shared);

impl Drop for DuringCall<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, SeqCst);
    }
}

impl Shared {
    fn run(&self, engine: &Engine) {
        let mut idle = 0;
        while !self.stop.load(SeqCst) {
            if self.calls.load(SeqCst) > 0 {
                idle = 0;
            } else {
                idle += 1;
            }
            if idle > LINGER {
                self.awake.store(false, SeqCst);
                // A call that began since then has seen `awake` and did not wake us: look again before sleeping.
                if self.calls.load(SeqCst) == 0 && !self.stop.load(SeqCst) {
                    thread::park();
                }
                self.awake.store(true, SeqCst);
                idle = 0;
                continue;
            }
            thread::sleep(TICK);
            self.ticks.fetch_add(1, SeqCst);
            engine.increment_epoch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_during_calls_and_sleeps_after_them() {
        let ticker = Ticker::start(Engine::default()).unwrap();
        let ticks = ticker.ticks();
        for _ in 0..2 {
            let call = ticker.during_call();
            let before = ticks.load(SeqCst);
            while ticks.load(SeqCst) < before + 3 {
                thread::yield_now();
            }
            drop(call);
            while ticker.shared.awake.load(SeqCst) {
                thread::yield_now();
            }
        }
    }
}
