//! A disk that fills up: clients are told 452, what is queued goes out and makes room, intake resumes without a
//! restart, and nothing that was acknowledged is lost.
//!
//! The disk is a real one of 64 MiB, the clients don't give up, and what is kept free is far less than by default, so
//! that the engine meets the real end of the disk if it can be met at all. What becomes of it then is in `io_errors`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use postern_tests::{Client, Disk, HashSink, Ledger, Made, Postern, Setup, free_port, not_run, wait_for};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const CLIENTS: usize = 8;
/// Refusals after which the disk is taken for full.
const ENOUGH: usize = 200;

/// Submits until told to stop, again and again where it is refused; counts refusals for want of room. Anything else
/// than 250 or 452 ends the test.
fn press(port: u16, name: usize, ledger: &Ledger, refused: &AtomicUsize, stop: &AtomicBool) {
    let mut client = Client::hello(port).unwrap();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let len = [500, 3_000, 20_000, 40_000, 150_000, 400_000][(name + number) % 6];
        let made = Made::new(format!("{name}-{number}"), len, 1 + number % 2);
        number += 1;
        match made.submit(&mut client) {
            Ok(reply) if reply.code == 250 => ledger.note(&made),
            Ok(reply) => {
                assert_eq!(reply.code, 452, "{reply:?}");
                refused.fetch_add(1, Ordering::Relaxed);
            }
            // At MAIL or at DATA.
            Err(error) => {
                assert!(error.to_string().contains("code: 452"), "{error}");
                refused.fetch_add(1, Ordering::Relaxed);
                client.command("RSET", 2).unwrap();
            }
        }
    }
}

/// Ends the clients, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn fills_and_recovers(min_free: &str) {
    let disk = match Disk::new(64) {
        Ok(disk) => disk,
        Err(why) => return not_run("disk full", &why),
    };
    let (port, ledger) = (free_port(), Arc::<Ledger>::default());
    let config = format!("[queue]\nmin_free = '{min_free}'\nretry = ['1s']\n");
    let data = Some(disk.path().join("data"));
    let mut server =
        Postern::prepare(port, Setup { data, listener: "max_errors = 1000000".into(), config, ..Setup::default() });
    server.restart();
    let (refused, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut sink = None;
    std::thread::scope(|scope| {
        for name in 0..CLIENTS {
            let (ledger, refused, stop, port) = (&ledger, &refused, &stop, server.port);
            scope.spawn(move || press(port, name, ledger, refused, stop));
        }
        let end = Stop(&stop);
        wait_for("a full disk", || (refused.load(Ordering::Relaxed) >= ENOUGH).then_some(()));
        let full = ledger.count();
        sink = Some(HashSink::start_on(port, 0));
        wait_for("intake to resume", || (ledger.count() >= full + 50).then_some(()));
        drop(end);
    });
    server.wait_empty();
    let account = ledger.check(&sink.unwrap().arrived());
    assert!(account.lost.is_empty() && account.changed.is_empty(), "{account:?}");
    assert_eq!(server.log_lines("failed").len(), 0, "{:?}", server.log_lines("failed"));
    assert!(server.terminate().status.success());
    println!("min_free {min_free}: {} acknowledged, {} refused, 0 lost", account.acknowledged, refused.into_inner());
}

/// What is deleted from a full store leaves room in it that is scattered: small messages fit, large ones would make the
/// file grow.
#[test]
fn scattered_room_is_not_taken_for_more() {
    let disk = match Disk::new(64) {
        Ok(disk) => disk,
        Err(why) => return not_run("disk full", &why),
    };
    let config = "[queue]\nmin_free = '16MiB'\n".into();
    let data = Some(disk.path().join("data"));
    let listener = "max_errors = 1000000".into();
    let mut server = Postern::prepare(free_port(), Setup { data, listener, config, ..Setup::default() });
    server.restart();
    let submit = |client: &mut Client, domain: usize, len: usize| {
        let line = format!("{}\r\n", "x".repeat(98));
        let content = format!("From: a@b.example\r\n\r\n{}", line.repeat(len / 100));
        let code = match client.mail("", &[&format!("a@d{domain}.example")], &content) {
            Ok(reply) => reply.code,
            Err(error) => {
                assert!(error.to_string().contains("code: 452"), "{error}");
                client.command("RSET", 2).unwrap();
                452
            }
        };
        assert!(matches!(code, 250 | 452), "{code}");
        code == 250
    };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let (submit, port) = (&submit, server.port);
            scope.spawn(move || {
                let mut client = Client::hello(port).unwrap();
                let mut refused = 0;
                for number in 0.. {
                    refused += usize::from(!submit(&mut client, number % 20, 3_300));
                    if refused == 10 {
                        break;
                    }
                }
            });
        }
    });
    for domain in 0..13 {
        let filter = format!("domain=d{domain}.example");
        let output = server.command(&["queue", "delete", &filter, "--yes", "-c", "postern.toml"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut client = Client::hello(server.port).unwrap();
    let large = (0..8).filter(|_| submit(&mut client, 0, 5_000_000)).count();
    wait_for("small messages to be taken again", || submit(&mut client, 0, 3_300).then_some(()));
    let small = (0..500).filter(|_| submit(&mut client, 0, 3_300)).count();
    assert_eq!(server.log_lines("the spool failed").len(), 0, "{:?}", server.log_lines("failed"));
    assert!(server.terminate().status.success());
    println!("after a deletion: {large} of 8 large and {small} of 500 small messages taken");
}

#[test]
fn a_full_disk_refuses_mail_until_there_is_room_again() {
    fills_and_recovers("16MiB");
}

/// The engine keeps as much as it needs for itself, whatever the config says.
#[test]
fn next_to_nothing_is_kept_free() {
    fills_and_recovers("1MiB");
}
