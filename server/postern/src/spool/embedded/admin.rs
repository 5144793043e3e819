//! What operators do to recipients, in slices of a few thousand: each is looked for outside the writer (see `walk`) and
//! is one transaction of the writer, in which it sees again whether they still fit.
//!
//! A recipient in an attempt keeps its lease: the action is durable at once (a crash reads it), and in memory it is
//! obeyed when the attempt is settled. Its message and content stay until then, whatever the action.

use super::Handle;
use super::dropped::Dropped;
use super::index::Selected;
use super::shared::Shared;
use super::states::Fate;
use super::store::{self, StoreError, Tables};
use super::walk::{self, SLICE};
use super::writer::Op;
use crate::spool::{Action, Filter, SpoolError};
use tokio::sync::oneshot;

/// One slice.
#[derive(Debug)]
pub(super) struct AdminOp {
    pub filter: Filter,
    pub action: Action,
    pub recipients: Vec<Selected>,
    /// Beside each recipient that is to be deleted, what the log is to be told.
    pub dropped: Vec<Dropped>,
    pub ack: oneshot::Sender<Result<u64, SpoolError>>,
}

/// What a slice left to be done.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// How many recipients it was.
    pub count: u64,
    /// Messages whose chunks are to be swept.
    pub loose: Vec<u64>,
    /// Deletions that are final: the log is to be told, then the notes are to be removed.
    pub dropped: Vec<Dropped>,
}

/// Does `action` to all that fit.
pub(super) async fn apply(handle: &Handle, filter: &Filter, action: Action) -> Result<u64, SpoolError> {
    let (mut total, mut after) = (0, None);
    loop {
        let (recipients, next) = walk::slice(&handle.shared, filter, Some(action), after, SLICE).await?;
        if !recipients.is_empty() {
            let (recipients, dropped) = match action {
                Action::Delete => walk::describe(&handle.shared, recipients).await?.into_iter().unzip(),
                Action::Retry(_) | Action::Hold | Action::Release(_) => (recipients, Vec::new()),
            };
            let (ack, answer) = oneshot::channel();
            let op = AdminOp { filter: filter.clone(), action, recipients, dropped, ack };
            handle.send(Op::Admin(Box::new(op))).await?;
            total += handle.answer(answer).await?;
        }
        if next.is_none() {
            return Ok(total);
        }
        after = next;
    }
}

fn fate(selected: &Selected, action: Action) -> Fate {
    let Selected { due, attempts, told, .. } = *selected;
    match action {
        Action::Retry(at) | Action::Release(at) => Fate::Pending { due: at.0, attempts, told },
        Action::Hold => Fate::Held { due, attempts, told },
        Action::Delete => Fate::Done,
    }
}

/// Does one slice.
pub(super) fn run(shared: &Shared, op: &AdminOp) -> Result<Done, StoreError> {
    let action = op.action;
    let selected = shared.index().select(&op.filter, action, &op.recipients);
    let mut done = Done { count: selected.len() as u64, ..Done::default() };
    if selected.is_empty() {
        return Ok(done);
    }
    let txn = store::begin(&shared.db, true, shared.options.quick_repair)?;
    let mut tables = Tables::new(&txn);
    for of_message in selected.chunk_by(|a, b| a.id == b.id) {
        if write(shared, &mut tables, of_message, action)? {
            done.loose.push(of_message[0].id);
        }
    }
    // The slice is in order, and what was selected of it too.
    let mut here = selected.iter().peekable();
    for (one, dropped) in op.recipients.iter().zip(&op.dropped) {
        if let Some(taken) = here.next_if(|taken| (taken.id, taken.seq) == (one.id, one.seq)) {
            tables.put_fact(&dropped.key(), Some(&dropped.row()))?;
            if !taken.in_attempt {
                done.dropped.push(dropped.clone());
            }
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
    Ok(done)
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
