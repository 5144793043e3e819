//! What becomes of mail that is not taken: deferral and retry, bounces, expiry. The next hop is aiosmtpd, which refuses
//! by local part; DSNs are read by Python's email package.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, CountingSink, Postern, free_port, python, wait_for};
use serde_json::Value;
use std::time::{Duration, Instant};

const CONTENT: &str =
    "From: Ann <ann@example.com>\r\nSubject: the original\r\nMessage-ID: <1@example.com>\r\n\r\nsecret body\r\n";

/// What Python's email package reads out of a DSN.
fn read_dsn(content: &str) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dsn");
    std::fs::write(&file, content).unwrap();
    let printed = python(
        "import email, email.policy, json, sys
message = email.message_from_binary_file(open(sys.argv[1], 'rb'), policy=email.policy.default)
parts = list(message.iter_parts())
status = parts[1].get_payload()
print(json.dumps(dict(
    type=message.get_content_type(), report=message.get_param('report-type'), to=message['to'], sender=message['from'],
    auto=message['auto-submitted'], subject=message['subject'], defects=[str(d) for p in message.walk() for d in p.defects],
    types=[part.get_content_type() for part in parts], text=parts[0].get_content(),
    fields=[{k.lower(): str(v) for k, v in group.items()} for group in status], original=parts[2].as_string())))",
        &[file.to_str().unwrap()],
    );
    serde_json::from_str(&printed).unwrap()
}

#[test]
fn a_refused_recipient_bounces_and_the_others_get_the_message() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, "");
    let mut client = Client::hello(server.port).unwrap();
    let to = ["perm1@d.example", "good@d.example", "perm2@d.example"];
    assert_eq!(client.mail("ann@example.com", &to, CONTENT).unwrap().code, 250);
    let messages = wait_for("message and DSN", || Some(sink.messages()).filter(|m| m.len() == 2));
    let message = messages.iter().find(|m| m["mail_from"] == "ann@example.com").unwrap();
    assert_eq!(message["rcpt_tos"], serde_json::json!(["good@d.example"]));
    let dsn = messages.iter().find(|m| m["mail_from"] != "ann@example.com").unwrap();
    assert_eq!(dsn["rcpt_tos"], serde_json::json!(["ann@example.com"]));
    let dsn = read_dsn(dsn["content"].as_str().unwrap());
    assert_eq!((dsn["type"].as_str(), dsn["report"].as_str()), (Some("multipart/report"), Some("delivery-status")));
    assert_eq!(dsn["defects"], serde_json::json!([]));
    assert_eq!(dsn["types"][1], "message/delivery-status");
    assert_eq!(dsn["auto"], "auto-replied");
    assert!(dsn["sender"].as_str().unwrap().contains("mailer-daemon@mta.example.com"));
    let fields = dsn["fields"].as_array().unwrap();
    assert_eq!(fields.len(), 3, "one group for the message, one for each of two recipients: {fields:?}");
    assert!(fields[0]["reporting-mta"].as_str().unwrap().contains("mta.example.com"));
    for (group, name) in fields[1..].iter().zip(["perm1", "perm2"]) {
        assert_eq!(group["final-recipient"].as_str().unwrap().replace(' ', ""), format!("rfc822;{name}@d.example"));
        assert_eq!((group["action"].as_str(), group["status"].as_str()), (Some("failed"), Some("5.1.1")));
        assert!(group["diagnostic-code"].as_str().unwrap().contains("no such user here"), "{group}");
    }
    let original = dsn["original"].as_str().unwrap();
    assert!(original.contains("Subject: the original") && !original.contains("secret body"), "{original}");
    server.wait_empty();
    assert_eq!(server.log_lines(" REJECTED ").len(), 2);
    assert_eq!(server.log_lines(" ACCEPTED ").len(), 2);
}

#[test]
fn content_refused_after_the_dot_bounces() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, "");
    let mut client = Client::hello(server.port).unwrap();
    assert_eq!(client.mail("ann@example.com", &["data@d.example"], CONTENT).unwrap().code, 250);
    let messages = wait_for("the DSN", || Some(sink.messages()).filter(|m| m.len() == 1));
    let dsn = read_dsn(messages[0]["content"].as_str().unwrap());
    assert_eq!(dsn["fields"][1]["status"], "5.6.0");
    server.wait_empty();
}

#[test]
fn nothing_bounces_to_a_null_reverse_path_or_an_automatic_message() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, "");
    let mut client = Client::hello(server.port).unwrap();
    assert_eq!(client.mail("", &["perm@d.example"], CONTENT).unwrap().code, 250);
    let automatic = format!("Auto-Submitted: auto-replied\r\n{CONTENT}");
    assert_eq!(client.mail("ann@example.com", &["perm@d.example"], &automatic).unwrap().code, 250);
    server.wait_log(" REJECTED ", 2);
    server.wait_empty();
    assert!(sink.messages().is_empty());
}

#[test]
fn a_busy_mailbox_is_tried_again() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, "[queue]\nretry = ['1s']");
    let mut client = Client::hello(server.port).unwrap();
    assert_eq!(client.mail("ann@example.com", &["once@d.example"], CONTENT).unwrap().code, 250);
    wait_for("the message", || (sink.messages().len() == 1).then_some(()));
    server.wait_empty();
    let deferred = server.log_lines(" DEFERRED ");
    assert_eq!(deferred.len(), 1);
    assert!(deferred[0].contains("mailbox busy") && deferred[0].contains("attempts=1"), "{deferred:?}");
}

#[test]
fn what_waits_is_listed_with_its_reason_and_survives_a_restart() {
    let sink = AioSink::start();
    let mut server = Postern::start(sink.port, "");
    let mut client = Client::hello(server.port).unwrap();
    assert_eq!(client.mail("ann@example.com", &["temp@d.example", "good@d.example"], CONTENT).unwrap().code, 250);
    server.wait_log(" DEFERRED ", 1);
    for _ in 0..2 {
        let queue = server.queue();
        assert_eq!(queue.len(), 1, "{queue:?}");
        let row = &queue[0];
        assert_eq!((row["recipient"].as_str(), row["state"].as_str()), (Some("temp@d.example"), Some("pending")));
        assert_eq!((row["seq"].as_str(), row["attempts"].as_u64()), (Some("001"), Some(1)));
        assert!(row["reason"].as_str().unwrap().contains("mailbox busy"), "{row}");
        assert!(server.terminate().status.success());
        server.restart();
    }
    let output = server.command(&["queue", "list", "-c", "postern.toml"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("<temp@d.example>") && text.ends_with("1 recipient in the queue\n"), "{text}");
}

#[test]
fn what_can_not_be_delivered_expires_with_a_dsn() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, "[queue]\nretry = ['1s']\nmax_age = '2s'");
    let mut client = Client::hello(server.port).unwrap();
    assert_eq!(client.mail("ann@example.com", &["temp@d.example"], CONTENT).unwrap().code, 250);
    let messages = wait_for("the DSN", || Some(sink.messages()).filter(|m| m.len() == 1));
    let dsn = read_dsn(messages[0]["content"].as_str().unwrap());
    assert_eq!(dsn["fields"][1]["status"], "5.4.7");
    server.wait_empty();
}

#[test]
fn a_next_hop_that_comes_back_gets_everything() {
    let port = free_port();
    let mut server = Postern::start(port, "[queue]\nretry = ['1s']");
    let mut client = Client::hello(server.port).unwrap();
    for _ in 0..50 {
        assert_eq!(client.mail("ann@example.com", &["good@d.example"], CONTENT).unwrap().code, 250);
    }
    server.wait_log(" DEFERRED ", 1);
    let sink = postern_tests::SmtpSink::start_on(port, &[]);
    server.wait_empty();
    assert_eq!(sink.messages().len(), 50);
    assert!(server.terminate().status.success());
}

#[test]
fn mail_expires_though_its_next_hop_is_down() {
    const COUNT: usize = 300;
    let server = Postern::start(free_port(), "[queue]\nretry = ['1h']\nmax_age = '2s'");
    let mut client = Client::hello(server.port).unwrap();
    for _ in 0..COUNT {
        assert_eq!(client.mail("", &["good@d.example"], CONTENT).unwrap().code, 250);
    }
    server.wait_empty();
    let rejected = server.log_lines(" REJECTED ");
    assert_eq!(rejected.len(), COUNT);
    assert!(rejected.iter().all(|line| line.contains("expired=true")), "{rejected:?}");
}

#[test]
fn an_international_recipient_does_not_take_the_others_with_it() {
    // smtp-sink offers no SMTPUTF8.
    let sink = postern_tests::SmtpSink::start(&["-8"]);
    let server = Postern::start(sink.port, "");
    let mut client = Client::hello(server.port).unwrap();
    client.command("MAIL FROM:<> SMTPUTF8", 2).unwrap();
    for to in ["ascii@d.example", "j\u{f5}e@d.example"] {
        client.command(&format!("RCPT TO:<{to}>"), 2).unwrap();
    }
    client.command("DATA", 3).unwrap();
    client.send(format!("{CONTENT}.\r\n").as_bytes()).unwrap();
    client.expect(2).unwrap();
    server.wait_empty();
    assert!(server.log_lines(" ACCEPTED ")[0].contains("to=\"ascii@d.example\""));
    assert!(server.log_lines(" REJECTED ")[0].contains("status=5.6.7"));
}

#[test]
fn mail_that_waits_for_its_turn_has_an_attempt_however_late() {
    let sink = CountingSink::start();
    let server = Postern::start_with(sink.port, "", "connections = 1", "[queue]\nmax_age = '2s'");
    let mut client = Client::hello(server.port).unwrap();
    for _ in 0..5 {
        assert_eq!(client.mail("", &["a@d.example"], CONTENT).unwrap().code, 250);
    }
    // One is on its way and the others wait, until all are too old and have been looked for as such.
    let start = Instant::now();
    wait_for("old age", || (start.elapsed() > Duration::from_secs(5)).then_some(()));
    sink.open();
    server.wait_log(" ACCEPTED ", 5);
    assert!(server.log_lines(" REJECTED ").is_empty());
}
