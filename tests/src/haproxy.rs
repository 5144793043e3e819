//! A real haproxy in front of the server.

use crate::{Daemon, free_port};
use std::process::Command;
use tempfile::TempDir;

/// haproxy that passes connections on to one port, each with a PROXY header before it.
pub struct Haproxy {
    // Ended before its folder goes.
    daemon: Daemon,
    _dir: TempDir,
}

impl Haproxy {
    /// Starts it. `option` is `send-proxy` (version 1) or `send-proxy-v2`.
    ///
    /// # Panics
    /// It is not there (`make test` installs it).
    #[must_use]
    pub fn start(to: u16, option: &str) -> Self {
        let (dir, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let file = dir.path().join("haproxy.cfg");
        let config = format!(
            "defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen smtp
  bind 127.0.0.1:{port}
  server postern 127.0.0.1:{to} {option}
"
        );
        std::fs::write(&file, config).expect("a config file");
        let mut command = Command::new("/usr/sbin/haproxy");
        command.arg("-db").arg("-f").arg(&file);
        Self { daemon: Daemon::start(command, port), _dir: dir }
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.daemon.port
    }
}
