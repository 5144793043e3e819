//! SIGKILL under load: every message that was acknowledged arrives, duplicates are no more than were in flight, and
//! nothing is left behind in the store.
//!
//! smtp-source makes the pressure; clients of our own note what was acknowledged, and some are in the middle of DATA
//! when the server dies. smtp-sink counts what arrives. 20 cycles; 200 with POSTERN_SOAK.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{Client, Postern, SmtpSink, wait_for};
use std::collections::HashSet;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Connections to the next hop: at most so many messages are in flight at a kill.
const CONNECTIONS: usize = 10;
const CLIENTS: usize = 8;

/// Submits until the server is gone; notes in `acknowledged` what it said 250 to.
fn submit(port: u16, name: &str, acknowledged: &Mutex<HashSet<String>>) -> std::io::Result<()> {
    let mut client = Client::hello(port)?;
    for number in 0.. {
        let id = format!("{name}-{number}");
        // Now and then a message that is not kept in memory until its commit.
        let lines = if number % 23 == 7 { 8_000 } else { 40 };
        let body = "seventy-odd octets of text that a message is made of, and some more\r\n".repeat(lines);
        let reply = client.mail("from@example.com", &["to@example.org"], &format!("X-Id: {id}\r\n\r\n{body}"))?;
        if reply.code == 250 {
            acknowledged.lock().unwrap().insert(id);
        }
    }
    Ok(())
}

/// Stops in the middle of the content and stays until the server is gone.
fn linger_in_data(port: u16, lines: usize, done: &AtomicBool) -> std::io::Result<()> {
    let mut client = Client::hello(port)?;
    client.open("from@example.com", &["to@example.org"])?;
    client.send(format!("X-Id: never\r\n\r\n{}", "half a message\r\n".repeat(lines)).as_bytes())?;
    while !done.load(Ordering::Relaxed) {
        let _ = client.line()?;
    }
    Ok(())
}

fn cycle(server: &mut Postern, number: usize, acknowledged: &Mutex<HashSet<String>>) {
    let (port, done) = (server.port, AtomicBool::new(false));
    let before = acknowledged.lock().unwrap().len();
    // Not evenly spread, and not the same in each cycle.
    let enough = before + 10 + (number * 37) % 150;
    let at = format!("127.0.0.1:{port}");
    let mut source = Command::new("/usr/sbin/smtp-source")
        .args(["-s", "5", "-m", "100000", "-l", "4096", "-f", "load@example.com", "-t", "load@example.org", &at])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let name = format!("{number}-{client}");
            scope.spawn(move || submit(port, &name, acknowledged).unwrap_err());
        }
        for lines in [10, 20_000] {
            let done = &done;
            scope.spawn(move || linger_in_data(port, lines, done));
        }
        wait_for("enough messages to be acknowledged", || (acknowledged.lock().unwrap().len() >= enough).then_some(()));
        server.kill();
        done.store(true, Ordering::Relaxed);
    });
    let _ = source.kill();
    let _ = source.wait();
    server.restart();
}

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let cycles = if std::env::var_os("POSTERN_SOAK").is_some() { 200 } else { 20 };
    let sink = SmtpSink::start(&[]);
    let mut server = Postern::start_with(sink.port, "", &format!("connections = {CONNECTIONS}"), "");
    let acknowledged = Mutex::new(HashSet::new());
    for number in 0..cycles {
        cycle(&mut server, number, &acknowledged);
    }
    server.wait_empty();
    assert!(server.terminate().status.success());

    let acknowledged = acknowledged.into_inner().unwrap();
    let (ours, load) = (sink.count_by("X-Id"), sink.count_by("Message-Id"));
    let lost: Vec<_> = acknowledged.iter().filter(|id| !ours.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged messages are lost: {lost:?}", lost.len(), acknowledged.len());
    assert!(!ours.contains_key("never"), "half a message was delivered");
    let duplicates: usize = ours.values().chain(load.values()).map(|times| times - 1).sum();
    assert!(duplicates <= cycles * CONNECTIONS, "{duplicates} duplicates in {cycles} cycles");
    let left = postern::spool::embedded::audit(&server.data()).unwrap();
    assert!(left.is_empty(), "the queue is empty and the store still has {left:?}");
    println!(
        "{cycles} kills: {} acknowledged, {} arrived with load, 0 lost, {duplicates} duplicates",
        acknowledged.len(),
        ours.len() + load.len()
    );
}
