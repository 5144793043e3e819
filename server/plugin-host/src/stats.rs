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
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Refused, Self::Trap, Self::Cpu, Self::Memory, Self::Deadline, Self::Busy, Self::Instance];

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
        }
    }
}

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
    /// How many failed, by kind, in the order of [`ErrorKind::ALL`].
    pub errors: [(ErrorKind, u64); 7],
    /// Instances made so far, for all hooks of the plugin.
    pub instances_made: u64,
}

impl HookStats {
    /// How many calls failed in this way.
    #[must_use]
    pub fn errors_of(&self, kind: ErrorKind) -> u64 {
        self.errors[kind as usize].1
    }
}

/// The counters of one plugin. There is one hook so far.
#[derive(Default)]
pub(crate) struct Counters {
    calls: AtomicU64,
    nanos: AtomicU64,
    errors: [AtomicU64; 7],
    instances: AtomicU64,
}

impl Counters {
    pub(crate) fn call_ended(&self, time: Duration, failure: Option<ErrorKind>) {
        self.calls.fetch_add(1, Relaxed);
        self.nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        if let Some(kind) = failure {
            self.errors[kind as usize].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn made_instance(&self) {
        self.instances.fetch_add(1, Relaxed);
    }

    pub(crate) fn read(&self, plugin: Arc<str>, hook: HookPoint) -> HookStats {
        HookStats {
            plugin,
            hook,
            calls: self.calls.load(Relaxed),
            time: Duration::from_nanos(self.nanos.load(Relaxed)),
            errors: ErrorKind::ALL.map(|kind| (kind, self.errors[kind as usize].load(Relaxed))),
            instances_made: self.instances.load(Relaxed),
        }
    }
}
