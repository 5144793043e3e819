//! Next hops that we did not write: Postfix's smtp-sink and Python's aiosmtpd.

use crate::{Daemon, free_port};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Debian's Python, which has the packages that the tests install.
pub const PYTHON: &str = "/usr/bin/python3";

/// A running smtp-sink.
pub struct SmtpSink {
    _daemon: Daemon,
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
        let program =
            ["/usr/sbin/smtp-sink", "/usr/lib/postfix/sbin/smtp-sink"].into_iter().find(|p| PathBuf::from(p).exists());
        let program = program.expect("smtp-sink; `make test` installs it");
        let mut command = Command::new(program);
        command
            // As root it would ask for a user to change to.
            .args(["-u", "root", "-d", "m."])
            .args(options)
            .args([&format!("127.0.0.1:{port}"), "1024"])
            .current_dir(dir.path())
            .stdout(Stdio::null());
        Self { _daemon: Daemon::start(command, port), dir, port }
    }

    /// The messages taken so far, complete ones only: envelope lines (`X-Rcpt-Args: <a@b>` …) and content.
    ///
    /// # Panics
    /// Its folder can't be read.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).expect("its folder");
        entries
            .map(|entry| {
                String::from_utf8_lossy(&std::fs::read(entry.expect("a file").path()).expect("a file")).into_owned()
            })
            .collect()
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

/// Python's aiosmtpd as the next hop: each message it takes is a line of JSON.
pub struct AioSink {
    _daemon: Daemon,
    dir: TempDir,
    /// Where it listens.
    pub port: u16,
}

/// What it runs: stores each message, and refuses as recipients' local parts say (`perm…` 550, `temp…` 450; with
/// `once…`, 450 the first time only; `data…` is refused after the content; `reply-550-5.7.1…` is answered with just that,
/// over two lines if the number before the `@` is even).
const AIO_SINK: &str = r#"
import asyncio, hashlib, json, re, sys
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

seen = set()

class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith('perm'):
            return '550 5.1.1 <%s> no such user here' % address
        if address.startswith('temp') or (address.startswith('once') and address not in seen):
            seen.add(address)
            return '450 4.2.1 <%s> mailbox busy' % address
        asked = re.match(r'reply-(\d+)-([\d.]*)\D*(\d*)', address.strip('"'))
        if asked:
            code, status, number = asked.groups()
            words = [part for part in (status, '<%s>' % address, 'refused') if part]
            lines = [' '.join(words), ' '.join([status, 'see rule'] if status else ['see rule'])]
            if int(number or 1) % 2 == 0:
                return '%s-%s\r\n%s %s' % (code, lines[0], code, lines[1])
            return '%s %s' % (code, lines[0])
        envelope.rcpt_tos.append(address)
        return '250 2.1.5 ok'

    async def handle_DATA(self, server, session, envelope):
        if any(address.startswith('data') for address in envelope.rcpt_tos):
            return '554 5.6.0 content refused'
        content = envelope.original_content
        body = content.split(b'\r\n\r\n', 1)[-1]
        record = dict(peer=session.peer[0], helo=session.host_name, mail_from=envelope.mail_from, rcpt_tos=envelope.rcpt_tos, mail_options=envelope.mail_options,
                      content=content.decode('utf-8', 'replace'), body_sha256=hashlib.sha256(body).hexdigest())
        with open('messages', 'a') as out:
            out.write(json.dumps(record) + '\n')
        return '250 2.0.0 stored'

class Sink(Controller):
    def factory(self):
        return SMTP(self.handler, enable_SMTPUTF8=True, data_size_limit=0, hostname='sink.example')

controller = Sink(Handler(), hostname='127.0.0.1', port=int(sys.argv[1]))
controller.start()
asyncio.new_event_loop().run_forever()
"#;

impl AioSink {
    /// Starts it.
    ///
    /// # Panics
    /// It is not there (`make test` installs it).
    #[must_use]
    pub fn start() -> Self {
        Self::start_on(free_port())
    }

    /// As [`AioSink::start`], on a given port.
    ///
    /// # Panics
    /// It is not there (`make test` installs it).
    #[must_use]
    pub fn start_on(port: u16) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(PYTHON);
        command.args(["-c", AIO_SINK, &port.to_string()]).current_dir(dir.path());
        Self { _daemon: Daemon::start(command, port), dir, port }
    }

    /// The file with a line of JSON for each message taken so far.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("messages")
    }

    /// The messages taken so far: `peer` (address), `helo`, `mail_from`, `rcpt_tos`, `mail_options`, `content`, `body_sha256`.
    ///
    /// # Panics
    /// The file has something else in it.
    #[must_use]
    pub fn messages(&self) -> Vec<serde_json::Value> {
        json_lines(&self.file())
    }
}

/// The lines of a file that is being written, each of JSON; none if it is not there yet.
///
/// # Panics
/// The file has something else in it.
pub(crate) fn json_lines(file: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // A line that is still being written has no line end yet.
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}
