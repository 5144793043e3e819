//! Ten thousand clients that say nothing cost little, and nobody waits for them; who sends a message octet by octet is
//! cut off. Fewer where the limit of open files is lower.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use postern_tests::submission::{self, PASSWORD};
use postern_tests::{Client, Postern, Setup, free_port, process, python, soak};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Memory of the server for one idle session, at most.
const BOUND_KIB: f64 = 20.0;
/// Descriptors that the test, or the server, has besides.
const BESIDES: usize = 500;

/// As many as there are descriptors for, at most `wanted`.
fn possible(wanted: usize) -> usize {
    let possible = process::raise_descriptors().saturating_sub(BESIDES).min(wanted);
    if possible < wanted {
        println!("{possible} connections instead of {wanted}: the limit of open files is low");
    }
    possible
}

/// A message of a new client, from connecting to its 250.
fn served(port: u16) -> Duration {
    let start = Instant::now();
    let mut client = Client::hello(port).unwrap();
    assert_eq!(client.mail("a@b.example", &["c@d.example"], "Subject: s\r\n\r\nb\r\n").unwrap().code, 250);
    start.elapsed()
}

/// Some octets of a session, up to the end of a line that begins with `last`.
fn read_to(stream: &mut TcpStream, last: &str) {
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    while !said.split(|b| *b == b'\n').any(|line| line.starts_with(last.as_bytes())) || !said.ends_with(b"\r\n") {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "closed after {}", said.escape_ascii());
        said.extend_from_slice(&buffer[..length]);
    }
}

#[test]
fn ten_thousand_idle_clients() {
    let count = possible(10_000);
    let listener = "max_sessions = 20000".to_owned();
    let mut server = Postern::prepare(free_port(), Setup { listener, ..Setup::default() });
    server.restart();
    served(server.port);
    let before = process::resident_kib(server.pid());
    let start = Instant::now();
    let clients: Vec<TcpStream> = (0..count)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
            read_to(&mut stream, "220 ");
            stream.write_all(b"EHLO client.example\r\n").unwrap();
            read_to(&mut stream, "250 ");
            stream
        })
        .collect();
    let took = start.elapsed();
    let each = (process::resident_kib(server.pid()) - before) as f64 / count as f64;
    let served = (0..5).map(|_| served(server.port)).max().unwrap();
    println!("{count} idle clients, connected in {took:?}: {each:.1} KiB each; a new one is served in {served:?}");
    assert!(each < BOUND_KIB, "{each} KiB for an idle client");
    assert!(served < Duration::from_secs(1), "{served:?}");
    drop(clients);
    assert!(server.terminate().status.success());
}

/// Opens connections with implicit TLS, says EHLO on each, says so, and keeps them until its input ends.
const TLS_CLIENTS: &str = "
import socket, ssl, sys
port, count, pid = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
def resident():
    return int(next(line for line in open('/proc/%s/status' % pid) if line.startswith('VmRSS')).split()[1])
context = ssl._create_unverified_context()
def client():
    tls = context.wrap_socket(socket.create_connection(('127.0.0.1', port)))
    tls.recv(1000)
    tls.send(b'EHLO client.example\\r\\n')
    assert b'250' in tls.recv(1000)
    return tls
first = [client() for _ in range(50)]
before = resident()
clients = [client() for _ in range(count)]
print((resident() - before) / count)
";

#[test]
fn idle_clients_over_tls() {
    let count = possible(if soak() { 5000 } else { 1000 });
    let (server, tls) = submission::server(free_port(), "");
    let printed = python(TLS_CLIENTS, &[&tls.to_string(), &count.to_string(), &server.pid().to_string()]);
    let each: f64 = printed.trim().parse().unwrap();
    println!("{count} idle clients over TLS: {each:.1} KiB each");
    assert!(each < BOUND_KIB, "{each} KiB for an idle client over TLS");
    assert!(!server.log().contains(PASSWORD));
}

/// A minute is the grace that a client has, so this is a long form.
#[test]
fn content_octet_by_octet_is_cut_off() {
    if !soak() {
        return;
    }
    let server = Postern::start(free_port(), "");
    let mut client = Client::hello(server.port).unwrap();
    client.open("a@b.example", &["c@d.example"]).unwrap();
    client.patience(Duration::from_secs(1)).unwrap();
    let start = Instant::now();
    let reply = loop {
        assert!(start.elapsed() < Duration::from_secs(90), "not cut off");
        // Refused once the server has closed its end.
        let _ = client.send(b"x");
        match client.reply() {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            reply => break reply.unwrap(),
        }
    };
    println!("cut off after {:?}", start.elapsed());
    assert_eq!(reply.code, 421, "{reply:?}");
    assert!(start.elapsed() > Duration::from_secs(50) && server.queue().is_empty());
}
