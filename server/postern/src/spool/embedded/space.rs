//! Room on the disk, promised to drafts before it is used, so that content on its way in never fills the disk: a write
//! that fails for that poisons the store.
//!
//! What a draft declares is reserved when it begins, what it did not declare as it comes; free octets less those that
//! are reserved stay above [`super::Options::min_free`]. Octets that have been written are no longer reserved and, until
//! the file system is asked again, count as used. What rows and pages cost besides content, and what others write within
//! a second, is what `min_free` is there for.
//!
//! The file system is asked at most once a second (more often when little is left), and not while anything is locked.
//!
//! A store's file hardly shrinks: what leaves the queue leaves pages in it that are used again. So when the file system
//! has too little left, the writer counts what the rows take ([`super::count`]), and what the file has beyond twice that
//! counts as room, too; twice, as pages are powers of two and trees are not full. Without it a disk that was full once
//! would stay so for the server until the last message is gone, or for good. As long as many rows are left it is room
//! for small content alone: it lies scattered between them, and larger pieces would make the file grow all the same. And
//! half of what is kept free is always left to the file system.

use super::shared::lock;
use crate::spool::SpoolError;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long an answer about free space is good for.
const AGE: Duration = Duration::from_secs(1);
/// … and if there is less than twice what is kept free.
const AGE_NEAR: Duration = Duration::from_millis(20);
/// Octets of the file that are not taken for room: pages that were freed, and must not be used yet.
const SLACK: u64 = 8 * 1024 * 1024;
/// Content up to this many octets fits between rows that stay.
const SMALL: u64 = 16 * 1024;
/// The file is sparse where rows take one part in so many of it or less: most blocks of 64 KiB are free then.
const SPARSE: u64 = 64;
/// Least that is kept free, if anything is: a transaction and what it copies must fit.
pub(super) const LEAST_FREE: u64 = 16 * 1024 * 1024;
/// The writer counts at most this often, …
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// … and spends one part in so many of its time on it.
const COUNT_SHARE: u32 = 20;

#[derive(Debug)]
pub(super) struct Space {
    /// None: the store is in no directory, and nothing is limited.
    dir: Option<PathBuf>,
    min_free: u64,
    ask: fn(&Path) -> u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    asked: Instant,
    /// What the file system said, less what was written since.
    free: u64,
    /// What the file has room for, less twice what was written since it was counted. 0 as long as nobody needs to know.
    inside: u64,
    /// Hardly any row is left between what the file has room for.
    sparse: bool,
    /// Promised and not written yet.
    reserved: u64,
    /// Something was refused: it should be counted (again).
    wanted: bool,
    /// Not before this.
    count_at: Instant,
}

impl State {
    /// What can be had by content of `octets`, of which `min_free` must stay.
    fn available(&self, octets: u64, min_free: u64) -> u64 {
        let fits_inside = (octets <= SMALL || self.sparse) && self.free >= min_free / 2;
        if fits_inside { self.free.saturating_add(self.inside) } else { self.free }
    }
}

/// Octets of the disk that are promised to somebody; given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    space: Arc<Space>,
    octets: u64,
    /// The server's own: counts, and is never refused.
    own: bool,
}

impl Space {
    pub(super) fn new(dir: Option<PathBuf>, min_free: u64, ask: fn(&Path) -> u64) -> Self {
        let free = dir.as_deref().map_or(u64::MAX, ask);
        let now = Instant::now();
        let state =
            Mutex::new(State { asked: now, free, inside: 0, sparse: true, reserved: 0, wanted: false, count_at: now });
        Self { dir, min_free, ask, state }
    }

    /// Reserves `octets` of what is free above the minimum.
    pub(super) fn reserve(self: &Arc<Self>, octets: u64) -> Result<Room, SpoolError> {
        let mut room = Room { space: Arc::clone(self), octets: 0, own: false };
        room.need(octets)?;
        Ok(room)
    }

    /// Room for the server's own small messages, which may use what is kept free.
    pub(super) fn own(self: &Arc<Self>) -> Room {
        Room { space: Arc::clone(self), octets: 0, own: true }
    }

    /// Why no mail is taken, if the disk is nearly full.
    pub(super) fn full(&self) -> Option<String> {
        self.look();
        let mut state = lock(&self.state);
        let full = self.dir.is_some() && state.available(0, self.min_free) < self.min_free;
        state.wanted |= full;
        full.then(|| self.why(&state))
    }

    /// Is it time to count what the rows take?
    pub(super) fn count_is_due(&self) -> bool {
        let state = lock(&self.state);
        state.wanted && state.count_at <= Instant::now()
    }

    /// It was counted: the rows of `file` take `used` octets. `took`: what that cost.
    pub(super) fn counted(&self, file: &Path, used: u64, took: Duration) {
        let allocated = allocated_octets(file);
        let inside = allocated.saturating_sub(used.saturating_mul(2).saturating_add(SLACK));
        let mut state = lock(&self.state);
        state.sparse = used.saturating_mul(SPARSE) <= allocated;
        (state.inside, state.wanted) = (inside, false);
        state.count_at = Instant::now() + COUNT_EVERY.max(took * COUNT_SHARE);
    }

    fn why(&self, state: &State) -> String {
        let dir = self.dir.as_deref().unwrap_or(Path::new("memory"));
        let State { free, inside, reserved, .. } = state;
        format!(
            "{free} octets free in {} and {inside} in the store, {reserved} of them promised, at least {} are kept",
            dir.display(),
            self.min_free
        )
    }

    /// Asks the file system if the last answer is too old.
    fn look(&self) {
        let Some(dir) = &self.dir else { return };
        let now = Instant::now();
        {
            let mut state = lock(&self.state);
            let age = if state.free / 2 < self.min_free { AGE_NEAR } else { AGE };
            if now.duration_since(state.asked) < age {
                return;
            }
            state.asked = now;
        }
        let free = (self.ask)(dir);
        lock(&self.state).free = free;
    }
}

impl Room {
    /// Makes sure that `octets` in all are reserved here, and that there still is room to write them.
    pub(super) fn need(&mut self, octets: u64) -> Result<(), SpoolError> {
        let more = octets.saturating_sub(self.octets);
        self.space.look();
        let mut state = lock(&self.space.state);
        if self.space.dir.is_some() && !self.own {
            let (kept, available) = (self.space.min_free, state.available(octets, self.space.min_free));
            let keeps = |wanted: u64| available.checked_sub(wanted).is_some_and(|left| left >= kept);
            // For what was promised only the disk counts, not others' promises: who has begun can finish.
            let fits = if more > 0 || octets == 0 { keeps(state.reserved.saturating_add(more)) } else { keeps(octets) };
            if !fits {
                state.wanted = true;
                return Err(SpoolError::Busy(self.space.why(&state)));
            }
        }
        state.reserved = state.reserved.saturating_add(more);
        self.octets += more;
        Ok(())
    }

    /// Makes sure that so many octets more are reserved.
    pub(super) fn need_more(&mut self, octets: u64) -> Result<(), SpoolError> {
        if octets == 0 { Ok(()) } else { self.need(self.octets.saturating_add(octets)) }
    }

    /// A part of it, or all if there is less.
    pub(super) fn split(&mut self, octets: u64) -> Self {
        let octets = octets.min(self.octets);
        self.octets -= octets;
        Self { space: Arc::clone(&self.space), octets, own: self.own }
    }

    /// It has been used: the octets are on the disk.
    pub(super) fn spend(&mut self) {
        let mut state = lock(&self.space.state);
        state.reserved = state.reserved.saturating_sub(self.octets);
        state.free = state.free.saturating_sub(self.octets);
        state.inside = state.inside.saturating_sub(self.octets.saturating_mul(2));
        self.octets = 0;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = lock(&self.space.state);
        state.reserved = state.reserved.saturating_sub(self.octets);
    }
}

/// Octets that the file system of `dir` has left. What can't be asked (anything, where there is no `statvfs`: outside
/// Unix `min_free` limits nothing) is not held against the mail.
pub(super) fn free_octets(dir: &Path) -> u64 {
    #[cfg(unix)]
    return rustix::fs::statvfs(dir).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    #[cfg(not(unix))]
    {
        let _ = dir;
        u64::MAX
    }
}

/// Octets of the disk that a file takes: less than its length where it was never written. What can't be asked has none.
fn allocated_octets(file: &Path) -> u64 {
    #[cfg(unix)]
    return std::fs::metadata(file).map_or(0, |file| std::os::unix::fs::MetadataExt::blocks(&file).saturating_mul(512));
    #[cfg(not(unix))]
    {
        let _ = file;
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Arc<Space> {
        Arc::new(Space::new(Some(PathBuf::from("x")), 1000, |_| 3000))
    }

    #[test]
    fn what_is_promised_is_not_promised_again() {
        let space = space();
        let mut first = space.reserve(1500).unwrap();
        assert!(matches!(space.reserve(501), Err(SpoolError::Busy(_))));
        let second = space.reserve(500).unwrap();
        assert!(space.reserve(1).is_err());
        assert!(first.need(1501).is_err());
        first.need(1500).unwrap();
        drop(second);
        first.need(2000).unwrap();
        assert!(space.full().is_none());
        space.own().need(10_000).unwrap();
        drop(first);
        space.reserve(2000).unwrap();
    }

    #[test]
    fn what_is_written_counts_as_used_and_what_is_not_is_given_back() {
        let space = space();
        let figures = || {
            let state = lock(&space.state);
            (state.free, state.reserved)
        };
        let mut room = space.reserve(1500).unwrap();
        let mut part = room.split(1000);
        part.spend();
        drop(part);
        assert_eq!(figures(), (2000, 500));
        drop(room);
        assert_eq!(figures(), (2000, 0));
        assert!(!space.count_is_due());
        // Others fill the disk: nobody goes on, promised or not.
        let mut room = space.reserve(500).unwrap();
        lock(&space.state).free = 1200;
        assert!(room.need(500).is_err());
        room.need(200).unwrap();
        assert!(space.count_is_due(), "something was refused");
    }

    #[test]
    fn what_the_file_has_room_for_counts_too() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![1; 2 * usize::try_from(SLACK).unwrap()]).unwrap();
        let space = Arc::new(Space::new(Some(PathBuf::from("x")), 1000, |_| 600));
        assert!(space.full().is_some() && space.count_is_due());
        space.counted(file.path(), SLACK, Duration::ZERO);
        assert!(space.full().is_some(), "twice what the rows take, and some slack, is all of it");
        space.counted(file.path(), SLACK / 4, Duration::ZERO);
        assert!(space.full().is_none() && !space.count_is_due());
        assert!(space.reserve(SMALL + 1).is_err(), "what is free inside is scattered");
        let mut rooms: Vec<Room> = std::iter::from_fn(|| space.reserve(SMALL).ok()).collect();
        assert!((SLACK / 2 / SMALL - 2..=SLACK / 2 / SMALL).contains(&(rooms.len() as u64)), "{}", rooms.len());
        space.counted(file.path(), SLACK / 32, Duration::ZERO);
        assert!(space.reserve(SLACK / 4).is_ok(), "hardly anything is left in it");
        space.counted(file.path(), SLACK / 4, Duration::ZERO);
        rooms.iter_mut().for_each(Room::spend);
        assert!(space.full().is_some(), "{:?}", space.state);
        lock(&space.state).inside = SLACK;
        lock(&space.state).free = 499;
        assert!(space.reserve(1).is_err(), "half of what is kept free is never used");
    }
}
