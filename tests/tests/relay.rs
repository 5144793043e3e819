//! Nobody relays who may not: each form of recipient and sender that some server somewhere has fallen for, from addresses
//! that are not allowed, before and after everything that could make a server forget who it talks to.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::submission::{APP, PASSWORD, write_certificate};
use postern_tests::{Client, Postern, Setup, SmtpSink, free_port, python};

/// Recipients, as they stand in RCPT.
const RECIPIENTS: [&str; 22] = [
    "<victim@victim.example>",
    "<victim%victim.example@mta.example.com>",
    "<victim%victim.example@[127.0.0.1]>",
    "<victim%victim.example>",
    "<victim%victim.example@localhost>",
    "<@mta.example.com:victim@victim.example>",
    "<@mta.example.com,@b.example:victim@victim.example>",
    "<victim.example!victim>",
    "<victim.example!victim@mta.example.com>",
    "<mta.example.com!victim.example!victim>",
    "<\"victim@victim.example\">",
    "<\"victim@victim.example\"@mta.example.com>",
    "<\"victim%victim.example\"@mta.example.com>",
    "<victim@victim.example@mta.example.com>",
    "<victim@mta.example.com@victim.example>",
    "<\"victim\"@victim.example>",
    "<victim@[192.0.2.1]>",
    "<victim@[IPv6:2001:db8::1]>",
    "<postmaster@mta.example.com>",
    "<postmaster>",
    "victim@victim.example",
    "<victim@victim.example>, <other@victim.example>",
];

/// Reverse-paths: nobody, ourselves, literals of ourselves.
const SENDERS: [&str; 7] = [
    "<>",
    "<a@b.example>",
    "<a@mta.example.com>",
    "<postmaster@mta.example.com>",
    "<a@[127.0.0.1]>",
    "<a@localhost>",
    "<@mta.example.com:a@b.example>",
];

/// Commands before the transaction, each with the class of its reply.
const BEFORE: [(&str, &[(&str, u16)]); 8] = [
    ("EHLO", &[("EHLO client.example", 2)]),
    ("HELO", &[("HELO client.example", 2)]),
    ("our own name", &[("EHLO mta.example.com", 2)]),
    ("a literal of ours", &[("EHLO [127.0.0.1]", 2)]),
    ("EHLO twice and RSET", &[("EHLO client.example", 2), ("EHLO client.example", 2), ("RSET", 2)]),
    ("AUTH that fails", &[("EHLO client.example", 2), ("AUTH PLAIN AGFwcAB3cm9uZw==", 5)]),
    ("AUTH that is cancelled", &[("EHLO client.example", 2), ("AUTH PLAIN", 3), ("*", 5)]),
    ("AUTH that is none", &[("EHLO client.example", 2), ("AUTH ANONYMOUS", 5), ("AUTH EXTERNAL =", 5)]),
];

/// One transaction, all of it sent at once; its replies' codes. None of them may be a yes to RCPT or to content.
fn attack(client: &mut Client, from: &str, to: &str) {
    client.send(format!("MAIL FROM:{from} AUTH=app\r\nRCPT TO:{to}\r\nDATA\r\n").as_bytes()).unwrap();
    let codes: Vec<u16> = (0..3).map(|_| client.reply().unwrap().code).collect();
    assert!(codes[1] >= 500 && codes[2] >= 500, "{from} {to}: {codes:?}");
    client.send(b"RSET\r\n").unwrap();
    client.expect(2).unwrap();
}

#[test]
fn nobody_relays_who_must_authenticate() {
    let sink = SmtpSink::start(&[]);
    // We are somewhere else than those who may submit without AUTH.
    let listener = "auth = 'optional'\nallow_from = ['192.0.2.0/24']\nmax_errors = 1000\nauth_failures = 1000";
    let server = Postern::start_with(sink.port, listener, "", &format!("[user.app]\n{}", *APP));
    // The control: whoever may, can.
    let right = python(
        "import base64, sys; print(base64.b64encode(('\\0app\\0' + sys.argv[1]).encode()).decode())",
        &[PASSWORD],
    );
    let mut client = Client::hello(server.port).unwrap();
    client.command(&format!("AUTH PLAIN {}", right.trim()), 2).unwrap();
    client.command("MAIL FROM:<a@b.example>", 2).unwrap();
    client.command("RCPT TO:<victim@victim.example>", 2).unwrap();
    for (what, commands) in BEFORE {
        for from in SENDERS {
            let mut client = Client::connect(server.port).unwrap();
            client.expect(2).unwrap();
            for (command, class) in commands {
                client.command(command, *class).unwrap_or_else(|error| panic!("{what}: {command}: {error}"));
            }
            // All at the sender that is likeliest to pass, some at the others. A failed AUTH takes a second.
            let is_slow = what == "AUTH that fails";
            let all = from == "<>" && !is_slow;
            for to in RECIPIENTS.iter().take(if all { RECIPIENTS.len() } else { 3 }) {
                attack(&mut client, from, to);
            }
            if is_slow {
                break;
            }
        }
    }
    assert!(server.queue().is_empty() && sink.messages().is_empty());
}

#[test]
fn nobody_relays_after_starttls_either() {
    let sink = SmtpSink::start(&[]);
    let pair = "tls = 'starttls'\ncertificate = 'own.pem'\nkey = 'own.key'";
    let listener = format!("{pair}\nauth = 'optional'\nallow_from = ['192.0.2.0/24']\nmax_errors = 1000");
    let config = format!("[user.app]\n{}", *APP);
    let mut server = Postern::prepare(sink.port, Setup { listener, config, ..Setup::default() });
    write_certificate(server.dir(), "own", &["localhost"]);
    server.restart();
    let said = python(
        "
import smtplib, ssl, sys
client = smtplib.SMTP('localhost', int(sys.argv[1]))
client.ehlo()
client.starttls(context=ssl._create_unverified_context())
for hello in (client.ehlo, client.helo):
    hello()
    for sender in ('', 'a@mta.example.com'):
        for to in sys.argv[2:]:
            print(client.docmd('MAIL FROM:<%s>' % sender)[0], client.docmd('RCPT TO:' + to)[0], client.docmd('DATA')[0])
            client.docmd('RSET')
",
        &[&[server.port.to_string().as_str()], &RECIPIENTS[..]].concat(),
    );
    assert_eq!(said.lines().count(), 2 * 2 * RECIPIENTS.len());
    for line in said.lines() {
        assert!(line.split(' ').skip(1).all(|code| code.starts_with('5')), "{line}");
    }
    assert!(server.queue().is_empty() && sink.messages().is_empty());
}

/// What the greeting says to a client at `to`, from `source`.
fn greeting(source: &str, to: &str, port: u16) -> String {
    let program = "
import socket, sys
source, to, port = sys.argv[1:]
client = socket.create_connection((to, int(port)), source_address=(source, 0))
print(client.recv(1000).decode())
";
    python(program, &[source, to, &port.to_string()])
}

/// A client of IPv4 is one, also where the listener is of IPv6: neither more nor less is allowed.
#[test]
fn mapped_addresses_are_those_of_ipv4() {
    for (allowed, from_1, from_2) in [
        ("127.0.0.1/32", true, false),
        ("127.0.0.0/8", true, true),
        ("::1/128", false, false),
        ("::ffff:0:0/104", false, false),
    ] {
        let port = free_port();
        let config = format!("[listener.any]\naddress = '[::]:{port}'\nallow_from = ['{allowed}']");
        let mut server = Postern::prepare(free_port(), Setup { config, ..Setup::default() });
        server.launch();
        if let Err(log) = server.wait_ready() {
            // A network that means nothing is a mistake in the config.
            assert!(allowed.starts_with("::ffff") && log.contains("allow_from"), "{allowed}: {log}");
            continue;
        }
        for (source, let_in) in [("127.0.0.1", from_1), ("127.0.0.2", from_2)] {
            let said = greeting(source, "127.0.0.1", port);
            assert_eq!(said.starts_with("220 "), let_in, "{allowed} {source}: {said}");
            assert!(let_in || said.starts_with("554 5.7.1 "), "{said}");
        }
        assert_eq!(greeting("::1", "::1", port).starts_with("220 "), allowed == "::1/128", "{allowed}");
    }
}
