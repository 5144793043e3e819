//! A message and its sealed draft made ready for the writer, in the task that commits it: everything is encoded and
//! summed here, so that the one writer only copies.

use super::draft::{EmbeddedSealed, SealedBody, compact};
use super::facts;
use super::hot::HotMessage;
use super::index::Arrival;
use super::record;
use super::states::Fate;
use super::store::{NewRow, direct_chunks};
use super::writer::Incoming;
use crate::spool::{NewMessage, SpoolError, Start, StoredMessage};
use bytes::Bytes;
use postern_core::mail::Seq;
use std::sync::Arc;
use std::time::Duration;

/// A message whose first attempt is later than this is not kept in memory for it.
const SOON: Duration = Duration::from_secs(60);

pub(super) fn prepare(draft: EmbeddedSealed, mut message: NewMessage) -> Result<Incoming, SpoolError> {
    let recipients = message.envelope.recipients.len();
    if recipients == 0 || recipients != message.queues.len() {
        return Err(SpoolError::Invalid(format!("{recipients} recipients in {} queues", message.queues.len())));
    }
    let recipients = u32::try_from(recipients).map_err(|_| SpoolError::Invalid("too many recipients".to_owned()))?;
    let EmbeddedSealed { id, body: body_of, share, mut room, first } = draft;
    // As long as there are chunks of other content under the id, it stays marked.
    let unmark = body_of.is_streamed() && !first.as_ref().is_some_and(|first| first.body.is_streamed());
    message.header = compact(message.header);
    let header_len = message.header.len() as u64;
    // What is written with the commit, what is there already, and whether that is the body alone.
    let (header, body) = (message.header.clone(), Bytes::new());
    let (header, body, chunks, len, ahead) = match body_of {
        SealedBody::Memory(body) => (header, body.clone(), None, header_len + body.len() as u64, false),
        SealedBody::Streamed { chunks, len } => (header, body, Some(chunks), header_len + len, true),
        SealedBody::Packed { header, .. } if header as u64 != header_len => {
            return Err(SpoolError::Invalid(format!("another header block than the content has, of {header} octets")));
        }
        SealedBody::Packed { chunks, len, .. } => (Bytes::new(), body, Some(chunks), len, false),
    };
    let starts = starts(&message, recipients)?;
    let facts = facts::encode(std::mem::take(&mut message.facts))?;
    room.need_more(super::writer::facts_weight(&facts) as u64)?;
    let (queues, queue_of) = record::distinct(&message.queues);
    let row = record::encode_message(id, &message, &queues, &queue_of, len, ahead);
    let new = NewRow::new(id.0, row, header, body.clone(), unmark);
    let direct = direct_chunks(len, ahead);
    let arrival = Arrival { id: id.0, due: message.deliver_at.0, chunks: direct, recipients, queues, queue_of };
    let content = chunks.is_none().then(|| (message.header.clone(), body));
    let hot = (message.deliver_at.since(message.accepted) < SOON).then(|| HotMessage {
        message: Arc::new(StoredMessage {
            id,
            envelope: message.envelope,
            queues: message.queues,
            accepted: message.accepted,
            deliver_at: message.deliver_at,
            origin: message.origin,
            header_len,
            len,
            body_hashes: message.body_hashes,
        }),
        content,
    });
    Ok(Incoming { new, arrival, starts, hot, facts, chunks, _first: first, _share: share, room })
}

/// The states of those that do not begin like the others.
fn starts(message: &NewMessage, recipients: u32) -> Result<Vec<(u32, Fate, Option<String>)>, SpoolError> {
    let fate = |(seq, start): &(Seq, Start)| {
        if !(1..=recipients).contains(&seq.0) {
            return Err(SpoolError::Invalid(format!("there is no recipient {seq} that could be held or delayed")));
        }
        let due = start.due.0;
        let fate = match start.held {
            Some(_) => Fate::Held { due, attempts: 0, told: false },
            None => Fate::Pending { due, attempts: 0, told: false },
        };
        Ok((seq.0 - 1, fate, start.held.clone()))
    };
    let mut starts = message.starts.iter().map(fate).collect::<Result<Vec<_>, _>>()?;
    starts.sort_by_key(|(place, ..)| *place);
    Ok(starts)
}
