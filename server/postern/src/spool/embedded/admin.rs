//! What operators do to recipients, in slices of a few thousand: each is looked for outside the writer (see `walk`) and
//! is one transaction of the writer, in which it sees again whether they still fit.
//!
//! A recipient in an attempt keeps its lease: the action is durable at once (a crash reads it), and in memory it is
//! obeyed when the attempt is settled. Its message and content stay until then, whatever the action.

use super::Handle;
use super::dropped::Dropped;
use super::facts::{self, Entry, Numbers};
use super::index::Selected;
use super::shared::Shared;
use super::states::Fate;
use super::store::{self, StoreError, Tables};
use super::walk::{self, SLICE};
use super::writer::{self, Op};
use crate::spool::{Action, AppendedFor, Filter, SpoolError};
use tokio::sync::oneshot;

/// Recipients in a slice of which each has something appended: rows of some KiB, for each plugin that wants to know.
const APPENDING_SLICE: usize = 512;

/// One slice.
#[derive(Debug)]
pub(super) struct AdminOp {
    pub filter: Filter,
    pub action: Action,
    pub recipients: Vec<Selected>,
    /// Beside each recipient, what is to be noted of it; empty if there is nothing to note of any.
    pub notes: Vec<Note>,
    pub ack: oneshot::Sender<Result<u64, SpoolError>>,
}

/// What is to be noted of a recipient in the transaction that changes its state.
#[derive(Debug)]
pub(super) struct Note {
    /// What the log is to be told, if it is deleted.
    pub dropped: Option<Dropped>,
    /// What is to be appended.
    pub appended: Vec<Entry>,
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
    /// The ceiling of ids in force.
    pub ceiling: u64,
}

/// Does `action` to all that fit.
pub(super) async fn apply(
    handle: &Handle,
    filter: &Filter,
    action: Action,
    appended: Option<AppendedFor>,
) -> Result<u64, SpoolError> {
    let most = if appended.is_some() { APPENDING_SLICE } else { SLICE };
    let (mut total, mut after) = (0, None);
    loop {
        let (recipients, next) = walk::slice(&handle.shared, filter, Some(action), after, SLICE).await?;
        for recipients in recipients.chunks(most) {
            // These free nothing, and what is appended for each could fill the disk up.
            if appended.is_some()
                && action != Action::Delete
                && let Some(full) = handle.shared.space.full()
            {
                return Err(SpoolError::Busy(full));
            }
            let (recipients, notes) = if action == Action::Delete || appended.is_some() {
                walk::describe(&handle.shared, recipients.to_vec(), action, appended.clone()).await?.into_iter().unzip()
            } else {
                (recipients.to_vec(), Vec::new())
            };
            let (ack, answer) = oneshot::channel();
            let op = AdminOp { filter: filter.clone(), action, recipients, notes, ack };
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
pub(super) fn run(shared: &Shared, op: &AdminOp, ceiling: u64) -> Result<Done, StoreError> {
    let action = op.action;
    let selected = shared.index().select(&op.filter, action, &op.recipients);
    let mut done = Done { count: selected.len() as u64, ceiling, ..Done::default() };
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
    let mut numbers = Numbers::new(shared);
    for (one, note) in op.recipients.iter().zip(&op.notes) {
        if let Some(taken) = here.next_if(|taken| (taken.id, taken.seq) == (one.id, one.seq)) {
            done.dropped.extend(write_note(&mut tables, note, taken.in_attempt, &mut numbers)?);
        }
    }
    done.ceiling = writer::raise_ceiling(&mut tables, ceiling, numbers.newest)?;
    drop(tables);
    txn.commit()?;
    numbers.tell();
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

/// Writes what is to be noted of a recipient; gives its deletion if that is final.
fn write_note(
    tables: &mut Tables<'_>,
    note: &Note,
    in_attempt: bool,
    numbers: &mut Numbers<'_>,
) -> Result<Option<Dropped>, StoreError> {
    match &note.dropped {
        Some(dropped) if in_attempt => {
            tables.put_fact(&dropped.key(), Some(&dropped.not_final(&note.appended).row()))?;
            return Ok(None);
        }
        Some(dropped) => tables.put_fact(&dropped.key(), Some(&dropped.row()))?,
        None => {}
    }
    note.appended.iter().try_for_each(|entry| facts::append(tables, entry, numbers))?;
    Ok(note.dropped.clone())
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
