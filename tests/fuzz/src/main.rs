//! Coverage-guided fuzzing (libFuzzer) of the parsers and state machines that foreign octets reach.
//!
//! One binary has all targets; `POSTERN_FUZZ_TARGET` names the one that runs, and the arguments are libFuzzer's. Each
//! target states what must hold of any input, beyond that nothing panics. An input that takes more than a second of
//! the processor's time is a failure, too. `scripts/fuzz` builds and runs it.

#![no_main]

mod clock;
mod cut;
mod session;
mod targets;
mod wire;

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use std::time::Duration;

/// The most that one input may take.
const LIMIT: Duration = Duration::from_secs(1);

type Target = fn(&[u8]);

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("POSTERN_FUZZ_TARGET").unwrap_or_default();
    let found = targets::ALL.iter().find(|(known, _)| *known == name);
    let names: Vec<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
    found.unwrap_or_else(|| panic!("POSTERN_FUZZ_TARGET must be one of {}", names.join(" "))).1
});

fuzz_target!(|data: &[u8]| {
    let run = *TARGET;
    let before = clock::thread_time();
    run(data);
    let took = clock::thread_time().saturating_sub(before);
    assert!(took < LIMIT, "it took {took:?}");
});
