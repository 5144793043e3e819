//! The content codec of BDAT (RFC 3030): octets that are counted, so that nothing marks their end and no dot is stuffed.
//!
//! BINARYMIME is not offered, so the content is text: a bare CR, a bare LF or a NUL is a fault as it is after DATA, for
//! it could not be sent on by DATA.

use super::data::ContentFault;
use super::line::Line;
use crate::mail::Reply;
use bytes::{Bytes, BytesMut};

/// What follows the last octet of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkEnd {
    /// Another chunk.
    More,
    /// The content is complete.
    Last,
    /// The chunk belongs to no content: RFC 3030 section 2 has it read before it is refused.
    Refused(Reply),
}

/// The chunk that is being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Octets still to come.
    pub left: u64,
    /// What then.
    pub end: ChunkEnd,
}

impl Chunk {
    /// Takes what belongs to the chunk off the front of `input`.
    pub fn take(&mut self, input: &mut BytesMut) -> Bytes {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        self.left -= length as u64;
        input.split_to(length).freeze()
    }
}

/// Judges content that comes in pieces, wherever they are cut.
#[derive(Debug)]
pub struct TextJudge {
    after_cr: bool,
    line: Line,
}

impl TextJudge {
    /// At the start of the content; lines longer than `max_line` octets (line end not counted) are a fault.
    #[must_use]
    pub fn new(max_line: usize) -> Self {
        Self { after_cr: false, line: Line::new(max_line) }
    }

    /// The first fault so far.
    #[must_use]
    pub fn fault(&self) -> Option<ContentFault> {
        self.line.fault()
    }

    /// The next piece.
    pub fn judge(&mut self, mut piece: &[u8]) {
        while let Some(&first) = piece.first() {
            if self.after_cr {
                self.after_cr = false;
                if first == b'\n' {
                    self.line.ended();
                    piece = &piece[1..];
                    continue;
                }
                self.line.bad(ContentFault::BareLineEnd);
            }
            let special = memchr::memchr3(b'\r', b'\n', 0, piece);
            self.line.text(special.unwrap_or(piece.len()));
            let Some(special) = special else { return };
            match piece[special] {
                b'\r' => self.after_cr = true,
                b'\n' => self.line.bad(ContentFault::BareLineEnd),
                _ => self.line.bad(ContentFault::Nul),
            }
            piece = &piece[special + 1..];
        }
    }

    /// The end of the content: what it lacks to end with a line end, which DATA could not be without.
    ///
    /// # Errors
    /// The content can't be taken.
    pub fn finish(&mut self) -> Result<&'static [u8], ContentFault> {
        if self.after_cr {
            self.line.bad(ContentFault::BareLineEnd);
        }
        match self.line.fault() {
            Some(fault) => Err(fault),
            None if self.line.at_start => Ok(b""),
            None => Ok(b"\r\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the content is cut, it is judged the same.
    fn check(content: &[u8], expected: Result<&[u8], ContentFault>) {
        for step in 1..=content.len().max(1) {
            let mut judge = TextJudge::new(20);
            content.chunks(step).for_each(|piece| judge.judge(piece));
            assert_eq!(judge.finish(), expected, "{:?} by {step}", String::from_utf8_lossy(content));
        }
    }

    #[test]
    fn content() {
        check(b"", Ok(b""));
        check(b"a\r\n", Ok(b""));
        check(b"a\r\n.\r\nb", Ok(b"\r\n"));
        check(b"12345678901234567890\r\n", Ok(b""));
        check(b"123456789012345678901\r\n", Err(ContentFault::LongLine));
        for bare in [&b"a\nb\r\n"[..], b"a\rb\r\n", b"a\r", b"\n", b"a\r\r\n", b"a\r\n\n"] {
            check(bare, Err(ContentFault::BareLineEnd));
        }
        check(b"a\0b\r\n", Err(ContentFault::Nul));
    }

    #[test]
    fn a_chunk_ends_after_its_octets() {
        let mut chunk = Chunk { left: 3, end: ChunkEnd::Last };
        let mut input = BytesMut::from(&b"ab"[..]);
        assert_eq!((&chunk.take(&mut input)[..], chunk.left), (&b"ab"[..], 1));
        input.extend_from_slice(b"cQUIT");
        assert_eq!((&chunk.take(&mut input)[..], chunk.left, &input[..]), (&b"c"[..], 0, &b"QUIT"[..]));
    }
}
