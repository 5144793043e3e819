//! Opening a store: directory, lock, the rule that a lost or damaged store is never replaced by an empty one, and the
//! index built from what is there.
//!
//! | file | |
//! |---|---|
//! | `LOCK` | locked while a process has the store open |
//! | `queue.redb` | the store; exists only complete, since it is made under another name and renamed |
//! | `STORE` | says that `queue.redb` was made once: without it a missing one would look like a fresh start |

use super::Options;
use super::content::guarded;
use super::dropped::{self, Dropped};
use super::index::{Arrival, Index};
use super::overlay::{Overlay, Shown};
use super::record::{self, Damaged};
use super::shared::Shared;
use super::space::LEAST_FREE;
use super::states::{Fate, PAGE, Page};
use super::store::{
    self, CHUNK, CONTENT, FACTS, FORMAT, LOOSE, MESSAGE, META, META_CEILING, META_FORMAT, STATE, Tables,
};
use postern_core::mail::QueueId;
use redb::backends::FileBackend;
use redb::{ReadableDatabase, ReadableTable, StorageBackend};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LOCK: &str = "LOCK";
pub(super) const STORE: &str = "STORE";
/// Name of the store's file in its directory.
pub(super) const QUEUE: &str = "queue.redb";
const QUEUE_NEW: &str = "queue.redb.new";
const MARKER: &str = "This folder holds a Postern queue in queue.redb. If that file is missing or damaged, Postern\n\
    refuses to start rather than begin an empty queue. Remove this file to begin one on purpose.\n";

/// Why a store was not opened. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or directory can't be made, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{} is locked: another process uses this queue", .0.display())]
    Locked(PathBuf),
    /// There was a store, and its file is gone.
    #[error(
        "{} is missing, though {} says that there was a queue: bring the file back, or remove {} to begin an empty queue",
        .0.join(QUEUE).display(), .0.join(STORE).display(), .0.join(STORE).display()
    )]
    Lost(PathBuf),
    /// What is there is not a whole store.
    #[error("{} is damaged ({what}): it is left as it is and no other is begun in its place; restore it", path.display())]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A format of another version.
    #[error("{} has format {found}, this version reads format {FORMAT} only", path.display())]
    Format {
        /// The store's file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
}

/// What the writer needs besides the shared state.
pub(super) struct Opened {
    pub shared: Shared,
    pub ceiling: u64,
    pub sweeps: Vec<u64>,
    /// Notes about deletions that the log was told just now.
    pub told: Vec<Dropped>,
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, OpenError> {
    result.map_err(|source| OpenError::Io { path: path.to_owned(), source })
}

/// Locks a store that is to be read only, without making the file if there is none: then no server was ever here.
pub(super) fn lock_existing(dir: &Path) -> Result<Option<File>, OpenError> {
    let path = dir.join(LOCK);
    let Some(lock) = at(&path, File::open(&path).map(Some).or_else(absent))? else { return Ok(None) };
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path)),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

/// Opens or creates the store in `dir`.
pub(super) fn open(dir: &Path, mut options: Options) -> Result<Opened, OpenError> {
    if options.min_free > 0 {
        options.min_free = options.min_free.max(LEAST_FREE);
    }
    at(dir, make_dir(dir))?;
    let lock_path = dir.join(LOCK);
    let lock = at(&lock_path, private().create(true).truncate(false).open(&lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::Locked(lock_path)),
        Err(TryLockError::Error(source)) => return Err(OpenError::Io { path: lock_path, source }),
    }
    let path = dir.join(QUEUE);
    let marker = dir.join(STORE);
    let exists = |path: &Path| at(path, fs::symlink_metadata(path).map(Some).or_else(absent));
    let found = match (exists(&path)?, exists(&marker)?.is_some()) {
        (Some(found), _) => found,
        (None, true) => return Err(OpenError::Lost(dir.to_owned())),
        (None, false) => {
            create(dir, &options)?;
            at(&path, fs::symlink_metadata(&path))?
        }
    };
    let damaged = |what: &str| OpenError::Damaged { path: path.clone(), what: what.to_owned() };
    if !found.is_file() {
        return Err(damaged("not a regular file"));
    }
    if found.len() == 0 {
        return Err(damaged("empty"));
    }
    let file = at(&path, OpenOptions::new().read(true).write(true).open(&path))?;
    let backend = FileBackend::new(file).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => OpenError::Locked(path.clone()),
        error => damaged(&error.to_string()),
    })?;
    let opened = load(&path, backend, options, Some((dir.to_owned(), lock)))?;
    if exists(&marker)?.is_none() {
        at(&marker, write_marker(dir, &marker))?;
    }
    Ok(opened)
}

/// Opens the store in `backend`, which must have one. All of it that is read at all is read first with the writes of
/// redb's repair kept in memory: what is refused was not touched. The index is built from that, since what the repair
/// does to the file afterwards is the same.
pub(super) fn load(
    path: &Path,
    backend: impl StorageBackend,
    options: Options,
    home: Option<(PathBuf, File)>,
) -> Result<Opened, OpenError> {
    let damaged = |error: redb::Error| OpenError::Damaged { path: path.to_owned(), what: error.to_string() };
    let backend = Arc::new(backend);
    let overlay = at(path, Overlay::new(Arc::clone(&backend)))?;
    let db = Shown::new(database(path, overlay, &options)?);
    let meta = guarded(|| {
        let meta = db.begin_read()?.open_table(META)?;
        Ok((meta.get(META_FORMAT)?.map(|row| row.value()), meta.get(META_CEILING)?.map_or(0, |row| row.value())))
    });
    let (format, ceiling) = meta.map_err(damaged)?;
    match format {
        Some(FORMAT) => {}
        Some(found) => return Err(OpenError::Format { path: path.to_owned(), found }),
        None => return Err(damaged(redb::Error::Corrupted("it has no format version".to_owned()))),
    }
    let mut index = Index::new(options.hot);
    let loaded = guarded(|| Loaded::read(&db, &mut index)).map_err(damaged)?;
    drop(db);
    let backend = Arc::into_inner(backend)
        .ok_or_else(|| OpenError::Io { path: path.to_owned(), source: io::Error::other("it is still being read") })?;
    let db = database(path, backend, &options)?;
    let mut sweeps = loaded.loose;
    loaded.dropped.iter().for_each(Dropped::log);
    sweeps.extend(finish(&db, &loaded.finished).map_err(|error| damaged(redb::Error::Corrupted(error.to_string())))?);
    let last = ceiling.max(loaded.last);
    Ok(Opened { shared: Shared::new(db, index, last, options, home), ceiling, sweeps, told: loaded.dropped })
}

fn database(path: &Path, backend: impl StorageBackend, options: &Options) -> Result<redb::Database, OpenError> {
    let path = path.to_owned();
    guarded(|| Ok(redb::Builder::new().set_cache_size(options.cache).create_with_backend(backend)?)).map_err(|error| {
        match error {
            redb::Error::DatabaseAlreadyOpen => OpenError::Locked(path),
            // What has no number comes from redb, and is about what it read.
            redb::Error::Io(source) if source.raw_os_error().is_some() => OpenError::Io { path, source },
            error => OpenError::Damaged { path, what: error.to_string() },
        }
    })
}

/// What a scan of the store found besides the index.
struct Loaded {
    last: u64,
    loose: Vec<u64>,
    /// Messages without an unfinished recipient: deleted by an operator during an attempt that a crash ended.
    finished: Vec<(u64, store::Extent)>,
    /// Deletions by operators that the log was not told before the crash.
    dropped: Vec<Dropped>,
}

impl Loaded {
    fn read(db: &redb::Database, index: &mut Index) -> Result<Self, redb::Error> {
        let txn = db.begin_read()?;
        let mut last = 0;
        for row in txn.open_table(MESSAGE)?.iter()? {
            let (id, row) = row?;
            let id = id.value();
            let head = record::decode_head(QueueId(id), row.value()).map_err(|d| corrupted(id, &d))?;
            index.insert(&Arrival {
                id,
                due: head.due,
                chunks: store::direct_chunks(head.len, head.streamed),
                recipients: head.recipients,
                queues: head.queues,
                queue_of: head.queue_of,
            });
            last = id;
        }
        let mut finished = Vec::new();
        for row in txn.open_table(STATE)?.iter()? {
            let (key, row) = row?;
            let (id, number) = key.value();
            let page = Page::from_row(id, number, row.value()).map_err(|d| corrupted(id, &d))?;
            let Some((_, mut extent)) = index.extent(id) else {
                return Err(corrupted(id, &Damaged("states of a message that is not there")));
            };
            let states: Vec<(u32, Fate)> = (0..PAGE)
                .filter_map(|place| page.get(place as usize).map(|fate| (number * PAGE + place + 1, fate)))
                .collect();
            // Those that are finished last, so that the message is there as long as anyone needs it.
            for pass in [false, true] {
                for (seq, fate) in states.iter().filter(|(_, fate)| (*fate == Fate::Done) == pass) {
                    index.restore(id, *seq, *fate);
                }
            }
            if !index.contains(id) {
                extent.states = true;
                finished.push((id, extent));
            }
        }
        let loose =
            txn.open_table(LOOSE)?.iter()?.map(|row| Ok(row?.0.value())).collect::<Result<Vec<_>, redb::Error>>()?;
        let last = loose.iter().copied().max().map_or(last, |id| last.max(id));
        let dropped = dropped::left(db)?;
        Ok(Self { last, loose, finished, dropped })
    }
}

fn corrupted(id: u64, Damaged(what): &Damaged) -> redb::Error {
    redb::Error::Corrupted(format!("row of {}: {what}", QueueId(id)))
}

/// Removes messages that have ended; gives those whose chunks are to be swept.
fn finish(db: &redb::Database, finished: &[(u64, store::Extent)]) -> Result<Vec<u64>, store::StoreError> {
    let mut loose = Vec::new();
    if finished.is_empty() {
        return Ok(loose);
    }
    let txn = store::begin(db, true, false)?;
    let mut tables = Tables::new(&txn);
    for (id, extent) in finished {
        if tables.remove(*id, *extent)? {
            loose.push(*id);
        }
    }
    drop(tables);
    txn.commit()?;
    Ok(loose)
}

/// Makes an empty store: complete under another name first, so that it never exists in part.
fn create(dir: &Path, options: &Options) -> Result<(), OpenError> {
    let (path, temporary) = (dir.join(QUEUE), dir.join(QUEUE_NEW));
    at(&temporary, fs::remove_file(&temporary).map(Some).or_else(absent))?;
    let file = at(&temporary, private().create_new(true).open(&temporary))?;
    let failed = |error: redb::Error| OpenError::Io { path: temporary.clone(), source: io::Error::other(error) };
    let backend = at(&temporary, file.try_clone())
        .and_then(|file| FileBackend::new(file).map_err(|error| failed(error.into())))?;
    // A small disk is not filled with room for later.
    let room = usize::try_from((options.free)(dir) / 8).unwrap_or(usize::MAX);
    let options = Options { pregrow: options.pregrow.min(room), ..options.clone() };
    initialize(backend, &options).map_err(failed)?;
    at(&temporary, file.sync_all())?;
    at(&path, fs::rename(&temporary, &path))?;
    at(dir, sync_dir(dir))?;
    let marker = dir.join(STORE);
    at(&marker, write_marker(dir, &marker))
}

/// Writes the tables of an empty store.
pub(super) fn initialize(backend: impl StorageBackend, options: &Options) -> Result<(), redb::Error> {
    let db = redb::Builder::new().set_cache_size(options.cache).create_with_backend(backend)?;
    let mut txn = db.begin_write()?;
    txn.set_two_phase_commit(true);
    {
        txn.open_table(MESSAGE)?;
        txn.open_table(STATE)?;
        txn.open_table(LOOSE)?;
        txn.open_table(FACTS)?;
        txn.open_table(META)?.insert(META_FORMAT, FORMAT)?;
        // Blocks that have been written once are cheaper to commit to than a file that grows.
        let mut content = txn.open_table(CONTENT)?;
        for number in 0..u32::try_from(options.pregrow / CHUNK).unwrap_or(0) {
            content.insert_reserve((0, number), CHUNK)?.as_mut().fill(0);
        }
    }
    txn.commit()?;
    let mut txn = db.begin_write()?;
    txn.set_two_phase_commit(true);
    txn.open_table(CONTENT)?.retain(|_, _| false)?;
    txn.commit()?;
    Ok(db.close()?)
}

fn write_marker(dir: &Path, path: &Path) -> io::Result<()> {
    let mut file = private().create(true).truncate(true).open(path)?;
    file.write_all(MARKER.as_bytes())?;
    file.sync_all()?;
    sync_dir(dir)
}

fn absent<T>(error: io::Error) -> io::Result<Option<T>> {
    if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) }
}

/// Makes a directory's entries durable, where directories can be opened.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// For files that only the owner reads.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes the directory (and what is above it) for the owner alone, and makes the entry of each one durable.
fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_dir(above)?;
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)?;
    sync_dir(above)
}
