//! Drives the server's state machine by the transcripts in `tests/transcripts/server`, whole and byte by byte.
//!
//! The same files drive a real socket in the end-to-end tests. Their language: `C: ` a line of the client, `C- ` octets
//! with escapes (`\r \n \0 \x16`) and no line end, `*N` at its end repeats it; `S: ` a line of the server, `*` for any rest;
//! `! limit=value` before the session; `= queued N` and `= closed` what must be true at the end.

#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::BytesMut;
use postern_core::hook::Protocol;
use postern_core::mail::{EnhancedCode, Reply};
use postern_core::smtp::server::{Access, Event, FutureRelease, Limits, Server};
use postern_core::smtp::xclient::{Said, Xclient};
use postern_core::time::Timestamp;
use std::path::Path;
use std::time::Duration;

struct Run {
    server: Server,
    access: Access,
    input: BytesMut,
    output: Vec<u8>,
    queued: usize,
    closed: bool,
}

impl Run {
    fn new(limits: Limits, access: Access) -> Self {
        let server = Server::new("mta.example.com", limits).with_access(access);
        Self { server, access, input: BytesMut::new(), output: Vec::new(), queued: 0, closed: false }
    }

    /// Accepts whatever the state machine asks for.
    fn advance(&mut self) {
        loop {
            let event = self.server.poll(&mut self.input);
            self.output.extend(self.server.take_output());
            match event {
                Event::Input => break,
                Event::Close => {
                    self.closed = true;
                    break;
                }
                Event::Mail(_) => self.server.answer(&Reply::new(250, EnhancedCode(2, 1, 0), "Sender OK")),
                Event::Rcpt(_) => self.server.answer(&Reply::new(250, EnhancedCode(2, 1, 5), "Recipient OK")),
                Event::Data => self.server.answer(&Reply::plain(354, "Go ahead")),
                Event::ContentEnd => {
                    self.queued += 1;
                    self.server.answer(&Reply::new(250, EnhancedCode(2, 0, 0), "Message queued as 000000000000000001"));
                }
                Event::Xclient(client) => self.speaks_for(&client),
                Event::StartTls | Event::Scram(_) | Event::Auth(_) => panic!("not offered"),
                Event::Content(_) | Event::Hello { .. } | Event::Abort => {}
            }
        }
    }

    fn speaks_for(&mut self, client: &Xclient) {
        let protocol = if let Said::Value(protocol) = client.protocol { protocol } else { Protocol::Esmtp };
        let said_hello = matches!(client.helo, Said::Value(_)).then_some(protocol);
        self.server.speaks_for(self.access, matches!(client.login, Said::Value(_)), said_hello);
    }

    fn expect(&mut self, wanted: &str, place: &str) {
        self.advance();
        let end = self
            .output
            .iter()
            .position(|b| *b == b'\n')
            .unwrap_or_else(|| panic!("{place}: no reply, wanted {wanted}"));
        let line: Vec<u8> = self.output.drain(..=end).collect();
        let line = String::from_utf8(line).unwrap();
        let line = line.strip_suffix("\r\n").unwrap_or_else(|| panic!("{place}: reply without CR LF"));
        let fits = wanted.strip_suffix('*').map_or(line == wanted, |start| line.starts_with(start));
        assert!(fits, "{place}: wanted {wanted}, got {line}");
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let (text, times) = match text.rsplit_once('*') {
        Some((text, times)) => (text, times.parse().unwrap()),
        None => (text, 1),
    };
    text.replace("\\r", "\r")
        .replace("\\n", "\n")
        .replace("\\0", "\0")
        .replace("\\x16", "\x16")
        .repeat(times)
        .into_bytes()
}

fn play(file: &Path, step: usize) {
    let text = std::fs::read_to_string(file).unwrap();
    let mut limits = Limits {
        max_size: 1000,
        max_recipients: 100,
        max_line: 1000,
        max_errors: 20,
        future_release: None,
        lmtp: false,
    };
    let mut access = Access::default();
    let mut run = None::<Run>;
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{} by {step}", file.display(), number + 1);
        let (kind, rest) = line.split_at(line.len().min(2));
        let rest = rest.trim_start_matches(' ');
        if kind == "! " {
            let (key, value) = rest.split_once('=').unwrap();
            match key {
                "max_size" => limits.max_size = value.parse().unwrap(),
                "max_recipients" => limits.max_recipients = value.parse().unwrap(),
                "future_release" => {
                    let longest = Duration::from_secs(value.parse().unwrap());
                    limits.future_release = Some(FutureRelease { longest, latest: Timestamp(1_900_000_000_000) });
                }
                "xclient" => access.xclient = true,
                "protocol" => limits.lmtp = value == "lmtp",
                "max_errors" => limits.max_errors = value.parse().unwrap(),
                _ => panic!("{place}: no such limit"),
            }
            continue;
        }
        if kind == "# " || line.is_empty() {
            continue;
        }
        let run = run.get_or_insert_with(|| Run::new(limits.clone(), access));
        let mut send = |octets: &[u8]| {
            for piece in octets.chunks(step) {
                run.input.extend_from_slice(piece);
                run.advance();
            }
        };
        match kind {
            "C:" => send(format!("{rest}\r\n").as_bytes()),
            "C-" => send(&unescape(rest)),
            "S:" => run.expect(rest, &place),
            "= " if rest == "closed" => {
                run.advance();
                assert!(run.closed, "{place}");
            }
            "= " => assert_eq!(run.queued, rest.strip_prefix("queued ").unwrap().parse::<usize>().unwrap(), "{place}"),
            _ => panic!("{place}: what is {line}?"),
        }
    }
    let mut run = run.unwrap();
    run.advance();
    assert!(run.output.is_empty(), "{}: unexpected {:?}", file.display(), String::from_utf8_lossy(&run.output));
}

#[test]
fn transcripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts/server");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 10);
    for file in files {
        for step in [usize::MAX, 1, 7] {
            play(&file, step);
        }
    }
}
