//! A store as `spool check` and `spool export` read it: without changing one octet of it, and past its damage.
//!
//! The file is opened for reading alone, and what redb writes as it opens (it repairs) stays in memory. Where redb
//! can't open the file as it is, it is shown one with the end filled up to the length that the header tells, then one
//! with a header put right. What is not done is to look for pages that no root leads to: if the roots are gone, so is
//! what this can save.

use super::content::guarded;
use super::open::{self, OpenError};
use super::overlay::{Overlay, Shown};
use super::record::{self, Damaged};
use super::states::Page;
use super::store::{CONTENT, FACTS, FORMAT, LOOSE, MESSAGE, META, META_FORMAT, STATE};
use crate::spool::StoredMessage;
use postern_core::mail::QueueId;
use redb::{ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, StorageBackend};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Octets of redb's page cache.
const CACHE: usize = 16 * 1024 * 1024;
/// Octets of the part of redb's header that says what file it is and how it is laid out.
const HEADER: usize = 64;
/// How that part begins: magic number, (flags, padding), page size, and the pages of a region.
const MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";
const FLAGS: usize = 9;
const PAGE_SIZE: u64 = 4096;
const REGION_HEADER_PAGES: u32 = 0;
const REGION_PAGES: u32 = 1 << 20;
/// Flags: which commit slot counts; the counts of regions are to be made from the file's length; two-phase commits.
const SLOT: u8 = 1;
const RECOVER: u8 = 2;
const TWO_PHASE: u8 = 4;
/// Commit slots of 128 octets, and the place of the transaction's number in one.
const SLOTS: [u64; 2] = [64, 192];
const TRANSACTION: u64 = 104;

/// A file that is only read.
#[derive(Debug)]
struct ReadOnly(File);

impl StorageBackend for ReadOnly {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, out, offset)
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn write(&self, _offset: u64, _data: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// A table, or why it can't be read.
type Opened<K, V> = Result<ReadOnlyTable<K, V>, String>;

/// A store that is being read.
pub(super) struct Vault {
    message: Opened<u64, &'static [u8]>,
    state: Opened<(u64, u32), &'static [u8]>,
    content: Opened<(u64, u32), &'static [u8]>,
    facts: Opened<&'static [u8], &'static [u8]>,
    /// Ids whose chunks belong to no message.
    loose: BTreeSet<u64>,
    /// What is wrong with the store as a whole.
    pub wrong: Vec<String>,
    db: Shown,
    /// No server may open the store meanwhile.
    _lock: Option<File>,
}

/// What can be said of a message's row.
pub(super) enum Row {
    Whole(Box<StoredMessage>, bool),
    Missing,
    Damaged(String),
}

impl Vault {
    /// Opens the store in `dir`, whose server must not be running.
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        let lock = open::lock_existing(dir)?;
        let path = dir.join(open::QUEUE);
        let file = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound if dir.join(open::STORE).exists() => OpenError::Lost(dir.to_owned()),
            _ => OpenError::Io { path: path.clone(), source },
        })?;
        let found = file.metadata().map_err(|source| OpenError::Io { path: path.clone(), source })?;
        if !found.is_file() || found.len() < PAGE_SIZE {
            let what = format!("a file of {} octets can't be a store: nothing can be saved from it", found.len());
            return Err(OpenError::Damaged { path, what });
        }
        let (db, mut wrong) = show(&path, &Arc::new(ReadOnly(file)))?;
        let vault = guarded(|| {
            let txn = db.begin_read()?;
            if let Some(note) = format(&txn) {
                wrong.push(note);
            }
            let loose = guarded(|| {
                let table = txn.open_table(LOOSE)?;
                let rows = table.iter()?.map(|row| Ok(row?.0.value()));
                rows.collect::<Result<BTreeSet<u64>, redb::Error>>()
            });
            let loose = loose.unwrap_or_else(|error| {
                wrong.push(format!("the list of unfinished content can't be read: {error}"));
                BTreeSet::new()
            });
            let failed = |name: &str, error: redb::Error| format!("table `{name}` can't be opened: {error}");
            Ok((
                guarded(|| Ok(txn.open_table(MESSAGE)?)).map_err(|error| failed("message", error)),
                guarded(|| Ok(txn.open_table(STATE)?)).map_err(|error| failed("state", error)),
                guarded(|| Ok(txn.open_table(CONTENT)?)).map_err(|error| failed("content", error)),
                guarded(|| Ok(txn.open_table(FACTS)?)).map_err(|error| failed("facts", error)),
                loose,
            ))
        });
        let (message, state, content, facts, loose) =
            vault.map_err(|error| OpenError::Damaged { path, what: error.to_string() })?;
        let failed = [message.as_ref().err(), state.as_ref().err(), content.as_ref().err(), facts.as_ref().err()];
        wrong.extend(failed.into_iter().flatten().cloned());
        Ok(Self { message, state, content, facts, loose, wrong, db, _lock: lock })
    }

    /// Ids with a message's row.
    pub(super) fn messages(&self) -> super::probe::Found {
        let Ok(table) = &self.message else { return super::probe::Found::default() };
        super::probe::all(
            |from, to| guarded(|| Ok(table.range(from..=to)?.next().transpose()?.map(|(key, _)| key.value()))),
            |from, to| guarded(|| Ok(table.range(from..=to)?.next_back().transpose()?.map(|(key, _)| key.value()))),
        )
    }

    /// Ids with content that is, or was, a message's.
    pub(super) fn contents(&self) -> super::probe::Found {
        let Ok(table) = &self.content else { return super::probe::Found::default() };
        let range = |from: u64, to: u64| (from, 0)..=(to, u32::MAX);
        let mut found = super::probe::all(
            |from, to| guarded(|| Ok(table.range(range(from, to))?.next().transpose()?.map(|(key, _)| key.value().0))),
            |from, to| {
                guarded(|| Ok(table.range(range(from, to))?.next_back().transpose()?.map(|(key, _)| key.value().0)))
            },
        );
        found.ids.retain(|id| !self.loose.contains(id));
        found
    }

    /// Ids with pages of states.
    pub(super) fn states(&self) -> super::probe::Found {
        let Ok(table) = &self.state else { return super::probe::Found::default() };
        let range = |from: u64, to: u64| (from, 0)..=(to, u32::MAX);
        super::probe::all(
            |from, to| guarded(|| Ok(table.range(range(from, to))?.next().transpose()?.map(|(key, _)| key.value().0))),
            |from, to| {
                guarded(|| Ok(table.range(range(from, to))?.next_back().transpose()?.map(|(key, _)| key.value().0)))
            },
        )
    }

    /// A message's row, and whether its body was streamed ahead of its header.
    pub(super) fn row(&self, id: u64) -> Row {
        let Ok(table) = &self.message else { return Row::Missing };
        let id = QueueId(id);
        let read = guarded(|| {
            let row = table.get(id.0)?;
            Ok(row.map(|row| {
                let extent = record::decode_extent(id, row.value())?;
                Ok((record::decode_message(id, row.value())?, extent.2))
            }))
        });
        match read {
            Ok(None) => Row::Missing,
            Ok(Some(Ok((message, streamed)))) => Row::Whole(Box::new(message), streamed),
            Ok(Some(Err(Damaged(what)))) => Row::Damaged(what.to_owned()),
            Err(error) => Row::Damaged(error.to_string()),
        }
    }

    /// A page of recipients' states; the default if there is none.
    pub(super) fn page(&self, id: u64, number: u32) -> Result<Page, String> {
        let table = self.state.as_ref().map_err(Clone::clone)?;
        let read = guarded(|| Ok(table.get((id, number))?.map(|row| Page::from_row(id, number, row.value()))));
        match read {
            Ok(None) => Ok(Page::default()),
            Ok(Some(page)) => page.map_err(|Damaged(what)| what.to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A chunk of content with a right checksum, None if it is not there.
    pub(super) fn chunk(&self, id: u64, number: u32) -> Result<Option<Vec<u8>>, String> {
        let table = self.content.as_ref().map_err(Clone::clone)?;
        let row = guarded(|| Ok(table.get((id, number))?.map(|row| row.value().to_vec())));
        let Some(mut row) = row.map_err(|error| error.to_string())? else { return Ok(None) };
        if row.len() < 4 {
            return Err("is too short".to_owned());
        }
        let data = row.split_off(4);
        let right = record::chunk_crc(id, number, [&data, &[]]).to_le_bytes() == row[..];
        if right { Ok(Some(data)) } else { Err("has a wrong checksum".to_owned()) }
    }

    /// How many facts there are, and what is wrong with them.
    pub(super) fn facts(&self) -> (u64, Vec<String>) {
        let Ok(table) = &self.facts else { return (0, Vec::new()) };
        let (mut count, mut wrong) = (0, Vec::new());
        let read = guarded(|| {
            for row in table.iter()? {
                let (key, row) = row?;
                count += 1;
                if let Err(Damaged(what)) = record::decode_fact(key.value(), row.value()) {
                    wrong.push(format!("fact {}: {what}", key.value().escape_ascii()));
                }
            }
            Ok(())
        });
        wrong.extend(read.err().map(|error| format!("facts can't be read any further: {error}")));
        (count, wrong)
    }

    /// redb's own check of all its pages, free ones aside. The last thing that is done with a vault.
    pub(super) fn verify_pages(self) -> Option<String> {
        let Self { message, state, content, facts, mut db, .. } = self;
        drop((message, state, content, facts));
        let checked = guarded(|| Ok(db.check_integrity()?));
        checked.err().map(|error| format!("pages of the file: {error}"))
    }
}

fn format(txn: &redb::ReadTransaction) -> Option<String> {
    let read = guarded(|| Ok(txn.open_table(META)?.get(META_FORMAT)?.map(|row| row.value())));
    match read {
        Ok(Some(FORMAT)) => None,
        Ok(Some(other)) => Some(format!("its format is {other}, this version reads {FORMAT} only")),
        Ok(None) => Some("it has no format version".to_owned()),
        Err(error) => Some(format!("its format version can't be read: {error}")),
    }
}

/// Shows redb the file as it is, or else as it may have been; says what had to be done.
fn show(path: &Path, file: &Arc<ReadOnly>) -> Result<(Shown, Vec<String>), OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let first = match database(Overlay::new(Arc::clone(file)).map_err(io)?) {
        Ok(db) => return Ok((db, Vec::new())),
        Err(error) => error,
    };
    let mut header = [0; HEADER];
    file.read(0, &mut header).map_err(io)?;
    let len = file.len().map_err(io)?;
    let told = told_len(&header);
    let wanted = told.unwrap_or(0).max(len.next_multiple_of(PAGE_SIZE));
    let mut shapes = Vec::new();
    if len < wanted {
        shapes.push((header, format!("{} octets are missing at its end", wanted - len)));
    }
    // The slot that counts by its flag, then the newer one, then any.
    let number = |slot: u64| {
        let mut octets = [0; 8];
        file.read(slot + TRANSACTION, &mut octets).map(|()| u64::from_le_bytes(octets)).unwrap_or(0)
    };
    let newer = u8::from(number(SLOTS[1]) > number(SLOTS[0]));
    for slot in [header[FLAGS] & SLOT, newer, 1 - newer] {
        shapes.push((repaired(&header, slot), "its header is damaged".to_owned()));
    }
    for (header, note) in shapes {
        let overlay = Overlay::new(Arc::clone(file)).map_err(io)?;
        overlay.set_len(wanted).and_then(|()| overlay.write(0, &header)).map_err(io)?;
        if let Ok(db) = database(overlay) {
            return Ok((db, vec![format!("redb can't open it as it is ({first}): {note}")]));
        }
    }
    Err(OpenError::Damaged {
        path: PathBuf::from(path),
        what: format!("{first}; neither a repair in memory nor a header put right lets it be read"),
    })
}

fn database(backend: impl StorageBackend) -> Result<Shown, redb::Error> {
    let db = guarded(|| Ok(redb::Builder::new().set_cache_size(CACHE).create_with_backend(backend)?))?;
    let db = Shown::new(db);
    // A root that leads nowhere is found here.
    guarded(|| {
        db.begin_read()?.open_table(META)?;
        Ok(())
    })?;
    Ok(db)
}

fn word(header: &[u8; HEADER], at: usize) -> u32 {
    let mut octets = [0; 4];
    octets.copy_from_slice(&header[at..at + 4]);
    u32::from_le_bytes(octets)
}

/// The file's length by the counts of regions in its header.
fn told_len(header: &[u8; HEADER]) -> Option<u64> {
    let [size, head, pages, regions, rest] = [12, 16, 20, 24, 28].map(|at| u64::from(word(header, at)));
    let known = size == PAGE_SIZE && head == u64::from(REGION_HEADER_PAGES) && pages == u64::from(REGION_PAGES);
    // More would be no file, but a flipped bit.
    let told = regions.checked_mul(pages)?.checked_add(rest)?.checked_add(1)?.checked_mul(PAGE_SIZE)?;
    (known && told < 1 << 44).then_some(told)
}

/// The header as this version of redb writes it, for the commit in `slot`.
fn repaired(header: &[u8; HEADER], slot: u8) -> [u8; HEADER] {
    let mut right = *header;
    right[..FLAGS].copy_from_slice(MAGIC);
    right[FLAGS] = slot | RECOVER | TWO_PHASE;
    right[FLAGS + 1..12].fill(0);
    right[12..16].copy_from_slice(&(PAGE_SIZE as u32).to_le_bytes());
    right[16..20].copy_from_slice(&REGION_HEADER_PAGES.to_le_bytes());
    right[20..24].copy_from_slice(&REGION_PAGES.to_le_bytes());
    right
}
