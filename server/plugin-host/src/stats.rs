//! Counters of calls and failures, per plugin and hook.

use postern_core::hook::HookPoint;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The plugin returned an error.
    Refused,
    /// The guest trapped: a panic, an access out of bounds, a stack too deep.
    Trap,
    /// It used up its CPU limit.
    Cpu,
    /// It wanted more memory than its limit.
    Memory,
    /// The call took longer than its deadline.
    Deadline,
    /// All instances were in use until the deadline.
    Busy,
    /// A new instance could not be made.
    Instance,
    /// It gave a verdict that is not allowed: a reply of the wrong class, a text with control characters.
    Verdict,
    /// It was not called, since its last calls failed.
    Resting,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Refused,
        Self::Trap,
        Self::Cpu,
        Self::Memory,
        Self::Deadline,
        Self::Busy,
        Self::Instance,
        Self::Verdict,
        Self::Resting,
    ];

    /// For labels of metrics and the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Trap => "trap",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Deadline => "deadline",
            Self::Busy => "busy",
            Self::Instance => "instance",
            Self::Verdict => "verdict",
            Self::Resting => "resting",
        }
    }
}

/// Upper bounds of the latency histogram, in microseconds; what takes longer is counted in all calls alone.
pub const LATENCY_BUCKETS: [u64; 14] =
    [5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 25_000, 100_000, 500_000, 1_000_000, 5_000_000];

/// A reading of the counters of one hook of one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookStats {
    /// Name of the plugin.
    pub plugin: Arc<str>,
    /// The hook.
    pub hook: HookPoint,
    /// Calls that have ended, failed ones included.
    pub calls: u64,
    /// Wall time of those calls together.
    pub time: Duration,
    /// Of that, what the guest itself ran: without the time in which the host's functions waited.
    pub guest_time: Duration,
    /// How many calls took at most so long, by [`LATENCY_BUCKETS`]; each call is in one.
    pub latency: [u64; LATENCY_BUCKETS.len()],
    /// How many failed, by kind, in the order of [`ErrorKind::ALL`].
    pub errors: [(ErrorKind, u64); ErrorKind::ALL.len()],
    /// Does it rest, since its last calls failed?
    pub resting: bool,
}

impl HookStats {
    /// How many calls failed in this way.
    #[must_use]
    pub fn errors_of(&self, kind: ErrorKind) -> u64 {
        self.errors[kind as usize].1
    }
}

/// A reading of what one plugin takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PluginStats {
    /// Instances made so far.
    pub instances_made: u64,
    /// Most bytes of memory that one instance has taken.
    pub memory_peak: u64,
}

/// The counters of one hook of one plugin.
#[derive(Default)]
pub(crate) struct HookCounters {
    calls: AtomicU64,
    nanos: AtomicU64,
    guest_nanos: AtomicU64,
    latency: [AtomicU64; LATENCY_BUCKETS.len()],
    errors: [AtomicU64; ErrorKind::ALL.len()],
}

/// The counters of one plugin.
#[derive(Default)]
pub(crate) struct Counters {
    hooks: [HookCounters; HookPoint::ALL.len()],
    instances: AtomicU64,
    memory_peak: AtomicU64,
}

impl Counters {
    /// A call has ended; `guest` is what of its time the guest ran.
    pub(crate) fn call_ended(&self, hook: HookPoint, time: Duration, guest: Duration, failure: Option<ErrorKind>) {
        let counters = &self.hooks[hook as usize];
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        counters.calls.fetch_add(1, Relaxed);
        counters.nanos.fetch_add(nanos(time), Relaxed);
        counters.guest_nanos.fetch_add(nanos(guest), Relaxed);
        let micros = nanos(time) / 1000;
        if let Some(bucket) = LATENCY_BUCKETS.iter().position(|bound| micros < *bound) {
            counters.latency[bucket].fetch_add(1, Relaxed);
        }
        if let Some(kind) = failure {
            counters.errors[kind as usize].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn made_instance(&self) {
        self.instances.fetch_add(1, Relaxed);
    }

    pub(crate) fn took_memory(&self, bytes: usize) {
        let bytes = bytes as u64;
        if bytes > self.memory_peak.load(Relaxed) {
            self.memory_peak.fetch_max(bytes, Relaxed);
        }
    }

    pub(crate) fn plugin(&self) -> PluginStats {
        PluginStats { instances_made: self.instances.load(Relaxed), memory_peak: self.memory_peak.load(Relaxed) }
    }

    pub(crate) fn hook(&self, plugin: Arc<str>, hook: HookPoint, resting: bool) -> HookStats {
        let counters = &self.hooks[hook as usize];
        HookStats {
            plugin,
            hook,
            calls: counters.calls.load(Relaxed),
            time: Duration::from_nanos(counters.nanos.load(Relaxed)),
            guest_time: Duration::from_nanos(counters.guest_nanos.load(Relaxed)),
            latency: std::array::from_fn(|at| counters.latency[at].load(Relaxed)),
            errors: ErrorKind::ALL.map(|kind| (kind, counters.errors[kind as usize].load(Relaxed))),
            resting,
        }
    }
}
