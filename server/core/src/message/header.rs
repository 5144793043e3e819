//! The header block: found in the stream, read and edited field by field without touching the others.

use bytes::{Buf, Bytes, BytesMut};
use std::sync::Arc;

/// One header field with its line ends, exactly as it came in or was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    raw: Bytes,
    name_len: usize,
}

/// Why a field could not be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// RFC 5322 section 2.2: printable US-ASCII except colon.
    #[error("a header field name is one or more printable ASCII characters without colon or space")]
    Name,
    /// A CR, LF or NUL would end the field early and inject another.
    #[error("a header field value must not contain CR, LF or NUL")]
    Value,
    /// RFC 5322 section 2.1.1: the value has a stretch without white space that no line can hold.
    #[error("a header field line must not be longer than 998 octets, and the value can't be folded into such")]
    LineTooLong,
    /// The whole block would grow past [`HeaderBlock::MAX`].
    #[error("the header block would grow past 1 MiB")]
    TooLarge,
}

/// Where a new field goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Above all others, as trace fields do.
    Top,
    /// Below all others.
    Bottom,
}

/// The fields of a header block, in order, duplicates kept. Names compare without case.
///
/// Copies are cheap, and so is adding to one: each plugin works on a copy, and most edits add a field.
#[derive(Clone, Debug, Default)]
pub struct HeaderBlock {
    /// Added at the top.
    above: Vec<Field>,
    /// Shared by copies until a field of it is changed or removed.
    parsed: Arc<Vec<Field>>,
    /// Added at the bottom.
    below: Vec<Field>,
    len: usize,
    edited: bool,
}

impl Field {
    fn build(name: &str, value: &str) -> Result<Self, HeaderError> {
        if !is_name(name.as_bytes()) {
            return Err(HeaderError::Name);
        }
        if value.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return Err(HeaderError::Value);
        }
        // Before it is copied.
        if name.len().saturating_add(value.len()) > HeaderBlock::MAX {
            return Err(HeaderError::TooLarge);
        }
        let raw = fold(name, value);
        if raw.len() > MAX_LINE && raw.split(|b| *b == b'\n').any(|line| line.len() > MAX_LINE + 1) {
            return Err(HeaderError::LineTooLong);
        }
        Ok(Self { raw: raw.into(), name_len: name.len() })
    }

    /// The name as written.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.raw[..self.name_len]
    }

    /// What stands after the colon, folds and the last line end included.
    #[must_use]
    pub fn raw_value(&self) -> &[u8] {
        let after = memchr::memchr(b':', &self.raw).map_or(self.raw.len(), |colon| colon + 1);
        &self.raw[after..]
    }

    /// The value on one line: folds undone, white space around it trimmed, octets that are not UTF-8 replaced.
    #[must_use]
    pub fn value(&self) -> String {
        let raw = self.raw_value().trim_ascii();
        // Most values stand on one line.
        if memchr::memchr2(b'\r', b'\n', raw).is_none() {
            return String::from_utf8_lossy(raw).trim().to_owned();
        }
        let unfolded: Vec<u8> = raw.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
        String::from_utf8_lossy(&unfolded).trim().to_owned()
    }

    fn is(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name.as_bytes())
    }
}

impl HeaderBlock {
    /// Largest block that edits may make, in octets.
    pub const MAX: usize = 1 << 20;

    /// Reads a block as [`HeaderSplitter`] gives it.
    #[must_use]
    pub fn parse(block: &Bytes) -> Self {
        let mut fields = Vec::new();
        let mut start = 0;
        while start < block.len() {
            let end = end_of_field(block, start);
            let raw = block.slice(start..end);
            let colon = memchr::memchr(b':', &raw).unwrap_or(raw.len());
            let name_len = raw[..colon].trim_ascii_end().len();
            fields.push(Field { raw, name_len });
            start = end;
        }
        Self { parsed: Arc::new(fields), len: block.len(), ..Self::default() }
    }

    /// Has anything been added, changed or removed? If not, the block is to the octet what was parsed.
    #[must_use]
    pub fn is_edited(&self) -> bool {
        self.edited
    }

    /// The fields in order.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.above.iter().chain(self.parsed.iter()).chain(&self.below)
    }

    /// Octets of the block as it will be stored.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "octets, not fields: a block without fields is no special case")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many fields there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.above.len() + self.parsed.len() + self.below.len()
    }

    /// The field at `index`, from the top.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Field> {
        let parsed = index.wrapping_sub(self.above.len());
        let below = parsed.wrapping_sub(self.parsed.len());
        self.above.get(index).or_else(|| self.parsed.get(parsed)).or_else(|| self.below.get(below))
    }

    /// All fields called `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Field> {
        self.fields().filter(move |field| field.is(name))
    }

    /// The first field called `name`.
    pub fn first<'a>(&'a self, name: &'a str) -> Option<&'a Field> {
        self.all(name).next()
    }

    /// Adds a field. `value` is one line; it is folded at spaces and tabs where it is long.
    ///
    /// # Errors
    /// A name or value that could not stand in a header, or a block grown too large.
    pub fn add(&mut self, position: Position, name: &str, value: &str) -> Result<(), HeaderError> {
        let field = Field::build(name, value)?;
        self.grow(field.raw.len())?;
        match position {
            Position::Top => self.above.insert(0, field),
            Position::Bottom => self.below.push(field),
        }
        Ok(())
    }

    /// Gives the first field called `name` this value and removes its namesakes; adds it at the bottom if there is
    /// none.
    ///
    /// # Errors
    /// As [`HeaderBlock::add`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        let field = Field::build(name, value)?;
        if self.first(name).is_none() {
            return self.add(Position::Bottom, name, value);
        }
        self.grow(field.raw.len())?;
        let mut field = Some(field);
        self.retain(name, |first| field.take().map(|field| *first = field).is_some());
        Ok(())
    }

    /// Removes all fields called `name` and says how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        let before = self.count();
        if self.first(name).is_some() {
            self.retain(name, |_| false);
            self.edited = true;
        }
        before - self.count()
    }

    /// The block as it will be stored.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut block = BytesMut::with_capacity(self.len);
        for field in self.fields() {
            block.extend_from_slice(&field.raw);
        }
        block.freeze()
    }

    fn grow(&mut self, by: usize) -> Result<(), HeaderError> {
        if self.len + by > Self::MAX {
            return Err(HeaderError::TooLarge);
        }
        self.len += by;
        self.edited = true;
        Ok(())
    }

    /// Keeps of the fields called `name` those that `keep` says, which may change them.
    fn retain(&mut self, name: &str, mut keep: impl FnMut(&mut Field) -> bool) {
        let mut keep = |field: &mut Field| !field.is(name) || keep(field);
        self.above.retain_mut(&mut keep);
        if self.parsed.iter().any(|field| field.is(name)) {
            Arc::make_mut(&mut self.parsed).retain_mut(&mut keep);
        }
        self.below.retain_mut(&mut keep);
        self.len = self.fields().map(|field| field.raw.len()).sum();
    }
}

impl PartialEq for HeaderBlock {
    fn eq(&self, other: &Self) -> bool {
        self.edited == other.edited && self.fields().eq(other.fields())
    }
}

impl Eq for HeaderBlock {}

/// Longest line in octets, without its CRLF (RFC 5322 section 2.1.1).
const MAX_LINE: usize = 998;

/// Folds at spaces and tabs so that lines stay within 78 characters where they can (RFC 5322 section 2.1.1). Unfolding gives
/// the value back to the octet.
fn fold(name: &str, value: &str) -> Vec<u8> {
    const LINE: usize = 78;
    let mut raw = Vec::with_capacity(name.len() + value.len() + 8);
    raw.extend_from_slice(name.as_bytes());
    raw.push(b':');
    let mut column = raw.len();
    let mut has_text = false;
    if !value.starts_with([' ', '\t']) {
        raw.push(b' ');
        column += 1;
    }
    // Most values fit on the first line.
    if column + value.len() <= LINE {
        raw.extend_from_slice(value.as_bytes());
        raw.extend_from_slice(b"\r\n");
        return raw;
    }
    for word in value.split_inclusive([' ', '\t']) {
        let space = raw.last().copied().filter(|b| matches!(b, b' ' | b'\t'));
        // A fold before white space, and never one that would leave a line of white space alone.
        if column + word.trim_end().len() > LINE
            && has_text
            && !word.trim().is_empty()
            && let Some(space) = space
        {
            raw.pop();
            raw.extend_from_slice(&[b'\r', b'\n', space]);
            column = 1;
        }
        raw.extend_from_slice(word.as_bytes());
        column += word.len();
        has_text |= !word.trim().is_empty();
    }
    raw.extend_from_slice(b"\r\n");
    raw
}

/// RFC 5322 section 2.2: `ftext`.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| (33..=126).contains(b) && *b != b':')
}

/// Index after the field that starts at `start`: the first line end that no white space follows.
fn end_of_field(block: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(line_end) = memchr::memchr(b'\n', &block[at..]) {
        at += line_end + 1;
        if !matches!(block.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
    block.len()
}

/// Finds the end of the header block in content that comes in pieces.
///
/// The block ends before the first line that is neither a field nor a continuation of one: the empty line, or (in
/// content that has no proper header) a line of text, before which an empty line is put. A first line `From …` or
/// `>From …` is the separator of an mbox file that a client sent along; it is dropped.
#[derive(Debug)]
pub struct HeaderSplitter {
    held: BytesMut,
    /// Where the line begins that is not yet judged.
    line: usize,
    max: usize,
}

impl HeaderSplitter {
    /// A splitter that gives up on blocks longer than `max` octets.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { held: BytesMut::new(), line: 0, max }
    }

    /// Takes the next piece. Once the block has ended, gives it and the first bytes of the body section.
    ///
    /// # Errors
    /// The block is longer than `max`.
    pub fn push(&mut self, piece: &[u8]) -> Result<Option<(Bytes, Bytes)>, HeaderError> {
        self.held.extend_from_slice(piece);
        while let Some(length) = memchr::memchr(b'\n', &self.held[self.line..]) {
            let line = &self.held[self.line..=self.line + length];
            if self.line == 0 && is_mbox_separator(line) {
                self.held.advance(length + 1);
                continue;
            }
            if !belongs_to_header(line, self.line == 0) {
                let empty = line == b"\r\n";
                return self.end(empty).map(Some);
            }
            self.line += length + 1;
        }
        if self.held.len() > self.max {
            return Err(HeaderError::TooLarge);
        }
        Ok(None)
    }

    /// The content is over and no line ended the block.
    ///
    /// # Errors
    /// The block is longer than `max`.
    pub fn finish(mut self) -> Result<(Bytes, Bytes), HeaderError> {
        let empty = self.line == self.held.len();
        self.end(empty)
    }

    fn end(&mut self, section_is_proper: bool) -> Result<(Bytes, Bytes), HeaderError> {
        if self.line > self.max {
            return Err(HeaderError::TooLarge);
        }
        let mut held = std::mem::take(&mut self.held);
        let block = held.split_to(self.line).freeze();
        if section_is_proper {
            return Ok((block, held.freeze()));
        }
        let mut section = BytesMut::with_capacity(held.len() + 2);
        section.extend_from_slice(b"\r\n");
        section.extend_from_slice(&held);
        Ok((block, section.freeze()))
    }
}

/// `From ann@example.com Mon Jan  1 …`: a space where a field has its colon.
fn is_mbox_separator(line: &[u8]) -> bool {
    line.starts_with(b"From ") || line.starts_with(b">From ")
}

/// Is `line` (line end included) a field or the continuation of one?
fn belongs_to_header(line: &[u8], first: bool) -> bool {
    match line.first() {
        Some(b' ' | b'\t') => !first,
        _ => memchr::memchr(b':', line).is_some_and(|colon| is_name(line[..colon].trim_ascii_end())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(content: &[u8], step: usize) -> (Bytes, Vec<u8>) {
        let mut splitter = HeaderSplitter::new(1000);
        let mut pieces = content.chunks(step);
        while let Some(piece) = pieces.next() {
            if let Some((block, section)) = splitter.push(piece).unwrap() {
                return (block, [&section[..], &pieces.collect::<Vec<_>>().concat()].concat());
            }
        }
        let (block, section) = splitter.finish().unwrap();
        (block, section.to_vec())
    }

    #[test]
    fn splits_at_the_empty_line_however_it_is_cut() {
        let check = |content: &str, block: &str, section: &str| {
            for step in 1..=content.len().max(1) {
                let found = split(content.as_bytes(), step);
                assert_eq!(
                    (&found.0[..], &found.1[..]),
                    (block.as_bytes(), section.as_bytes()),
                    "{content:?} by {step}"
                );
            }
        };
        check("A: b\r\n c\r\n\r\nbody\r\n", "A: b\r\n c\r\n", "\r\nbody\r\n");
        check("\r\nbody\r\n", "", "\r\nbody\r\n");
        check("A: b\r\n", "A: b\r\n", "");
        check("A: b\r\ntext\r\n", "A: b\r\n", "\r\ntext\r\n");
        check(
            "text: with space before colon is a field : no\r\n",
            "text: with space before colon is a field : no\r\n",
            "",
        );
        check(" starts with a blank\r\n", "", "\r\n starts with a blank\r\n");
        check("A : b\r\n\r\n", "A : b\r\n", "\r\n");
        check("", "", "");
        check("no line end", "", "\r\nno line end");
        check("From a@b Mon Jan 1\r\nA: b\r\n\r\nFrom c\r\n", "A: b\r\n", "\r\nFrom c\r\n");
        check(">From a@b Mon Jan 1\r\n\r\nbody\r\n", "", "\r\nbody\r\n");
    }

    #[test]
    fn refuses_endless_headers() {
        let mut splitter = HeaderSplitter::new(100);
        assert_eq!(splitter.push(&[b'a'; 101]), Err(HeaderError::TooLarge));
    }

    #[test]
    fn edits_leave_the_other_fields_alone() {
        let mut block = HeaderBlock::parse(&Bytes::from_static(b"A: 1\r\nb:\r\n  2\r\nA: 3\r\nC: 4\r\n"));
        assert_eq!(block.count(), 4);
        assert_eq!(block.first("B").map(Field::value), Some("2".into()));
        assert_eq!(block.all("a").map(Field::value).collect::<Vec<_>>(), ["1", "3"]);
        block.set("a", "x").unwrap();
        block.add(Position::Top, "T", "top").unwrap();
        block.add(Position::Bottom, "Z", "").unwrap();
        assert_eq!(block.remove("c"), 1);
        assert_eq!(&block.to_bytes()[..], b"T: top\r\na: x\r\nb:\r\n  2\r\nZ: \r\n");
        assert_eq!(block.len, block.to_bytes().len());
    }

    /// The n-th field is the n-th in order, wherever it was put; copies keep their own.
    #[test]
    fn fields_are_counted_from_the_top() {
        let parsed = HeaderBlock::parse(&Bytes::from_static(b"A: 1\r\nB: 2\r\na: 3\r\n"));
        let mut block = parsed.clone();
        for (position, name) in [(Position::Top, "T"), (Position::Bottom, "a"), (Position::Top, "A")] {
            block.add(position, name, "new").unwrap();
        }
        let copy = block.clone();
        let names = |block: &HeaderBlock| {
            let by_index = (0..).map_while(|index| block.get(index)).collect::<Vec<_>>();
            assert_eq!(by_index, block.fields().collect::<Vec<_>>());
            assert_eq!((block.count(), block.len()), (by_index.len(), block.to_bytes().len()));
            by_index.into_iter().map(|field| String::from_utf8_lossy(field.name()).into_owned()).collect::<String>()
        };
        assert_eq!(names(&block), "ATABaa");
        block.set("a", "only").unwrap();
        assert_eq!((names(&block), block.first("A").map(Field::value)), ("aTB".into(), Some("only".into())));
        assert_eq!((block.remove("B"), block.remove("none")), (1, 0));
        assert_eq!((names(&block), names(&copy), names(&parsed)), ("aT".into(), "ATABaa".into(), "ABa".into()));
        assert!(block.is_edited() && !parsed.is_edited() && block != copy);
        assert_eq!(HeaderBlock::parse(&copy.to_bytes()).fields().count(), copy.count());
    }

    #[test]
    fn refuses_injection() {
        let mut block = HeaderBlock::default();
        for (name, value) in [("A", "b\r\nBcc: c"), ("A", "b\nc"), ("A", "b\0")] {
            assert_eq!(block.add(Position::Top, name, value), Err(HeaderError::Value));
        }
        for name in ["", "A:", "A b", "Ä", "A\r\nB"] {
            assert_eq!(block.add(Position::Top, name, "v"), Err(HeaderError::Name));
        }
        assert_eq!(block.set("A", &"x".repeat(HeaderBlock::MAX)), Err(HeaderError::TooLarge));
    }

    #[test]
    fn folds_long_values_and_unfolds_to_the_same() {
        let value = "word ".repeat(60);
        let field = Field::build("X-Long", value.trim()).unwrap();
        assert!(field.raw.split(|b| *b == b'\n').all(|line| line.len() <= 80), "{field:?}");
        assert_eq!(field.value(), value.trim());
        let tabs = Field::build("X-Long", &value.replace(' ', "\t")).unwrap();
        assert!(tabs.raw.split(|b| *b == b'\n').all(|line| line.len() <= 80), "{tabs:?}");
        assert_eq!(tabs.value(), value.trim().replace(' ', "\t"));
        let unbreakable = Field::build("X-Long", &"w".repeat(300)).unwrap();
        assert_eq!(unbreakable.value(), "w".repeat(300));
    }

    #[test]
    fn lines_that_no_server_would_take_are_refused() {
        // With `X: ` in front, 998 octets.
        let longest = "w".repeat(995);
        let field = Field::build("X", &longest).unwrap();
        assert_eq!((field.raw.len(), field.value()), (1000, longest.clone()));
        for value in [format!("{longest}w"), format!("a {}", "w".repeat(998)), format!("a{}b", " ".repeat(998))] {
            assert_eq!(Field::build("X", &value), Err(HeaderError::LineTooLong), "{value}");
        }
        let folded = Field::build("X", &format!("a {}\tb", "w".repeat(997))).unwrap();
        assert_eq!(folded.raw, format!("X: a\r\n {}\r\n\tb\r\n", "w".repeat(997)));
    }
}
