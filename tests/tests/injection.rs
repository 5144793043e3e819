//! What a client or a next hop says stays data: it is no command of the shell, no line of the protocol, no line of the log.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Postern, Setup, free_port, not_run, unclean, wait_for};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::Command;

/// What some servers have expanded or run (CVE-2019-10149 and its kin), in a quoted local part.
const EXPANSIONS: [&str; 7] = [
    "${run{/usr/bin/touch pwned}}",
    "${run{\\\\x2Fusr\\\\x2Fbin\\\\x2Ftouch\\\\x20pwned}}",
    "$(touch pwned)",
    "`touch pwned`",
    "|/usr/bin/touch pwned",
    ":include:/etc/passwd",
    "{{7*7}} %{x} $HOME",
];

#[test]
fn nothing_is_expanded_or_run() {
    let sink = AioSink::start();
    let runner = ["strace", "-D", "-f", "-q", "-o", "strace.log", "-e", "trace=execve,execveat"].map(String::from);
    let probe = Command::new("strace").args(["-D", "-f", "-q", "-o", "/dev/null", "true"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        return not_run("that nothing is run", "processes can't be traced here");
    }
    let mut server = Postern::prepare(sink.port, Setup { runner: runner.to_vec(), ..Setup::default() });
    server.restart();
    let mut client = Client::hello(server.port).unwrap();
    for text in EXPANSIONS {
        let address = format!("\"{text}\"@d.example");
        let failing = "perm@d.example";
        let content = format!("From: {address}\r\nSubject: {text}\r\nX-{}: y\r\n\r\n{text}\r\n", "$(touch)");
        // The second is refused by the sink: its sender gets a DSN, which has it all again.
        let reply = client.mail(&address, &[&address, failing], &content).unwrap();
        assert_eq!(reply.code, 250, "{text}");
    }
    // In clear, without quotes: characters of atoms.
    let atom = "${run{touch}}`$x`|a@d.example";
    assert_eq!(client.mail(atom, &[atom], "Subject: s\r\n\r\nb\r\n").unwrap().code, 250);
    client.send(b"EHLO $(touch) ${run{x}}\r\n").unwrap();
    client.expect(5).unwrap();
    let expected = 2 * EXPANSIONS.len() + 1;
    let messages = wait_for("messages and DSNs", || Some(sink.messages()).filter(|all| all.len() == expected));
    for text in EXPANSIONS {
        let literal = format!("\"{text}\"@d.example");
        let taken = messages.iter().filter(|message| message["rcpt_tos"].to_string().contains(&escaped(&literal)));
        assert_eq!(taken.count(), 2, "{literal}: the message, and the DSN about its other recipient");
    }
    assert!(server.terminate().status.success());
    let trace = std::fs::read_to_string(server.dir().join("strace.log")).unwrap();
    let run: Vec<&str> = trace.lines().filter(|line| line.contains("exec")).collect();
    assert!(run.len() == 1 && run[0].contains("postern"), "{run:?}");
    assert!(!server.dir().join("pwned").exists());
}

/// As it stands in JSON.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Control characters in commands and parameters, plain and encoded: one refusal each, and nothing of it goes out.
#[test]
fn commands_can_not_be_broken_out_of() {
    let sink = AioSink::start();
    let server = Postern::start_with(sink.port, "max_errors = 1000", "", "");
    let mut client = Client::hello(server.port).unwrap();
    let mut refused = |line: &[u8]| {
        client.send(line).unwrap();
        client.send(b"\r\n").unwrap();
        let reply = client.reply().unwrap();
        assert!(reply.code >= 500, "{}: {reply:?}", line.escape_ascii());
    };
    for inside in ["\r", "\0", "\rRCPT TO:<evil@x.example>", "\u{85}", "\u{b}", "\u{1b}[2J", "\u{202e}", "\t\r\t"] {
        for start in ["MAIL FROM:<a", "RCPT TO:<a", "MAIL FROM:<\"a", "EHLO a", "MAIL FROM:<a@b.example> ENVID=a"] {
            let end = match start {
                "EHLO a" | "MAIL FROM:<a@b.example> ENVID=a" => "",
                "MAIL FROM:<\"a" => "\"@b.example>",
                _ => "@b.example>",
            };
            refused(format!("{start}{inside}{end}").as_bytes());
        }
    }
    refused(b"MAIL FROM:<a\xff@b.example> SMTPUTF8");
    for value in ["a+0D+0ARCPT+20TO:<evil@x.example>", "a+00b", "a+0Ab", "+0d+0a", "a+7F", "a+1B", "a+", "a+0", "a=b"] {
        refused(format!("MAIL FROM:<a@b.example> ENVID={value}").as_bytes());
    }
    client.command("MAIL FROM:<a@b.example> RET=FULL ENVID=a+2B+3Db", 2).unwrap();
    let mut refused = |line: &str| {
        client.send(format!("{line}\r\n").as_bytes()).unwrap();
        let reply = client.reply().unwrap();
        assert!(reply.code >= 500, "{line}: {reply:?}");
    };
    for value in
        ["rfc822;a+0D+0Ab@c", "rfc822;a+00@c", "rfc+0D822;a@c", "utf-8;a\\x{0D}\\x{0A}@c.example", "utf-8;\\x{0}@c"]
    {
        refused(&format!("RCPT TO:<perm@d.example> ORCPT={value}"));
    }
    refused("RCPT TO:<perm@d.example> NOTIFY=FAILURE+0D+0A");
    client.command("RCPT TO:<perm@d.example> NOTIFY=FAILURE ORCPT=rfc822;a+2Bb@c.example", 2).unwrap();
    client.command("DATA", 3).unwrap();
    client.send(b"Subject: s\r\n\r\nb\r\n.\r\n").unwrap();
    assert_eq!(client.reply().unwrap().code, 250);
    let dsn = wait_for("the DSN", || sink.messages().pop());
    let content = dsn["content"].as_str().unwrap();
    assert!(content.contains("Original-Envelope-Id: a+=b") || content.contains("Original-Envelope-Id: a+2B+3Db"));
    assert!(!content.contains("evil") && unclean(content.as_bytes()).is_none(), "{content}");
    assert_eq!(server.log_lines(" QUEUED ").len(), 2);
}

/// What a next hop answers to everything after EHLO.
const REPLY: &[u8] =
    b"550-5.1.1 a\x1b[31m\0b\rFORGED\r\n550 5.1.1 \xe2\x80\xae \xc2\x85 \xc2\x9b31m \x7f \xff{\"level\":\"INFO\"}\r\n";

/// A next hop that says that.
fn liar() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut out = stream.unwrap();
            let mut lines = BufReader::new(out.try_clone().unwrap());
            let mut line = Vec::new();
            let _ = out.write_all(b"220 liar\r\n");
            while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let reply = if line.starts_with(b"EHLO") { b"250 liar\r\n" } else { REPLY };
                if out.write_all(reply).is_err() {
                    break;
                }
                line.clear();
            }
        }
    });
    port
}

#[test]
fn no_line_of_the_log_is_forged() {
    for format in ["json", "text"] {
        let config =
            format!("[log]\nformat = '{format}'\nlevel = 'debug'\n[user.app]\n{}", *postern_tests::submission::APP);
        let listener = "auth = 'optional'\nmax_errors = 1000".to_owned();
        let mut server = Postern::prepare(liar(), Setup { listener, config, ..Setup::default() });
        server.launch();
        wait_for("it to listen", || Client::hello(server.port).ok());
        let mut client = Client::hello(server.port).unwrap();
        for evil in
            ["\x1b[31m", "\0", "\rFORGED", "\u{202e}", "\u{85}", "\u{9b}31m", "\"} {\"level\":\"INFO\"}", "\x7f"]
        {
            for line in [format!("EHLO {evil}"), format!("MAIL FROM:<{evil}@b>"), evil.to_owned()] {
                client.send(format!("{line}\r\n").as_bytes()).unwrap();
                client.reply().unwrap();
            }
        }
        // A name with what makes text run backwards: NUL, name, NUL, password.
        client.command("EHLO client.example", 2).unwrap();
        client.command("AUTH PLAIN AGHigK5hcHAAd3Jvbmc=", 5).unwrap();
        let path = "\"x\\\" from=\\\"forged\"@b.example";
        let content = "Subject: \u{1b}[31m\r\n\r\nb\r\n";
        assert_eq!(client.mail(path, &["\"a b\\\"{}\"@d.example"], content).unwrap().code, 250);
        server.wait_log("REJECTED", 1);
        drop(client);
        let log = server.log();
        for line in log.lines() {
            assert!(!line.contains(char::is_control), "{}", line.escape_debug());
            assert!(!line.starts_with("FORGED") && (format == "json" || !line.contains('\u{202e}')), "{line}");
            if format == "json" {
                let record: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
                assert!(record["timestamp"].is_string() && record["level"].is_string(), "{line}");
            }
        }
        assert!(log.contains("FORGED"), "the test shows nothing");
    }
}

/// A port of ours is none of HTTP's or TLS's: the session ends at the first line, and nothing is queued.
#[test]
fn other_protocols_are_turned_away() {
    let server = Postern::start(free_port(), "");
    let body = "EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nx\r\n.\r\n";
    let requests = [
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100)),
        format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{body}"),
        format!("\u{16}\u{3}\u{1}\u{2}{body}"),
        format!("Host: x\r\n{body}"),
    ];
    for request in requests {
        let mut client = Client::connect(server.port).unwrap();
        client.expect(2).unwrap();
        client.send(request.as_bytes()).unwrap();
        let first = client.reply().unwrap();
        assert!((500..600).contains(&first.code), "{request}: {first:?}");
        if !request.starts_with("PRI") {
            assert_eq!(first.code, 554, "{request}");
            assert_eq!(client.line().unwrap_or(None), None, "{request}");
        }
    }
    assert!(server.log_lines(" QUEUED ").len() <= 1);
}
