//! dnsmasq as the DNS server of a test.

use crate::{free_port, wait_for};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// dnsmasq that knows what its options say, and that nothing else is in `test`.
pub struct Dnsmasq {
    child: Child,
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
        let child = Command::new("/usr/sbin/dnsmasq")
            .args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=", "--pid-file="])
            .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--local-ttl=300", "--local=/test/"])
            .arg(format!("--port={port}"))
            .args(options)
            .stderr(Stdio::null())
            .spawn()
            .expect("dnsmasq; `make test` installs it");
        let server = Self { child, port };
        wait_for("dnsmasq to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        server
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
