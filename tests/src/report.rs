//! What a test has to say that must be seen although it passes: that it was not run.

use std::io::Write as _;

/// Says that a test was not run, and why, where `cargo test` shows it: the test's own output is captured while it
/// passes, what goes to the descriptor is not.
pub fn not_run(what: &str, why: &str) {
    // Nobody reads it: nothing to be done.
    let _ = writeln!(std::io::stderr().lock(), "{what}: not run: {why}");
}

/// Are the long forms of the tests asked for?
#[must_use]
pub fn soak() -> bool {
    std::env::var_os("POSTERN_SOAK").is_some()
}
