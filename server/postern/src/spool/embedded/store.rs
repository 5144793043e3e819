//! The tables in redb, and the steps that a transaction of the writer is made of.
//!
//! | table | key | value |
//! |---|---|---|
//! | `message` | id | the immutable row |
//! | `state` | id, page | states of 256 recipients; no row: all as accepted |
//! | `content` | id, chunk | CRC-32 and up to 60 KiB of content |
//! | `loose` | id | there are chunks of this id that belong to no message: still streaming, or to be swept |
//! | `facts` | namespace, key | CRC-32, expiry, value |
//! | `meta` | name | format version, ceiling of ids |
//!
//! An accept writes two rows (message, content), the settlement of a fresh single-recipient message deletes two.
//! Tables are opened when first touched: each open one costs at commit.

use super::dropped::Dropped;
use super::record::{self, Damaged};
use super::states::{Fate, PAGE, Page};
use bytes::Bytes;
use postern_core::mail::QueueId;
use redb::{Durability, ReadableTable, Table, TableDefinition, WriteTransaction};

/// Payload of a chunk row: with CRC, key and page header it fits redb's 64 KiB page.
pub(super) const CHUNK: usize = 60 * 1024 - 4;
/// Chunk number of the first body chunk of content that was streamed ahead of its header block.
pub(super) const BODY: u32 = 1 << 31;
/// Content of more chunks than this is swept instead of being removed with its message.
pub(super) const MAX_DIRECT: u8 = 63;
/// The store's format.
pub(super) const FORMAT: u64 = 1;

pub(super) const MESSAGE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("message");
pub(super) const STATE: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("state");
pub(super) const CONTENT: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("content");
pub(super) const LOOSE: TableDefinition<'_, u64, ()> = TableDefinition::new("loose");
pub(super) const FACTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("facts");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Row of [`META`] with the format version.
pub(super) const META_FORMAT: &str = "format";
/// Row of [`META`] that no id was above.
pub(super) const META_CEILING: &str = "id-ceiling";

/// Why a transaction failed; the store is poisoned then.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error(transparent)]
    Redb(#[from] redb::Error),
    #[error("row of {id:018x}: {what}")]
    Damaged { id: u64, what: &'static str },
}

impl StoreError {
    pub(super) fn damaged(id: u64) -> impl Fn(Damaged) -> Self {
        move |Damaged(what)| Self::Damaged { id, what }
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self::Redb(error.into())
            }
        }
    )*};
}
from_redb!(redb::StorageError, redb::TableError, redb::CommitError, redb::TransactionError, redb::SetDurabilityError);

/// A message as the writer needs it: everything is encoded by the task that commits it.
#[derive(Debug)]
pub(super) struct NewRow {
    pub id: u64,
    pub row: Vec<u8>,
    /// The parts of the content that go with the commit: all of it, the header block, or nothing.
    pub header: Bytes,
    pub body: Bytes,
    /// The CRC of each chunk of these parts.
    pub crcs: Vec<u32>,
    /// The id's chunks are marked as nobody's, and all of them are the message's now.
    pub unmark: bool,
}

impl NewRow {
    pub(super) fn new(id: u64, row: Vec<u8>, header: Bytes, body: Bytes, unmark: bool) -> Self {
        let mut new = Self { id, row, header, body, crcs: Vec::new(), unmark };
        let chunks = u32::try_from(new.len().div_ceil(CHUNK)).unwrap_or(u32::MAX);
        new.crcs = (0..chunks).map(|number| record::chunk_crc(id, number, new.chunk(number))).collect();
        new
    }

    fn len(&self) -> usize {
        self.header.len() + self.body.len()
    }

    /// The two pieces (of header block and of body) of chunk `number`.
    fn chunk(&self, number: u32) -> [&[u8]; 2] {
        let start = number as usize * CHUNK;
        let end = (start + CHUNK).min(self.len());
        let split = self.header.len();
        let header = &self.header[start.min(split)..end.min(split)];
        let body = &self.body[start.saturating_sub(split)..end.saturating_sub(split)];
        [header, body]
    }

    /// Octets it adds to a transaction.
    pub(super) fn weight(&self) -> usize {
        self.row.len() + self.len()
    }
}

/// How the rows of a message that ends are to be removed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// The content is in so many chunks from 0 on; 0 if it was streamed or is in more than [`MAX_DIRECT`].
    pub chunks: u8,
    /// There may be pages of states.
    pub states: bool,
    pub recipients: u32,
}

/// The chunks of an [`Extent`], for content of `len` octets.
pub(super) fn direct_chunks(len: u64, streamed: bool) -> u8 {
    let chunks = len.div_ceil(CHUNK as u64).max(1);
    u8::try_from(chunks).ok().filter(|chunks| *chunks <= MAX_DIRECT && !streamed).unwrap_or(0)
}

/// The tables of one write transaction, opened when first used.
pub(super) struct Tables<'t> {
    txn: &'t WriteTransaction,
    message: Option<Table<'t, u64, &'static [u8]>>,
    state: Option<Table<'t, (u64, u32), &'static [u8]>>,
    content: Option<Table<'t, (u64, u32), &'static [u8]>>,
    loose: Option<Table<'t, u64, ()>>,
    facts: Option<Table<'t, &'static [u8], &'static [u8]>>,
}

macro_rules! table {
    ($self:ident, $field:ident, $definition:expr) => {
        match &mut $self.$field {
            Some(table) => table,
            slot => slot.insert($self.txn.open_table($definition)?),
        }
    };
}

impl<'t> Tables<'t> {
    pub(super) fn new(txn: &'t WriteTransaction) -> Self {
        Self { txn, message: None, state: None, content: None, loose: None, facts: None }
    }

    /// Writes a new message: row and content.
    pub(super) fn put(&mut self, new: &NewRow) -> Result<(), StoreError> {
        table!(self, message, MESSAGE).insert(new.id, &new.row[..])?;
        let content = table!(self, content, CONTENT);
        for (number, crc) in (0u32..).zip(&new.crcs) {
            let [header, body] = new.chunk(number);
            put_chunk(content, new.id, number, *crc, [header, body])?;
        }
        if new.unmark {
            table!(self, loose, LOOSE).remove(new.id)?;
        }
        Ok(())
    }

    /// Writes a chunk of content that has no message yet.
    pub(super) fn put_loose(&mut self, id: u64, number: u32, crc: u32, data: &[u8]) -> Result<(), StoreError> {
        if number == BODY || number == 0 {
            table!(self, loose, LOOSE).insert(id, ())?;
        }
        put_chunk(table!(self, content, CONTENT), id, number, crc, [data, &[]])
    }

    /// Removes a message. True if there are chunks left to be swept.
    pub(super) fn remove(&mut self, id: u64, extent: Extent) -> Result<bool, StoreError> {
        table!(self, message, MESSAGE).remove(id)?;
        if extent.states {
            let state = table!(self, state, STATE);
            for page in 0..extent.recipients.div_ceil(PAGE) {
                state.remove((id, page))?;
            }
        }
        if extent.chunks == 0 {
            table!(self, loose, LOOSE).insert(id, ())?;
            return Ok(true);
        }
        let content = table!(self, content, CONTENT);
        for number in 0..u32::from(extent.chunks) {
            content.remove((id, number))?;
        }
        Ok(false)
    }

    /// Changes recipients' states: place in the message (from 0), state, and a new reason if there is one.
    pub(super) fn set_states(&mut self, id: u64, changes: &[(u32, Fate, Option<&str>)]) -> Result<(), StoreError> {
        let state = table!(self, state, STATE);
        for in_page in changes.chunk_by(|a, b| a.0 / PAGE == b.0 / PAGE) {
            let number = in_page[0].0 / PAGE;
            let mut page = match state.get((id, number))? {
                Some(row) => Page::from_row(id, number, row.value()).map_err(StoreError::damaged(id))?,
                None => Page::default(),
            };
            for (place, fate, reason) in in_page {
                page.set((place % PAGE) as usize, *fate, *reason);
            }
            state.insert((id, number), &page.seal(id, number)[..])?;
        }
        Ok(())
    }

    /// Deletes up to `max` chunks that belong to no message, and says how many; `max` if there may be more.
    pub(super) fn sweep(&mut self, id: u64, max: usize) -> Result<usize, StoreError> {
        let Some(from) = self.first_of_nobody(id)? else { return Ok(0) };
        let content = table!(self, content, CONTENT);
        let mut removed = 0;
        for row in content.extract_from_if((id, from)..=(id, u32::MAX), |_, _| true)?.take(max) {
            row?;
            removed += 1;
        }
        if removed < max {
            table!(self, loose, LOOSE).remove(id)?;
        }
        Ok(removed)
    }

    /// From which of an id's marked chunks on they belong to no message. None: nobody can say.
    fn first_of_nobody(&mut self, id: u64) -> Result<Option<u32>, StoreError> {
        let row = table!(self, message, MESSAGE).get(id)?;
        Ok(match row.map(|row| record::decode_extent(QueueId(id), row.value())) {
            None => Some(0),
            // The message's content took the place of what was streamed ahead of it.
            Some(Ok((_, _, false))) => Some(BODY),
            Some(Ok((_, _, true)) | Err(_)) => None,
        })
    }

    /// Writes or removes a fact.
    pub(super) fn put_fact(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        let facts = table!(self, facts, FACTS);
        match value {
            Some(value) => drop(facts.insert(key, value)?),
            None => drop(facts.remove(key)?),
        }
        Ok(())
    }

    /// The note about a deletion, if there is one.
    pub(super) fn note(&mut self, key: &[u8]) -> Result<Option<Dropped>, StoreError> {
        let row = table!(self, facts, FACTS).get(key)?;
        // A damaged one costs a log line, and not the store.
        Ok(row.and_then(|row| Dropped::from_row(key, row.value()).ok()))
    }

    /// Removes facts that have expired among the `max` after `cursor`; gives where to go on, None at the end.
    pub(super) fn purge_facts(&mut self, cursor: &[u8], now: u64, max: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let facts = table!(self, facts, FACTS);
        let (mut expired, mut last, mut seen) = (Vec::new(), Vec::new(), 0);
        for row in facts.range(cursor..)?.take(max) {
            let (key, value) = row?;
            // A damaged one is left for whoever asks for it.
            if record::decode_fact(key.value(), value.value()).is_ok_and(|(expires, _)| expires <= now) {
                expired.push(key.value().to_vec());
            }
            last = key.value().to_vec();
            seen += 1;
        }
        for key in &expired {
            facts.remove(&key[..])?;
        }
        last.push(0);
        Ok((seen == max).then_some(last))
    }

    /// Raises the ceiling of ids.
    pub(super) fn set_ceiling(&mut self, id: u64) -> Result<(), StoreError> {
        self.txn.open_table(META)?.insert(META_CEILING, id)?;
        Ok(())
    }
}

fn put_chunk(
    content: &mut Table<'_, (u64, u32), &'static [u8]>,
    id: u64,
    number: u32,
    crc: u32,
    parts: [&[u8]; 2],
) -> Result<(), StoreError> {
    let [a, b] = parts;
    let mut row = content.insert_reserve((id, number), 4 + a.len() + b.len())?;
    let row = row.as_mut();
    row[..4].copy_from_slice(&crc.to_le_bytes());
    row[4..4 + a.len()].copy_from_slice(a);
    row[4 + a.len()..].copy_from_slice(b);
    Ok(())
}

/// Begins a transaction: durable and in two phases, or (content ahead of its commit) kept in memory until the next
/// durable one.
pub(super) fn begin(db: &redb::Database, durable: bool, quick: bool) -> Result<WriteTransaction, StoreError> {
    let mut txn = db.begin_write()?;
    if durable {
        txn.set_two_phase_commit(true);
        txn.set_quick_repair(quick);
    } else {
        txn.set_durability(Durability::None)?;
    }
    Ok(txn)
}
