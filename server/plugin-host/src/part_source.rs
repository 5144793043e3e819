//! A part's decoded content as a source, for whoever streams it: decoded as it is read, never held whole.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use postern_core::message::ContentSource;
use postern_core::message::mime::{Decoder, Part, TransferEncoding};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Octets that are decoded at a time.
const PIECE: u64 = 64 << 10;

/// One part, decoded. It is read in order; going back begins anew.
pub(crate) struct PartSource {
    section: Arc<dyn ContentSource>,
    encoding: TransferEncoding,
    range: Range<u64>,
    /// Octets once decoded.
    len: u64,
    reading: Mutex<Reading>,
}

/// Where decoding stands.
struct Reading {
    decoder: Decoder,
    /// Next octet to be decoded.
    next: u64,
    finished: bool,
    /// What is decoded and was not read: octets from `start` on.
    decoded: Vec<u8>,
    start: u64,
}

impl PartSource {
    /// Reads the part once, to know its length.
    pub(crate) async fn new(section: Arc<dyn ContentSource>, part: &Part) -> io::Result<Self> {
        let (encoding, range) = (part.encoding, part.body.clone());
        let mut reading = Reading::new(encoding, &range);
        let mut len = 0;
        while !reading.finished {
            reading.decode(&*section, &range).await?;
            len += reading.decoded.len() as u64;
            reading.decoded.clear();
        }
        let reading = Mutex::new(Reading::new(encoding, &range));
        Ok(Self { section, encoding, range, len, reading })
    }
}

impl Reading {
    fn new(encoding: TransferEncoding, range: &Range<u64>) -> Self {
        Self { decoder: Decoder::new(encoding), next: range.start, finished: false, decoded: Vec::new(), start: 0 }
    }

    /// Decodes the next piece.
    async fn decode(&mut self, section: &dyn ContentSource, range: &Range<u64>) -> io::Result<()> {
        let wanted = usize::try_from(range.end.saturating_sub(self.next).min(PIECE)).unwrap_or_default();
        let piece = if wanted == 0 { Bytes::new() } else { section.read(self.next, wanted).await? };
        if piece.is_empty() {
            self.decoder.finish(&mut self.decoded);
            self.finished = true;
        } else {
            self.decoder.push(&piece, &mut self.decoded);
            self.next += piece.len() as u64;
        }
        Ok(())
    }
}

impl ContentSource for PartSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, max: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move {
            let mut reading = self.reading.lock().await;
            if offset < reading.start {
                *reading = Reading::new(self.encoding, &self.range);
            }
            loop {
                let skip = usize::try_from(offset - reading.start).unwrap_or(usize::MAX).min(reading.decoded.len());
                reading.decoded.drain(..skip);
                reading.start += skip as u64;
                if !reading.decoded.is_empty() {
                    let count = max.min(reading.decoded.len());
                    return Ok(Bytes::copy_from_slice(&reading.decoded[..count]));
                }
                if reading.finished {
                    return Ok(Bytes::new());
                }
                reading.decode(&*self.section, &self.range).await?;
            }
        })
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
