//! A part, decoded as it is read, never held whole: for the guest that reads it, and as a source for whoever streams it.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use postern_core::message::ContentSource;
use postern_core::message::mime::{Decoder, Part, TransferEncoding};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Octets that are decoded at a time.
pub(crate) const PIECE: u64 = 64 << 10;

/// Where reading of one part stands. Reading on is cheap, going back begins anew.
pub(crate) struct PartReader {
    encoding: TransferEncoding,
    /// The part as encoded, in the section.
    range: Range<u64>,
    decoder: Decoder,
    /// Next octet to be decoded; None after the last.
    next: Option<u64>,
    /// What is decoded and was not read: octets from `start` on.
    decoded: Vec<u8>,
    start: u64,
}

impl PartReader {
    pub(crate) fn new(part: &Part) -> Self {
        Self::at_start(part.encoding, part.body.clone())
    }

    fn at_start(encoding: TransferEncoding, range: Range<u64>) -> Self {
        let next = Some(range.start);
        Self { encoding, range, decoder: Decoder::new(encoding), next, decoded: Vec::new(), start: 0 }
    }

    /// Decoded octets from `offset` on, at most `max`; none at the end.
    pub(crate) async fn read(&mut self, section: &dyn ContentSource, offset: u64, max: usize) -> io::Result<Bytes> {
        if offset < self.start {
            *self = Self::at_start(self.encoding, self.range.clone());
        }
        loop {
            let skip = usize::try_from(offset - self.start).unwrap_or(usize::MAX).min(self.decoded.len());
            self.decoded.drain(..skip);
            self.start += skip as u64;
            if !self.decoded.is_empty() {
                let count = max.min(self.decoded.len());
                return Ok(Bytes::copy_from_slice(&self.decoded[..count]));
            }
            if !self.decode(section).await? {
                return Ok(Bytes::new());
            }
        }
    }

    /// How many octets there are, decoded.
    async fn measure(mut self, section: &dyn ContentSource) -> io::Result<u64> {
        let mut len = 0;
        while self.decode(section).await? {
            len += self.decoded.len() as u64;
            self.decoded.clear();
        }
        Ok(len)
    }

    /// Decodes the next piece; false if there is none.
    async fn decode(&mut self, section: &dyn ContentSource) -> io::Result<bool> {
        let Some(next) = self.next else { return Ok(false) };
        let wanted = usize::try_from(self.range.end.saturating_sub(next).min(PIECE)).unwrap_or_default();
        let piece = if wanted == 0 { Bytes::new() } else { section.read(next, wanted).await? };
        if piece.is_empty() {
            self.decoder.finish(&mut self.decoded);
            self.next = None;
        } else {
            self.decoder.push(&piece, &mut self.decoded);
            self.next = Some(next + piece.len() as u64);
        }
        Ok(true)
    }
}

/// One part, decoded, as a source.
pub(crate) struct PartSource {
    section: Arc<dyn ContentSource>,
    len: u64,
    reader: Mutex<PartReader>,
}

impl PartSource {
    /// Reads the part once, to know its length.
    pub(crate) async fn new(section: Arc<dyn ContentSource>, part: &Part) -> io::Result<Self> {
        let len = PartReader::new(part).measure(&*section).await?;
        Ok(Self { section, len, reader: Mutex::new(PartReader::new(part)) })
    }
}

impl ContentSource for PartSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, max: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move { self.reader.lock().await.read(&*self.section, offset, max).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_core::message::mime::{self, Coding, Encoder};
    use postern_core::message::{HeaderBlock, MemorySource};

    #[tokio::test]
    async fn gives_what_is_decoded_at_any_offset() {
        let plain: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let encoded = base64(&plain);
        let header = HeaderBlock::parse(&Bytes::from_static(b"Content-Transfer-Encoding: base64\r\n"));
        let section: Arc<dyn ContentSource> = Arc::new(MemorySource(format!("\r\n{encoded}").into()));
        let structure = mime::scan(&header, &*section).await.unwrap();
        let source = PartSource::new(section, &structure.parts()[0]).await.unwrap();
        assert_eq!(source.len(), plain.len() as u64);
        let mut read = Vec::new();
        while read.len() < plain.len() {
            read.extend_from_slice(&source.read(read.len() as u64, 1000).await.unwrap());
        }
        assert_eq!(read, plain);
        assert!(source.read(source.len(), 10).await.unwrap().is_empty());
        assert_eq!(source.read(7, 5).await.unwrap()[..], plain[7..12], "going back");
    }

    fn base64(octets: &[u8]) -> String {
        let mut encoder = Encoder::new(Coding::Base64);
        let mut text = Vec::new();
        encoder.push(octets, &mut text);
        encoder.finish(&mut text);
        String::from_utf8(text).unwrap()
    }
}
