//! Postfix's smtp-sink as the next hop: each message it takes is a file.

use crate::{free_port, wait_for};
use std::collections::HashMap;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running smtp-sink.
pub struct SmtpSink {
    child: Child,
    dir: TempDir,
    /// Where it listens.
    pub port: u16,
}

impl SmtpSink {
    /// Starts it with these options more (see smtp-sink(1)).
    #[must_use]
    pub fn start(options: &[&str]) -> Self {
        Self::start_on(free_port(), options)
    }

    /// As [`SmtpSink::start`], on a given port.
    ///
    /// # Panics
    /// It is not there (`make test` installs it).
    #[must_use]
    pub fn start_on(port: u16, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let program = ["/usr/sbin/smtp-sink", "/usr/lib/postfix/sbin/smtp-sink"].into_iter().find(|p| PathBuf::from(p).exists());
        let program = program.expect("smtp-sink; `make test` installs it");
        let child = Command::new(program)
            // As root it would ask for a user to change to.
            .args(["-u", "root", "-d", "m."])
            .args(options)
            .args([&format!("127.0.0.1:{port}"), "1024"])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("smtp-sink starts");
        let sink = Self { child, dir, port };
        wait_for("smtp-sink to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        sink
    }

    /// The messages taken so far, complete ones only: envelope lines (`X-Rcpt-Args: <a@b>` …) and content.
    ///
    /// # Panics
    /// Its folder can't be read.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).expect("its folder");
        entries.map(|entry| String::from_utf8_lossy(&std::fs::read(entry.expect("a file").path()).expect("a file")).into_owned()).collect()
    }

    /// How many messages have a header field `name`, by its value.
    #[must_use]
    pub fn count_by(&self, name: &str) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for message in self.messages() {
            let prefix = format!("{name}: ");
            if let Some(value) = message.lines().find_map(|line| line.strip_prefix(&prefix)) {
                *counts.entry(value.trim().to_owned()).or_default() += 1;
            }
        }
        counts
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
