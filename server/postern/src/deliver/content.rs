//! Content on its way out: read by range, encoded block by block; with what an attempt puts above it.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use postern_core::message::ContentSource;
use postern_core::smtp::client::{Cause, ContentEncoder, Failure, Fault, Stage};

/// Octets of content that are read, encoded and sent at a time.
pub const CONTENT_BLOCK: usize = 128 * 1024;

/// Content with header fields above it.
pub struct Topped<C> {
    /// Whole header fields.
    pub top: Bytes,
    /// The content below them.
    pub content: C,
}

impl<C: std::ops::Deref<Target: ContentSource> + Send + Sync> ContentSource for Topped<C> {
    fn len(&self) -> u64 {
        self.top.len() as u64 + self.content.len()
    }

    fn read(&self, offset: u64, max: usize) -> BoxFuture<'_, std::io::Result<Bytes>> {
        match offset.checked_sub(self.top.len() as u64) {
            Some(below) => self.content.read(below, max),
            None => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.top.len());
                let end = start.saturating_add(max).min(self.top.len());
                Box::pin(std::future::ready(Ok(self.top.slice(start..end))))
            }
        }
    }
}

/// Reads and encodes one content from start to end.
pub(super) struct Feed<'a> {
    source: &'a dyn ContentSource,
    offset: u64,
    encoder: ContentEncoder,
}

impl<'a> Feed<'a> {
    pub(super) fn new(source: &'a dyn ContentSource) -> Self {
        Self { source, offset: 0, encoder: ContentEncoder::new() }
    }

    /// Appends the next block to `out`; true if it was the last one, which ends with the final dot.
    pub(super) async fn next(&mut self, out: &mut Vec<u8>) -> Result<bool, Failure> {
        let len = self.source.len();
        if self.offset < len {
            let piece = read(self.source, self.offset, len).await?;
            self.offset += piece.len() as u64;
            self.encoder.encode(&piece, out).map_err(|unclean| self.unclean(unclean))?;
        }
        if self.offset < len {
            return Ok(false);
        }
        self.encoder.finish(out).map_err(|unclean| self.unclean(unclean))?;
        Ok(true)
    }

    fn unclean(&self, unclean: impl std::fmt::Display) -> Failure {
        let detail = format!("{unclean}, before octet {}", self.offset);
        Failure::new(Stage::Content, Cause::Fault(Fault::Unclean)).with_detail(detail)
    }
}

/// Is there an octet above 127 before `end`?
pub(super) async fn has_8bit(source: &dyn ContentSource, end: u64) -> Result<bool, Failure> {
    let mut offset = 0;
    while offset < end {
        let piece = read(source, offset, end).await?;
        if !piece.is_ascii() {
            return Ok(true);
        }
        offset += piece.len() as u64;
    }
    Ok(false)
}

/// A piece of at least one octet from `offset`, at most up to `end`.
async fn read(source: &dyn ContentSource, offset: u64, end: u64) -> Result<bytes::Bytes, Failure> {
    let unreadable = |detail: String| Failure::new(Stage::Content, Cause::Fault(Fault::Unreadable)).with_detail(detail);
    let max = usize::try_from(end - offset).unwrap_or(usize::MAX).min(CONTENT_BLOCK);
    let mut piece = source.read(offset, max).await.map_err(|error| unreadable(error.to_string()))?;
    if piece.is_empty() {
        return Err(unreadable(format!("the content ends at octet {offset} instead of {}", source.len())));
    }
    piece.truncate(max);
    Ok(piece)
}
