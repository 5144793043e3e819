//! Power cuts under load: every message that was acknowledged before one arrives whole, and the store opens by itself,
//! also when the power fails again while it does.
//!
//! The queue is on a disk of its own whose power is cut at a random time; the next hop, which puts some of the mail
//! off, stands outside. The control shows that the cut is one: with syncs that do nothing, the same loses mail.
//! 5 cuts under load with as many during recovery; 100 with `POSTERN_SOAK`.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{Account, Disk, HashSink, Ledger, Postern, Setup, not_run, run, soak, wait_for};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of 100 transactions, so many are put off by the next hop while there is load.
const PUT_OFF: u32 = 30;
/// Octets of the disk: a queue that is not emptied between two cuts has room.
const DISK_MIB: u64 = 1024;
/// Cuts within which the control must have lost something.
const CONTROL_CYCLES: usize = 10;

struct Rig {
    // Goes first: it stands on the disk.
    server: Postern,
    disk: Disk,
    sink: HashSink,
    ledger: Arc<Ledger>,
    slowest_start: Duration,
}

impl Rig {
    fn new(environment: Vec<(String, String)>) -> Result<Self, String> {
        let disk = Disk::new_with_cut(DISK_MIB)?;
        let sink = HashSink::start(PUT_OFF);
        let config = "[queue]\nretry = ['1s', '2s']\n".into();
        let data = Some(disk.path().join("data"));
        let mut server = Postern::prepare(sink.port, Setup { data, config, environment, ..Setup::default() });
        server.restart();
        Ok(Self { server, disk, sink, ledger: Arc::default(), slowest_start: Duration::ZERO })
    }

    /// Load, and a cut in the middle of it.
    fn cut_under_load(&mut self, cycle: usize) {
        let (port, enough) = (self.server.port, self.ledger.count() + fastrand::usize(5..60));
        let clients = fastrand::usize(8..=32);
        std::thread::scope(|scope| {
            for client in 0..clients {
                let ledger = Arc::clone(&self.ledger);
                scope.spawn(move || ledger.submit(port, &format!("{cycle}-{client}")).unwrap_err());
            }
            let ledger = Arc::clone(&self.ledger);
            wait_for("load", || (ledger.count() >= enough).then_some(()));
            std::thread::sleep(Duration::from_millis(fastrand::u64(..500)));
            self.disk.cut().unwrap();
            self.server.kill();
        });
        self.disk.remount().unwrap();
    }

    /// A cut while the server starts.
    fn cut_in_recovery(&mut self) {
        self.server.launch();
        std::thread::sleep(Duration::from_millis(fastrand::u64(..50)));
        self.disk.cut().unwrap();
        self.server.kill();
        self.disk.remount().unwrap();
    }

    fn start(&mut self) -> Result<(), String> {
        let start = Instant::now();
        self.server.launch();
        self.server.wait_ready()?;
        self.slowest_start = self.slowest_start.max(start.elapsed());
        Ok(())
    }

    /// Everything goes out; what became of it.
    fn drain(&mut self) -> Account {
        self.sink.refuse(0);
        self.server.wait_empty();
        let account = self.ledger.check(&self.sink.arrived());
        self.sink.refuse(PUT_OFF);
        account
    }

    /// Nothing is left in the store, which is closed; the figures.
    fn figures(&self) -> String {
        let Account { acknowledged, duplicates, .. } = self.ledger.check(&self.sink.arrived());
        let left = postern::spool::embedded::audit(&self.server.data()).unwrap();
        assert!(left.is_empty(), "the queue is empty and the store still has {left:?}");
        format!("{acknowledged} acknowledged, 0 lost, {duplicates} duplicates")
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_fails() {
    let mut rig = match Rig::new(Vec::new()) {
        Ok(rig) => rig,
        Err(why) => return not_run("power cut", &why),
    };
    let cycles = if soak() { 100 } else { 5 };
    for cycle in 1..=cycles {
        rig.cut_under_load(cycle);
        rig.cut_in_recovery();
        rig.start().unwrap();
        if cycle % 5 == 0 {
            let Account { lost, changed, .. } = rig.drain();
            assert!(lost.is_empty() && changed.is_empty(), "lost after cut {cycle}: {lost:?}; changed: {changed:?}");
        }
    }
    assert!(rig.server.terminate().status.success());
    println!("{cycles} cuts and as many during recovery: {}, slowest start {:?}", rig.figures(), rig.slowest_start);
}

/// A library that makes every sync succeed at once.
fn without_syncs(dir: &std::path::Path) -> Vec<(String, String)> {
    let (source, library) = (dir.join("nosync.c"), dir.join("nosync.so"));
    let text = "int fsync(int fd) { (void)fd; return 0; }\n\
        int fdatasync(int fd) { (void)fd; return 0; }\n\
        int msync(void *at, unsigned long len, int flags) { (void)at; (void)len; (void)flags; return 0; }\n\
        int sync_file_range(int fd, long at, long len, unsigned flags)\n\
        { (void)fd; (void)at; (void)len; (void)flags; return 0; }\n";
    std::fs::write(&source, text).unwrap();
    let _ = run("cc", &["-shared", "-fPIC", "-o", library.to_str().unwrap(), source.to_str().unwrap()]);
    vec![("LD_PRELOAD".into(), library.to_str().unwrap().into())]
}

#[test]
fn without_syncs_a_power_cut_does_lose_mail() {
    let dir = tempfile::tempdir().unwrap();
    for cycle in 1..=CONTROL_CYCLES {
        let mut rig = match Rig::new(without_syncs(dir.path())) {
            Ok(rig) => rig,
            Err(why) => return not_run("power cut (control)", &why),
        };
        rig.cut_under_load(cycle);
        let acknowledged = rig.ledger.count();
        let Err(refused) = rig.start() else {
            let lost = rig.drain().lost.len();
            if lost == 0 {
                continue;
            }
            println!("control: cut {cycle} lost {lost} of {acknowledged} acknowledged messages");
            return;
        };
        println!("control: after cut {cycle} the store of {acknowledged} acknowledged messages is refused: {refused}");
        return;
    }
    panic!("the test shows nothing: in {CONTROL_CYCLES} cuts nothing was lost without syncs");
}
