//! Harness for the end-to-end tests: starts the real binary, and the real clients and servers around it, on loopback.
//!
//! Everything that a test starts ends with it. Waiting is by condition, with a limit; nothing depends on a pause being
//! long enough.

#![allow(clippy::print_stderr, reason = "what a failed test's server said belongs beside the failure")]

mod auth_peer;
mod client;
mod counting_sink;
mod curl;
mod daemon;
mod disk;
mod dnsmasq;
mod exim;
mod haproxy;
mod hash_sink;
mod hostile;
mod http_peer;
mod load;
mod maildir;
mod pieces;
mod postfix;
pub mod process;
mod report;
mod rspamd;
mod server;
mod sink;
pub mod submission;
mod tap;
mod tls_sink;

pub use auth_peer::AuthPeer;
pub use client::{Client, Reply};
pub use counting_sink::{Arrival, CountingSink, Times};
pub use curl::{curl, curl_url, send};
pub use daemon::Daemon;
pub use disk::Disk;
pub use dnsmasq::Dnsmasq;
pub use exim::Exim;
pub use haproxy::Haproxy;
pub use hash_sink::{Arrived, HashSink, ID, Sum};
pub use hostile::{ALWAYS, Act, HostileSink, STAGES, Stage, Taken};
pub use http_peer::HttpPeer;
pub use load::{Account, Ledger, Made};
pub use maildir::{Maildir, Stored};
pub use pieces::send_apart;
pub use postfix::Postfix;
pub use report::{not_run, soak};
pub use rspamd::Rspamd;
pub use server::{Exit, Postern, Setup, binary, check, root};
pub use sink::{AioSink, PYTHON, SmtpSink};
pub use tap::{Tap, unclean};
pub use tls_sink::{TlsSetup, TlsSink};

use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long a condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A TCP port on loopback that is free and will stay so: below those that the system gives to outgoing connections, and
/// never the same twice in a process.
///
/// # Panics
/// There is none.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 16_384;
    const COUNT: u16 = 16_000;
    let start = std::process::id().wrapping_mul(257) % u32::from(COUNT);
    let start = u16::try_from(start).expect("below COUNT");
    let ports = (0..COUNT).map(|_| FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT);
    ports.into_iter().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
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

/// Runs a Python program with arguments and gives what it printed. It can import what `make test-deps` has put into
/// `target/python`.
///
/// # Panics
/// It fails.
pub fn python(program: &str, args: &[&str]) -> String {
    let packages = root().join("target/python");
    let path = format!("PYTHONPATH={}", packages.display());
    let output = run("env", &[&[&path[..], PYTHON, "-c", program], args].concat());
    String::from_utf8_lossy(&output.stdout).into_owned()
}
