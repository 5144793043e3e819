//! Room for what plugins write: small pieces in memory, others in drafts of the store that are never committed. Bounded
//! for one message and over all of them.

use super::held::{Budget, Held};
use crate::spool::{Draft, SealedDraft, Spool, SpoolError};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use postern_core::hook::{Scratch, ScratchWriter};
use postern_core::message::{ContentSource, MemorySource};
use std::io;
use std::sync::Arc;

/// Pieces up to this size stay in memory, as long as there is room for them among what transactions hold.
const SMALL: usize = 32 << 10;
/// Octets that plugins may write for one message. The largest message, rewritten whole in base64, is in it.
const MAX_MESSAGE: u64 = 4 << 30;
/// Octets that plugins may write for all messages that are in hooks.
const MAX_ALL: u64 = 16 << 30;

/// What all messages share.
#[derive(Clone, Debug)]
pub(super) struct Room {
    memory: Budget,
    all: Budget,
}

impl Room {
    /// Small pieces count among what is `held` in memory.
    pub(super) fn new(held: &Budget) -> Self {
        Self { memory: held.clone(), all: Budget::new(MAX_ALL) }
    }
}

/// The room of one message.
pub(super) struct SpoolScratch<S> {
    spool: S,
    room: Room,
    message: Budget,
}

impl<S: Spool> SpoolScratch<S> {
    pub(super) fn new(spool: S, room: &Room) -> Self {
        Self { spool, room: room.clone(), message: Budget::new(MAX_MESSAGE) }
    }
}

/// What a piece takes of the bounds; given back when it is dropped.
struct Taken {
    memory: Held,
    message: Held,
    all: Held,
}

struct Writer<S: Spool> {
    spool: S,
    taken: Taken,
    written: Written<S>,
}

enum Written<S: Spool> {
    Small(Vec<u8>),
    Draft(S::Draft),
    /// A write failed: octets are missing.
    Broken,
}

impl<S: Spool> Scratch for SpoolScratch<S> {
    fn begin(&self) -> BoxFuture<'_, io::Result<Box<dyn ScratchWriter>>> {
        let Self { spool, room, message } = self;
        let taken = Taken { memory: room.memory.hold(), message: message.hold(), all: room.all.hold() };
        let writer: Box<dyn ScratchWriter> =
            Box::new(Writer { spool: spool.clone(), taken, written: Written::Small(Vec::new()) });
        Box::pin(std::future::ready(Ok(writer)))
    }
}

impl<S: Spool> ScratchWriter for Writer<S> {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            match std::mem::replace(&mut self.written, Written::Broken) {
                Written::Broken => return Err(broken()),
                written => self.written = self.append(written, bytes).await?,
            }
            Ok(())
        })
    }

    fn seal(self: Box<Self>) -> BoxFuture<'static, io::Result<Arc<dyn ContentSource>>> {
        Box::pin(async move {
            let Self { taken, written, .. } = *self;
            let (body, sealed): (Arc<dyn ContentSource>, _) = match written {
                Written::Small(octets) => (Arc::new(MemorySource(octets.into())), None),
                Written::Draft(draft) => {
                    let sealed = draft.seal().await.map_err(io_error)?;
                    (sealed.body(), Some(sealed))
                }
                Written::Broken => return Err(broken()),
            };
            let piece: Arc<dyn ContentSource> = Arc::new(Piece::<S> { body, _sealed: sealed, _taken: taken });
            Ok(piece)
        })
    }
}

impl<S: Spool> Writer<S> {
    async fn append(&mut self, written: Written<S>, bytes: Bytes) -> io::Result<Written<S>> {
        if !(self.taken.message.grow(bytes.len()) && self.taken.all.grow(bytes.len())) {
            let text = "plugins have written more than there is room for";
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        let mut draft = match written {
            Written::Small(mut octets) => {
                if octets.len() + bytes.len() <= SMALL && self.taken.memory.grow(bytes.len()) {
                    octets.extend_from_slice(&bytes);
                    return Ok(Written::Small(octets));
                }
                let mut draft = self.spool.begin_scratch().await.map_err(io_error)?;
                draft.write(octets.into()).await.map_err(io_error)?;
                draft
            }
            Written::Draft(draft) => draft,
            Written::Broken => return Err(broken()),
        };
        draft.write(bytes).await.map_err(io_error)?;
        Ok(Written::Draft(draft))
    }
}

/// A piece that can be read.
struct Piece<S: Spool> {
    body: Arc<dyn ContentSource>,
    /// Its chunks are swept with it.
    _sealed: Option<S::Sealed>,
    _taken: Taken,
}

impl<S: Spool> ContentSource for Piece<S> {
    fn len(&self) -> u64 {
        self.body.len()
    }

    fn read(&self, offset: u64, max: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        self.body.read(offset, max)
    }
}

fn broken() -> io::Error {
    io::Error::other("a write to it failed")
}

fn io_error(error: SpoolError) -> io::Error {
    match error {
        SpoolError::Busy(why) => io::Error::new(io::ErrorKind::StorageFull, why),
        other => io::Error::other(other),
    }
}
