//! A view of a store's file whose writes stay in memory: redb repairs a file when it opens it, and one that turns out
//! to be damaged is to be left as it is.

use super::content::guarded;
use super::shared::lock;
use redb::StorageBackend;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

/// What is kept of the file in one piece once any of it is written.
const BLOCK: usize = 4096;

#[derive(Debug)]
pub(super) struct Overlay<B> {
    base: Arc<B>,
    over: Mutex<Over>,
}

#[derive(Debug)]
struct Over {
    len: u64,
    /// The file counts up to here; what was cut off and grown again is zeros.
    base_len: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

/// A database that is only looked at. redb writes as it closes one, and may panic if pages are damaged: that must
/// neither reach anybody nor come on top of another panic.
pub(super) struct Shown(Option<redb::Database>);

impl Shown {
    pub(super) fn new(db: redb::Database) -> Self {
        Self(Some(db))
    }
}

impl std::ops::Deref for Shown {
    type Target = redb::Database;

    fn deref(&self) -> &redb::Database {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl std::ops::DerefMut for Shown {
    fn deref_mut(&mut self) -> &mut redb::Database {
        self.0.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let Some(db) = self.0.take() else { return };
        if std::thread::panicking() {
            std::mem::forget(db);
        } else {
            // What it would have written was for memory alone.
            let _ = guarded(|| {
                drop(db);
                Ok(())
            });
        }
    }
}

impl<B: StorageBackend> Overlay<B> {
    pub(super) fn new(base: Arc<B>) -> io::Result<Self> {
        let len = base.len()?;
        Ok(Self { base, over: Mutex::new(Over { len, base_len: len, blocks: BTreeMap::new() }) })
    }

    /// The base's octets, zeros behind its end.
    fn below(&self, over: &Over, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = over.base_len.saturating_sub(offset).min(out.len() as u64);
        let (read, rest) = out.split_at_mut(usize::try_from(there).unwrap_or(usize::MAX));
        rest.fill(0);
        if read.is_empty() { Ok(()) } else { self.base.read(offset, read) }
    }
}

/// The pieces of `len` octets from `offset` on that lie in one block each: block, place in it, place in the piece.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let here = offset + at as u64;
        let within = usize::try_from(here % BLOCK as u64).unwrap_or(0);
        let range = at..len.min(at + BLOCK - within);
        at = range.end;
        (!range.is_empty()).then_some((here / BLOCK as u64, within, range))
    })
}

impl<B: StorageBackend> StorageBackend for Overlay<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.over).len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let over = lock(&self.over);
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > over.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.below(&over, offset, out)?;
        for (block, within, range) in pieces(offset, out.len()) {
            if let Some(data) = over.blocks.get(&block) {
                let len = range.len();
                out[range].copy_from_slice(&data[within..within + len]);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut over = lock(&self.over);
        over.len = len;
        over.base_len = over.base_len.min(len);
        drop(over.blocks.split_off(&len.div_ceil(BLOCK as u64)));
        let within = usize::try_from(len % BLOCK as u64).unwrap_or(0);
        if let Some(last) = over.blocks.get_mut(&(len / BLOCK as u64)) {
            last[within..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut over = lock(&self.over);
        for (block, within, range) in pieces(offset, data.len()) {
            if !over.blocks.contains_key(&block) {
                let mut below = Box::new([0; BLOCK]);
                self.below(&over, block * BLOCK as u64, &mut below[..])?;
                over.blocks.insert(block, below);
            }
            let into = over.blocks.get_mut(&block).expect("it was just made");
            into[within..within + range.len()].copy_from_slice(&data[range]);
        }
        over.len = over.len.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    #[test]
    fn writes_are_seen_and_do_not_reach_the_base() {
        let base = Arc::new(InMemoryBackend::new());
        let plain = InMemoryBackend::new();
        let image: Vec<u8> = (0..20_000u32).map(|n| n.to_le_bytes()[0]).collect();
        for backend in [&*base, &plain] {
            backend.set_len(20_000).unwrap();
            backend.write(0, &image).unwrap();
        }
        let overlay = Overlay::new(Arc::clone(&base)).unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let len = plain.len().unwrap();
            if rng.u8(..8) == 0 {
                let len = rng.u64(1..40_000);
                overlay.set_len(len).unwrap();
                plain.set_len(len).unwrap();
            } else {
                let (at, octet) = (rng.u64(..len), rng.u8(..));
                let data = vec![octet; usize::try_from(rng.u64(..9000).min(len - at)).unwrap()];
                overlay.write(at, &data).unwrap();
                plain.write(at, &data).unwrap();
            }
            let len = plain.len().unwrap();
            assert_eq!(overlay.len().unwrap(), len);
            let mut seen = [vec![0; usize::try_from(len).unwrap()], vec![0; usize::try_from(len).unwrap()]];
            overlay.read(0, &mut seen[0]).unwrap();
            plain.read(0, &mut seen[1]).unwrap();
            assert!(seen[0] == seen[1]);
            assert!(overlay.read(len, &mut [0]).is_err());
        }
        let mut left = vec![0; 20_000];
        base.read(0, &mut left).unwrap();
        assert!(left == image);
    }
}
