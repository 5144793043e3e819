//! A footer under the texts of other people's messages: Python's email package finds the same parts with the same content
//! as before, and the footer. The plugin is `tests/guests/part-hooks`, the messages are those of `corpora.rs`.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stderr, reason = "how many parts there were belongs into the test's output")]

use postern_tests::{Client, Daemon, PYTHON, Postern, free_port, python, root, run, unclean};
use std::path::Path;
use std::process::Command;

/// Its part `sink` alone.
const SINK: &str = include_str!("../src/corpora.py");
const JUDGE: &str = include_str!("../src/parts.py");

/// Line ends as SMTP wants them, dots doubled, the end of the content.
fn on_the_wire(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + 64);
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

fn submit(port: u16, name: &str, octets: &[u8]) -> u16 {
    let mut client = Client::hello(port).unwrap();
    client.command("MAIL FROM:<corpus@sender.example> BODY=8BITMIME", 2).unwrap();
    client.command(&format!("RCPT TO:<{name}@d.example>"), 2).unwrap();
    client.command("DATA", 3).unwrap();
    client.send(&on_the_wire(octets)).unwrap();
    client.reply().unwrap().code
}

#[test]
fn python_finds_the_same_parts_with_a_footer() {
    let _ = run(root().join("scripts/corpora").to_str().unwrap(), &[]);
    let dir = tempfile::tempdir().unwrap();
    let (sent, got) = (dir.path().join("sent"), dir.path().join("got"));
    std::fs::create_dir(&sent).unwrap();
    std::fs::create_dir(&got).unwrap();
    let port = free_port();
    let mut command = Command::new(PYTHON);
    command.args(["-c", SINK, "sink", &port.to_string()]).arg(&got);
    let _sink = Daemon::start(command, port);
    let component = root().join("tests/guests/part-hooks/part-hooks.wasm");
    let component = component.display();
    let steps = "config = { parts = { '*' = [['append-text', 'THE FOOTER']] } }";
    let server = Postern::start(port, &format!("[[plugin]]\nname = 'footer'\ncomponent = '{component}'\n{steps}\n"));
    for source in std::fs::read_dir(root().join("target/corpora")).unwrap() {
        let source = source.unwrap().path();
        for file in std::fs::read_dir(&source).unwrap() {
            let file = file.unwrap().path();
            let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
            let name = format!("{}.{}", name(&source), &name(&file)[..3]);
            let octets = std::fs::read(&file).unwrap();
            let wire = on_the_wire(&octets);
            if unclean(&wire).is_none() && submit(server.port, &name, &octets) == 250 {
                std::fs::write(sent.join(&name), &octets).unwrap();
            }
        }
    }
    server.wait_empty();
    assert!(server.log_lines(" DEFERRED ").is_empty() && server.log_lines(" REJECTED ").is_empty());
    let judged = python(JUDGE, &[sent.to_str().unwrap(), got.to_str().unwrap()]);
    let judged: serde_json::Value = serde_json::from_str(&judged).unwrap();
    let [footers, same, malformed] = ["footers", "same", "malformed"].map(|name| judged[name].as_u64().unwrap());
    eprintln!("{footers} texts with a footer, {same} other parts, {malformed} malformed messages read otherwise");
    assert_eq!(judged["different"], serde_json::json!({}));
    assert!(malformed < 20);
    assert!(footers > 100);
}
