//! A real Exim: its own config and spool, on loopback alone. As the next hop it keeps all mail in one Maildir and offers
//! STARTTLS; as the client it sends all mail on, with CHUNKING where that is offered. `scripts/exim` unpacks it.

use crate::maildir::{Maildir, certificate};
use crate::postfix::count_files;
use crate::{Daemon, free_port, root, run, wait_for};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A running Exim.
pub struct Exim {
    // Ended before its folder goes.
    daemon: Daemon,
    dir: TempDir,
}

impl Exim {
    /// Starts it. None where it can't run: it must be started by root, and its package must be there.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(STORE)
    }

    /// One that sends all mail to a port on loopback.
    #[must_use]
    pub fn start_sending_to(port: u16) -> Option<Self> {
        Self::start_with(&SEND.replace("PORT", &port.to_string()))
    }

    fn start_with(routers: &str) -> Option<Self> {
        let found = Command::new(root().join("scripts/exim")).output().ok()?;
        if !crate::process::is_root() || !found.status.success() {
            return None;
        }
        let program = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        let (dir, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let place = dir.path();
        std::fs::set_permissions(place, PermissionsExt::from_mode(0o755)).expect("permissions");
        for folder in ["spool", "mail"] {
            std::fs::create_dir(place.join(folder)).expect("a folder");
        }
        certificate(place);
        for path in ["spool", "mail", "key.pem"] {
            let _ = run("chown", &["nobody", place.join(path).to_str().expect("a path")]);
        }
        std::fs::write(place.join("exim.conf"), config(place, &program, port, routers)).expect("a config file");
        users(place);
        let mut command = Command::new(program);
        command
            .arg("-C")
            .arg(place.join("exim.conf"))
            .arg("-bdf")
            .env("LD_PRELOAD", "libnss_wrapper.so")
            .env("NSS_WRAPPER_PASSWD", place.join("passwd"))
            .env("NSS_WRAPPER_GROUP", place.join("group"));
        let daemon = Daemon::start_ending_with(command, port, libc::SIGTERM);
        Some(Self { daemon, dir })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.daemon.port
    }

    /// What has been delivered, a copy for each recipient.
    #[must_use]
    pub fn mail(&self) -> Maildir {
        Maildir::new(self.dir.path().join("mail/all"))
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("spool/main.log")).unwrap_or_default()
    }

    /// Waits until nothing is left in its spool.
    pub fn wait_empty(&self) {
        let input = self.dir.path().join("spool/input");
        wait_for("Exim to deliver", || (count_files(&input) == 0).then_some(()));
    }
}

/// Debian's Exim asks for the user `Debian-exim` before it reads its config; the package was not installed, so nobody
/// made that user. It is told a list of users of its own.
fn users(dir: &Path) {
    for (file, user) in
        [("passwd", "Debian-exim:x:65534:65534::/nonexistent:/bin/false\n"), ("group", "Debian-exim:x:65534:\n")]
    {
        let system = std::fs::read_to_string(Path::new("/etc").join(file)).expect("the system's users");
        std::fs::write(dir.join(file), system + user).expect("a file");
    }
}

const STORE: &str = "begin routers
all:
  driver = accept
  transport = store
begin transports
store:
  driver = appendfile
  directory = DIR/mail/all
  maildir_format
  create_directory
  return_path_add
";

const SEND: &str = "begin routers
all:
  driver = manualroute
  route_list = * 127.0.0.1::PORT byname
  self = send
  transport = send
begin transports
send:
  driver = smtp
  hosts_try_chunking = *
  hosts_avoid_tls = *
  message_linelength_limit = 1000000
";

fn config(dir: &Path, program: &str, port: u16, routers: &str) -> String {
    let dir = dir.display();
    let routers = routers.replace("DIR", &dir.to_string());
    // Deliveries run as the user that receives, so that no part of it needs root.
    format!(
        "exim_path = {program}
exim_user = nobody
exim_group = nogroup
never_users =
keep_environment = LD_PRELOAD : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP
deliver_drop_privilege = true
spool_directory = {dir}/spool
log_file_path = {dir}/spool/%s.log
primary_hostname = exim.example
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
host_lookup =
rfc1413_hosts =
smtp_accept_max = 200
smtp_accept_queue_per_connection = 0
tls_advertise_hosts = *
tls_certificate = {dir}/cert.pem
tls_privatekey = {dir}/key.pem
acl_smtp_rcpt = accept
message_size_limit = 0
{routers}"
    )
}
