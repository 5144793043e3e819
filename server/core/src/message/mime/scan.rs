//! Finds the parts of a body section (RFC 2046 section 5.1), line by line, in one pass.
//!
//! A delimiter is looked for from the innermost open multipart outwards, so that the delimiter of an outer one ends
//! inner ones that were never closed. After its close delimiter a multipart has an epilogue, in which its own
//! delimiters mean nothing any more. The line end before a delimiter belongs to the delimiter, unless it ends the
//! header of an empty part.

use super::fields::{ContentFields, is_seal};
use super::lines::{Delimiter, Line, Lines};
use super::part::default_type;
use super::{Kind, MAX_BOUNDARY, MAX_DEPTH, MAX_PART_HEADER, MAX_PART_HEADERS, MAX_PARTS, Part, Structure};
use crate::message::{ContentSource, HeaderBlock};
use bytes::Bytes;
use std::io;

/// Octets asked for at a time.
const CHUNK: usize = 64 << 10;

/// The parts of a message: `header` is its header block, `section` its body section (the empty line and the body).
///
/// Reads `section` once from start to end, 64 KiB at a time, and keeps no more than the headers of parts.
///
/// # Errors
/// The section can't be read, or is shorter than it says. Malformed content is no error.
pub async fn scan(header: &HeaderBlock, section: &dyn ContentSource) -> io::Result<Structure> {
    scan_in_chunks(header, section, CHUNK).await
}

/// [`scan()`], asking for `chunk` octets at a time.
pub(super) async fn scan_in_chunks(
    header: &HeaderBlock,
    section: &dyn ContentSource,
    chunk: usize,
) -> io::Result<Structure> {
    let mut lines = Lines::new();
    let mut scanner = Scanner::new(header);
    let mut offset = 0;
    while offset < section.len() {
        let piece = section.read(offset, chunk).await?;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += piece.len() as u64;
        lines.push(&piece, &mut |line| scanner.line(line));
    }
    let len = lines.finish(&mut |line| scanner.line(line));
    Ok(scanner.finish(len))
}

/// A multipart whose end has not been seen.
struct Frame {
    part: usize,
    boundary: Vec<u8>,
    children: usize,
    /// Its close delimiter has been seen.
    is_closed: bool,
}

/// What the next line is read as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The empty line with which the body section starts.
    Start,
    /// The header of the current part.
    Header,
    /// The body of the current part, a preamble or an epilogue.
    Body,
    /// There were too many parts: all that follows belongs to the last.
    Rest,
}

struct Scanner {
    state: State,
    parts: Vec<Part>,
    /// Outermost first.
    frames: Vec<Frame>,
    /// The part whose header or leaf body is being read.
    current: Option<usize>,
    /// Header of the current part so far, as far as it is kept.
    header: Vec<u8>,
    /// Not all of it was: none of it will be.
    header_is_long: bool,
    /// Octets of headers kept so far.
    kept: usize,
    /// Octets of the line end before the line being read.
    end_before: u64,
}

impl Scanner {
    fn new(header: &HeaderBlock) -> Self {
        let mut scanner = Self {
            state: State::Start,
            parts: vec![Part::new(None, String::new(), 0, 0)],
            frames: Vec::new(),
            current: Some(0),
            header: Vec::new(),
            header_is_long: false,
            kept: 0,
            end_before: 0,
        };
        scanner.describe(0, ContentFields::read(header, "text/plain"));
        scanner
    }

    fn line(&mut self, line: &Line<'_>) {
        match self.state {
            State::Rest => return,
            State::Start => {
                self.state = State::Body;
                if line.is_empty() {
                    self.parts[0].body.start = line.end;
                } else {
                    self.body_line(line);
                }
            }
            State::Header | State::Body => self.body_line(line),
        }
        self.end_before = line.end_len;
    }

    fn body_line(&mut self, line: &Line<'_>) {
        if line.text.starts_with(b"--")
            && let Some((frame, delimiter)) = self.delimiter(line)
        {
            self.end_within(frame, line.start);
            match delimiter {
                Delimiter::Close => self.frames[frame].is_closed = true,
                Delimiter::Next => self.open(frame, line),
            }
        } else if self.state == State::Header
            && let Some(current) = self.current
        {
            self.header_line(current, line);
        }
    }

    fn delimiter(&self, line: &Line<'_>) -> Option<(usize, Delimiter)> {
        let open = self.frames.iter().enumerate().rev().filter(|(_, frame)| !frame.is_closed);
        open.into_iter().find_map(|(index, frame)| Some((index, line.delimiter(&frame.boundary)?)))
    }

    fn header_line(&mut self, current: usize, line: &Line<'_>) {
        let is_first = line.start == self.parts[current].header.start;
        if line.is_empty() {
            self.end_header(current, line.start, line.end);
        } else if line.belongs_to_header(is_first) {
            if line.is_whole() && self.header.len() + line.text.len() <= MAX_PART_HEADER {
                self.header.extend_from_slice(line.text);
            } else {
                self.header_is_long = true;
            }
        } else {
            // A body without the empty line before it; what it starts with may be a delimiter of the part itself.
            self.end_header(current, line.start, line.start);
            self.body_line(line);
        }
    }

    fn end_header(&mut self, index: usize, end: u64, body: u64) {
        self.state = State::Body;
        let raw_header = Bytes::from(std::mem::take(&mut self.header));
        let is_long = std::mem::take(&mut self.header_is_long) || self.kept + raw_header.len() > MAX_PART_HEADERS;
        let part = &mut self.parts[index];
        part.header.end = end;
        part.body = body..body;
        if is_long {
            return self.describe(index, None);
        }
        self.kept += raw_header.len();
        part.raw_header = raw_header;
        let part = &self.parts[index];
        let parent = part.parent.map(|parent| &self.parts[parent]);
        let fields = ContentFields::read(&part.header_block(), default_type(parent));
        self.describe(index, fields);
    }

    /// Says what the part is, by its fields or without them, and makes a multipart the innermost one.
    fn describe(&mut self, index: usize, fields: Option<ContentFields>) {
        let is_within_seal = self.parts[index].parent.is_some_and(|parent| self.parts[parent].is_sealed);
        let part = &mut self.parts[index];
        match fields {
            Some(fields) => part.take_fields(fields),
            None => part.kind = Kind::Opaque,
        }
        part.is_sealed = is_within_seal || is_seal(&part.media_type);
        if part.media_type.starts_with("multipart/") {
            let boundary = part.boundary().filter(|boundary| boundary.len() <= MAX_BOUNDARY).map(str::as_bytes);
            if let Some(boundary) = boundary.filter(|_| self.frames.len() < MAX_DEPTH) {
                let boundary = boundary.to_vec();
                self.frames.push(Frame { part: index, boundary, children: 0, is_closed: false });
                self.current = None;
                part.kind = Kind::Multipart;
            } else {
                part.kind = Kind::Opaque;
            }
        }
    }

    /// Starts the part after the delimiter `line` of `frame`.
    fn open(&mut self, frame: usize, line: &Line<'_>) {
        let index = self.parts.len();
        let frame = &mut self.frames[frame];
        frame.children += 1;
        let parent = &self.parts[frame.part];
        let section = match parent.section.as_str() {
            "" => frame.children.to_string(),
            outer => format!("{outer}.{}", frame.children),
        };
        let mut part = Part::new(Some(frame.part), section, line.start, line.end);
        part.is_sealed = parent.is_sealed;
        self.state = State::Header;
        if index + 1 == MAX_PARTS {
            part.kind = Kind::Opaque;
            self.state = State::Rest;
        }
        self.parts.push(part);
        self.current = Some(index);
    }

    /// Ends what lies within `frame`: a delimiter starts at `line`.
    fn end_within(&mut self, frame: usize, line: u64) {
        if self.state == State::Header
            && let Some(current) = self.current
        {
            self.end_header(current, line, line);
        }
        self.end_parts(frame + 1, line.saturating_sub(self.end_before), Some(line));
        self.state = State::Body;
    }

    /// Ends the current part and all multiparts from `frame` inwards at `end`.
    fn end_parts(&mut self, frame: usize, end: u64, next: Option<u64>) {
        let frames = self.frames.drain(frame..).rev().map(|frame| (frame.part, frame.children));
        // A part can't end before those within it do.
        let mut end = end;
        for (index, children) in self.current.take().map(|leaf| (leaf, 1)).into_iter().chain(frames) {
            let part = &mut self.parts[index];
            end = end.max(part.body.start);
            part.body.end = end;
            part.next = next;
            if children == 0 {
                part.kind = Kind::Opaque;
            }
        }
    }

    fn finish(mut self, len: u64) -> Structure {
        if self.state == State::Header
            && let Some(current) = self.current
        {
            self.end_header(current, len, len);
        }
        self.end_parts(0, len, None);
        if self.parts[0].kind != Kind::Multipart {
            self.parts[0].section = "1".into();
        }
        Structure { parts: self.parts, len }
    }
}
