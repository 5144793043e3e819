//! What operators do to recipients, in slices of a few thousand, each one transaction of its own.
//!
//! A recipient in an attempt keeps its lease: the action is durable at once (a crash reads it), and in memory it is
//! obeyed when the attempt is settled. Its message and content stay until then, whatever the action.

use super::index::Selected;
use super::shared::Shared;
use super::states::Fate;
use super::store::{self, StoreError, Tables};
use crate::spool::{Action, Filter, SpoolError};
use postern_core::mail::RecipientId;
use tokio::sync::oneshot;

/// Most recipients changed, and looked at, in one slice.
const SLICE: usize = 4096;
const SCAN: usize = 65_536;

/// How many recipients of a slice fitted, and where to go on.
pub(super) type Slice = (u64, Option<RecipientId>);

#[derive(Debug)]
pub(super) struct AdminOp {
    pub filter: Filter,
    pub action: Action,
    pub after: Option<RecipientId>,
    pub ack: oneshot::Sender<Result<Slice, SpoolError>>,
}

fn fate(selected: &Selected, action: Action) -> Fate {
    let Selected { due, attempts, told, .. } = *selected;
    match action {
        Action::Retry(at) | Action::Release(at) => Fate::Pending { due: at.0, attempts, told },
        Action::Hold => Fate::Held { due, attempts, told },
        Action::Delete => Fate::Done,
    }
}

/// Does one slice; gives also the messages whose chunks are to be swept.
pub(super) fn run(shared: &Shared, op: &AdminOp) -> Result<(Slice, Vec<u64>), StoreError> {
    let action = op.action;
    let (selected, next) = shared.index().select(&op.filter, action, op.after, SCAN, SLICE);
    let mut loose = Vec::new();
    if !selected.is_empty() {
        let txn = store::begin(&shared.db, true, shared.options.quick_repair)?;
        let mut tables = Tables::new(&txn);
        for of_message in selected.chunk_by(|a, b| a.id == b.id) {
            if write(shared, &mut tables, of_message, action)? {
                loose.push(of_message[0].id);
            }
        }
        drop(tables);
        txn.commit()?;
        let mut index = shared.index();
        for one in &selected {
            if one.in_attempt {
                index.mark_written(one.id);
            } else {
                index.apply(one.id, one.seq, fate(one, action), true);
            }
        }
        if index.take_news() {
            shared.news.notify_one();
        }
    }
    Ok(((selected.len() as u64, next), loose))
}

/// Writes the new states of one message's recipients, or removes it. True if its chunks are to be swept.
fn write(shared: &Shared, tables: &mut Tables<'_>, of: &[Selected], action: Action) -> Result<bool, StoreError> {
    let id = of[0].id;
    let Some((live, extent)) = shared.index().extent(id) else { return Ok(false) };
    let gone = of.iter().filter(|one| !one.in_attempt && action == Action::Delete).count();
    if gone > 0 && gone == live as usize {
        return tables.remove(id, extent);
    }
    let states: Vec<_> = of.iter().map(|one| (one.seq - 1, fate(one, action), None)).collect();
    tables.set_states(id, &states)?;
    Ok(false)
}
