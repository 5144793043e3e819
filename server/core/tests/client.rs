//! Runs the transcripts in `client/`: each is one behaviour of the client's state machine, played with the server's
//! octets whole and one at a time.
//!
//! | line | meaning |
//! |---|---|
//! | `# text` | what it shows and why |
//! | `! terms [off\|opportunistic\|require\|verify] [auth=USER:PASSWORD] [own=NAME,NAME…]` | of a session; first of all |
//! | `S: line` | the server sends `line` and CRLF (`\r`, `\n`, `\0` and `\\` are escapes; a last `\` means no CRLF) |
//! | `C: line` | the client sends exactly `line` and CRLF; lines that follow each other came in one write |
//! | `! begin FROM TO,TO… [size=N] [8bit] [utf8]` | a transaction begins; `ret=`, `envid=`, and `notify=` and `orcpt=` of the first recipient, are RFC 3461's |
//! | `! content` | the content is sent |
//! | `! tls`, `! tls-fails` | the handshake is done or fails |
//! | `! quit`, `! close`, `! timeout` | QUIT; the server closes; a time limit passes |
//! | `= waiting at STAGE` (ready, wants-tls, wants-content, closed) | the status |
//! | `= offers WORDS` | the extensions found |
//! | `= ADDRESS verdict` | what became of a recipient, in order, all of them |
//! | `= session verdict` | why the session ended |

#![allow(clippy::unwrap_used)]

use postern_core::bounce;
use postern_core::mail::{BodyType, EnvelopeId, Notify, OriginalRecipient, Outcome, Recipient, Ret, ReversePath};
use postern_core::smtp::client::{Cause, Client, Failure, Loss, Status, Terms, TlsFault, Transaction};
use postern_core::zone::{Credentials, TlsMode};
use std::collections::VecDeque;
use std::path::Path;

#[test]
fn transcripts() {
    let mut seen = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{}: the first line says what it shows", path.display());
        for step in [usize::MAX, 1, 3] {
            Player::new(path.display().to_string(), step).play(&text);
        }
        seen += 1;
    }
    assert!(seen > 20, "only {seen} transcripts");
}

struct Player {
    name: String,
    step: usize,
    client: Client,
    /// What the server has sent and the client not read.
    pending: Vec<u8>,
    /// What the client has to have sent.
    expected: Vec<u8>,
    recipients: Vec<Recipient>,
    results: VecDeque<String>,
}

impl Player {
    fn new(name: String, step: usize) -> Self {
        let client = Client::new("me.example", Terms::none());
        Self { name, step, client, pending: vec![], expected: vec![], recipients: vec![], results: VecDeque::new() }
    }

    fn play(mut self, text: &str) {
        for (number, line) in text.lines().enumerate() {
            let at = format!("{}:{} (by {})", self.name, number + 1, self.step);
            match line.split_at(line.len().min(2)) {
                ("S:", rest) => {
                    self.settle(&at);
                    self.pending.extend(unescape(rest.trim_start()));
                }
                ("C:", rest) => {
                    self.expected.extend_from_slice(rest.trim_start().as_bytes());
                    self.expected.extend_from_slice(b"\r\n");
                }
                ("! ", rest) => {
                    self.settle(&at);
                    self.act(rest, &at);
                }
                ("= ", rest) => {
                    self.settle(&at);
                    self.look(rest, &at);
                }
                ("# ", _) | ("", "") => {}
                _ => panic!("{at}: {line:?} is not of a transcript"),
            }
        }
        self.settle("at the end");
        assert!(self.results.is_empty(), "{}: not looked at: {:?}", self.name, self.results);
    }

    /// Lets the client read what the server sent, if it is its turn, and compares what it sent.
    fn settle(&mut self, at: &str) {
        if self.expected.is_empty() {
            return self.read();
        }
        self.read();
        let sent = std::mem::take(self.client.output());
        let (sent, expected) = (String::from_utf8_lossy(&sent), String::from_utf8_lossy(&self.expected));
        assert_eq!(sent, expected, "{at}: before it");
        self.expected.clear();
    }

    fn read(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        pending.chunks(self.step.min(pending.len().max(1))).for_each(|piece| self.client.receive(piece));
    }

    fn act(&mut self, what: &str, at: &str) {
        self.read();
        let mut words = what.split(' ');
        match words.next() {
            Some("begin") => self.begin(words, at),
            Some("content") => {
                assert_eq!(self.client.status(), Status::WantsContent, "{at}");
                self.client.content_sent();
            }
            Some("terms") => self.client = Client::new("me.example", terms(words, at)),
            Some("tls") => {
                assert_eq!(self.client.status(), Status::WantsTls, "{at}");
                self.client.tls_established();
            }
            Some("tls-fails") => self.client.tls_failed(TlsFault::Handshake, "of the library"),
            Some("quit") => self.client.quit(),
            Some("close") => self.client.lost(Loss::Closed, ""),
            Some("timeout") => self.client.lost(Loss::TimedOut, ""),
            _ => panic!("{at}: unknown action"),
        }
    }

    fn begin<'a>(&mut self, mut words: impl Iterator<Item = &'a str>, at: &str) {
        let reverse_path = match words.next().unwrap() {
            "<>" => ReversePath::Null,
            path => ReversePath::Path(path.parse().unwrap()),
        };
        self.recipients = words.next().unwrap().split(',').map(|a| Recipient::new(a.parse().unwrap())).collect();
        let (mut size, mut body, mut smtputf8, mut ret, mut envid) = (100, BodyType::SevenBit, false, None, None);
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("8bit", _) => body = BodyType::EightBit,
                ("utf8", _) => smtputf8 = true,
                ("ret", value) => ret = Ret::parse(value),
                ("envid", value) => envid = EnvelopeId::parse(value),
                ("notify", value) => self.recipients[0].notify = Notify::parse(value),
                ("orcpt", value) => self.recipients[0].orcpt = OriginalRecipient::parse(value, true),
                ("size", value) => size = value.parse().expect(at),
                _ => panic!("{at}: {word}"),
            }
        }
        let envid = envid.as_ref();
        let transaction = Transaction { reverse_path: &reverse_path, size, body, smtputf8, ret, envid };
        if let Err(failure) = self.client.begin(&transaction, &self.recipients) {
            self.results = self.recipients.iter().map(|to| format!("{} {}", to.address, show(&failure))).collect();
        }
    }

    fn look(&mut self, what: &str, at: &str) {
        let status = match self.client.status() {
            Status::Waiting => format!("waiting at {}", self.client.stage()),
            Status::WantsTls => "wants-tls".to_owned(),
            Status::Ready => "ready".to_owned(),
            Status::WantsContent => "wants-content".to_owned(),
            Status::Closed => "closed".to_owned(),
            Status::Finished => {
                let results = self.client.take_results();
                assert_eq!(results.len(), self.recipients.len(), "{at}");
                let shown =
                    self.recipients.iter().zip(&results).map(|(Recipient { address, .. }, result)| match result {
                        Ok(reply) => format!("{address} delivered {reply}"),
                        Err(failure) => format!("{address} {}", show(failure)),
                    });
                self.results = shown.collect();
                String::new()
            }
        };
        let found = match self.results.pop_front() {
            Some(result) => result,
            None if what.starts_with("offers") => {
                let all = self.client.extensions();
                let flags = [
                    (all.pipelining, "pipelining"),
                    (all.eight_bit_mime, "8bitmime"),
                    (all.smtputf8, "smtputf8"),
                    (all.starttls, "starttls"),
                    (all.dsn, "dsn"),
                ];
                let words = flags.iter().filter(|(on, _)| *on).map(|(_, word)| format!(" {word}"));
                format!(
                    "offers{}{}",
                    words.collect::<String>(),
                    all.size.map(|n| format!(" size={n}")).unwrap_or_default()
                )
            }
            None if what.starts_with("session") => {
                format!("session {}", self.client.failure().map_or("ended by QUIT".to_owned(), show))
            }
            None => status,
        };
        assert_eq!(found, what, "{at}");
    }
}

fn terms<'a>(words: impl Iterator<Item = &'a str>, at: &str) -> Terms {
    let mut terms = Terms::none();
    for word in words {
        match word.split_once('=') {
            None if word == "off" => terms.tls = TlsMode::Off,
            None if word == "opportunistic" => terms.tls = TlsMode::Opportunistic,
            None if word == "require" => terms.tls = TlsMode::Require,
            None if word == "verify" => terms.tls = TlsMode::Verify,
            Some(("auth", both)) => {
                let (user, password) = both.split_once(':').expect(at);
                terms.credentials = Some(Credentials { user: user.to_owned(), password: password.to_owned() });
            }
            Some(("own", names)) => terms.own_names = names.split(',').map(str::to_owned).collect(),
            _ => panic!("{at}: {word:?} is not among the terms"),
        }
    }
    terms
}

fn show(failure: &Failure) -> String {
    let (verb, reason) = match bounce::judge(failure, "mx") {
        Outcome::Delivered(_) => unreachable!("a failure delivers nothing"),
        Outcome::Deferred(reason) => ("deferred", reason),
        Outcome::Bounced(reason) => ("bounced", reason),
    };
    let scope = format!("{:?}", reason.scope).to_lowercase();
    let why = match &failure.cause {
        Cause::Reply(reply) => format!("{reply}"),
        other => format!("{other:?}").to_lowercase(),
    };
    format!("{verb} {scope} {} at {}: {why}", reason.status, failure.stage)
}

fn unescape(line: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('r')) => out.push(b'\r'),
            ('\\', Some('n')) => out.push(b'\n'),
            ('\\', Some('0')) => out.push(0),
            ('\\', Some(other)) => out.extend(other.to_string().bytes()),
            ('\\', None) => return out,
            (c, _) => out.extend(c.to_string().bytes()),
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}
