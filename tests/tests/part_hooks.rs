//! Edits of parts in the whole server: what arrives is read by Python's email package; memory stays bounded; a kill at any
//! time leaves each message whole, edited and once. The plugin is `tests/guests/part-hooks`.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, HashSink, ID, PYTHON, Postern, SmtpSink, process, root, wait_for};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// Prints what it finds in a message: header fields, and type, charset, name and decoded content of each leaf.
const READER: &str = r"
import email, email.policy, json, sys
message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
parts = [dict(type=part.get_content_type(), charset=part.get_content_charset(), name=part.get_filename(),
              encoding=part['Content-Transfer-Encoding'], content=part.get_payload(decode=True).decode(part.get_content_charset() or 'latin-1'),
              defects=[str(defect) for defect in part.defects])
         for part in message.walk() if not part.is_multipart()]
print(json.dumps(dict(subject=message['Subject'], message_id=message['Message-ID'], received=message['Received'],
                      defects=[str(defect) for defect in message.defects], parts=parts)))
";

/// A `[[plugin]]` that does this to parts.
fn plugin(name: &str, parts: &Value, keys: &str) -> String {
    let component = root().join("tests/guests/part-hooks/part-hooks.wasm");
    assert!(component.exists(), "it is missing: run `make guests`");
    let component = component.display();
    let parts = parts.to_string();
    // The config is JSON in one TOML string for each section's steps.
    let toml = parts.replace("\":", "\"=");
    format!("[[plugin]]\nname = '{name}'\ncomponent = '{component}'\nconfig = {{ parts = {toml} }}\n{keys}\n")
}

fn read(content: &str) -> Value {
    let mut reader =
        Command::new(PYTHON).args(["-c", READER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    reader.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
    let output = reader.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

const HEADER: &str = "Subject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"o\"\r\n";
const BODY: &str = "This is MIME.\r\n\
    --o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n\
    --i\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9\r\n\
    --i\r\nContent-Type: text/html\r\n\r\n<p>hello</p>\r\n\
    --i--\r\n\
    --o\r\nContent-Type: application/x-dosexec; name=a.exe\r\nContent-Transfer-Encoding: base64\r\n\r\nTVqQ\r\n\
    --o\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0K\r\nGgo=\r\n\
    --o--\r\n";

/// Sends one message and gives the id of the reply and what arrived.
fn pass(server: &Postern, sink: &AioSink, content: &str) -> (String, String) {
    let mut client = Client::hello(server.port).unwrap();
    let reply = client.mail("a@b.example", &["c@d.example"], content).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}\n{}", server.log());
    let messages = wait_for("the message", || Some(sink.messages()).filter(|m| !m.is_empty()));
    let id = reply.lines.concat().rsplit(' ').next().unwrap().to_owned();
    (id, messages[0]["content"].as_str().unwrap().to_owned())
}

#[test]
fn two_plugins_edit_and_python_reads() {
    let sink = AioSink::start();
    let first = json!({ "1.1": [["append-text", "\r\n-- \r\n日本\r\n"]], "1.2": [["set-text", "<b>ü</b>"]], "2": [["remove"]] });
    let second = json!({ "1.1": [["upper"]], "1.2": [["append-text", "<i>"]], "3": [["fail"]] });
    let server = Postern::start(sink.port, &(plugin("first", &first, "") + &plugin("second", &second, "")));
    let (id, content) = pass(&server, &sink, &format!("{HEADER}\r\n{BODY}"));
    let found = read(&content);
    let plain = json!({ "type": "text/plain", "charset": "utf-8", "name": null, "encoding": "quoted-printable",
        "content": "CAF\u{e9}\r\n-- \r\n日本\r\n", "defects": [] });
    let html = json!({ "type": "text/html", "charset": "utf-8", "name": null, "encoding": "quoted-printable",
        "content": "<b>ü</b><i>", "defects": [] });
    assert_eq!((&found["parts"][0], &found["parts"][1]), (&plain, &html), "{content}");
    assert_eq!((found["parts"].as_array().unwrap().len(), &found["defects"]), (3, &json!([])), "{content}");
    // What nobody touched is as it was, to the octet.
    assert!(
        content
            .contains("\r\n\r\nThis is MIME.\r\n--o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\n")
    );
    assert!(content.contains("--i--\r\n--o\r\nContent-Type: image/png\r\n"), "{content}");
    assert!(content.ends_with("Content-Transfer-Encoding: base64\r\n\r\niVBORw0K\r\nGgo=\r\n--o--\r\n"), "{content}");
    // It is one message, and has one id.
    for field in ["message_id", "received"] {
        assert!(found[field].as_str().unwrap().contains(&id), "{id}: {found}");
    }
    let queued = server.wait_log(" QUEUED ", 1);
    assert!(queued[0].contains(&id) && queued[0].contains(&format!("size={}", content.len())), "{queued:?}");
    server.wait_empty();
    assert!(server.wait_log(" ACCEPTED ", 1)[0].contains(&id));
    assert!(server.log().contains("append to part 1.1"), "{}", server.log());
}

#[test]
fn a_failure_leaves_the_message_as_it_came() {
    let sink = AioSink::start();
    let failing = json!({ "1.1": [["set-text", "defaced"]], "3": [["fail"]] });
    let server = Postern::start(sink.port, &plugin("failing", &failing, "on_error = 'skip'"));
    let (_, content) = pass(&server, &sink, &format!("{HEADER}\r\n{BODY}"));
    assert!(content.ends_with(&format!("\r\n\r\n{BODY}")), "{content}");
}

#[test]
fn large_content_is_edited_in_little_memory() {
    /// Lines of base64 of an attachment of 50 MiB.
    const LINES: usize = (50 << 20) / 57;
    /// Growth of the server's memory over its idle state, at most: the guest's own 16 MiB are in it.
    const BOUND_KIB: u64 = 48 << 10;
    let sink = HashSink::start(0);
    let keys = "cpu = '60s'\ndeadline = '60s'\nmemory = '16MiB'";
    let config = plugin("large", &json!({ "2": [["upper"], ["append", "END"]] }), keys);
    let server = Postern::start_with(sink.port, "max_size = '2GiB'", "", &config);
    let mut client = Client::hello(server.port).unwrap();
    client.patience(Duration::from_secs(120)).unwrap();
    let start = format!(
        "{HEADER}\r\n--o\r\n\r\nhello\r\n--o\r\nContent-Type: application/x\r\n\
        Content-Transfer-Encoding: base64\r\n\r\n"
    );
    let small = format!("{start}{}\r\n--o--\r\n", "YWFh".repeat(19));
    assert_eq!(client.mail("a@b.example", &["c@d.example"], &small).unwrap().code, 250);
    wait_for("the small message", || (sink.count() == 1).then_some(()));
    let idle = process::resident_kib(server.pid());

    client.open("a@b.example", &["c@d.example"]).unwrap();
    client.send(format!("{ID}: large\r\n{start}").as_bytes()).unwrap();
    let block = ("YWFh".repeat(19) + "\r\n").repeat(1000);
    let line = block.len() / 1000;
    for from in (0..LINES).step_by(1000) {
        client.send(&block.as_bytes()[..line * (LINES - from).min(1000)]).unwrap();
    }
    client.send(b"--o--\r\n.\r\n").unwrap();
    let reply = client.reply().unwrap();
    assert_eq!(reply.code, 250, "{reply:?}\n{}", server.log());
    let peak_in = process::peak_kib(server.pid());
    wait_for("the large message", || (sink.count() == 2).then_some(()));
    let peak = process::peak_kib(server.pid());

    let mut sum = Sha256::new();
    sum.update(start.split_once("\r\n\r\n").unwrap().1);
    for _ in 0..LINES {
        sum.update("QUFB".repeat(19) + "\r\n");
    }
    sum.update("RU5E\r\n--o--\r\n");
    assert_eq!(sink.arrived()["large"][0].sum, <[u8; 32]>::from(sum.finalize()), "another body arrived");
    println!("idle {idle} KiB, +{} KiB in, +{} KiB in all", peak_in - idle, peak - idle);
    assert!(peak - idle < BOUND_KIB, "memory grew by {} KiB", peak - idle);
}

/// Submits until the server is gone; notes what it said 250 to.
fn submit(port: u16, name: &str, acknowledged: &Mutex<HashSet<String>>) -> std::io::Result<()> {
    let mut client = Client::hello(port)?;
    for number in 0.. {
        let id = format!("{name}-{number}");
        // In memory, and written ahead of the commit.
        let lines = if number % 2 == 0 { 10_000 } else { 10 };
        let body = "seventy-odd octets of text that a message is made of, and some more\r\n".repeat(lines);
        let reply = client.mail("from@example.com", &["to@example.org"], &format!("X-Id: {id}\r\n\r\n{body}"))?;
        if reply.code == 250 {
            acknowledged.lock().unwrap().insert(id);
        }
    }
    Ok(())
}

#[test]
fn a_kill_while_content_is_copied_leaves_no_half_and_nothing_behind() {
    const CYCLES: usize = 6;
    const CONNECTIONS: usize = 10;
    let sink = SmtpSink::start(&[]);
    let config = plugin("footer", &json!({ "1": [["append-text", "THE FOOTER\r\n"]] }), "deadline = '30s'");
    let mut server = Postern::start_with(sink.port, "", &format!("connections = {CONNECTIONS}"), &config);
    let acknowledged = Mutex::new(HashSet::new());
    for cycle in 0..CYCLES {
        let (port, enough) = (server.port, acknowledged.lock().unwrap().len() + 7 + cycle * 5);
        std::thread::scope(|scope| {
            for client in 0..4 {
                let (name, acknowledged) = (format!("{cycle}-{client}"), &acknowledged);
                scope.spawn(move || submit(port, &name, acknowledged).unwrap_err());
            }
            wait_for("enough messages", || (acknowledged.lock().unwrap().len() >= enough).then_some(()));
            server.kill();
        });
        server.restart();
    }
    server.wait_empty();
    assert!(server.terminate().status.success());
    let acknowledged = acknowledged.into_inner().unwrap();
    let arrived = sink.count_by("X-Id");
    let lost: Vec<_> = acknowledged.iter().filter(|id| !arrived.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged messages are lost: {lost:?}", lost.len(), acknowledged.len());
    let duplicates: usize = arrived.values().map(|times| times - 1).sum();
    assert!(duplicates <= CYCLES * CONNECTIONS, "{duplicates} duplicates");
    for message in sink.messages() {
        assert_eq!(message.matches("THE FOOTER").count(), 1, "a message without its edit, or with two");
        assert!(message.trim_end().ends_with("THE FOOTER"), "octets behind the last ones");
    }
    let left = postern::spool::embedded::audit(&server.data()).unwrap();
    assert!(left.is_empty(), "the queue is empty and the store still has {left:?}");
}
