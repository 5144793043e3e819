//! Content on its way in: in memory up to 256 KiB, then in chunks that are written ahead of the commit.
//!
//! Chunks without a message are marked in the store (`loose`). A dropped draft leaves its chunks to the writer to be
//! swept; after a crash they are swept because they are marked.
//!
//! Content that takes the place of other content has the same id. Streamed, it goes where content lies that is committed
//! in one piece: header block and body from chunk 0 on, beside the first's, which are body chunks. They are swept once
//! the message is there; a sweep leaves alone what is a message's.

use super::Handle;
use super::budget::{Share, WINDOW};
use super::content::Stored;
use super::record;
use super::shared::{Shared, lock};
use super::space::Room;
use super::store::{BODY, CHUNK};
use super::writer::{ChunkOp, Op};
use crate::spool::{Draft, SealedDraft, SpoolError};
use bytes::{Bytes, BytesMut};
use postern_core::mail::QueueId;
use postern_core::message::mime::SpliceBuilder;
use postern_core::message::{ContentSource, MemorySource};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;

/// Chunks of one draft that may be between its task and the disk: about a window.
const IN_FLIGHT: u32 = 4;

/// Memory around kept octets that doesn't count.
const SLACK: usize = 1024;

/// A draft of the embedded engine. After an error or a dropped [`Draft::write`] it can only be dropped.
#[derive(Debug)]
pub struct EmbeddedDraft {
    handle: Handle,
    id: QueueId,
    share: Share,
    room: Room,
    body: Body,
    declared: usize,
    /// A write failed or was dropped: octets are missing.
    broken: bool,
    /// What it takes the place of. Given up after `body` is: see [`EmbeddedSealed`].
    second: Option<Second>,
}

/// What makes a draft the second one of its id.
#[derive(Debug)]
struct Second {
    /// The header block, which is streamed ahead of the body.
    header: Bytes,
    first: Box<EmbeddedSealed>,
}

#[derive(Debug)]
enum Body {
    /// The first chunk as it came, or all joined.
    Memory {
        first: Bytes,
        joined: Vec<u8>,
    },
    Streamed(Stream),
}

#[derive(Debug)]
struct Stream {
    chunks: Streamed,
    partial: BytesMut,
    /// Of the next chunk.
    number: u32,
    len: u64,
    in_flight: Arc<Semaphore>,
}

/// Sealed content of the embedded engine.
#[derive(Debug)]
pub struct EmbeddedSealed {
    pub(super) id: QueueId,
    pub(super) body: SealedBody,
    /// None once nothing is in memory any more.
    pub(super) share: Option<Share>,
    /// On the disk, for what is not written yet.
    pub(super) room: Room,
    /// What it takes the place of. Given up after `body` is, so that no chunk comes after the sweep.
    pub(super) first: Option<Box<EmbeddedSealed>>,
}

#[derive(Debug)]
pub(super) enum SealedBody {
    Memory(Bytes),
    /// From chunk [`BODY`] on.
    Streamed {
        chunks: Streamed,
        len: u64,
    },
    /// From chunk 0 on: `header` octets of header block, then the body; `len` in all.
    Packed {
        chunks: Streamed,
        header: usize,
        len: u64,
    },
}

impl SealedBody {
    /// Are there chunks that are marked as nobody's?
    pub(super) fn is_streamed(&self) -> bool {
        !matches!(self, Self::Memory(_))
    }
}

/// Chunks in the store that belong to no message yet. Dropped, they are left to be swept.
#[derive(Debug)]
pub(super) struct Streamed {
    shared: Arc<Shared>,
    id: QueueId,
    /// The draft was given up: chunks still queued are not to be written. True after the commit, too.
    ended: Arc<AtomicBool>,
}

impl Streamed {
    /// The chunks are a message's now.
    pub(super) fn adopted(&self) {
        self.ended.store(true, Ordering::Release);
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            lock(&self.shared.chores).discarded.push(self.id.0);
            self.shared.wake();
        }
    }
}

impl EmbeddedDraft {
    pub(super) fn new(handle: Handle, id: QueueId, share: Share, room: Room, declared: Option<u64>) -> Self {
        let declared = declared.and_then(|len| usize::try_from(len).ok()).unwrap_or(0).min(WINDOW);
        Self {
            handle,
            id,
            share,
            room,
            body: Body::Memory { first: Bytes::new(), joined: Vec::new() },
            declared,
            broken: false,
            second: None,
        }
    }

    /// Makes it take the place of `first`, whose id it has.
    pub(super) fn instead_of(mut self, first: EmbeddedSealed, header: Bytes) -> Self {
        self.second = Some(Second { header, first: Box::new(first) });
        self
    }

    /// Has all of it written to the disk from the first octet on.
    pub(super) async fn streaming(mut self) -> Result<Self, SpoolError> {
        self.share.grow(WINDOW + 1).await?;
        self.start_stream();
        Ok(self)
    }

    fn len(&self) -> usize {
        match &self.body {
            Body::Memory { first, joined } => first.len() + joined.len(),
            // Only asked for what is in memory.
            Body::Streamed(_) => WINDOW,
        }
    }

    /// Gives what has to be streamed first.
    fn start_stream(&mut self) -> [Bytes; 2] {
        let header = self.second.as_ref().map(|second| second.header.clone());
        let stream = Stream {
            chunks: Streamed {
                shared: Arc::clone(&self.handle.shared),
                id: self.id,
                ended: Arc::new(AtomicBool::new(false)),
            },
            partial: BytesMut::new(),
            number: if header.is_some() { 0 } else { BODY },
            len: 0,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT as usize)),
        };
        match std::mem::replace(&mut self.body, Body::Streamed(stream)) {
            Body::Memory { first, joined } => [header.unwrap_or_default(), join(first, joined)],
            Body::Streamed(_) => unreachable!("only content in memory starts to stream"),
        }
    }
}

impl Draft for EmbeddedDraft {
    type Sealed = EmbeddedSealed;

    fn id(&self) -> QueueId {
        self.id
    }

    async fn write(&mut self, chunk: Bytes) -> Result<(), SpoolError> {
        self.usable()?;
        self.broken = true;
        self.append(chunk).await?;
        self.broken = false;
        Ok(())
    }

    async fn seal(self) -> Result<EmbeddedSealed, SpoolError> {
        self.usable()?;
        let Self { handle, id, share, mut room, body, second, .. } = self;
        let (header, first) = second.map(|second| (second.header.len(), second.first)).unzip();
        let body = match body {
            Body::Memory { first, joined } => SealedBody::Memory(join(first, joined)),
            Body::Streamed(mut stream) => {
                if !stream.partial.is_empty() {
                    let last = stream.partial.split().freeze();
                    stream.send(&handle, id, &mut room, last).await?;
                }
                // All permits are back: all chunks are in the store, where readers see them.
                let all = stream.in_flight.acquire_many(IN_FLIGHT).await;
                drop(all);
                handle.shared.check()?;
                let Stream { chunks, len, .. } = stream;
                match header {
                    Some(header) => SealedBody::Packed { chunks, header, len },
                    None => SealedBody::Streamed { chunks, len },
                }
            }
        };
        let share = (!body.is_streamed()).then_some(share);
        Ok(EmbeddedSealed { id, body, share, room, first })
    }
}

impl EmbeddedDraft {
    fn usable(&self) -> Result<(), SpoolError> {
        self.handle.shared.check()?;
        if self.broken {
            return Err(SpoolError::Invalid("content of which a write failed or was given up".to_owned()));
        }
        Ok(())
    }

    async fn append(&mut self, chunk: Bytes) -> Result<(), SpoolError> {
        if chunk.is_empty() {
            return Ok(());
        }
        let len = self.len().saturating_add(chunk.len());
        if matches!(self.body, Body::Memory { .. }) {
            self.room.need(len as u64)?;
        }
        if matches!(self.body, Body::Memory { .. }) && !self.share.grow(len).await? {
            for before in self.start_stream() {
                self.write_stream(before).await?;
            }
        }
        match &mut self.body {
            Body::Memory { first, joined } if first.is_empty() && joined.is_empty() => *first = chunk,
            Body::Memory { first, joined } => {
                if joined.is_empty() {
                    joined.reserve(self.declared.max(len));
                    joined.extend_from_slice(first);
                    *first = Bytes::new();
                }
                joined.extend_from_slice(&chunk);
            }
            Body::Streamed(_) => self.write_stream(chunk).await?,
        }
        Ok(())
    }

    async fn write_stream(&mut self, mut data: Bytes) -> Result<(), SpoolError> {
        let Body::Streamed(stream) = &mut self.body else { return Ok(()) };
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(CHUNK - stream.partial.len()));
            if stream.partial.is_empty() && piece.len() == CHUNK {
                stream.send(&self.handle, self.id, &mut self.room, piece).await?;
                continue;
            }
            stream.partial.extend_from_slice(&piece);
            if stream.partial.len() == CHUNK {
                let full = stream.partial.split().freeze();
                stream.send(&self.handle, self.id, &mut self.room, full).await?;
            }
        }
        Ok(())
    }
}

impl Stream {
    async fn send(&mut self, handle: &Handle, id: QueueId, room: &mut Room, data: Bytes) -> Result<(), SpoolError> {
        let permit = Arc::clone(&self.in_flight).acquire_owned().await.map_err(|_| handle.shared.failure())?;
        let len = data.len() as u64;
        room.need(len)?;
        let room = room.split(len);
        let number = self.number;
        self.number = number.checked_add(1).ok_or_else(|| SpoolError::Invalid("content is too long".to_owned()))?;
        self.len += len;
        let crc = record::chunk_crc(id.0, number, [&data, &[]]);
        let ended = Arc::clone(&self.chunks.ended);
        handle.send(Op::Chunk(ChunkOp { id: id.0, number, crc, data, ended, room, _permit: permit })).await
    }
}

impl SealedDraft for EmbeddedSealed {
    fn id(&self) -> QueueId {
        self.id
    }

    fn body(&self) -> Arc<dyn ContentSource> {
        match &self.body {
            SealedBody::Memory(body) => Arc::new(MemorySource(body.clone())),
            SealedBody::Streamed { chunks, len } => {
                Arc::new(Stored { shared: Arc::clone(&chunks.shared), id: self.id, packed: 0, streamed: *len })
            }
            SealedBody::Packed { chunks, header, len } => {
                let stored = Stored { shared: Arc::clone(&chunks.shared), id: self.id, packed: *len, streamed: 0 };
                let content: Arc<dyn ContentSource> = Arc::new(stored);
                Arc::new(SpliceBuilder::new().range(&content, *header as u64..*len).build())
            }
        }
    }
}

/// One of the two is empty.
fn join(first: Bytes, joined: Vec<u8>) -> Bytes {
    compact(if joined.is_empty() { first } else { Bytes::from(joined) })
}

/// The same octets without much memory around them: a few kept of a read buffer would keep the whole buffer, and the
/// budgets count what is seen.
pub(super) fn compact(bytes: Bytes) -> Bytes {
    match bytes.try_into_mut() {
        Ok(owned) if owned.capacity() <= 2 * owned.len() + SLACK => owned.freeze(),
        Ok(owned) => Bytes::copy_from_slice(&owned),
        Err(shared) => Bytes::copy_from_slice(&shared),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_of_a_large_buffer_is_copied_out_of_it() {
        let buffer = Bytes::from(vec![b'x'; 1 << 20]);
        let kept = buffer.slice(10..4106);
        drop(buffer);
        let compacted = compact(kept);
        assert_eq!(compacted.len(), 4096);
        assert!(compacted.try_into_mut().unwrap().capacity() < 10_000);
        let own = Bytes::from(vec![b'x'; 4096]);
        let at = own.as_ptr();
        assert_eq!(compact(own).as_ptr(), at, "what is compact is not copied");
    }
}
