//! Walking through the recipients that fit a filter, a slice at a time. The index says who is there, without its lock
//! being held for long; terms about the message's row are asked of the rows, one row at a time, on a blocking thread:
//! neither the writer nor memory pays for a filter that fits a million.

use super::admin::Note;
use super::dropped::Dropped;
use super::facts;
use super::index::Selected;
use super::reader::{self, blocking};
use super::shared::Shared;
use crate::spool::{Action, AppendedFor, Filter, Reach, SpoolError, StoredMessage};
use postern_core::mail::{QueueId, RecipientId, Seq};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Recipients looked at while the index is locked once.
pub(super) const SCAN: usize = 32_768;
/// Recipients in a slice.
pub(super) const SLICE: usize = 4096;

/// The recipients of a slice, and where to go on.
pub(super) type Slice = (Vec<Selected>, Option<RecipientId>);

/// Recipients that fit after `after`, at most `max` and at most [`SLICE`]. With an action, those that it would do
/// something to.
pub(super) async fn slice(
    shared: &Arc<Shared>,
    filter: &Filter,
    action: Option<Action>,
    after: Option<RecipientId>,
    max: usize,
) -> Result<Slice, SpoolError> {
    let max = if filter.needs_row() { SLICE } else { max.min(SLICE) };
    let (found, next) = shared.index().list(filter, action, after, SCAN, max);
    if !filter.needs_row() || found.is_empty() {
        return Ok((found, next));
    }
    let filter = filter.clone();
    let fitting = each(shared, found, move |one, message| {
        // What can't be read fits nothing; it can be reached by its id.
        message.filter(|message| filter.fits_row(message, Seq(one.seq))).map(|_| one)
    })
    .await?;
    Ok((fitting, next))
}

/// Calls `look` with each recipient and its message's row, if that can be read.
async fn each<T: Send + 'static>(
    shared: &Arc<Shared>,
    recipients: Vec<Selected>,
    mut look: impl FnMut(Selected, Option<&StoredMessage>) -> Option<T> + Send + 'static,
) -> Result<Vec<T>, SpoolError> {
    let fresh: HashMap<u64, Arc<StoredMessage>> = {
        let index = shared.index();
        let ids = recipients.chunk_by(|a, b| a.id == b.id).map(|of| of[0].id);
        ids.filter_map(|id| Some((id, Arc::clone(&index.hot.get(id)?.message)))).collect()
    };
    blocking(shared, move |db| {
        let mut seen = Vec::new();
        for of_message in recipients.chunk_by(|a, b| a.id == b.id) {
            let id = of_message[0].id;
            let message = match fresh.get(&id) {
                Some(message) => Some(Arc::clone(message)),
                None => reader::read_row(db, id).unwrap_or_else(|error| {
                    tracing::warn!(id = %QueueId(id), %error, "a message can't be looked at");
                    None
                }),
            };
            seen.extend(of_message.iter().filter_map(|one| look(*one, message.as_deref())));
        }
        Ok(seen)
    })
    .await
}

/// What is to be noted of recipients when an action takes effect on them.
pub(super) async fn describe(
    shared: &Arc<Shared>,
    recipients: Vec<Selected>,
    action: Action,
    appended: Option<AppendedFor>,
) -> Result<Vec<(Selected, Note)>, SpoolError> {
    let described = each(shared, recipients, move |one, message| {
        let dropped = (action == Action::Delete).then(|| Dropped::new(one.id, one.seq, message));
        let facts = message.zip(appended.as_ref()).map(|(message, appended)| appended(message, Seq(one.seq)));
        let note = |appended| (one, Note { dropped, appended });
        Some(facts::entries(facts.unwrap_or_default()).map(note))
    });
    described.await?.into_iter().collect()
}

pub(super) async fn survey(shared: &Arc<Shared>, filter: &Filter, action: Action) -> Result<Reach, SpoolError> {
    let (mut recipients, mut queues, mut after) = (0, BTreeSet::new(), None);
    loop {
        let (found, next) = slice(shared, filter, Some(action), after, SLICE).await?;
        recipients += found.len() as u64;
        {
            let index = shared.index();
            queues.extend(found.iter().filter_map(|one| index.queue_of(one.id, one.seq)));
        }
        if next.is_none() {
            return Ok(Reach { recipients, queues: queues.into_iter().collect() });
        }
        after = next;
    }
}
