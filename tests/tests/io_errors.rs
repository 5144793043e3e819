//! Syncs and writes that fail, by strace in the real binary's system calls: after the first error nothing is
//! acknowledged any more and no sync is tried again, the process ends with a failure, and a restart has all mail.
//!
//! A sync that was made to fail was not done at all; what it should have saved is still in the page cache, where a
//! restart would find it. So where there can be a disk of one's own, its power is cut in between: what was
//! acknowledged without a sync would be gone.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use postern_tests::{Disk, HashSink, Ledger, Postern, Setup, not_run, soak, wait_for};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Servers at once.
const WORKERS: usize = 4;
const CLIENTS: usize = 6;

/// What is made to fail, with `when` in the place of the number.
struct Fault {
    calls: &'static str,
    error: &'static str,
    /// From the n-th on, not only the n-th.
    lasting: bool,
    /// n is less than this: about the number of calls in a second of load.
    most: usize,
}

const SYNC: Fault = Fault { calls: "fsync,fdatasync", error: "EIO", lasting: false, most: 400 };
const LASTING_SYNC: Fault = Fault { lasting: true, ..SYNC };
const WRITE: Fault = Fault { calls: "pwrite64,ftruncate,fallocate", error: "ENOSPC", lasting: false, most: 1500 };
const LASTING_WRITE: Fault = Fault { lasting: true, ..WRITE };

/// Can processes be traced here?
fn traceable() -> Result<(), String> {
    let probe = Command::new("strace").args(["-D", "-f", "-q", "-o", "/dev/null", "true"]).output();
    let probe = probe.map_err(|error| format!("strace: {error}"))?;
    if probe.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&probe.stderr).trim().to_owned()) }
}

/// One server until it ends by the fault, and again without. How many messages were acknowledged.
fn run(fault: &Fault, when: usize, disk: Option<&mut Disk>) -> usize {
    let (sink, ledger) = (HashSink::start(30), Arc::<Ledger>::default());
    let Fault { calls, error, lasting, .. } = fault;
    let inject = format!("inject={calls}:error={error}:when={when}{}", if *lasting { "+" } else { "" });
    let runner = ["strace", "-D", "-f", "-q", "--seccomp-bpf", "-o", "strace.log", "-e"].map(String::from);
    let runner = [&runner[..], &[format!("trace={calls}"), "-e".into(), inject.clone()]].concat();
    let data = disk.as_ref().map(|disk| disk.path().join(format!("{error}{when}-{}", fastrand::u32(..))));
    let config = "[queue]\nretry = ['1s']\n".into();
    let mut server = Postern::prepare(sink.port, Setup { data, config, ..Setup::default() });
    if !when.is_multiple_of(4) {
        // Else the store is made under the fault, too.
        server.restart();
        assert!(server.terminate().status.success());
    }
    server.setup.runner = runner;
    server.launch();
    if server.wait_ready().is_ok() {
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (ledger, port) = (&ledger, server.port);
                scope.spawn(move || ledger.submit(port, &format!("{when}-{client}")).unwrap_err());
            }
            let status = server.wait_end();
            assert_eq!(status.code(), Some(1), "{inject}: {status}");
        });
    }
    assert!(!server.wait_end().success(), "{inject}");
    check_trace(&server.dir().join("strace.log"), server.pid(), error);
    if let Some(disk) = disk {
        disk.cut().unwrap();
        disk.remount().unwrap();
    }
    server.setup.runner.clear();
    server.restart();
    sink.refuse(0);
    server.wait_empty();
    let account = ledger.check(&sink.arrived());
    assert!(account.lost.is_empty() && account.changed.is_empty(), "{inject}: {account:?}\n{}", server.log());
    assert!(server.terminate().status.success());
    account.acknowledged
}

/// There was the error, and no sync or write of the store after it, by whichever thread.
fn check_trace(log: &Path, pid: u32, error: &str) {
    let pid = pid.to_string();
    // Short ids are padded.
    let is_end = |line: &str| line.split_whitespace().next() == Some(&pid) && line.contains(" +++ exited with");
    let text =
        wait_for("the end of the trace", || std::fs::read_to_string(log).ok().filter(|text| text.lines().any(is_end)));
    let mut lines = text.lines().skip_while(|line| !line.contains("(INJECTED)"));
    let failed = lines.next().unwrap_or_else(|| panic!("nothing was made to fail:\n{text}"));
    assert!(failed.contains(error), "{failed}");
    let after: Vec<&str> = lines.filter(|line| line.contains("sync(") || line.contains("pwrite64(")).collect();
    assert!(after.is_empty(), "after {failed}:\n{}", after.join("\n"));
}

/// Runs with faults at random places, several at a time.
fn runs(what: &str, fault: &Fault, count: usize) {
    if let Err(why) = traceable() {
        return not_run(what, &why);
    }
    let (left, acknowledged) = (AtomicUsize::new(count), AtomicUsize::new(0));
    let cuts = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let mut disk = Disk::new_with_cut(512).ok();
                cuts.fetch_add(usize::from(disk.is_some()), Ordering::Relaxed);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    let number = run(fault, fastrand::usize(1..fault.most), disk.as_mut());
                    acknowledged.fetch_add(number, Ordering::Relaxed);
                }
            });
        }
    });
    let (acknowledged, cuts) = (acknowledged.into_inner(), cuts.into_inner());
    let cuts = if cuts == WORKERS { "with" } else { "without" };
    println!("{what}: {count} runs {cuts} a power cut after the failure, {acknowledged} acknowledged, 0 lost");
}

fn times(short: usize) -> usize {
    if soak() { 10 * short } else { short }
}

#[test]
fn a_sync_that_fails_ends_the_process_and_loses_nothing() {
    runs("failed sync", &SYNC, times(24));
    runs("failed syncs", &LASTING_SYNC, times(6));
}

#[test]
fn a_write_without_room_ends_the_process_and_loses_nothing() {
    runs("write without room", &WRITE, times(6));
    runs("writes without room", &LASTING_WRITE, times(6));
}
