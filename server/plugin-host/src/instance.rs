//! One instance of a plugin: made, told its config, called.

use crate::engine::Shared;
use crate::hooks::{Guests, HookIndices};
use crate::log::escape;
use crate::meters::CpuMeter;
use crate::state::{GuestState, Identity};
use crate::stats::ErrorKind;
use crate::subject::{Answer, Subject};
use crate::ticker::TICK;
use postern_core::hook::{Change, HookPoint};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::InstancePre;
use wasmtime::{Store, Trap, WasmBacktrace};

/// What instances of one plugin are made from.
pub(crate) struct Template {
    pub(crate) host: Arc<Shared>,
    pub(crate) pre: InstancePre<GuestState>,
    pub(crate) hooks: HookIndices,
    pub(crate) identity: Arc<Identity>,
    pub(crate) cpu: Duration,
    pub(crate) memory: usize,
}

/// Starting takes longer than a call (an interpreter sets itself up), and it is done rarely.
const START_CPU: Duration = Duration::from_secs(1);

/// Octets that a guest may give the host in one call of a host function: four times the largest header block. The host
/// copies them before it can judge them.
const MAX_ARGUMENTS: usize = 4 << 20;

/// How a call failed, for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The plugin returned an error.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Trap(String),
    #[error("it used up its CPU limit{0}")]
    Cpu(String),
    #[error("{0}")]
    Memory(String),
    #[error("the deadline passed")]
    Deadline,
    #[error("no instance became free before the deadline")]
    Busy,
    #[error("a new instance could not be made: {0}")]
    Instance(String),
    /// What it said is not allowed.
    #[error("it gave a verdict that is not allowed: {0}")]
    Verdict(String),
    /// The breaker is open.
    #[error("not called: its last calls failed, it rests")]
    Resting,
}

impl CallError {
    /// Is the server at its limits, whatever the plugin and the message?
    pub(crate) fn is_of_host(&self) -> bool {
        matches!(self, Self::Busy | Self::Instance(_))
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(_) => ErrorKind::Refused,
            Self::Trap(_) => ErrorKind::Trap,
            Self::Cpu(_) => ErrorKind::Cpu,
            Self::Memory(_) => ErrorKind::Memory,
            Self::Deadline => ErrorKind::Deadline,
            Self::Busy => ErrorKind::Busy,
            Self::Instance(_) => ErrorKind::Instance,
            Self::Verdict(_) => ErrorKind::Verdict,
            Self::Resting => ErrorKind::Resting,
        }
    }
}

/// Handles of parts that an instance may leak before it is replaced; the engine lets it have 100,000.
const MAX_PARTS_OUT: usize = 50_000;

/// Longest text of a plugin, and longest list of functions in a trap's detail.
const MAX_TEXT: usize = 1000;
const MAX_FRAMES: usize = 6;

pub(crate) struct Instance {
    pub(crate) store: Store<GuestState>,
    pub(crate) guests: Guests,
    pub(crate) cpu_ticks: u64,
    /// Calls so far.
    pub(crate) calls: u32,
    /// Bytes of memory that it had when it was made.
    pub(crate) at_start: usize,
}

/// What the plugin says, and what it did to the subject.
pub(crate) struct Called {
    pub(crate) answer: Answer,
    pub(crate) changes: Vec<Change>,
}

impl Template {
    /// Makes an instance and gives it its config.
    pub(crate) async fn instantiate(&self) -> Result<Instance, CallError> {
        let state = GuestState::new(self.identity.clone(), self.host.ticker.ticks(), self.memory);
        let mut store = Store::new(&self.host.engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(MAX_ARGUMENTS);
        store.epoch_deadline_callback(CpuMeter::on_deadline);
        CpuMeter::begin(&mut store, ticks(START_CPU.max(self.cpu)));
        match self.start(&mut store).await {
            Ok(Ok(guests)) => {
                let at_start = store.data().memory.used();
                Ok(Instance { store, guests, cpu_ticks: ticks(self.cpu), calls: 0, at_start })
            }
            Ok(Err(refused)) => Err(CallError::Refused(escape(&refused, MAX_TEXT))),
            Err(error) => Err(match failure(store.data(), &error) {
                // What the guest's own start did is not the host's fault.
                CallError::Trap(detail) if error.is::<Trap>() => CallError::Trap(format!("its start failed: {detail}")),
                CallError::Trap(detail) => CallError::Instance(detail),
                limit => limit,
            }),
        }
    }

    async fn start(&self, store: &mut Store<GuestState>) -> wasmtime::Result<Result<Guests, String>> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        // Loading checks the signatures, so it comes before the plugin runs any code of its own.
        let guests = self.hooks.load(&mut *store, &instance)?;
        if let Some(lifecycle) = &guests.lifecycle {
            let config = self.identity.config.to_string();
            if let Err(refused) = lifecycle.call_init(&mut *store, &config).await? {
                return Ok(Err(refused));
            }
        }
        Ok(Ok(guests))
    }
}

impl Instance {
    /// Calls a hook on the plugin's own copy of its subject, which lies in the store meanwhile.
    pub(crate) async fn call(
        &mut self,
        point: HookPoint,
        subject: &mut Subject,
        deadline: Instant,
    ) -> Result<Called, CallError> {
        self.calls += 1;
        CpuMeter::begin(&mut self.store, self.cpu_ticks);
        self.store.data_mut().cpu.wait = Duration::ZERO;
        self.store.data_mut().begin(point, subject, deadline);
        let called = match self.enter(point).await {
            Ok(Ok(answer)) => match self.store.data_mut().apply_part_edits().await {
                Ok(applied) => Ok(applied.map(|()| answer)),
                Err(error) => Err(error),
            },
            entered => entered,
        };
        let called = match called {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(refused)) => Err(CallError::Refused(escape(&refused, MAX_TEXT))),
            Err(error) => Err(failure(self.store.data(), &error)),
        };
        let changes = self.store.data_mut().finish(subject);
        called.map(|answer| Called { answer, changes })
    }

    /// How long host functions have waited in the last call.
    pub(crate) fn waited(&self) -> Duration {
        self.store.data().cpu.wait
    }

    /// Has it grown so much that it is better replaced than run into its limit? Memory of a guest does not shrink, and
    /// some languages leak a little with each call.
    pub(crate) fn has_swollen(&self) -> bool {
        let state = self.store.data();
        let memory = &state.memory;
        let has_grown = memory.used() > memory.max() / 2 && memory.used() / 2 > self.at_start;
        has_grown || state.parts_out > MAX_PARTS_OUT
    }

    /// Bytes of memory that the instance has taken.
    pub(crate) fn memory(&self) -> usize {
        self.store.data().memory.used()
    }
}

/// CPU limits in ticks: at least one.
fn ticks(cpu: Duration) -> u64 {
    u64::try_from(cpu.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX)
}

/// Which limit ended the call, or was it the guest itself?
fn failure(state: &GuestState, error: &wasmtime::Error) -> CallError {
    let place = backtrace(error);
    let cause = escape(&error.root_cause().to_string(), MAX_TEXT);
    if state.cpu.exceeded {
        CallError::Cpu(place)
    } else if state.memory.exceeded {
        CallError::Memory(format!("{cause}{place}"))
    } else {
        CallError::Trap(format!("{cause}{place}"))
    }
}

/// The innermost functions of the guest, ` in a < b < c`.
fn backtrace(error: &wasmtime::Error) -> String {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let names: Vec<&str> = trace.frames().iter().take(MAX_FRAMES).map(|f| f.func_name().unwrap_or("?")).collect();
    if names.is_empty() { String::new() } else { format!(" in {}", escape(&names.join(" < "), MAX_TEXT)) }
}
