//! Harness for the end-to-end tests: starts the real binary, and the real clients and servers around it, on loopback.
//!
//! Everything that a test starts ends with it. Waiting is by condition, with a limit; nothing depends on a pause being
//! long enough.

#![allow(clippy::print_stderr, reason = "what a failed test's server said belongs beside the failure")]

mod client;
mod server;
mod sink;

pub use client::{Client, Reply};
pub use server::{Exit, Postern, binary, check, root};
pub use sink::{AioSink, PYTHON, SmtpSink};

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How long a condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A TCP port on loopback that is free now.
///
/// # Panics
/// There is none.
#[must_use]
pub fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("an address").port()
}

/// Waits until `condition` gives something.
///
/// # Panics
/// It did not within [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a program of the system and gives its output; what it printed stands in the panic if it fails.
///
/// # Panics
/// It can't be started (`make test` installs what the tests need) or fails.
#[must_use]
pub fn run(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; `make test` installs what the tests need"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

/// Runs a Python program with arguments and gives what it printed.
///
/// # Panics
/// It fails.
pub fn python(program: &str, args: &[&str]) -> String {
    let output = run(PYTHON, &[&["-c", program], args].concat());
    String::from_utf8_lossy(&output.stdout).into_owned()
}
