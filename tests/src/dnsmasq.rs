//! dnsmasq as the DNS server of a test.

use crate::{Daemon, free_port};
use std::process::{Command, Stdio};

/// dnsmasq that knows what its options say, and that nothing else is in `test`.
pub struct Dnsmasq {
    _daemon: Daemon,
    /// Where it listens, on UDP and TCP.
    pub port: u16,
}

impl Dnsmasq {
    /// Starts it with these options, such as `--mx-host=DOMAIN,HOST,PREFERENCE` and `--host-record=HOST,ADDRESS`.
    ///
    /// # Panics
    /// It is not there (`make test` installs it).
    #[must_use]
    pub fn start(options: &[&str]) -> Self {
        let port = free_port();
        let mut command = Command::new("/usr/sbin/dnsmasq");
        command
            .args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=", "--pid-file="])
            .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--local-ttl=300", "--local=/test/"])
            .arg(format!("--port={port}"))
            .args(options)
            .stderr(Stdio::null());
        Self { _daemon: Daemon::start(command, port), port }
    }
}
