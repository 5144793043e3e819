//! Python's HTTP server as the peer of plugins, with answers good and bad.

use crate::{Daemon, PYTHON, free_port};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A server on loopback: `/echo` (length, SHA-256 and X-From of the body that came), `/status/CODE`, `/redirect?URL`,
/// `/slow` (no answer for a minute), `/drip` (an octet a tenth of a second, for ever), `/endless` (a body without end, as
/// fast as it is taken), `/header` (one of 1 MiB), `/cut` (less than was announced), `/count` (requests so far), and
/// `/asked`, which answers as [`HttpPeer::answer`] says and keeps the bodies.
pub struct HttpPeer {
    _daemon: Daemon,
    dir: TempDir,
    /// Its port.
    pub port: u16,
}

const PROGRAM: &str = r#"
import hashlib, http.server, json, os, sys, threading, time, urllib.parse
count = 0
lock = threading.Lock()
os.chdir(sys.argv[2])
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def reply(self, status, text, headers=()):
        data = text.encode()
        self.send_response(status)
        for name, value in headers: self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def unbounded(self, piece, pause):
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(pause)
        except OSError: pass
    def asked(self, body):
        with lock:
            with open("requests", "a") as kept: kept.write(json.dumps(body) + "\n")
        for part, status, text in json.load(open("answers")):
            if part in body: return self.reply(status, text)
        self.reply(404, "nothing was said of this")
    def do_GET(self):
        global count
        length, digest = int(self.headers.get("Content-Length") or 0), hashlib.sha256()
        if self.path == "/asked": return self.asked(self.rfile.read(length).decode())
        left = length
        while left:
            piece = self.rfile.read(min(left, 65536))
            if not piece: return
            digest.update(piece)
            left -= len(piece)
        path, _, query = self.path.partition("?")
        if path != "/count": count += 1
        if path == "/echo":
            said = self.headers.get("X-From") or "nobody"
            self.reply(200, f"{length} {digest.hexdigest()} {said}", [("X-Test", "yes")])
        elif path.startswith("/status/"): self.reply(int(path[8:]), "status")
        elif path == "/redirect": self.reply(302, "", [("Location", urllib.parse.unquote(query))])
        elif path == "/slow":
            time.sleep(60)
            self.reply(200, "late")
        elif path == "/drip": self.unbounded(b".", 0.1)
        elif path == "/endless": self.unbounded(b"x" * 65536, 0)
        elif path == "/header": self.reply(200, "", [("X-Long", "x" * 60000)] * 17)
        elif path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"short")
            self.close_connection = True
        elif path == "/count": self.reply(200, str(count))
        else: self.reply(404, "no such path")
    do_POST = do_GET
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

impl HttpPeer {
    /// Starts it.
    ///
    /// # Panics
    /// Python is not there.
    #[must_use]
    pub fn start() -> Self {
        let (port, dir) = (free_port(), tempfile::tempdir().expect("a folder"));
        let mut command = Command::new(PYTHON);
        command.args(["-c", PROGRAM, &port.to_string()]).arg(dir.path()).stderr(Stdio::null());
        Self { _daemon: Daemon::start(command, port), dir, port }
    }

    /// From now on `/asked` answers a request whose body contains the text with this status and body; the first that
    /// fits counts.
    ///
    /// # Panics
    /// Its folder can't be written.
    pub fn answer(&self, answers: &[(&str, u16, &str)]) {
        let new = self.dir.path().join("new");
        std::fs::write(&new, serde_json::to_vec(answers).expect("JSON")).expect("a file");
        std::fs::rename(new, self.dir.path().join("answers")).expect("a file");
    }

    /// The bodies of the requests to `/asked` so far.
    ///
    /// # Panics
    /// A line of the file is no JSON.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        let kept = std::fs::read_to_string(self.dir.path().join("requests")).unwrap_or_default();
        let lines = kept.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.map(|line| serde_json::from_str(line).expect("a text in JSON")).collect()
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}
