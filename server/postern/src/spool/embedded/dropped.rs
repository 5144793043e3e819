//! Deletions by operators, told to the delivery log.
//!
//! A deletion and the log line about it can't be one step, so a note is written in the transaction that deletes, as a
//! fact of `node/dropped`, and removed in the next one after the line was written. What a crash leaves is told at the
//! next open: a recipient is in the queue, or its end is in the log.

use super::record::{self, Damaged};
use super::store::FACTS;
use crate::observe::delivery_log;
use crate::spool::StoredMessage;
use minicbor::{Decode, Encode};
use postern_core::mail::{QueueId, RecipientId, Seq};
use redb::ReadableDatabase;

const NAMESPACE: &[u8] = b"node/dropped";
const REASON: &str = "deleted by an operator";

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
        }
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
    fn notes_come_back() {
        let dropped = Dropped::new(5, 2, None);
        assert_eq!(dropped.to, "?");
        assert_eq!(Dropped::from_row(&dropped.key(), &dropped.row()).unwrap(), dropped);
        assert!(Dropped::from_row(&key(5, 3), &dropped.row()).is_err(), "in the wrong place");
        assert!(key(0, 0) < key(1, 0) && key(1, u32::MAX) < key(2, 0));
    }
}
