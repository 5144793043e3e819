//! A real Postfix as the next hop: a master of its own with its own config and queue, on loopback alone, that puts all
//! mail in one Maildir. It offers STARTTLS, and takes bare LF for line ends (`smtpd_forbid_bare_newline = no`): the
//! victim that proves that nobody is smuggled past us, and the control that shows that the test could fail.

use crate::maildir::{Maildir, certificate};
use crate::{Daemon, free_port, run, wait_for};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const MASTER: &str = "/usr/lib/postfix/sbin/master";

/// A running Postfix.
pub struct Postfix {
    // Ended before its folder goes.
    daemon: Daemon,
    dir: TempDir,
    /// Where it listens.
    pub port: u16,
}

impl Postfix {
    /// Starts it; None where it can't run, since it must be started by root.
    ///
    /// # Panics
    /// It is not there (`make test` installs it) or does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        if !crate::process::is_root() {
            return None;
        }
        let (dir, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let place = dir.path();
        // Its parts run as users of their own.
        std::fs::set_permissions(place, PermissionsExt::from_mode(0o755)).expect("permissions");
        for (folder, owner) in [("etc", "root"), ("queue", "root"), ("data", "postfix"), ("mail", "nobody")] {
            std::fs::create_dir(place.join(folder)).expect("a folder");
            let _ = run("chown", &[owner, place.join(folder).to_str().expect("a path")]);
        }
        certificate(&place.join("etc"));
        std::fs::write(place.join("etc/main.cf"), main_cf(place)).expect("main.cf");
        std::fs::write(place.join("etc/master.cf"), master_cf(port)).expect("master.cf");
        let config = place.join("etc");
        let config = config.to_str().expect("a path");
        let _ = run("/usr/sbin/postfix", &["-c", config, "check"]);
        let mut command = Command::new(MASTER);
        command.args(["-c", config, "-d"]);
        let daemon = Daemon::start_ending_with(command, port, libc::SIGTERM);
        Some(Self { daemon, dir, port })
    }

    /// What has been delivered, a copy for each recipient.
    #[must_use]
    pub fn mail(&self) -> Maildir {
        Maildir::new(self.dir.path().join("mail/all"))
    }

    /// Waits until nothing is left in its queue.
    pub fn wait_empty(&self) {
        // In the order in which a message passes through them.
        let queues =
            ["maildrop", "incoming", "active", "deferred"].map(|name| self.dir.path().join("queue").join(name));
        wait_for("Postfix to deliver", || queues.iter().all(|queue| count_files(queue) == 0).then_some(()));
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Process id of its master.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }
}

/// Files below a folder.
pub(crate) fn count_files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { count_files(&entry.path()) } else { 1 }).sum()
}

fn main_cf(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
maillog_file = {dir}/log
maillog_file_prefixes = {dir}
myhostname = postfix.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
smtpd_forbid_bare_newline = no
smtpd_forbid_unauth_pipelining = no
smtpd_tls_security_level = may
smtpd_tls_cert_file = {dir}/etc/cert.pem
smtpd_tls_key_file = {dir}/etc/key.pem
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1
local_header_rewrite_clients =
alias_maps =
local_recipient_maps =
message_size_limit = 0
virtual_mailbox_limit = 0
virtual_mailbox_domains = static:all
virtual_mailbox_maps = static:all/
virtual_mailbox_base = {dir}/mail
virtual_minimum_uid = 1
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
"
    )
}

fn master_cf(port: u16) -> String {
    let services = "cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
";
    // What is not to be delivered anywhere else goes nowhere: there is no smtp client.
    format!("127.0.0.1:{port} inet n - n - - smtpd\n{services}")
}
