//! A message of a gigabyte goes through in memory that does not depend on its size: in by SMTP, out by SMTP, whole.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{Client, HashSink, ID, Postern, process, wait_for};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Growth of the server's memory over its idle state, at most.
const BOUND_KIB: u64 = 32 << 10;
/// Mebibytes of the message.
const BLOCKS: u64 = 1024;

/// A mebibyte (and less than a line more) of text with a stuffed dot now and then; `salt` makes it unlike the others.
fn block(salt: u64) -> String {
    let mut text = String::with_capacity((1 << 20) + 80);
    let mut rng = fastrand::Rng::with_seed(salt);
    while text.len() < 1 << 20 {
        if rng.u8(..) < 8 {
            text.push('.');
        }
        let _ = write!(text, "{:076x}\r\n", rng.u128(..));
    }
    text
}

#[test]
fn a_large_message_goes_through_in_little_memory() {
    let sink = HashSink::start(0);
    let server = Postern::start_with(sink.port, "max_size = '2GiB'", "", "");
    let mut client = Client::hello(server.port).unwrap();
    client.patience(Duration::from_secs(300)).unwrap();
    // A small one first: what the server takes once and for all is not the large one's.
    assert_eq!(client.mail("a@b.example", &["c@d.example"], "\r\nsmall\r\n").unwrap().code, 250);
    wait_for("the small message", || (sink.count() == 1).then_some(()));
    let idle = process::resident_kib(server.pid());

    let (start, mut sum) = (Instant::now(), Sha256::new());
    client.open("from@example.com", &["to@example.org"]).unwrap();
    client.send(format!("{ID}: large\r\n\r\n").as_bytes()).unwrap();
    for number in 0..BLOCKS {
        let text = block(number);
        sum.update(&text);
        // Each block begins a line.
        let stuffing = if text.starts_with('.') { "." } else { "" };
        client.send((stuffing.to_owned() + &text.replace("\r\n.", "\r\n..")).as_bytes()).unwrap();
    }
    client.send(b".\r\n").unwrap();
    assert_eq!(client.reply().unwrap().code, 250);
    let (taken, peak_in) = (start.elapsed(), process::peak_kib(server.pid()));

    let limit = Duration::from_secs(300);
    while sink.count() < 2 {
        assert!(start.elapsed() < limit, "it was not delivered in time:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let (through, peak) = (start.elapsed(), process::peak_kib(server.pid()));
    server.wait_empty();
    println!(
        "{BLOCKS} MiB: idle {idle} KiB, +{} KiB in, +{} KiB in all; taken after {taken:?}, through after {through:?}",
        peak_in - idle,
        peak - idle
    );
    let arrived = &sink.arrived()["large"];
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].sum, <[u8; 32]>::from(sum.finalize()), "another body arrived");
    assert!(peak - idle < BOUND_KIB, "memory grew by {} KiB", peak - idle);
}
