//! Deliveries to other people's servers: a real Postfix and a real Exim take some sixty messages to several recipients
//! each, with 8-bit text, dots and long lines, and what they have stored is compared to the octet; in clear, and by
//! STARTTLS with a certificate that nobody has signed. And Exim as the client, which sends by BDAT.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stderr, reason = "what could not be run is to be seen")]

use postern_tests::{Client, Exim, Postern, Postfix, Stored, check, python};
use std::collections::BTreeMap;

const MESSAGES: usize = 60;
const TO: [&str; 3] = ["bob@d.example", "cy.o'hara+x@d.example", "\"dee dee\"@d.example"];
const FROM: &str = "ann@sender.example";

/// The config of a zone for all that is sent here. None where this server does not know STARTTLS yet.
fn zone(port: u16, tls: &str) -> Option<String> {
    let zone = format!(
        "[zone.peer]\nrecipient_domains = ['d.example']\n\
         smart_host = {{ host = '127.0.0.1', port = {port}, tls = '{tls}' }}\n"
    );
    let default = "[zone.default]\nsmart_host = { host = '127.0.0.1', port = 25 }\n";
    let (fine, text) = check(&format!("{default}{zone}"));
    // Any other mistake is one.
    assert!(fine || text.contains("unknown variant `opportunistic`"), "{text}");
    fine.then_some(zone)
}

/// Header and body of message `number`.
fn message(number: usize) -> (String, Vec<u8>) {
    let header = format!(
        "Subject: peer {number}\r\nFrom: Ann <{FROM}>\r\nTo: all:;\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\
         Message-ID: <{number}@sender.example>\r\nX-Folded: one\r\n\ttwo\r\n   three\r\n\
         Content-Type: text/plain; charset=utf-8\r\nMIME-Version: 1.0\r\n"
    );
    let mut body = Vec::new();
    for line in 0..=number {
        body.extend_from_slice(&match line % 6 {
            0 => format!("line {line}: \u{e4}\u{f6}\u{fc} \u{20ac} \u{1f4ec}").into_bytes(),
            1 => vec![b'.'; line],
            2 => [b".", &vec![b'a'; number * 331][..]].concat(),
            3 => b"From here on".to_vec(),
            4 => (128..=255).collect(),
            _ => b" \t ".to_vec(),
        });
        body.extend_from_slice(b"\r\n");
    }
    (header, body)
}

/// The control: somebody else's client gets through STARTTLS there.
fn assert_does_starttls(port: u16) {
    let said = python(
        "import smtplib, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with smtplib.SMTP('127.0.0.1', int(sys.argv[1])) as client:
    client.ehlo()
    client.starttls(context=context)
    print(client.sock.version(), client.ehlo()[0])",
        &[&port.to_string()],
    );
    assert_eq!(said.trim(), "TLSv1.3 250");
}

fn submit(port: u16) {
    let mut client = Client::hello(port).unwrap();
    for number in 0..MESSAGES {
        let (header, body) = message(number);
        client.command(&format!("MAIL FROM:<{FROM}> BODY=8BITMIME"), 2).unwrap();
        for to in TO {
            client.command(&format!("RCPT TO:<{to}>"), 2).unwrap();
        }
        client.command("DATA", 3).unwrap();
        let mut wire = format!("{header}\r\n").into_bytes();
        for line in body.split_inclusive(|octet| *octet == b'\n') {
            if line[0] == b'.' {
                wire.push(b'.');
            }
            wire.extend_from_slice(line);
        }
        wire.extend_from_slice(b".\r\n");
        client.send(&wire).unwrap();
        client.expect(2).unwrap();
    }
    client.command("MAIL FROM:<> BODY=8BITMIME SMTPUTF8", 2).unwrap();
    client.command("RCPT TO:<j\u{f5}e@d.example>", 2).unwrap();
    client.command("DATA", 3).unwrap();
    client.send("Subject: gr\u{fc}n\r\n\r\n\u{e4}\r\n.\r\n".as_bytes()).unwrap();
    client.expect(2).unwrap();
}

/// Each recipient has its copy, header block and body as they were sent.
fn judge(peer: &str, stored: &[Stored], by: &str) {
    let mut copies = BTreeMap::<String, Vec<&Stored>>::new();
    for message in stored {
        copies.entry(message.field("Subject").unwrap()).or_default().push(message);
    }
    let international = copies.remove("gr\u{fc}n").unwrap_or_default();
    assert_eq!(international.len(), 1, "{peer}: the international recipient");
    assert_eq!(international[0].body(), "\u{e4}\r\n".as_bytes());
    assert_eq!(copies.len(), MESSAGES, "{peer}");
    for number in 0..MESSAGES {
        let (header, body) = message(number);
        let copies = &copies[&format!("peer {number}")];
        assert_eq!(copies.len(), TO.len(), "{peer}: copies of message {number}");
        let ours = format!("\n{}\n", header.replace("\r\n", "\n"));
        for copy in copies {
            assert_eq!(copy.reverse_path, FROM);
            assert!(copy.body() == body, "{peer}: the body of message {number} has changed");
            let text = String::from_utf8_lossy(&copy.octets);
            assert!(text.contains(&ours), "{peer}: the header of message {number} has changed:\n{text}");
            let (trace, _) = text.split_once("by mta.example.com").unwrap();
            assert!(trace.contains(by), "{peer}: not taken {by:?}:\n{trace}");
        }
    }
    eprintln!("{peer}: {} copies as they were sent, each taken {by}", stored.len());
}

/// In clear or by TLS; how the peer's Received says it.
fn postfix(tls: &str, by: &str) {
    let Some(postfix) = Postfix::start() else { return eprintln!("not run: Postfix needs root") };
    assert_does_starttls(postfix.port);
    let Some(zone) = zone(postfix.port, tls) else { return eprintln!("not run: this server has no STARTTLS yet") };
    let server = Postern::start(postfix.port, &zone);
    submit(server.port);
    server.wait_empty();
    assert!(server.log_lines(" REJECTED ").is_empty());
    postfix.wait_empty();
    judge("Postfix", &postfix.mail().messages(), by);
}

fn exim(tls: &str, by: &str) {
    let Some(exim) = Exim::start() else { return eprintln!("not run: Exim needs root and its package") };
    assert_does_starttls(exim.port());
    let Some(zone) = zone(exim.port(), tls) else { return eprintln!("not run: this server has no STARTTLS yet") };
    let server = Postern::start(exim.port(), &zone);
    submit(server.port);
    server.wait_empty();
    assert!(server.log_lines(" REJECTED ").is_empty());
    exim.wait_empty();
    judge("Exim", &exim.mail().messages(), by);
}

#[test]
fn postfix_gets_all_in_clear() {
    postfix("off", "with ESMTP id");
}

#[test]
fn postfix_gets_all_by_starttls() {
    postfix("opportunistic", "with ESMTPS id");
}

#[test]
fn exim_gets_all_in_clear() {
    exim("off", "with esmtp ");
}

#[test]
fn exim_gets_all_by_starttls() {
    exim("opportunistic", "with esmtps ");
}

/// Exim, as the client, sends its mail by BDAT wherever that is offered.
#[test]
fn exim_sends_all_by_bdat() {
    let Some(store) = Exim::start() else { return eprintln!("not run: Exim needs root and its package") };
    let server = Postern::start(store.port(), &zone(store.port(), "off").unwrap());
    let exim = Exim::start_sending_to(server.port).unwrap();
    submit(exim.port());
    exim.wait_empty();
    server.wait_empty();
    store.wait_empty();
    let log = exim.log();
    judge("Exim", &store.mail().messages(), "with esmtp ");
    let sent: Vec<&str> = log.lines().filter(|line| line.contains(" => ")).collect();
    assert!(sent.len() > MESSAGES && sent.iter().all(|line| line.contains(" K ")), "{log}");
}
