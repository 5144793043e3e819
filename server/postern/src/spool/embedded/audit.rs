//! How many rows a store has that nobody has open and that was closed: tests see with it that nothing is left behind.
//! What operators look with is `inspect`.

use super::store::{CONTENT, LOOSE, MESSAGE, STATE};
use redb::{ReadOnlyDatabase, ReadableDatabase, ReadableTableMetadata};
use std::path::Path;

/// The store can't be read, was not closed, or somebody has it open.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct AuditError(#[from] redb::Error);

/// The tables of the queue in `dir` that are not empty, with their numbers of rows.
///
/// # Errors
/// See [`AuditError`].
pub fn audit(dir: &Path) -> Result<Vec<(&'static str, u64)>, AuditError> {
    let db = ReadOnlyDatabase::open(dir.join("queue.redb")).map_err(redb::Error::from)?;
    let read = db.begin_read().map_err(redb::Error::from)?;
    let rows = |count: Result<u64, redb::Error>, name| count.map(|count| (name, count));
    macro_rules! count {
        ($table:expr, $name:literal) => {
            rows(
                match read.open_table($table) {
                    Ok(table) => table.len().map_err(redb::Error::from),
                    Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
                    Err(error) => Err(error.into()),
                },
                $name,
            )?
        };
    }
    let counts =
        [count!(MESSAGE, "message"), count!(STATE, "state"), count!(CONTENT, "content"), count!(LOOSE, "loose")];
    Ok(counts.into_iter().filter(|(_, count)| *count > 0).collect())
}
