//! A disk in memory that can lose power or fail: it knows which writes were synced, and which image of itself a crash
//! may leave behind.

use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Mutex};

/// Writes are torn at this size.
const SECTOR: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The power goes at the N-th sync, before it has done anything: nothing works any more.
    PowerAtSync(u64),
    /// The N-th write, sync or change of length fails, that one alone.
    ErrorAt(u64),
}

#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Change>,
    fault: Fault,
    calls: u64,
    syncs: u64,
    off: bool,
    failed: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write(at, data) => {
                // The write may have reached the disk, and the new length not.
                if image.len() < at + data.len() {
                    image.resize(at + data.len(), 0);
                }
                image[*at..at + data.len()].copy_from_slice(data);
            }
            Self::Length(len) => image.resize(*len, 0),
        }
    }
}

impl Disk {
    pub fn new(image: Vec<u8>, fault: Fault) -> Self {
        let durable = image.clone();
        let (pending, calls, syncs) = (Vec::new(), 0, 0);
        Self(Arc::new(Mutex::new(State {
            durable,
            current: image,
            pending,
            fault,
            calls,
            syncs,
            off: false,
            failed: false,
        })))
    }

    /// Everything that was written: what a killed process leaves.
    pub fn written(&self) -> Vec<u8> {
        self.0.lock().unwrap().current.clone()
    }

    /// What is certain after a power cut, and of the rest what the seed says, torn at sectors.
    pub fn after_power_cut(&self, seed: u64) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut image = state.durable.clone();
        // Seed 0 loses all that was not synced, 1 nothing.
        for change in &state.pending {
            match change {
                _ if seed == 0 => {}
                _ if seed == 1 => change.apply(&mut image),
                Change::Length(len) if *len >= image.len() => {
                    if rng.bool() {
                        change.apply(&mut image);
                    }
                }
                Change::Length(_) => {}
                Change::Write(at, data) => {
                    for (n, sector) in data.chunks(SECTOR).enumerate() {
                        if rng.bool() {
                            Change::Write(at + n * SECTOR, sector.to_vec()).apply(&mut image);
                        }
                    }
                }
            }
        }
        image
    }

    /// The fault has happened.
    pub fn has_failed(&self) -> bool {
        self.0.lock().unwrap().failed
    }

    fn call<T>(&self, sync: bool, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        state.calls += 1;
        state.syncs += u64::from(sync);
        let power = sync && state.fault == Fault::PowerAtSync(state.syncs);
        state.off |= power;
        if state.off || state.fault == Fault::ErrorAt(state.calls) {
            state.failed = true;
            return Err(io::Error::from_raw_os_error(5));
        }
        work(&mut state)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let data = state.current.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(data);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.call(false, |state| {
            let change = Change::Length(usize::try_from(len).unwrap());
            change.apply(&mut state.current);
            state.pending.push(change);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call(true, |state| {
            state.durable.clone_from(&state.current);
            state.pending.clear();
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.call(false, |state| {
            let change = Change::Write(usize::try_from(offset).unwrap(), data.to_vec());
            change.apply(&mut state.current);
            state.pending.push(change);
            Ok(())
        })
    }
}
