//! Reading the queue: leases with their rows, content, lists. What is fresh comes from memory; the rest is read in
//! short transactions on blocking threads, after the index has said what to read and without its lock.

use super::content::{Fresh, Stored, guarded};
use super::index::{Selected, recipient};
use super::record::{self, Damaged};
use super::shared::{Shared, lock};
use super::states::{Fate, PAGE, Page};
use super::store::{MESSAGE, STATE};
use super::walk;
use crate::spool::{Filter, LeaseToken, Leased, LeasedRecipient, Listed, SpoolError, State, StoredMessage};
use postern_core::mail::{QueueId, RecipientId, Seq};
use postern_core::message::ContentSource;
use postern_core::time::Timestamp;
use redb::ReadableDatabase;
use std::collections::HashMap;
use std::sync::Arc;

/// A row that was looked for: there, gone meanwhile, or damaged.
type Row = Result<Option<Arc<StoredMessage>>, SpoolError>;

/// Runs a read on a blocking thread.
pub(super) async fn blocking<T: Send + 'static>(
    shared: &Arc<Shared>,
    read: impl FnOnce(&redb::Database) -> Result<T, redb::Error> + Send + 'static,
) -> Result<T, SpoolError> {
    let shared = Arc::clone(shared);
    match tokio::task::spawn_blocking(move || read(&shared.db)).await {
        Ok(read) => read.map_err(|error| SpoolError::Corrupt(error.to_string())),
        Err(ended) => Err(SpoolError::Corrupt(ended.to_string())),
    }
}

pub(super) fn read_row(db: &redb::Database, id: u64) -> Row {
    let read = guarded(|| {
        let table = db.begin_read()?.open_table(MESSAGE)?;
        Ok(table.get(id)?.map(|row| record::decode_message(QueueId(id), row.value())))
    });
    match read {
        Ok(None) => Ok(None),
        Ok(Some(Ok(message))) => Ok(Some(Arc::new(message))),
        Ok(Some(Err(Damaged(what)))) => Err(SpoolError::Corrupt(format!("row of {}: {what}", QueueId(id)))),
        Err(error) => Err(SpoolError::Corrupt(error.to_string())),
    }
}

/// The rows of messages, by id; from memory where they are fresh.
async fn rows(shared: &Arc<Shared>, ids: Vec<u64>) -> Result<HashMap<u64, Row>, SpoolError> {
    let mut rows = HashMap::with_capacity(ids.len());
    let cold: Vec<u64> = {
        let index = shared.index();
        let is_cold = |id: &u64| match index.hot.get(*id) {
            Some(fresh) => {
                rows.insert(*id, Ok(Some(Arc::clone(&fresh.message))));
                false
            }
            None => true,
        };
        ids.into_iter().filter(is_cold).collect()
    };
    if !cold.is_empty() {
        rows.extend(
            blocking(shared, move |db| Ok(cold.into_iter().map(|id| (id, read_row(db, id))).collect::<Vec<_>>()))
                .await?,
        );
    }
    Ok(rows)
}

/// Leases that are given back if nobody takes them.
struct Taken {
    shared: Arc<Shared>,
    groups: Vec<(u64, Vec<LeasedRecipient>)>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        for (id, group) in &self.groups {
            let tokens: Vec<LeaseToken> = group.iter().map(|leased| leased.token).collect();
            let released = self.shared.index().release(tokens.iter().copied());
            if !released {
                lock(&self.shared.chores).returned.push((QueueId(*id), tokens));
                self.shared.wake();
            }
        }
        if !self.groups.is_empty() {
            self.shared.news.notify_one();
        }
    }
}

/// Messages and their recipients that the index has just leased.
pub(super) type Groups = Vec<(u64, Vec<LeasedRecipient>)>;

/// Reads the rows of what was leased; what can't be read is held.
pub(super) async fn leased(shared: &Arc<Shared>, groups: Groups) -> Result<Vec<Leased>, SpoolError> {
    let mut taken = Taken { shared: Arc::clone(shared), groups };
    let mut rows = rows(shared, taken.groups.iter().map(|(id, _)| *id).collect()).await?;
    let groups = std::mem::take(&mut taken.groups);
    let mut leased = Vec::with_capacity(groups.len());
    for (id, recipients) in groups {
        match rows.remove(&id) {
            Some(Ok(Some(message))) if !recipients.is_empty() => leased.push(Leased { message, recipients }),
            Some(Err(error)) => shelve(shared, id, &recipients, &error.to_string()),
            _ => shelve(shared, id, &recipients, "its row is not there"),
        }
    }
    Ok(leased)
}

/// A message whose row can't be read is held (until a restart, which refuses it) so that it doesn't stop its queue.
fn shelve(shared: &Shared, id: u64, recipients: &[LeasedRecipient], why: &str) {
    tracing::error!("{} can't be read and is held: {why}", QueueId(id));
    let mut index = shared.index();
    for leased in recipients {
        let seq = leased.token.recipient.seq.0;
        if let Some(known) = index.settling(id, seq) {
            index.apply(id, seq, Fate::Held { due: known.due, attempts: known.attempts, told: known.told }, false);
        }
    }
}

pub(super) async fn open(shared: &Arc<Shared>, id: QueueId) -> Result<Arc<dyn ContentSource>, SpoolError> {
    {
        let index = shared.index();
        if let Some((header, body)) = index.hot.get(id.0).and_then(|fresh| fresh.content.clone()) {
            return Ok(Arc::new(Fresh { header, body }));
        }
        if !index.contains(id.0) {
            return Err(SpoolError::NotFound(id));
        }
    }
    let head = blocking(shared, move |db| {
        guarded(|| {
            let table = db.begin_read()?.open_table(MESSAGE)?;
            Ok(table.get(id.0)?.map(|row| record::decode_extent(id, row.value())))
        })
    })
    .await?;
    let (header_len, len, streamed) = match head {
        None => return Err(SpoolError::NotFound(id)),
        Some(Err(Damaged(what))) => return Err(SpoolError::Corrupt(format!("row of {id}: {what}"))),
        Some(Ok(extent)) => extent,
    };
    let packed = if streamed { header_len } else { len };
    Ok(Arc::new(Stored { shared: Arc::clone(shared), id, packed, streamed: len.saturating_sub(packed) }))
}

pub(super) async fn list(
    shared: &Arc<Shared>,
    filter: &Filter,
    mut after: Option<RecipientId>,
    limit: usize,
) -> Result<Vec<Listed>, SpoolError> {
    let mut found: Vec<(Selected, State)> = Vec::new();
    while found.len() < limit {
        let (slice, next) = walk::slice(shared, filter, None, after, limit - found.len()).await?;
        {
            let index = shared.index();
            let shown = slice.into_iter().filter_map(|one| Some((one, index.slot(one.id, one.seq)?.state.shown()?)));
            found.extend(shown);
        }
        if next.is_none() {
            break;
        }
        after = next;
    }
    found.truncate(limit);
    let mut ids: Vec<u64> = found.iter().map(|(one, _)| one.id).collect();
    ids.dedup();
    let rows = rows(shared, ids).await?;
    let wanted: Vec<(u64, u32)> = found.iter().map(|(one, _)| (one.id, one.seq)).collect();
    let reasons = blocking(shared, move |db| guarded(|| read_reasons(db, &wanted))).await?;
    let mut listed = Vec::with_capacity(found.len());
    for ((one, state), reason) in found.into_iter().zip(reasons) {
        let message = match rows.get(&one.id) {
            Some(Ok(Some(message))) => Arc::clone(message),
            // It ended meanwhile.
            Some(Ok(None)) | None => continue,
            Some(Err(error)) => return Err(SpoolError::Corrupt(error.to_string())),
        };
        let (attempts, due, seq) = (u32::from(one.attempts), Timestamp(one.due), recipient(one.id, one.seq).seq);
        listed.push(Listed { message, seq, state, attempts, due, reason, told: one.told });
    }
    Ok(listed)
}

/// Why each recipient was deferred last.
fn read_reasons(db: &redb::Database, wanted: &[(u64, u32)]) -> Result<Vec<String>, redb::Error> {
    let table = db.begin_read()?.open_table(STATE)?;
    let mut reasons = Vec::with_capacity(wanted.len());
    let mut last: Option<((u64, u32), Page)> = None;
    for &(id, seq) in wanted {
        let place = Seq(seq).index();
        let number = u32::try_from(place).unwrap_or(u32::MAX) / PAGE;
        if last.as_ref().is_none_or(|(key, _)| *key != (id, number)) {
            let page = match table.get((id, number))? {
                None => Page::default(),
                Some(row) => Page::from_row(id, number, row.value())
                    .map_err(|Damaged(what)| redb::Error::Corrupted(format!("states of {}: {what}", QueueId(id))))?,
            };
            last = Some(((id, number), page));
        }
        let reason = last.as_ref().map_or("", |(_, page)| page.reason(place % PAGE as usize));
        reasons.push(reason.to_owned());
    }
    Ok(reasons)
}
