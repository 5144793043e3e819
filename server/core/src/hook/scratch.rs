//! Room for what plugins write: a replaced part of a message may be as large as the message.

use crate::message::{ContentSource, MemorySource};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::io;
use std::sync::Arc;

/// Gives room for content that a plugin writes. The server's is its store; nothing is left of what is dropped.
pub trait Scratch: Send + Sync {
    /// Begins a piece of content.
    fn begin(&self) -> BoxFuture<'_, io::Result<Box<dyn ScratchWriter>>>;
}

/// A piece of content that is being written.
pub trait ScratchWriter: Send {
    /// Appends; waits while too much is in flight.
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, io::Result<()>>;

    /// Ends it: from now on it can be read, and not be changed. It lives as long as the source does.
    fn seal(self: Box<Self>) -> BoxFuture<'static, io::Result<Arc<dyn ContentSource>>>;
}

/// Room in memory, so many octets for each piece: for tools and tests.
#[derive(Clone, Copy, Debug)]
pub struct MemoryScratch(pub usize);

struct MemoryWriter {
    max: usize,
    written: Vec<u8>,
}

impl Scratch for MemoryScratch {
    fn begin(&self) -> BoxFuture<'_, io::Result<Box<dyn ScratchWriter>>> {
        let writer: Box<dyn ScratchWriter> = Box::new(MemoryWriter { max: self.0, written: Vec::new() });
        Box::pin(std::future::ready(Ok(writer)))
    }
}

impl ScratchWriter for MemoryWriter {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, io::Result<()>> {
        let fits = self.written.len().saturating_add(bytes.len()) <= self.max;
        if fits {
            self.written.extend_from_slice(&bytes);
        }
        let full = || io::Error::new(io::ErrorKind::StorageFull, format!("more than {} octets", self.max));
        Box::pin(std::future::ready(if fits { Ok(()) } else { Err(full()) }))
    }

    fn seal(self: Box<Self>) -> BoxFuture<'static, io::Result<Arc<dyn ContentSource>>> {
        let source: Arc<dyn ContentSource> = Arc::new(MemorySource(self.written.into()));
        Box::pin(std::future::ready(Ok(source)))
    }
}
