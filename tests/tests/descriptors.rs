//! Fewer descriptors than clients: 256 for 2,000 connections. Those beyond are told 421 or wait, deliveries go on,
//! the process neither ends nor spins, and a new client is served once the others have gone.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{Client, HashSink, Ledger, Made, Postern, Setup, free_port, process, wait_for};
use std::time::{Duration, Instant};

const DESCRIPTORS: usize = 256;
const CONNECTIONS: usize = 2000;
/// CPU time in a second without work, in hundredths of a second, at most: a loop that spins takes a hundred.
const QUIET_TICKS: u64 = 40;

#[test]
fn more_clients_than_descriptors_do_no_harm() {
    // The test needs a descriptor for each of its connections, too.
    let limit = process::raise_descriptors();
    assert!(limit >= CONNECTIONS + 500, "the test needs more open files than {limit}");
    let (next_hop, ledger) = (free_port(), Ledger::default());
    let runner = ["prlimit".to_owned(), format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}")].to_vec();
    let config = "[queue]\nretry = ['1s']\n".into();
    let mut server = Postern::prepare(next_hop, Setup { runner, config, ..Setup::default() });
    server.restart();
    // Mail that waits for the next hop to come up, and goes out while there are no descriptors for clients.
    let mut early = Client::hello(server.port).unwrap();
    for number in 0..100 {
        let made = Made::new(format!("early-{number}"), 5000, 1);
        assert_eq!(made.submit(&mut early).unwrap().code, 250);
        ledger.note(&made);
    }

    // Some are served, some told 421, and the rest wait in the backlog, which may be full.
    let mut clients = Vec::new();
    let start = Instant::now();
    while clients.len() < CONNECTIONS && start.elapsed() < Duration::from_secs(20) {
        match Client::connect_within(server.port, Duration::from_millis(500)) {
            Ok(client) => clients.push(client),
            Err(_) => break,
        }
    }
    assert!(clients.len() > DESCRIPTORS, "only {} connections could be made", clients.len());
    assert!(process::descriptors(server.pid()) <= DESCRIPTORS);

    let sink = HashSink::start_on(next_hop, 0);
    wait_for("deliveries while all descriptors are taken", || (sink.count() == 100).then_some(()));
    let made = Made::new("still served".into(), 5000, 1);
    assert_eq!(made.submit(&mut early).unwrap().code, 250, "a session that is there goes on");
    ledger.note(&made);

    // The second is what is measured.
    let before = process::cpu_ticks(server.pid());
    std::thread::sleep(Duration::from_secs(1));
    let quiet = process::cpu_ticks(server.pid()) - before;
    assert!(quiet < QUIET_TICKS, "{quiet} hundredths of a second of CPU time in one without work");

    let held = clients.len();
    drop(clients);
    let made = Made::new("late".into(), 5000, 1);
    wait_for("a new client to be served", || {
        let mut client = Client::hello(server.port).ok()?;
        (made.submit(&mut client).ok()?.code == 250).then(|| ledger.note(&made))
    });
    server.wait_empty();
    let account = ledger.check(&sink.arrived());
    assert!(account.lost.is_empty() && account.changed.is_empty(), "{account:?}");
    assert!(server.terminate().status.success(), "{}", server.log());
    println!("{DESCRIPTORS} descriptors, {held} clients: {quiet} ticks in a quiet second, {} delivered", sink.count());
}
