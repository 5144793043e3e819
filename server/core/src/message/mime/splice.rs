//! Content put together from ranges of other content and from octets, without copying.

use crate::message::ContentSource;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Segments one after the other. A clone shares them.
#[derive(Clone, Default)]
pub struct Splice {
    segments: Arc<[Segment]>,
}

#[derive(Clone)]
struct Segment {
    /// Where it ends in the splice, in octets.
    end: u64,
    from: From,
}

#[derive(Clone)]
enum From {
    /// `source` from `start` on.
    Range {
        source: Arc<dyn ContentSource>,
        start: u64,
    },
    Octets(Bytes),
}

/// Puts a [`Splice`] together.
#[derive(Default)]
pub struct SpliceBuilder {
    segments: Vec<Segment>,
}

impl SpliceBuilder {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `range` of `source`, as far as it lies within.
    #[must_use]
    pub fn range(mut self, source: &Arc<dyn ContentSource>, range: Range<u64>) -> Self {
        let end = range.end.min(source.len());
        let from = From::Range { source: Arc::clone(source), start: range.start };
        self.push(end.saturating_sub(range.start), from);
        self
    }

    /// Appends all of `source`.
    #[must_use]
    pub fn all(self, source: &Arc<dyn ContentSource>) -> Self {
        self.range(source, 0..source.len())
    }

    /// Appends octets.
    #[must_use]
    pub fn octets(mut self, octets: impl Into<Bytes>) -> Self {
        let octets = octets.into();
        self.push(octets.len() as u64, From::Octets(octets));
        self
    }

    /// Appends what another builder has put together.
    #[must_use]
    pub fn append(mut self, other: &Self) -> Self {
        let mut start = 0;
        for segment in &other.segments {
            self.push(segment.end - start, segment.from.clone());
            start = segment.end;
        }
        self
    }

    /// The splice.
    #[must_use]
    pub fn build(self) -> Splice {
        Splice { segments: self.segments.into() }
    }

    fn push(&mut self, len: u64, from: From) {
        if len > 0 {
            let start = self.segments.last().map_or(0, |segment| segment.end);
            self.segments.push(Segment { end: start.saturating_add(len), from });
        }
    }
}

impl ContentSource for Splice {
    fn len(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.end)
    }

    fn read(&self, offset: u64, max: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        let index = self.segments.partition_point(|segment| segment.end <= offset);
        let Some(segment) = self.segments.get(index) else {
            return Box::pin(std::future::ready(Ok(Bytes::new())));
        };
        let start = index.checked_sub(1).map_or(0, |before| self.segments[before].end);
        let within = offset - start;
        let max = usize::try_from(segment.end - offset).unwrap_or(usize::MAX).min(max);
        match &segment.from {
            From::Octets(octets) => {
                // Within the octets: `segment.end` was made from their length.
                let from = usize::try_from(within).unwrap_or(usize::MAX).min(octets.len());
                Box::pin(std::future::ready(Ok(octets.slice(from..from + max.min(octets.len() - from)))))
            }
            From::Range { source, start } => Box::pin(read_within(&**source, start.saturating_add(within), max)),
        }
    }
}

/// A read that must give something: a source that ended early would look like the end of the splice.
async fn read_within(source: &dyn ContentSource, offset: u64, max: usize) -> io::Result<Bytes> {
    let mut octets = source.read(offset, max).await?;
    if octets.is_empty() && max > 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // What a source gives beyond what it was asked for belongs to something else.
    octets.truncate(max);
    Ok(octets)
}

impl std::fmt::Debug for Splice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Splice").field("segments", &self.segments.len()).field("len", &self.len()).finish()
    }
}
