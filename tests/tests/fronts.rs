//! Clients behind other servers (XCLIENT, with swaks as the one in front), what the DNS calls a client (with dnsmasq),
//! clients that talk before the greeting, and listeners that are nearly full.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Dnsmasq, Postern, free_port, wait_for};
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

const LISTENER: &str = "xclient_from = ['127.0.0.0/8']\nallow_from = ['192.0.2.0/24', '127.0.0.7/32']\n";

/// What swaks and the server say to each other.
fn swaks(port: u16, xclient: &str) -> String {
    let server = format!("127.0.0.1:{port}");
    let args = ["--server", &server, "--from", "a@d.example", "--to", "b@d.example", "--xclient", xclient];
    let output = Command::new("/usr/bin/swaks").args(args).output().expect("swaks; `make test` installs it");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn swaks_speaks_for_others() {
    let sink = AioSink::start();
    let server = Postern::start_with(sink.port, LISTENER, "", "");
    let said = swaks(server.port, "ADDR=192.0.2.9 NAME=mail.client.example PORT=4000 LOGIN=app1");
    assert!(said.contains("<-  250 2.0.0 Message queued as "), "{said}");
    let said = swaks(server.port, "ADDR=198.51.100.1 NAME=[UNAVAILABLE]");
    assert!(said.contains("<** 554 5.7.1 mta.example.com access denied"), "{said}");
    server.wait_empty();
    let messages = sink.messages();
    let content = messages[0]["content"].to_string();
    assert!(content.contains("(mail.client.example [192.0.2.9])"), "{content}");
    assert!(content.contains("(Authenticated sender: app1)") && messages.len() == 1, "{messages:?}");
    let told = server.log_lines(" XCLIENT ");
    assert!(told[0].contains("client=192.0.2.9:4000") && told[0].contains("peer=127.0.0.1:"), "{told:?}");
    assert!(server.log_lines(" NOQUEUE ")[0].contains("198.51.100.1"), "{}", server.log());
}

/// Who is not listed names nobody, before and after EHLO; who is named may name nobody in turn unless it is listed, and
/// is counted as the client that it is.
#[test]
fn only_listed_hosts_speak_for_others() {
    let sink = AioSink::start();
    let listener = "xclient_from = ['127.0.0.2/32']\nallow_from = ['127.0.0.1/32']\nper_address = { sessions = 1 }";
    let server = Postern::start_with(sink.port, listener, "", "");
    let mut client = Client::connect(server.port).unwrap();
    client.expect(2).unwrap();
    for hello in ["NOOP", "EHLO client.example"] {
        client.command(hello, 2).unwrap();
        let refused = client.command("XCLIENT ADDR=127.0.0.7 LOGIN=root", 5).unwrap();
        assert_eq!(refused.code, 550);
    }
    client.mail("a@d.example", &["b@d.example"], "Subject: x\r\n\r\nx\r\n").unwrap();
    server.wait_empty();
    let content = sink.messages()[0]["content"].to_string();
    assert!(content.contains("([127.0.0.1])") && !content.contains("root"), "{content}");
    // The place of 127.0.0.1 is taken: whoever stands in front is told so in place of a greeting.
    let front = "
import smtplib, sys
client = smtplib.SMTP('127.0.0.1', int(sys.argv[1]), source_address=('127.0.0.2', 0))
others = [smtplib.SMTP('127.0.0.1', int(sys.argv[1]), source_address=('127.0.0.2', 0)) for _ in range(5)]
client.ehlo()
print(client.docmd('XCLIENT', 'ADDR=127.0.0.1')[0])
";
    assert_eq!(postern_tests::python(front, &[&server.port.to_string()]).trim(), "421");
}

#[test]
fn what_the_dns_calls_a_client() {
    let sink = AioSink::start();
    let dns = Dnsmasq::start(&[
        "--host-record=mail.client.test,192.0.2.9",
        "--ptr-record=10.2.0.192.in-addr.arpa,mail.client.test",
        "--host-record=six.client.test,2001:db8::9",
    ]);
    let config = format!("[dns]\nservers = ['127.0.0.1:{}']", dns.port);
    let listener =
        format!("{LISTENER}trust_headers = true").replace("'192.0.2.0/24'", "'192.0.2.0/24', '2001:db8::/32'");
    let server = Postern::start_with(sink.port, &listener, "", &config);
    for (address, expected) in [
        ("192.0.2.9", "(mail.client.test [192.0.2.9])"),
        // Its owner calls it so, and the owner of the name does not.
        ("192.0.2.10", "([192.0.2.10])"),
        ("192.0.2.11", "([192.0.2.11])"),
        ("IPV6:2001:db8::9", "(six.client.test [IPv6:2001:db8::9])"),
    ] {
        let before = sink.messages().len();
        swaks(server.port, &format!("ADDR={address}"));
        server.wait_empty();
        let content = sink.messages()[before]["content"].to_string();
        assert!(content.contains(expected), "{address}: {content}");
    }
}

#[test]
fn a_silent_dns_costs_no_more_than_the_limit() {
    let sink = AioSink::start();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let config = format!("[dns]\nservers = ['{}']", silent.local_addr().unwrap());
    let server = Postern::start_with(sink.port, &format!("{LISTENER}reverse_lookup = '1s'"), "", &config);
    let began = Instant::now();
    let said = swaks(server.port, "ADDR=192.0.2.9");
    assert!(said.contains("<-  250 2.0.0 Message queued as "), "{said}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    silent.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(silent.recv(&mut [0; 512]).unwrap() > 0, "it was asked");
    server.wait_empty();
    assert!(sink.messages()[0]["content"].to_string().contains("([192.0.2.9])"));
}

#[test]
fn early_talkers() {
    let sink = AioSink::start();
    let server = Postern::start_with(sink.port, "greet_delay = '500ms'", "", "");
    let mut early = Client::connect(server.port).unwrap();
    early.send(b"EHLO client.example\r\nMAIL FROM:<a@d.example>\r\n").unwrap();
    let said = early.reply().unwrap();
    assert_eq!((said.code, &*said.lines[0]), (554, "5.5.1 The server speaks first"));
    assert_eq!(early.line().unwrap_or(None), None);
    server.wait_log("early talker", 1);
    // Whoever waits is served, pipelining and all.
    let mut client = Client::connect(server.port).unwrap();
    client.expect(2).unwrap();
    client.command("EHLO client.example", 2).unwrap();
    client.mail_at_once("a@d.example", &["b@d.example"], "Subject: x\r\n\r\nx\r\n").unwrap();
    server.wait_empty();
    assert_eq!(sink.messages().len(), 1);
}

/// Four of five places are taken: the idle ones end after ten seconds, and others find a place.
#[test]
fn idle_clients_make_room_when_a_listener_is_nearly_full() {
    let server = Postern::start_with(free_port(), "max_sessions = 5", "", "");
    let mut idle: Vec<Client> = (0..3).map(|_| Client::hello(server.port).unwrap()).collect();
    std::thread::sleep(Duration::from_secs(1));
    assert!(server.log_lines("STRESS").is_empty());
    let began = Instant::now();
    let mut wrong = Client::hello(server.port).unwrap();
    assert_eq!(server.wait_log("STRESS", 1).len(), 1);
    for _ in 0..2 {
        wrong.command("NONSENSE", 5).unwrap();
    }
    wrong.send(b"NONSENSE\r\n").unwrap();
    wrong.expect(5).unwrap();
    assert!(wrong.reply().unwrap().lines[0].contains("too many errors"));
    // Stress stays until no more than three are there.
    let mut fourth = Client::hello(server.port).unwrap();
    for client in &mut idle {
        client.patience(Duration::from_secs(30)).unwrap();
        assert!(client.reply().unwrap().lines[0].contains("time limit exceeded"));
    }
    assert!(began.elapsed() >= Duration::from_secs(9), "{:?}", began.elapsed());
    wait_for("the end of stress", || (!server.log_lines("stress is over").is_empty()).then_some(()));
    // Who came last has its time again.
    let _ = fourth.command("NOOP", 2);
    assert!(Client::hello(server.port).is_ok());
}
