//! Real clients submit and real servers receive: swaks, smtplib and smtp-source; smtp-sink and aiosmtpd.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Postern, SmtpSink, python, run, wait_for};

const SMTP_SOURCE: &str = "/usr/sbin/smtp-source";

#[test]
fn swaks_submits_and_smtp_sink_receives() {
    let sink = SmtpSink::start(&[]);
    let server = Postern::start(sink.port, "");
    let at = format!("127.0.0.1:{}", server.port);
    let body = "Subject: from swaks\n\nfirst line\n.a line with a dot\n";
    let _ = run(
        "swaks",
        &["--server", &at, "--from", "ann@example.com", "--to", "bob@example.org,cy@example.net", "--data", body],
    );
    let messages =
        wait_for("the message", || Some(sink.messages()).filter(|m| m.len() == 1 && m[0].contains("with a dot")));
    let message = &messages[0];
    for part in [
        "<ann@example.com>",
        "<bob@example.org>",
        "<cy@example.net>",
        "\n.a line with a dot\n",
        "by mta.example.com",
        "with ESMTP id 0",
    ] {
        assert!(message.contains(part), "{part:?} is not in\n{message}");
    }
    assert!(!message.contains("for <"), "Received names a recipient to the others:\n{message}");
    server.wait_log(" ACCEPTED ", 2);
    server.wait_empty();
}

#[test]
fn swaks_is_refused_from_elsewhere() {
    let sink = SmtpSink::start(&[]);
    let server = Postern::start_with(sink.port, "allow_from = ['10.0.0.0/8']", "", "");
    let at = format!("127.0.0.1:{}", server.port);
    let output = std::process::Command::new("swaks")
        .args(["--server", &at, "--from", "a@b.example", "--to", "c@d.example"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("554 5.7.1"), "{output:?}");
    assert!(server.queue().is_empty());
    server.wait_log(" NOQUEUE ", 1);
}

#[test]
fn what_a_client_is_refused_is_in_the_log() {
    let sink = SmtpSink::start(&[]);
    let server = Postern::start_with(sink.port, "max_recipients = 1\nmax_size = 100", "", "");
    let mut client = Client::hello(server.port).unwrap();
    client.command("WHAT", 5).unwrap();
    client.command("MAIL FROM:<a@b.example> SIZE=101", 5).unwrap();
    client.command("MAIL FROM:<a@b.example>", 2).unwrap();
    client.command("RCPT TO:<c@d.example>", 2).unwrap();
    client.command("RCPT TO:<e@d.example>", 4).unwrap();
    client.command("DATA", 3).unwrap();
    client.command("bare\nline end\r\n.", 5).unwrap();
    let lines = server.wait_log(" NOQUEUE ", 4);
    for (line, part) in lines.iter().zip(["500 5.5.1", "552 5.3.4", "452 4.5.3", "550 5.6.0"]) {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(lines[3].contains("stage=\"END-OF-DATA\""), "{lines:?}");
    assert!(server.log_lines(" QUEUED ").is_empty());
}

#[test]
fn smtplib_submits_and_aiosmtpd_receives() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, "");
    python(
        "import smtplib, sys
content = 'From: a@b.example\\r\\nTo: c@d.example\\r\\nDate: Mon, 23 Nov 2026 10:00:00 +0000\\r\\nMessage-ID: <1@b.example>\\r\\nSubject: j\u{f5}e\\r\\n\\r\\n8-bit: \u{e4}\u{f6}\\r\\n..two dots\\r\\nend without line end'
with smtplib.SMTP('127.0.0.1', int(sys.argv[1])) as client:
    client.sendmail('a@b.example', ['c@d.example'], content.encode(), mail_options=['BODY=8BITMIME', 'SMTPUTF8'])
    client.sendmail('', ['\"quoted @ local\"@d.example'], b'\\r\\nno header at all\\r\\n')",
        &[&server.port.to_string()],
    );
    let messages = wait_for("two messages", || Some(sink.messages()).filter(|m| m.len() == 2));
    let first = messages.iter().find(|m| m["mail_from"] == "a@b.example").unwrap();
    let content = first["content"].as_str().unwrap();
    assert!(content.starts_with("Received: from "), "{content}");
    let rest = "\r\nFrom: a@b.example\r\nTo: c@d.example\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@b.example>\r\nSubject: j\u{f5}e\r\n\r\n8-bit: \u{e4}\u{f6}\r\n..two dots\r\nend without line end\r\n";
    assert!(content.ends_with(rest), "{content}");
    assert!(content.contains("\tfor <c@d.example>;"), "{content}");
    assert_eq!(first["mail_options"].as_array().unwrap().iter().filter(|o| *o == "BODY=8BITMIME").count(), 1);
    let second = messages.iter().find(|m| m["mail_from"] != "a@b.example").unwrap();
    assert_eq!(second["rcpt_tos"][0], "\"quoted @ local\"@d.example");
    assert!(second["content"].as_str().unwrap().ends_with("\r\n\r\nno header at all\r\n"));
    server.wait_empty();
}

#[test]
fn ten_thousand_from_smtp_source_arrive_exactly_once() {
    const COUNT: usize = 10_000;
    let sink = SmtpSink::start(&[]);
    let mut server = Postern::start(sink.port, "");
    let at = format!("127.0.0.1:{}", server.port);
    let (count, to) = (COUNT.to_string(), "to@example.org");
    let _ = run(SMTP_SOURCE, &["-s", "50", "-m", &count, "-l", "4096", "-f", "from@example.com", "-t", to, &at]);
    server.wait_empty();
    let ids = sink.count_by("Message-Id");
    assert_eq!(ids.len(), COUNT, "different messages that arrived");
    assert!(ids.values().all(|times| *times == 1), "a message arrived more than once");
    assert_eq!(server.log_lines(" ACCEPTED ").len(), COUNT);
    let exit = server.terminate();
    assert!(exit.status.success(), "{exit:?}");
}

#[test]
fn a_large_message_arrives_whole() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, "");
    python(
        "import smtplib, sys, random
random.seed(1)
lines = [''.join(random.choices('.abcdefghij', k=random.randint(0, 900))) for _ in range(40000)]
body = '\\r\\n'.join(lines) + '\\r\\n'
import hashlib
with smtplib.SMTP('127.0.0.1', int(sys.argv[1])) as client:
    client.sendmail('a@b.example', ['c@d.example'], 'Subject: big\\r\\nX-Sum: ' + hashlib.sha256(body.encode()).hexdigest() + '\\r\\n\\r\\n' + body)",
        &[&server.port.to_string()],
    );
    let messages = wait_for("the message", || Some(sink.messages()).filter(|m| m.len() == 1));
    let sum = messages[0]["body_sha256"].as_str().unwrap();
    let content = messages[0]["content"].as_str().unwrap();
    assert!(content.contains(&format!("X-Sum: {sum}\r\n")), "the body arrived changed");
    server.wait_empty();
}
