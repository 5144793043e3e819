//! New content of parts: encoded as it comes, into one piece of the transaction's scratch, whatever part it is for, so
//! that nothing but a line for each part is held. Each content remembers where in the piece it lies.

use crate::part_reader::PIECE;
use bytes::Bytes;
use postern_core::hook::{Scratch, ScratchWriter};
use postern_core::message::ContentSource;
use postern_core::message::mime::{Charset, Coding, Decoder, Encoder, Part, ToUtf8};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// New content of a part.
pub(crate) struct Content {
    pub(crate) coding: Coding,
    pub(crate) encoder: Encoder,
    /// What began it: [`Begun::Write`] goes on with its own only.
    pub(crate) begun: Begun,
    pub(crate) charset: Charset,
    /// It is UTF-8, whatever the part was.
    pub(crate) is_utf8: bool,
    /// Where it lies, in order, in at most [`MAX_RANGES`] pieces.
    pub(crate) ranges: Vec<Range<u64>>,
}

/// Pieces that the content of one part may lie in: whoever writes several parts in turn makes many.
const MAX_RANGES: usize = 10_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    Write,
    Text,
    Append,
}

/// What has been written, of all parts.
#[derive(Default)]
pub(crate) struct Log {
    writer: Option<Box<dyn ScratchWriter>>,
    len: u64,
    /// A write failed: what was written can't be used.
    failed: bool,
}

impl Log {
    async fn write(&mut self, scratch: &dyn Scratch, octets: Vec<u8>) -> io::Result<Range<u64>> {
        let start = self.len;
        if octets.is_empty() {
            return Ok(start..start);
        }
        if self.failed {
            return Err(io::Error::other("an earlier write failed"));
        }
        self.failed = true;
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => scratch.begin().await?,
        };
        self.len += octets.len() as u64;
        writer.write(Bytes::from(octets)).await?;
        self.writer = Some(writer);
        self.failed = false;
        Ok(start..self.len)
    }

    /// What was written; none if nothing was.
    pub(crate) async fn seal(self) -> io::Result<Option<Arc<dyn ContentSource>>> {
        match self.writer {
            _ if self.failed => Err(io::Error::other("a write failed")),
            Some(writer) => writer.seal().await.map(Some),
            None => Ok(None),
        }
    }
}

impl Content {
    pub(crate) fn new(coding: Coding, begun: Begun, charset: Charset) -> Self {
        Self { coding, encoder: Encoder::new(coding), begun, charset, is_utf8: false, ranges: Vec::new() }
    }

    /// Encodes octets into the log.
    pub(crate) async fn write(&mut self, log: &mut Log, scratch: &dyn Scratch, octets: &[u8]) -> io::Result<()> {
        for piece in octets.chunks(PIECE as usize) {
            let mut encoded = Vec::new();
            self.encoder.push(piece, &mut encoded);
            let range = log.write(scratch, encoded).await?;
            self.lies_in(range)?;
        }
        Ok(())
    }

    pub(crate) async fn finish(&mut self, log: &mut Log, scratch: &dyn Scratch) -> io::Result<()> {
        let mut encoded = Vec::new();
        self.encoder.finish(&mut encoded);
        let range = log.write(scratch, encoded).await?;
        self.lies_in(range)
    }

    fn lies_in(&mut self, range: Range<u64>) -> io::Result<()> {
        let is_full = self.ranges.len() >= MAX_RANGES;
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ if range.is_empty() => {}
            _ if is_full => return Err(io::Error::other("the content is in too many pieces")),
            _ => self.ranges.push(range),
        }
        Ok(())
    }
}

/// What a part has, decoded piece by piece.
pub(crate) struct Decoded<'a> {
    section: &'a dyn ContentSource,
    decoder: Decoder,
    /// The next octet to be decoded; none after the last.
    next: Option<u64>,
    end: u64,
}

impl<'a> Decoded<'a> {
    pub(crate) fn new(section: &'a dyn ContentSource, part: &Part) -> Self {
        Self { section, decoder: Decoder::new(part.encoding), next: Some(part.body.start), end: part.body.end }
    }

    /// The next octets (perhaps none), or None after the last.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(next) = self.next else { return Ok(None) };
        let mut octets = Vec::new();
        let wanted = usize::try_from(self.end.saturating_sub(next).min(PIECE)).unwrap_or_default();
        if wanted == 0 {
            self.decoder.finish(&mut octets);
            self.next = None;
            return Ok(Some(octets));
        }
        let piece = self.section.read(next, wanted).await?;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.next = Some(next + piece.len() as u64);
        self.decoder.push(&piece, &mut octets);
        Ok(Some(octets))
    }

    /// Were the octets given last the last ones?
    pub(crate) fn is_over(&self) -> bool {
        self.next.is_none()
    }
}

/// Is all of a part UTF-8?
pub(crate) async fn is_utf8(section: &dyn ContentSource, part: &Part) -> io::Result<bool> {
    let Some(mut text) = ToUtf8::new(Charset::Ascii, true) else { return Ok(false) };
    let mut decoded = Decoded::new(section, part);
    while let Some(octets) = decoded.next().await? {
        text.push(&octets, decoded.is_over(), &mut String::new());
        if text.is_lossy() {
            return Ok(false);
        }
    }
    Ok(true)
}
