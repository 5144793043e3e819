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

/// How a server is set up; all of it may be left empty.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Its name; `mta.example.com` if empty.
    pub hostname: String,
    /// Folder of the queue, if not in the server's own.
    pub data: Option<PathBuf>,
    /// Keys for the table `[listener.feeder]`.
    pub listener: String,
    /// Keys for the table `[http]`, besides its address.
    pub http: String,
    /// Keys for the table `[zone.default]`.
    pub zone: String,
    /// Added to the config file.
    pub config: String,
    /// A program and its arguments that run the server: one that takes its own place (`prlimit`, `strace -D`).
    pub runner: Vec<String>,
    /// Environment.
    pub environment: Vec<(String, String)>,
}

/// A running (or killed) server with its folder.
pub struct Postern {
    dir: TempDir,
    child: Option<Child>,
    /// Port of listener `feeder`.
    pub port: u16,
    /// Port of the HTTP API.
    pub http_port: u16,
    /// How it is started the next time.
    pub setup: Setup,
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
        let setup = Setup { listener: listener.into(), zone: zone.into(), config: config.into(), ..Setup::default() };
        Self::prepare(next_hop, setup).started()
    }

    /// As [`Postern::start_with`], with a hostname of its own.
    #[must_use]
    pub fn start_named(hostname: &str, next_hop: u16, listener: &str, zone: &str, config: &str) -> Self {
        let setup = Setup { listener: listener.into(), zone: zone.into(), config: config.into(), ..Setup::default() };
        Self::prepare(next_hop, Setup { hostname: hostname.into(), ..setup }).started()
    }

    /// Starts a server that listens on `port` and delivers by MX: to port `mx_port` of the hosts that the DNS server on
    /// `dns_port` names. `zone` is keys for `[zone.default]`, `dns` for `[dns]`.
    #[must_use]
    pub fn start_mx(port: u16, dns_port: u16, mx_port: u16, zone: &str, dns: &str, config: &str) -> Self {
        let zone = format!("port = {mx_port}\n{zone}");
        let config = format!("[dns]\nservers = ['127.0.0.1:{dns_port}']\n{dns}\n{config}");
        Self::write(port, Setup { zone, config, ..Setup::default() }).started()
    }

    /// Starts a server with these keys; those of its zone have to say where mail goes.
    #[must_use]
    pub fn start_zone(setup: Setup) -> Self {
        Self::write(free_port(), setup).started()
    }

    /// Makes a server's folder and config, and does not start it.
    #[must_use]
    pub fn prepare(next_hop: u16, setup: Setup) -> Self {
        let zone = format!("smart_host = {{ host = '127.0.0.1', port = {next_hop} }}\n{}", setup.zone);
        Self::write(free_port(), Setup { zone, ..setup })
    }

    fn write(port: u16, setup: Setup) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let Setup { hostname, data, listener, http, zone, config, .. } = &setup;
        let http_port = free_port();
        let hostname = if hostname.is_empty() { "mta.example.com" } else { hostname };
        let data = data.as_ref().map_or_else(String::new, |data| format!("data_dir = '{}'\n", data.display()));
        let text = format!(
            "hostname = '{hostname}'\n{data}[listener.feeder]\naddress = '127.0.0.1:{port}'\n{listener}\n\
             [http]\naddress = '127.0.0.1:{http_port}'\n{http}\n\
             [zone.default]\n{zone}\n{config}\n"
        );
        std::fs::write(dir.path().join("postern.toml"), text).expect("a config file");
        Self { dir, child: None, port, http_port, setup, starts: 0 }
    }

    fn started(mut self) -> Self {
        self.restart();
        self
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The folder of its queue.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.setup.data.clone().unwrap_or_else(|| self.dir().join("data"))
    }

    /// Process id.
    ///
    /// # Panics
    /// It was never started.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a server that was started").id()
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
        if let Some(child) = &mut self.child {
            // It may have ended by itself; that is for the test to see.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// There is no such process.
    #[allow(unsafe_code, reason = "std has no way to send a signal but SIGKILL")]
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.pid()).expect("a process id");
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

    /// Starts it (again) on the same folder; resolves once it listens.
    ///
    /// # Panics
    /// It does not start.
    pub fn restart(&mut self) {
        self.launch();
        if let Err(log) = self.wait_ready() {
            panic!("the server ended before it was ready:\n{log}");
        }
    }

    /// Starts it (again) on the same folder and doesn't wait.
    ///
    /// # Panics
    /// The binary can't be run.
    pub fn launch(&mut self) {
        self.starts += 1;
        self.child = Some(spawn(self.dir.path(), self.starts, &self.setup));
    }

    /// Waits until it listens.
    ///
    /// # Errors
    /// It ended before; its log.
    pub fn wait_ready(&mut self) -> Result<(), String> {
        let (place, start) = (self.dir().to_owned(), self.starts);
        wait_for("the server to listen", || {
            // In this order: what it logged at last is there once it has ended.
            let ended = self.ended().is_some();
            let log = log_of(&place, start);
            if log.contains(" ready ") { Some(Ok(())) } else { ended.then_some(Err(log)) }
        })
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// It can't be waited for.
    pub fn wait_end(&mut self) -> ExitStatus {
        wait_for("the end of the server", || self.ended())
    }

    /// Its status, if it has ended.
    ///
    /// # Panics
    /// It was never started.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().expect("a server that was started").try_wait().expect("a status")
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

fn spawn(dir: &Path, start: usize, setup: &Setup) -> Child {
    let log = File::create(dir.join(format!("log.{start}"))).expect("a log file");
    let errors = log.try_clone().expect("a log file");
    let mut command = match &setup.runner[..] {
        [] => Command::new(binary()),
        [runner, args @ ..] => {
            let mut command = Command::new(runner);
            command.args(args).arg(binary());
            command
        }
    };
    command
        .args(["run", "-c", "postern.toml"])
        .envs(setup.environment.iter().map(|(name, value)| (name, value)))
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
