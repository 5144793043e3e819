//! Lines of content that comes in pieces, of which no more is kept than what decides what a line is.

use super::MAX_PART_HEADER;

/// Octets of a line that are kept; longer than any delimiter, and a header line as long as this is too long.
const KEPT: usize = MAX_PART_HEADER + 1;

/// One line with its line end (the last line of the content may have none).
pub(super) struct Line<'a> {
    /// Where it starts, in octets from the start of the content.
    pub(super) start: u64,
    /// Where it ends, line end included.
    pub(super) end: u64,
    /// Octets of its line end: 2 for CRLF, 1 for a bare LF, 0 for none.
    pub(super) end_len: u64,
    /// Its first octets: all of them, if there are no more than are kept.
    pub(super) text: &'a [u8],
    /// Is there nothing but blanks after `text`?
    tail_is_blank: bool,
}

/// What a line is to a multipart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delimiter {
    /// `--boundary`: another part follows.
    Next,
    /// `--boundary--`: no more parts.
    Close,
}

impl Line<'_> {
    /// Is all of the line in `text`?
    pub(super) fn is_whole(&self) -> bool {
        self.text.len() as u64 == self.end - self.start
    }

    /// Nothing but a line end.
    pub(super) fn is_empty(&self) -> bool {
        self.end_len > 0 && self.end - self.start == self.end_len
    }

    /// RFC 2046 section 5.1.1: two hyphens, the boundary, two more hyphens at the last, blanks.
    pub(super) fn delimiter(&self, boundary: &[u8]) -> Option<Delimiter> {
        let rest = self.text.strip_prefix(b"--")?.strip_prefix(boundary)?;
        let is_blank = |rest: &[u8]| self.tail_is_blank && rest.iter().all(|b| is_blank(*b));
        if is_blank(rest) {
            return Some(Delimiter::Next);
        }
        rest.strip_prefix(b"--").filter(|rest| is_blank(rest)).map(|_| Delimiter::Close)
    }

    /// A header field, or the continuation of one (which the first line can't be); as the message's own header block
    /// is told from its body.
    pub(super) fn belongs_to_header(&self, is_first: bool) -> bool {
        match self.text.first() {
            Some(b' ' | b'\t') => !is_first,
            _ => memchr::memchr(b':', self.text).is_some_and(|colon| {
                let name = self.text[..colon].trim_ascii_end();
                !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
            }),
        }
    }
}

fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

/// Cuts pieces into lines. A line ends with LF; the CR before it belongs to its end.
#[derive(Debug)]
pub(super) struct Lines {
    /// First octets of the line that no piece has ended yet.
    held: Vec<u8>,
    held_tail_is_blank: bool,
    /// The last octet seen, for a CRLF that two pieces share.
    last: u8,
    /// Where the unended line starts.
    start: u64,
    /// Octets seen so far.
    at: u64,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { held: Vec::new(), held_tail_is_blank: true, last: 0, start: 0, at: 0 }
    }

    /// Takes the next piece and gives each line that it ends.
    pub(super) fn push(&mut self, mut piece: &[u8], each: &mut impl FnMut(&Line<'_>)) {
        while let Some(length) = memchr::memchr(b'\n', piece) {
            let (line, rest) = piece.split_at(length + 1);
            let end_len = if before_last(line, self.last) == b'\r' { 2 } else { 1 };
            self.at += line.len() as u64;
            if self.start + line.len() as u64 == self.at {
                let (text, tail) = line.split_at(line.len().min(KEPT));
                self.give(text, tail.iter().all(|b| is_blank(*b)), end_len, each);
            } else {
                self.hold(line);
                let held = std::mem::take(&mut self.held);
                self.give(&held, self.held_tail_is_blank, end_len, each);
                self.held = held;
            }
            self.held.clear();
            self.held_tail_is_blank = true;
            self.start = self.at;
            self.last = b'\n';
            piece = rest;
        }
        if let Some(last) = piece.last() {
            self.at += piece.len() as u64;
            self.hold(piece);
            self.last = *last;
        }
    }

    /// Gives the last line, if it had no line end, and says how many octets there were.
    pub(super) fn finish(self, each: &mut impl FnMut(&Line<'_>)) -> u64 {
        if self.start < self.at {
            self.give(&self.held, self.held_tail_is_blank, 0, each);
        }
        self.at
    }

    fn hold(&mut self, octets: &[u8]) {
        let (kept, tail) = octets.split_at(octets.len().min(KEPT - self.held.len()));
        self.held.extend_from_slice(kept);
        self.held_tail_is_blank &= tail.iter().all(|b| is_blank(*b));
    }

    fn give(&self, text: &[u8], tail_is_blank: bool, end_len: u64, each: &mut impl FnMut(&Line<'_>)) {
        each(&Line { start: self.start, end: self.at, end_len, text, tail_is_blank });
    }
}

/// The octet before the last of `line`, or what came before `line`.
fn before_last(line: &[u8], previous: u8) -> u8 {
    line.len().checked_sub(2).map_or(previous, |at| line[at])
}
