//! One transaction with ten thousand recipients goes in and out in little memory.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use postern_tests::{Client, HashSink, Postern, process, wait_for};
use std::fmt::Write as _;

const RECIPIENTS: usize = 10_000;
/// Growth of a warm server's memory, at most.
const BOUND_KIB: u64 = 32 << 10;

/// A message to so many, its recipients in groups of a hundred.
fn submit(server: &Postern, recipients: usize) {
    let mut client = Client::hello(server.port).unwrap();
    client.command("MAIL FROM:<a@b.example>", 2).unwrap();
    for first in (0..recipients).step_by(100) {
        let group = first..(first + 100).min(recipients);
        let mut commands = String::new();
        for number in group.clone() {
            let _ = write!(commands, "RCPT TO:<recipient-{number}@d{}.example.org>\r\n", number % 7);
        }
        client.send(commands.as_bytes()).unwrap();
        group.for_each(|_| drop(client.expect(2).unwrap()));
    }
    client.command("DATA", 3).unwrap();
    client.send(b"X-Load-Id: many\r\nSubject: many\r\n\r\nbody\r\n.\r\n").unwrap();
    assert_eq!(client.reply().unwrap().code, 250);
}

#[test]
fn ten_thousand_recipients() {
    let sink = HashSink::start(0);
    let server = Postern::start_with(sink.port, "max_recipients = 20000", "", "");
    // What the server takes once and for all is not the large one's.
    for _ in 0..20 {
        submit(&server, 100);
    }
    server.wait_log(" ACCEPTED ", 2000);
    let mut queued = 0;
    let growth = process::growth_kib(server.pid(), || {
        queued = process::growth_kib(server.pid(), || submit(&server, RECIPIENTS));
        wait_for("the deliveries", || (server.log_lines(" ACCEPTED ").len() == 2000 + RECIPIENTS).then_some(()));
        server.wait_empty();
    });
    println!("{RECIPIENTS} recipients: +{queued} KiB to queue, +{growth} KiB in all");
    assert!(growth < BOUND_KIB, "memory grew by {growth} KiB");
}
