//! What the rows of the store take, as far as it can be known without reading content: asked when the disk is nearly
//! full, to find what room there is inside the store's file (see `space`).

use super::content::guarded;
use super::record::{self, Damaged};
use super::store::{CHUNK, CONTENT, FACTS, MESSAGE, STATE};
use postern_core::mail::QueueId;
use redb::{ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};

/// A row's key and its place in a page.
const ROW: u64 = 64;
/// Usual sizes of rows that are only counted: a page of states, and a fact.
const STATE_ROW: u64 = 4096;
const FACT_ROW: u64 = 1024;

/// Octets that all rows take together.
pub(super) fn used(db: &redb::Database) -> Result<u64, redb::Error> {
    guarded(|| {
        let read = db.begin_read()?;
        let (mut octets, mut chunks) = (0, 0);
        for row in read.open_table(MESSAGE)?.iter()? {
            let (id, row) = row?;
            let extent = record::decode_extent(QueueId(id.value()), row.value());
            let (header, len, streamed) = extent
                .map_err(|Damaged(what)| redb::Error::Corrupted(format!("row of {:018x}: {what}", id.value())))?;
            octets += len + row.value().len() as u64 + ROW;
            let (packed, body) = if streamed { (header, len.saturating_sub(header)) } else { (len, 0) };
            chunks += packed.div_ceil(CHUNK as u64) + body.div_ceil(CHUNK as u64);
        }
        // Of drafts, and what is still to be swept.
        let loose = read.open_table(CONTENT)?.len()?.saturating_sub(chunks) * CHUNK as u64;
        let states = read.open_table(STATE)?.len()? * STATE_ROW;
        let facts = read.open_table(FACTS)?.len()? * FACT_ROW;
        Ok(octets + loose + states + facts)
    })
}
