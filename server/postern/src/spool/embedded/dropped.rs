//! Deletions by operators, told to the delivery log.
//!
//! A deletion and the log line about it can't be one step, so a note is written in the transaction that deletes, as a
//! fact of `node/dropped`, and removed once the line has had time to leave the process, which another thread sees to.
//! What a crash leaves is told at the next open: a recipient is in the queue, or its end is in the log (after a crash
//! perhaps twice).
//!
//! What is to be appended with a deletion during an attempt waits in the note until the deletion is final.

use super::facts::{self, Entry, Numbers};
use super::record::{self, Damaged};
use super::store::{FACTS, StoreError, Tables};
use crate::observe::delivery_log;
use crate::spool::StoredMessage;
use minicbor::{Decode, Encode};
use postern_core::mail::{QueueId, RecipientId, Seq};
use postern_core::time::Timestamp;
use redb::ReadableDatabase;
use std::collections::VecDeque;
use std::time::Duration;

const NAMESPACE: &[u8] = b"node/dropped";
const REASON: &str = "deleted by an operator";
/// How long a note stays after the log was told.
const LINGER: Duration = Duration::from_secs(10);
/// Most notes that stay for that; the log has been told of them in order.
const KEPT: usize = 65_536;
/// Most notes removed in one transaction.
const REMOVED: usize = 4096;

/// A recipient that an operator has deleted, as the log names it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Dropped {
    #[n(0)]
    id: u64,
    #[n(1)]
    seq: u32,
    #[n(2)]
    session: String,
    #[n(3)]
    from: String,
    #[n(4)]
    to: String,
    /// Rows to be appended once the deletion is final. None if it was so at once, or they have been.
    #[n(5)]
    appended: Option<Vec<Entry>>,
}

impl Dropped {
    /// Of a message whose row may be beyond reading.
    pub(super) fn new(id: u64, seq: u32, message: Option<&StoredMessage>) -> Self {
        let to = message.and_then(|message| message.envelope.recipients.get(Seq(seq).index()));
        Self {
            id,
            seq,
            session: message.map_or("?", |message| &message.origin.session).to_owned(),
            from: message.map_or("?", |message| message.envelope.reverse_path.as_str()).to_owned(),
            to: to.map_or("?", |recipient| recipient.address.as_str()).to_owned(),
            appended: None,
        }
    }

    /// The note about a deletion during an attempt.
    pub(super) fn not_final(&self, appended: &[Entry]) -> Self {
        Self { appended: (!appended.is_empty()).then(|| appended.to_vec()), ..self.clone() }
    }

    /// The deletion that the note at `key` is about is final: what was to be appended is. None if there is no note.
    pub(super) fn made_final(
        tables: &mut Tables<'_>,
        key: &[u8],
        numbers: &mut Numbers<'_>,
    ) -> Result<Option<Self>, StoreError> {
        let Some(mut dropped) = tables.note(key)? else { return Ok(None) };
        if let Some(entries) = dropped.appended.take() {
            entries.iter().try_for_each(|entry| facts::append(tables, entry, numbers))?;
            tables.put_fact(key, Some(&dropped.row()))?;
        }
        Ok(Some(dropped))
    }

    /// The note's key in [`FACTS`].
    pub(super) fn key(&self) -> Vec<u8> {
        key(self.id, self.seq)
    }

    /// The note's row in [`FACTS`].
    pub(super) fn row(&self) -> Vec<u8> {
        let value = minicbor::to_vec(self).expect("writing to a Vec does not fail");
        record::encode_fact(&self.key(), &value, None)
    }

    /// Reads a note.
    pub(super) fn from_row(key: &[u8], row: &[u8]) -> Result<Self, Damaged> {
        let (_, value) = record::decode_fact(key, row)?;
        minicbor::decode(value).map_err(|_| Damaged("a note of a deletion"))
    }

    /// Writes the line.
    pub(super) fn log(&self) {
        let id = RecipientId { message: QueueId(self.id), seq: Seq(self.seq) };
        delivery_log::dropped(id, &self.session, &self.from, &self.to, REASON);
    }
}

/// Notes whose lines the log has been told, oldest first.
#[derive(Debug, Default)]
pub(super) struct Told {
    notes: VecDeque<(Timestamp, (u64, u32))>,
    closing: bool,
}

impl Told {
    pub(super) fn new(told: &[Dropped], now: Timestamp) -> Self {
        let mut notes = Self::default();
        notes.extend(told, now);
        notes
    }

    pub(super) fn extend(&mut self, told: &[Dropped], now: Timestamp) {
        self.notes.extend(told.iter().map(|note| (now, (note.id, note.seq))));
    }

    /// The store closes, and with it the log: all can go.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    /// How many, the oldest, can go now. A clock that was put back keeps them longer.
    pub(super) fn due(&self, now: Timestamp) -> usize {
        let too_many = self.notes.len().saturating_sub(KEPT);
        let old = self.notes.iter().take(REMOVED).take_while(|(told, _)| self.closing || now.since(*told) >= LINGER);
        old.count().max(too_many.min(REMOVED))
    }

    /// Removes so many, the oldest, from the store; what one still had to append is.
    pub(super) fn remove(
        &self,
        tables: &mut Tables<'_>,
        count: usize,
        numbers: &mut Numbers<'_>,
    ) -> Result<(), StoreError> {
        self.notes.iter().take(count).try_for_each(|(_, (id, seq))| {
            let key = key(*id, *seq);
            Dropped::made_final(tables, &key, numbers)?;
            tables.put_fact(&key, None)
        })
    }

    /// So many have been removed.
    pub(super) fn removed(&mut self, count: usize) {
        self.notes.drain(..count);
    }
}

/// The key in [`FACTS`] of the note about a recipient: as [`super::facts`] makes keys.
pub(super) fn key(id: u64, seq: u32) -> Vec<u8> {
    let len = u8::try_from(NAMESPACE.len()).unwrap_or(u8::MAX);
    [&[len], NAMESPACE, &id.to_be_bytes(), &seq.to_be_bytes()].concat()
}

/// The notes that were left: deletions that the log has not been told.
pub(super) fn left(db: &redb::Database) -> Result<Vec<Dropped>, redb::Error> {
    let facts = db.begin_read()?.open_table(FACTS)?;
    let mut left = Vec::new();
    for row in facts.range(&key(0, 0)[..]..=&key(u64::MAX, u32::MAX)[..])? {
        let (key, row) = row?;
        match Dropped::from_row(key.value(), row.value()) {
            Ok(dropped) => left.push(dropped),
            Err(Damaged(what)) => tracing::error!("{what} can't be read: a deletion is not in the log"),
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_stay_until_the_line_is_out() {
        let note = Dropped::new(5, 2, None);
        let mut told = Told::new(std::slice::from_ref(&note), Timestamp(0));
        assert_eq!((told.due(Timestamp(9_999)), told.due(Timestamp(10_000))), (0, 1));
        told.extend(&vec![note; KEPT + 5], Timestamp(10_000));
        assert_eq!(told.due(Timestamp(0)), 6, "the oldest of too many");
        told.removed(6);
        assert_eq!(told.due(Timestamp(10_000)), 0);
        told.close();
        assert_eq!(told.due(Timestamp(10_000)), REMOVED);
    }

    #[test]
    fn notes_come_back() {
        let dropped = Dropped::new(5, 2, None);
        assert_eq!(dropped.to, "?");
        assert_eq!(Dropped::from_row(&dropped.key(), &dropped.row()).unwrap(), dropped);
        assert!(Dropped::from_row(&key(5, 3), &dropped.row()).is_err(), "in the wrong place");
        assert!(key(0, 0) < key(1, 0) && key(1, u32::MAX) < key(2, 0));
    }
}
