//! Content as it is read: from memory while it is fresh, else chunk by chunk from the store.
//!
//! A read of the store is one short transaction on a blocking thread, for one chunk: nothing is pinned between reads,
//! so that a transfer of an hour does not hold pages that others freed, and a cold page stalls no session.

use super::record;
use super::shared::Shared;
use super::store::{BODY, CHUNK, CONTENT};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use postern_core::mail::QueueId;
use postern_core::message::ContentSource;
use redb::ReadableDatabase;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Header block and body section in memory.
#[derive(Debug)]
pub(super) struct Fresh {
    pub header: Bytes,
    pub body: Bytes,
}

impl ContentSource for Fresh {
    fn len(&self) -> u64 {
        (self.header.len() + self.body.len()) as u64
    }

    fn read(&self, offset: u64, max: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let (part, start) = match offset.checked_sub(self.header.len()) {
            None => (&self.header, offset),
            Some(start) => (&self.body, start.min(self.body.len())),
        };
        let end = start.saturating_add(max).min(part.len());
        Box::pin(std::future::ready(Ok(part.slice(start..end))))
    }
}

/// Content in the store.
#[derive(Debug)]
pub(super) struct Stored {
    pub shared: Arc<Shared>,
    pub id: QueueId,
    /// Octets in chunks from 0 on.
    pub packed: u64,
    /// Octets in chunks from [`BODY`] on, which follow.
    pub streamed: u64,
}

impl ContentSource for Stored {
    fn len(&self) -> u64 {
        self.packed + self.streamed
    }

    fn read(&self, offset: u64, max: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        let (base, within) = match offset.checked_sub(self.packed) {
            None => (0, offset),
            Some(within) => (BODY, within),
        };
        if offset >= self.len() || max == 0 {
            return Box::pin(std::future::ready(Ok(Bytes::new())));
        }
        let number = base + u32::try_from(within / CHUNK as u64).unwrap_or(BODY - 1);
        let start = usize::try_from(within % CHUNK as u64).unwrap_or(0);
        let (shared, id) = (Arc::clone(&self.shared), self.id);
        Box::pin(async move {
            let chunk = tokio::task::spawn_blocking(move || read_chunk(&shared.db, id, number))
                .await
                .map_err(|ended| io::Error::other(format!("{id}: {ended}")))??;
            if start >= chunk.len() {
                return Err(damaged(id, number, "is too short"));
            }
            Ok(chunk.slice(start..start.saturating_add(max).min(chunk.len())))
        })
    }
}

fn read_chunk(db: &redb::Database, id: QueueId, number: u32) -> io::Result<Bytes> {
    let read = || -> Result<Option<Bytes>, redb::Error> {
        let table = db.begin_read()?.open_table(CONTENT)?;
        Ok(table.get((id.0, number))?.map(|row| Bytes::copy_from_slice(row.value())))
    };
    let row = guarded(read).map_err(|error| io::Error::other(format!("content of {id}, chunk {number}: {error}")))?;
    let mut row = row.ok_or_else(|| damaged(id, number, "is not there"))?;
    if row.len() < 4 {
        return Err(damaged(id, number, "is too short"));
    }
    let data = row.split_off(4);
    if record::chunk_crc(id.0, number, [&data, &[]]).to_le_bytes() != row[..] {
        return Err(damaged(id, number, "has a wrong checksum"));
    }
    Ok(data)
}

fn damaged(id: QueueId, number: u32, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("content of {id}: chunk {number} {what}"))
}

/// Runs a read. redb may panic where a page is not what its parent says: that is damage, and no reason to fall.
pub(super) fn guarded<T>(read: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(redb::Error::Corrupted("a page is not what it should be".to_owned())))
}
