//! Python's HTTP server as a service that knows users: the peer of `http-auth`.

use crate::{Daemon, PYTHON, free_port};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A server on loopback that answers 200 to user `app` with password `right` (and says that `listed.example` is his), 503
/// to `down`, 401 to everybody else. It keeps what it was asked.
pub struct AuthPeer {
    _daemon: Daemon,
    dir: TempDir,
    /// Its port.
    pub port: u16,
}

const PROGRAM: &str = r#"
import base64, http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def do_GET(self):
        login = self.headers.get("Authorization") or ""
        with open("requests", "a") as kept: print(self.command, self.path, login, file=kept)
        user, _, password = base64.b64decode(login.removeprefix("Basic ")).decode().partition(":")
        right = (user, password) == ("app", "right")
        body = json.dumps({"user": user, "attributes": {"senders": "listed.example"}} if right else {"error": "no"}).encode()
        self.send_response(200 if right else 503 if user == "down" else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

impl AuthPeer {
    /// Starts it.
    ///
    /// # Panics
    /// Python is not there (`make test` installs it).
    #[must_use]
    pub fn start() -> Self {
        let (dir, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let mut command = Command::new(PYTHON);
        command.args(["-c", PROGRAM, &port.to_string()]).current_dir(dir.path()).stdout(Stdio::null());
        Self { _daemon: Daemon::start(command, port), dir, port }
    }

    /// What it was asked so far, a line each: method, path, Authorization.
    #[must_use]
    pub fn asked(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("requests")).unwrap_or_default()
    }
}
