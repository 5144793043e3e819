//! Content that is read by range, so that nobody has to hold a message in memory.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::io;

/// Content (or a part of it) somewhere: in a sealed draft, in the spool, in memory.
pub trait ContentSource: Send + Sync {
    /// Its length in octets.
    fn len(&self) -> u64;

    /// Is there nothing?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads at most `max` octets from `offset`; fewer are fine, none means that `offset` is at the end or past it.
    fn read(&self, offset: u64, max: usize) -> BoxFuture<'_, io::Result<Bytes>>;
}

/// Content in memory: small messages, DSNs, tests.
#[derive(Clone, Debug, Default)]
pub struct MemorySource(pub Bytes);

impl ContentSource for MemorySource {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, max: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let end = start.saturating_add(max).min(self.0.len());
        Box::pin(std::future::ready(Ok(self.0.slice(start..end))))
    }
}
