//! Other people's messages pass unchanged: some 370 of them from the test suites of mail software, and lines and octets
//! that none of them has, in by DATA and by BDAT, out to aiosmtpd. The judge is a Python program of its own
//! (`tests/src/corpora.py`); what leaves is also scanned on the wire.
//!
//! `scripts/corpora` gathers the messages. A source that can't be had is named as "not run"; mail-parser's is always
//! there, since the server is built with it.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stderr, reason = "how many files, and why some were refused, belongs into the test's output")]

use postern_tests::{Client, Daemon, PYTHON, Postern, Reply, SmtpSink, Tap, free_port, python, root, run, unclean};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const JUDGE: &str = include_str!("../src/corpora.py");
const SENDER: &str = "corpus@sender.example";

/// A message by name.
type Messages = BTreeMap<String, Vec<u8>>;

/// All that `scripts/corpora` has found, as the files are.
fn corpora() -> Messages {
    let output = run(root().join("scripts/corpora").to_str().unwrap(), &[]);
    eprint!("{}", String::from_utf8_lossy(&output.stdout));
    let mut messages = Messages::new();
    for source in std::fs::read_dir(root().join("target/corpora")).unwrap() {
        let source = source.unwrap().path();
        for file in std::fs::read_dir(&source).unwrap() {
            let file = file.unwrap().path();
            let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
            // Files are called NNN-something; the number will do, as this becomes a local part.
            messages.insert(format!("{}.{}", name(&source), &name(&file)[..3]), std::fs::read(&file).unwrap());
        }
    }
    assert!(messages.keys().filter(|name| name.starts_with("mail-parser.")).count() > 100);
    messages
}

/// Line ends as SMTP wants them; a bare CR and a NUL stay.
fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + 2);
    for (at, octet) in octets.iter().enumerate() {
        if *octet == b'\n' && (at == 0 || octets[at - 1] != b'\r') {
            out.push(b'\r');
        }
        out.push(*octet);
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Content as DATA has it, without the final dot.
fn stuffed(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + 16);
    for (at, octet) in octets.iter().enumerate() {
        if *octet == b'.' && (at == 0 || octets[..at].ends_with(b"\r\n")) {
            out.push(b'.');
        }
        out.push(*octet);
    }
    out
}

fn submit(client: &mut Client, name: &str, octets: &[u8]) -> Reply {
    let body = if octets.is_ascii() { "" } else { " BODY=8BITMIME" };
    submit_with(client, name, octets, body)
}

fn submit_with(client: &mut Client, name: &str, octets: &[u8], body: &str) -> Reply {
    client.command(&format!("MAIL FROM:<{SENDER}>{body}"), 2).unwrap();
    client.command(&format!("RCPT TO:<{name}@d.example>"), 2).unwrap();
    client.command("DATA", 3).unwrap();
    client.send(&stuffed(octets)).unwrap();
    let end: &[u8] = if octets.is_empty() || octets.ends_with(b"\r\n") { b".\r\n" } else { b"\r\n.\r\n" };
    client.send(end).unwrap();
    client.reply().unwrap()
}

/// By BDAT (RFC 3030), in chunks that are cut where it hurts: single octets, within line ends, none at all.
fn submit_in_chunks(client: &mut Client, name: &str, octets: &[u8]) -> Reply {
    let body = if octets.is_ascii() { "" } else { " BODY=8BITMIME" };
    client.command(&format!("MAIL FROM:<{SENDER}>{body}"), 2).unwrap();
    client.command(&format!("RCPT TO:<{name}@d.example>"), 2).unwrap();
    let (mut rest, mut sizes) = (octets, [1, 2, 0, 3, 1000, 7, 63].into_iter().cycle());
    loop {
        let (chunk, left) = rest.split_at(sizes.next().unwrap().min(rest.len()));
        let is_last = left.is_empty();
        let last = if is_last { " LAST" } else { "" };
        client.send(&[format!("BDAT {}{last}\r\n", chunk.len()).as_bytes(), chunk].concat()).unwrap();
        let reply = client.reply().unwrap();
        if is_last || reply.code != 250 {
            return reply;
        }
        rest = left;
    }
}

type Submit = fn(&mut Client, &str, &[u8]) -> Reply;

/// All, each on its own connection: too many refusals would end one.
fn submit_all(port: u16, messages: &Messages, submit: Submit) -> BTreeMap<String, Reply> {
    let mut replies = BTreeMap::new();
    for (name, octets) in messages {
        let mut client = Client::hello(port).unwrap();
        replies.insert(name.clone(), submit(&mut client, name, octets));
    }
    replies
}

/// aiosmtpd with a folder, run from the judge's file.
fn sink(folder: &Path) -> Daemon {
    let port = free_port();
    let mut command = Command::new(PYTHON);
    command.args(["-c", JUDGE, "sink", &port.to_string()]).arg(folder);
    Daemon::start(command, port)
}

/// Sends all, checks that those in `refused` alone are refused, and lets the judge compare.
fn pass_through(messages: &Messages, refused: &dyn Fn(&[u8]) -> Option<&'static str>) -> serde_json::Value {
    pass_through_by(submit, messages, refused)
}

fn pass_through_by(
    submit: Submit,
    messages: &Messages,
    refused: &dyn Fn(&[u8]) -> Option<&'static str>,
) -> serde_json::Value {
    let dir = tempfile::tempdir().unwrap();
    let (sent, got) = (dir.path().join("sent"), dir.path().join("got"));
    std::fs::create_dir(&sent).unwrap();
    std::fs::create_dir(&got).unwrap();
    let sink = sink(&got);
    let tap = Tap::start(sink.port);
    let server = Postern::start(tap.port, "");
    let mut refusals = BTreeMap::<String, usize>::new();
    for (name, reply) in submit_all(server.port, messages, submit) {
        let octets = &messages[&name];
        match refused(octets) {
            Some(text) => {
                assert!(reply.code == 550 && reply.lines[0].contains(text), "{name}: {reply:?}");
                *refusals.entry(format!("{} {}", reply.code, reply.lines[0])).or_default() += 1;
            }
            None => {
                assert_eq!(reply.code, 250, "{name}: {reply:?}");
                std::fs::write(sent.join(&name), octets).unwrap();
            }
        }
    }
    server.wait_empty();
    let wire = tap.assert_clean();
    assert!(server.log_lines(" REJECTED ").is_empty() && server.log_lines(" DEFERRED ").is_empty());
    let judged = python(JUDGE, &["judge", sent.to_str().unwrap(), got.to_str().unwrap()]);
    let judged: serde_json::Value = serde_json::from_str(&judged).unwrap();
    let count = std::fs::read_dir(&sent).unwrap().count();
    eprintln!("{} sent, {count} taken, {} identical, refused: {refusals:?}", messages.len(), judged["identical"]);
    eprintln!("named changes: {}; {wire} octets left, all clean", judged["notes"]);
    assert_eq!(judged["different"], serde_json::json!({}));
    assert_eq!(judged["missing"], serde_json::json!([]));
    assert_eq!(judged["repeated"], serde_json::json!([]));
    assert_eq!(judged["identical"], count);
    judged
}

fn fault(octets: &[u8]) -> Option<&'static str> {
    unclean(octets).map(|at| if octets[at] == 0 { "NUL octet" } else { "bare CR or LF" })
}

#[test]
fn open_corpora_arrive_as_they_were_sent() {
    let messages: Messages = corpora().into_iter().map(|(name, octets)| (name, with_crlf(&octets))).collect();
    pass_through(&messages, &fault);
    pass_through_by(submit_in_chunks, &messages, &fault);
}

#[test]
fn files_with_bare_line_ends_are_refused() {
    let messages: Messages = corpora().into_iter().filter(|(_, octets)| fault(octets).is_some()).collect();
    assert!(messages.len() > 100, "most corpora have Unix line ends");
    pass_through(&messages, &fault);
}

/// What no corpus has: long lines, every octet, dots, odd headers, a large body.
fn made() -> Messages {
    let mut messages = Messages::new();
    let mut add = |name: String, octets: Vec<u8>| messages.insert(name, octets);
    let header = b"Subject: made\r\nContent-Type: text/plain; charset=utf-8\r\n";
    for length in [997, 998, 999, 1000, 2047, 2048, 4096, 32_768, 65_535, 65_536] {
        let line = vec![b'l'; length];
        add(format!("body-line-{length}"), [&header[..], b"\r\n", &line, b"\r\nshort\r\n", &line, b"\r\n"].concat());
        let field = [b"X-Long: ", &line[8..]].concat();
        add(format!("header-line-{length}"), [&field[..], b"\r\n", &header[..], b"\r\nbody\r\n"].concat());
        let dots = vec![b'.'; length - 1];
        add(format!("dots-{length}"), [&header[..], b"\r\n", &dots, b"\r\n", &dots, b"\r\n"].concat());
    }
    let octets: Vec<u8> = (1..=255).filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    add("all-octets".into(), [&header[..], b"\r\n", &octets.repeat(50), b"\r\n"].concat());
    add(
        "octets-by-line".into(),
        [&header[..], b"\r\n"]
            .into_iter()
            .flatten()
            .copied()
            .chain(octets.iter().flat_map(|octet| [*octet, *octet, b'\r', b'\n']))
            .collect(),
    );
    add("8-bit-header".into(), b"Subject: \xff\xfe \xc3\xa4\r\nX-\r\n\t\xe4: x\r\n\r\n\xe4\r\n".to_vec());
    add("nothing".into(), Vec::new());
    add("empty-line".into(), b"\r\n".to_vec());
    add("empty-lines".into(), b"\r\n\r\n\r\n".to_vec());
    add("header-alone".into(), b"Subject: x\r\n".to_vec());
    add("no-header".into(), b"just text\r\n.\r\n..\r\n...\r\n".to_vec());
    add("blank-first".into(), b" starts blank: x\r\nSubject: y\r\n\r\n\r\n".to_vec());
    add("lone-dots".into(), b".\r\n.\r\n\r\n.\r\n".to_vec());
    add("mbox".into(), b"From a@b Mon Jan  1 00:00:00 2026\r\nSubject: x\r\n\r\nFrom here\r\n>From there\r\n".to_vec());
    add("many-fields".into(), [b"X: y\r\n".repeat(10_000), b"\r\nbody\r\n".to_vec()].concat());
    // 8 MB of lines of every length, by a generator of its own so that each run sends the same.
    let (mut body, mut state) = (b"Subject: large\r\n\r\n".to_vec(), 1_u64);
    while body.len() < 8 << 20 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let length = usize::try_from(state >> 33).unwrap() % 1500;
        body.extend((0..length).map(|at| b".abcdefg"[(at * 7 + length) % 8]));
        body.extend_from_slice(b"\r\n");
    }
    add("large".into(), body);
    messages
}

#[test]
fn long_lines_odd_octets_and_large_bodies_arrive_as_they_were_sent() {
    pass_through(&made(), &fault);
}

#[test]
fn a_line_past_the_limit_is_refused() {
    let line = vec![b'l'; 65_537];
    let in_body = [b"Subject: x\r\n\r\n", &line[..], b"\r\n"].concat();
    let in_header = [b"X-Long: ", &line[8..], b"\r\n\r\nbody\r\n"].concat();
    let messages = Messages::from([("in-body".to_owned(), in_body), ("in-header".to_owned(), in_header)]);
    pass_through(&messages, &|_| Some("too long"));
}

#[test]
fn eight_bit_content_bounces_where_it_would_have_to_be_converted() {
    // smtp-sink without 8BITMIME.
    let sink = SmtpSink::start(&["-8"]);
    let server = Postern::start(sink.port, "");
    let messages: Messages = corpora().into_iter().map(|(name, octets)| (name, with_crlf(&octets))).collect();
    let messages: Messages = messages.into_iter().filter(|(_, octets)| fault(octets).is_none()).collect();
    let (eight_bit, seven_bit): (Vec<_>, Vec<_>) = messages.iter().partition(|(_, octets)| !octets.is_ascii());
    for (name, octets) in &messages {
        let mut client = Client::hello(server.port).unwrap();
        // Some clients declare it for everything.
        assert_eq!(submit_with(&mut client, name, octets, " BODY=8BITMIME").code, 250);
    }
    server.wait_empty();
    let rejected = server.log_lines(" REJECTED ");
    assert_eq!(rejected.len(), eight_bit.len());
    assert!(rejected.iter().all(|line| line.contains("status=5.6.3")), "{rejected:?}");
    let arrived = sink.messages();
    let originals = arrived
        .iter()
        .filter(|message| message.contains(&format!("<{SENDER}>\n")) && !message.contains("X-Rcpt-Args: <corpus"));
    assert_eq!(originals.count(), seven_bit.len());
    eprintln!("{} of 8 bits bounced with 5.6.3, {} of 7 bits arrived", eight_bit.len(), seven_bit.len());
}
