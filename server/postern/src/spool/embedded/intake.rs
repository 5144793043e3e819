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
    let EmbeddedSealed { id, body, share, room } = draft;
    let (body, streamed, streamed_len) = match body {
        SealedBody::Memory(body) => (body, None, 0),
        SealedBody::Streamed { chunks, len } => (Bytes::new(), Some(chunks), len),
    };
    let starts = starts(&message, recipients)?;
    let facts = facts::encode(std::mem::take(&mut message.facts))?;
    message.header = compact(message.header);
    let (queues, queue_of) = record::distinct(&message.queues);
    let len = (message.header.len() + body.len()) as u64 + streamed_len;
    let row = record::encode_message(id, &message, &queues, &queue_of, len, streamed.is_some());
    let header_len = message.header.len() as u64;
    let new = NewRow::new(id.0, row, message.header.clone(), body.clone(), streamed.is_some());
    let chunks = direct_chunks(len, streamed.is_some());
    let arrival = Arrival { id: id.0, due: message.deliver_at.0, chunks, recipients, queues, queue_of };
    let content = streamed.is_none().then(|| (message.header.clone(), body));
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
        }),
        content,
    });
    Ok(Incoming { new, arrival, starts, hot, facts, streamed, _share: share, room })
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
