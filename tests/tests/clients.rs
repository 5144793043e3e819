//! Who may connect, how much it may send, who is behind a proxy, and LMTP: with smtplib as the client, which can connect
//! from any address of loopback, smtp-source for LMTP, and haproxy as the proxy.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Haproxy, Postern, free_port, python, run};
use std::time::Duration;

/// Sends messages from an address to a port, each to some recipients, on one connection; prints each reply's code, or
/// what ended it.
const SEND: &str = "
import smtplib, sys
source, port, messages, recipients, options = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]
try:
    with smtplib.SMTP('127.0.0.1', port, source_address=(source, 0), timeout=30) as client:
        for _ in range(messages):
            client.ehlo_or_helo_if_needed()
            code, text = client.mail('a@d.example', options)
            print('mail', code, text.decode())
            for n in range(recipients):
                code, text = client.rcpt('r%d@d.example' % n)
                print('rcpt', code, text.decode())
            if code == 250:
                print('data', client.data('Subject: s\\r\\n\\r\\nbody\\r\\n')[0])
            else:
                client.rset()
except smtplib.SMTPConnectError as error:
    print('connect', error.smtp_code, error.smtp_error.decode())
except smtplib.SMTPServerDisconnected:
    print('closed')
";

fn send(source: &str, port: u16, messages: usize, recipients: usize, options: &[&str]) -> Vec<String> {
    let (port, messages, recipients) = (port.to_string(), messages.to_string(), recipients.to_string());
    let output = python(SEND, &[&[source, &port, &messages, &recipients], options].concat());
    output.lines().map(str::to_owned).collect()
}

#[test]
fn the_client_behind_haproxy_is_the_one_that_counts() {
    let sink = AioSink::start();
    let listener = "proxy_protocol = true\nallow_from = ['127.0.0.9/32']\nper_address = { messages = '2/h' }";
    let server = Postern::start_with(sink.port, listener, "", "");
    for (option, source) in [("send-proxy", "127.0.0.9"), ("send-proxy-v2", "127.0.0.9")] {
        let haproxy = Haproxy::start(server.port, option);
        let said = send(source, haproxy.port(), 1, 1, &[]);
        assert_eq!(said, ["mail 250 2.1.0 Sender OK", "rcpt 250 2.1.5 Recipient OK", "data 250"], "{option}");
        let said = send("127.0.0.8", haproxy.port(), 1, 1, &[]);
        assert_eq!(said, ["connect 554 5.7.1 mta.example.com access denied"], "{option}");
    }
    let haproxy = Haproxy::start(server.port, "send-proxy-v2");
    let said = send("127.0.0.9", haproxy.port(), 1, 0, &[]);
    assert!(said[0].starts_with("mail 450 4.7.1 Too many messages, try again in "), "{said:?}");
    server.wait_empty();
    for message in sink.messages() {
        let content = message["content"].to_string();
        assert!(content.contains("([127.0.0.9])"), "{content}");
    }
    assert_eq!(sink.messages().len(), 2);
    let refused = server.log_lines(" NOQUEUE ");
    assert!(refused.iter().any(|line| line.contains("127.0.0.8:")), "{refused:?}");
}

#[test]
fn headers_of_proxies() {
    let listener = "proxy_protocol = true\nproxy_from = ['127.0.0.1/32']\nallow_from = ['192.0.2.0/24', '127.0.0.0/8']";
    let server = Postern::start_with(free_port(), listener, "", "");
    // In single octets.
    let mut client = Client::connect(server.port).unwrap();
    for octet in b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 25\r\n" {
        client.send(&[*octet]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    client.expect(2).unwrap();
    // With the first commands in the same segment.
    let mut client = Client::connect(server.port).unwrap();
    client.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 25\r\nEHLO client.example\r\n").unwrap();
    client.expect(2).unwrap();
    client.expect(2).unwrap();
    // A health check, and a client that the proxy can't name.
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let mut client = Client::connect(server.port).unwrap();
        client.send(header).unwrap();
        client.expect(2).unwrap();
    }
    // A client that may not submit.
    let mut client = Client::connect(server.port).unwrap();
    client.send(b"PROXY TCP6 2001:db8::1 2001:db8::2 5000 25\r\n").unwrap();
    client.expect(5).unwrap();
    // No header, half a header that is too long, or from where no proxy is: nothing is obeyed.
    for wrong in ["EHLO client.example\r\nMAIL FROM:<a@b>\r\n".to_owned(), format!("PROXY {}", "x".repeat(3000))] {
        let mut client = Client::connect(server.port).unwrap();
        client.send(wrong.as_bytes()).unwrap();
        assert_eq!(client.line().ok().flatten(), None, "{wrong}");
    }
    assert_eq!(send("127.0.0.2", server.port, 1, 1, &[]), ["connect 554 5.7.1 mta.example.com access denied"]);
    assert!(server.log_lines("not in proxy_from").len() == 1, "{}", server.log());
}

#[test]
fn limits_of_an_address() {
    let listener = "per_address = { sessions = 2, connections = '4/h', messages = '3/h', recipients = '5/h' }";
    let server = Postern::start_with(free_port(), listener, "", "");
    // Two sessions of one address, and a third.
    let two = [Client::hello(server.port).unwrap(), Client::hello(server.port).unwrap()];
    let mut third = Client::connect(server.port).unwrap();
    assert_eq!(third.reply().unwrap().lines, ["4.7.0 mta.example.com too many sessions from your address"]);
    // Others are not concerned.
    let said = send("127.0.0.2", server.port, 4, 1, &[]);
    assert_eq!(said.iter().filter(|line| line.starts_with("data 250")).count(), 3, "{said:?}");
    assert!(said[9].starts_with("mail 450 4.7.1 Too many messages, try again in "), "{said:?}");
    let said = send("127.0.0.3", server.port, 1, 6, &[]);
    assert_eq!(said.iter().filter(|line| line.starts_with("rcpt 250")).count(), 5, "{said:?}");
    assert!(said[6].starts_with("rcpt 450 4.7.1 Too many recipients, try again in "), "{said:?}");
    // The sessions are over, and two more connections are let in.
    drop(two);
    for _ in 0..2 {
        postern_tests::wait_for("a session", || Client::hello(server.port).ok());
    }
    let fifth = Client::connect(server.port).unwrap().reply().unwrap();
    assert!(fifth.lines[0].contains("too many connections, try again in "), "{fifth:?}");
}

#[test]
fn delivery_is_put_off_as_the_client_asks() {
    let sink = AioSink::start();
    let server = Postern::start_with(sink.port, "future_release = '1d'", "", "");
    let said = send("127.0.0.1", server.port, 1, 1, &["HOLDFOR=2"]);
    assert_eq!(said.last().unwrap(), "data 250");
    let queued = server.log_lines(" QUEUED ");
    assert!(server.queue().len() == 1 && sink.messages().is_empty(), "{queued:?}");
    let said = send("127.0.0.1", server.port, 1, 1, &["HOLDUNTIL=2037-01-01T00:00:00Z"]);
    assert!(said[0].starts_with("mail 501 5.5.4 "), "{said:?}");
    server.wait_log(" ACCEPTED ", 1);
    let (queued, delivered) = (time(&queued[0]), time(&server.log_lines(" ACCEPTED ")[0]));
    assert!(delivered - queued >= 1.9, "{queued} {delivered}");
}

/// Seconds since midnight, of a line of the log.
fn time(line: &str) -> f64 {
    let clock = line.split(['T', 'Z']).nth(1).unwrap();
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

/// smtp-source reads a reply for each recipient; smtplib would not.
#[test]
fn lmtp_has_a_reply_for_each_recipient() {
    let sink = AioSink::start();
    let server = Postern::start_with(sink.port, "protocol = 'lmtp'", "", "");
    let to = format!("127.0.0.1:{}", server.port);
    let _ = run("/usr/sbin/smtp-source", &["-L", "-s", "3", "-m", "12", "-r", "4", "-t", "b@d.example", &to]);
    server.wait_empty();
    assert_eq!(server.log_lines(" ACCEPTED ").len(), 48);
    let messages = sink.messages();
    assert!(messages[0]["content"].to_string().contains("with LMTP id "), "{}", messages[0]);
    // And whoever speaks SMTP is told.
    let mut client = Client::connect(server.port).unwrap();
    client.expect(2).unwrap();
    assert_eq!(client.command("EHLO client.example", 5).unwrap().code, 500);
}
