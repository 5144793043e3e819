//! A program of somebody else's that listens on a port for as long as a test needs it.

use crate::wait_for;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// A running program.
pub struct Daemon {
    child: Child,
    /// How it is ended.
    end: i32,
    /// Where it listens.
    pub port: u16,
}

impl Daemon {
    /// Starts it and waits until it listens; it will be ended with SIGKILL.
    #[must_use]
    pub fn start(command: Command, port: u16) -> Self {
        Self::start_ending_with(command, port, libc::SIGKILL)
    }

    /// Starts it and waits until it listens; it will be ended with this signal.
    ///
    /// # Panics
    /// It is not there (`make test` installs what the tests need) or does not listen.
    #[must_use]
    pub fn start_ending_with(mut command: Command, port: u16, end: i32) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}; `make test` installs what is needed"));
        let mut daemon = Self { child, end, port };
        wait_for(&format!("{command:?} to listen"), || {
            assert!(daemon.child.try_wait().expect("a status").is_none(), "{command:?} has ended");
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        daemon
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    #[allow(unsafe_code, reason = "std has no way to send a signal but SIGKILL")]
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // SAFETY: kill(2) takes two integers and touches no memory of ours. The child has not been waited for, so
            // the id is still its own.
            unsafe { libc::kill(pid, self.end) };
        }
        let _ = self.child.wait();
    }
}
