//! The server under test, as a process of its own.

use crate::{free_port, wait_for};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The root of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The binary under test: `target/release/postern`, or what `POSTERN` names.
#[must_use]
pub fn binary() -> PathBuf {
    std::env::var_os("POSTERN").map_or_else(|| root().join("target/release/postern"), PathBuf::from)
}

/// A running (or killed) server with its folder.
pub struct Postern {
    dir: TempDir,
    child: Child,
    /// Port of listener `feeder`.
    pub port: u16,
    starts: usize,
}

/// How a server ended.
#[derive(Debug)]
pub struct Exit {
    /// Its status.
    pub status: ExitStatus,
    /// How long it took from the signal.
    pub took: Duration,
}

impl Postern {
    /// Starts a server whose default zone hands to `next_hop` on loopback; `config` is added to its config file.
    /// Resolves once it listens.
    #[must_use]
    pub fn start(next_hop: u16, config: &str) -> Self {
        Self::start_with(next_hop, "", "", config)
    }

    /// As [`Postern::start`], with keys for the tables `[listener.feeder]` and `[zone.default]`.
    #[must_use]
    pub fn start_with(next_hop: u16, listener: &str, zone: &str, config: &str) -> Self {
        Self::start_named("mta.example.com", next_hop, listener, zone, config)
    }

    /// As [`Postern::start_with`], with a hostname of its own.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start_named(hostname: &str, next_hop: u16, listener: &str, zone: &str, config: &str) -> Self {
        let zone = format!("smart_host = {{ host = '127.0.0.1', port = {next_hop} }}\n{zone}");
        Self::launch(hostname, free_port(), listener, &zone, config)
    }

    /// Starts a server that listens on `port` and delivers by MX: to port `mx_port` of the hosts that the DNS server on
    /// `dns_port` names. `zone` is keys for `[zone.default]`, `dns` for `[dns]`.
    #[must_use]
    pub fn start_mx(port: u16, dns_port: u16, mx_port: u16, zone: &str, dns: &str, config: &str) -> Self {
        let zone = format!("port = {mx_port}\n{zone}");
        let config = format!("[dns]\nservers = ['127.0.0.1:{dns_port}']\n{dns}\n{config}");
        Self::launch("mta.example.com", port, "", &zone, &config)
    }

    fn launch(hostname: &str, port: u16, listener: &str, zone: &str, config: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let text = format!(
            "hostname = '{hostname}'\n[listener.feeder]\naddress = '127.0.0.1:{port}'\n{listener}\n\
             [zone.default]\n{zone}\n{config}\n"
        );
        std::fs::write(dir.path().join("postern.toml"), text).expect("a config file");
        let child = spawn(dir.path(), 1);
        let server = Self { dir, child, port, starts: 1 };
        server.wait_listening();
        server
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The folder of its queue.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir().join("data")
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged since its first start.
    #[must_use]
    pub fn log(&self) -> String {
        (1..=self.starts).map(|n| log_of(self.dir(), n)).collect()
    }

    /// Lines of the log that contain `text`.
    #[must_use]
    pub fn log_lines(&self, text: &str) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// Waits until the log has `count` lines that contain `text`, and gives them.
    pub fn wait_log(&self, text: &str, count: usize) -> Vec<String> {
        wait_for(&format!("{count} x {text:?} in the log:\n{}", self.log()), || {
            Some(self.log_lines(text)).filter(|lines| lines.len() >= count)
        })
    }

    /// The rows of `postern queue list --json`.
    ///
    /// # Panics
    /// The command fails.
    #[must_use]
    pub fn queue(&self) -> Vec<serde_json::Value> {
        let output = self.command(&["queue", "list", "--json", "-c", "postern.toml"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
    }

    /// Waits until nothing is queued.
    pub fn wait_empty(&self) {
        wait_for("an empty queue", || self.queue().is_empty().then_some(()));
    }

    /// Runs the binary in the server's folder.
    ///
    /// # Panics
    /// It can't be started.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Output {
        Command::new(binary()).args(args).current_dir(self.dir()).output().expect("the binary runs")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        // It may have ended by itself; that is for the test to see.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// There is no such process.
    #[allow(unsafe_code, reason = "std has no way to send a signal but SIGKILL")]
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        // SAFETY: kill(2) takes two integers and touches no memory of ours.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "kill -{signal}");
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Panics
    /// It does not end.
    pub fn terminate(&mut self) -> Exit {
        let start = Instant::now();
        self.signal(libc::SIGTERM);
        let status = self.wait_end();
        Exit { status, took: start.elapsed() }
    }

    /// Starts it again on the same folder.
    pub fn restart(&mut self) {
        self.starts += 1;
        self.child = spawn(self.dir.path(), self.starts);
        self.wait_listening();
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// It can't be waited for.
    pub fn wait_end(&mut self) -> ExitStatus {
        wait_for("the end of the server", || self.child.try_wait().expect("a status"))
    }

    fn wait_listening(&self) {
        let place = self.dir().to_owned();
        wait_for(&format!("the server to listen; its log is\n{}", self.log()), || {
            let log = log_of(&place, self.starts);
            assert!(!log.contains("can't start"), "{log}");
            log.contains(" ready ").then_some(())
        });
    }
}

impl Drop for Postern {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            for line in tail.into_iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

fn log_of(dir: &Path, start: usize) -> String {
    let bytes = std::fs::read(dir.join(format!("log.{start}"))).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn spawn(dir: &Path, start: usize) -> Child {
    let log = File::create(dir.join(format!("log.{start}"))).expect("a log file");
    let errors = log.try_clone().expect("a log file");
    Command::new(binary())
        .args(["run", "-c", "postern.toml"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; run `make build`", binary().display()))
}

/// What `postern check` says to a config: whether it is right, and all that was printed.
///
/// # Panics
/// The binary can't be started.
#[must_use]
pub fn check(config: &str) -> (bool, String) {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("postern.toml"), config).expect("a config file");
    let output = Command::new(binary()).args(["check", "-c", "postern.toml"]).current_dir(dir.path()).output();
    let output = output.expect("the binary runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}
