//! Delivery by MX: dnsmasq as DNS, aiosmtpd as the host that takes the mail. What is final bounces at once, what may be
//! otherwise later waits, and no connection is made to ourselves or, unless allowed, to private addresses.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, CountingSink, Dnsmasq, Postern, free_port, not_run, wait_for};
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::thread::JoinHandle;

const CONTENT: &str = "From: ann@example.com\r\nSubject: by MX\r\n\r\nbody\r\n";
const ALLOW: &str = "allow_private = true";

/// A DNS server that answers each query with SERVFAIL.
struct Broken {
    port: u16,
    thread: Option<JoinHandle<()>>,
}

impl Broken {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                // Shorter than a header: the end.
                let Some(query) = buffer.get_mut(..length).filter(|query| query.len() >= 12) else { break };
                query[2] |= 0x80;
                query[3] = 0x82;
                let _ = socket.send_to(query, peer);
            }
        });
        Self { port, thread: Some(thread) }
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let _ = socket.send_to(b"end", ("127.0.0.1", self.port));
        let _ = self.thread.take().unwrap().join();
    }
}

/// Hands over one message without a return path (so that a bounce leaves nothing behind).
fn send(server: &Postern, to: &[&str]) {
    let mut client = Client::hello(server.port).unwrap();
    assert_eq!(client.mail("", to, CONTENT).unwrap().code, 250);
}

/// Waits for the bounce of `to` and sees that it has this status and that nothing was tried again.
fn check_bounce(server: &Postern, to: &str, status: &str) {
    send(server, &[to]);
    server.wait_empty();
    // The line is written after the settlement.
    let rejected = || server.log_lines(" REJECTED ").into_iter().find(|line| line.contains(to));
    let rejected = wait_for("the bounce in the log", rejected);
    let lines = server.log_lines(to);
    assert!(rejected.contains(&format!("status={status}")), "{rejected}");
    assert!(!lines.iter().any(|line| line.contains(" DEFERRED ")), "{lines:?}");
}

/// Waits until `to` is deferred, and sees that it is still queued.
fn check_deferred(server: &Postern, to: &str) {
    send(server, &[to]);
    let line = wait_for("the deferral", || {
        server.log_lines(" DEFERRED ").into_iter().find(|line| line.contains(to) && line.contains("attempts=1"))
    });
    assert!(line.contains("status=4."), "{line}");
    assert!(server.queue().iter().any(|row| row["recipient"] == to && row["state"] == "pending"));
}

#[test]
fn the_next_mx_is_tried_where_one_refuses_connections() {
    let sink = AioSink::start();
    let dns = Dnsmasq::start(&[
        "--mx-host=two.test,down.test,10",
        "--mx-host=two.test,up.test,20",
        // Nobody listens there, on the sink's port.
        "--host-record=down.test,127.0.0.2",
        "--host-record=up.test,127.0.0.1",
        "--host-record=bare.test,127.0.0.1",
    ]);
    let server = Postern::start_mx(free_port(), dns.port, sink.port, "", ALLOW, "");
    send(&server, &["a@two.test", "b@TWO.test"]);
    send(&server, &["c@bare.test"]);
    send(&server, &["d@[127.0.0.1]"]);
    server.wait_empty();
    let accepted = server.log_lines(" ACCEPTED ");
    assert_eq!(accepted.len(), 4, "{accepted:?}");
    assert!(accepted.iter().filter(|line| line.contains("up.test[127.0.0.1]")).count() == 2, "{accepted:?}");
    assert_eq!(sink.messages().len(), 3, "recipients of one domain share a transaction");
    assert!(server.log_lines(" DEFERRED ").is_empty());
}

#[test]
fn what_is_final_bounces_at_once() {
    let sink = AioSink::start();
    let dns = Dnsmasq::start(&[
        "--mx-host=null.test,.,0",
        "--mx-host=ghost.test,nobody.test,10",
        "--mx-host=other.test,sink.test,10",
        "--host-record=sink.test,127.0.0.1",
    ]);
    let server = Postern::start_mx(free_port(), dns.port, sink.port, "", ALLOW, "");
    check_bounce(&server, "a@null.test", "5.1.10");
    check_bounce(&server, "a@nowhere.test", "5.1.2");
    check_bounce(&server, "a@ghost.test", "5.");
    assert!(sink.messages().is_empty());
    // The bounces did not stop anything else.
    send(&server, &["a@other.test"]);
    server.wait_log(" ACCEPTED ", 1);
}

#[test]
fn what_dns_does_not_say_is_tried_later() {
    let (broken, silent) = (Broken::start(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let dns = Dnsmasq::start(&[
        &format!("--server=/servfail.example/127.0.0.1#{}", broken.port),
        &format!("--server=/silent.example/127.0.0.1#{}", silent.local_addr().unwrap().port()),
        "--mx-host=half.test,host.servfail.example,10",
    ]);
    let server = Postern::start_mx(free_port(), dns.port, free_port(), "", ALLOW, "[queue]\nretry = ['1h']");
    for to in ["a@servfail.example", "a@silent.example", "a@refused.example", "a@half.test"] {
        check_deferred(&server, to);
    }
    assert!(server.log_lines(" REJECTED ").is_empty());
    assert_eq!(server.queue().len(), 4);
}

#[test]
fn no_connection_to_ourselves() {
    let dns = Dnsmasq::start(&[
        "--mx-host=us.test,mta.example.com,10",
        "--mx-host=loop.test,loop-host.test,10",
        "--mx-host=loop.test,behind.test,20",
        "--host-record=loop-host.test,127.0.0.1",
        "--host-record=behind.test,127.0.0.2",
    ]);
    let port = free_port();
    let server = Postern::start_mx(port, dns.port, port, "", ALLOW, "");
    check_bounce(&server, "a@loop.test", "5.4.6");
    check_bounce(&server, "a@us.test", "5.4.6");
    check_bounce(&server, "a@[127.0.0.1]", "5.4.6");
    // Ours were the only messages that came in.
    assert_eq!(server.log_lines(" QUEUED ").len(), 3);
}

#[test]
fn no_connection_to_private_addresses() {
    let sink = AioSink::start();
    let dns = Dnsmasq::start(&[
        "--mx-host=private.test,private-host.test,10",
        "--mx-host=local.test,localhost,10",
        "--host-record=private-host.test,127.0.0.1",
    ]);
    let server = Postern::start_mx(free_port(), dns.port, sink.port, "", "", "");
    for to in ["a@private.test", "a@local.test", "a@localhost", "a@[127.0.0.1]", "a@[IPv6:::1]"] {
        check_bounce(&server, to, "5.");
    }
    assert!(sink.messages().is_empty());
}

#[test]
fn what_waited_for_a_smart_host_goes_by_mx_once_its_zone_has_none() {
    let (sink, dns) = (AioSink::start(), Dnsmasq::start(&["--address=/test/127.0.0.1"]));
    // Nobody listens there.
    let mut server = Postern::start(free_port(), "[queue]\nretry = ['1h']");
    send(&server, &["a@one.test", "b@two.test"]);
    server.wait_log(" DEFERRED ", 2);
    server.terminate();
    let path = server.dir().join("postern.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let line = config.lines().find(|line| line.starts_with("smart_host")).unwrap();
    let dns = format!("\n[dns]\nservers = ['127.0.0.1:{}']\n{ALLOW}\n", dns.port);
    std::fs::write(&path, config.replace(line, &format!("port = {}", sink.port)) + &dns).unwrap();
    server.restart();
    assert!(server.command(&["queue", "retry", "--all", "-c", "postern.toml"]).status.success());
    server.wait_empty();
    let mut recipients: Vec<String> = sink.messages().iter().map(|message| message["rcpt_tos"].to_string()).collect();
    recipients.sort();
    assert_eq!(recipients, ["[\"a@one.test\"]", "[\"b@two.test\"]"], "each domain by itself");
}

#[test]
fn the_zone_says_which_ip_version() {
    let Ok(six) = CountingSink::start_at(Ipv6Addr::LOCALHOST.into(), 0) else {
        return not_run("delivery over IPv6", "this machine has no ::1");
    };
    let four = CountingSink::start_at(Ipv4Addr::LOCALHOST.into(), six.port).unwrap();
    let dns = Dnsmasq::start(&["--host-record=both.test,127.0.0.1,::1"]);
    six.open();
    four.open();
    for (ip, taken) in [("6", [1, 0]), ("4", [1, 1]), ("prefer6", [2, 1]), ("prefer4", [2, 2])] {
        let server = Postern::start_mx(free_port(), dns.port, six.port, &format!("ip = '{ip}'"), ALLOW, "");
        send(&server, &["a@both.test"]);
        server.wait_log(" ACCEPTED ", 1);
        assert_eq!([&six, &four].map(|sink| sink.arrived().len()), taken, "ip = {ip}");
    }
}
