//! The header block: found alike whole and cut, kept to the octet, and edited without a field that nobody asked for.
//!
//! The input is three texts with `0xff` between them: a name, a value, and content.

use crate::cut::cut;
use crate::wire::{assert_clean, assert_lines};
use bytes::Bytes;
use postern_core::mail::{Envelope, QueueId, ReversePath};
use postern_core::message::{Completion, HeaderBlock, HeaderError, HeaderSplitter, Position, decode_words};
use postern_core::time::Timestamp;

const MAX: usize = 4096;

pub fn run(input: &[u8]) {
    let mut texts = input.splitn(3, |octet| *octet == 0xff);
    let (name, value) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
    let content = texts.next().unwrap_or(input);
    let whole = split(&[content]);
    let in_pieces = split(&cut(content));
    // Where a block is too long, the splitter may see it a piece earlier.
    if let (Ok(whole), Ok(pieces)) = (&whole, &in_pieces) {
        assert_eq!(whole, pieces);
    }
    let Ok((block, section)) = whole else { return };
    assert!(content.ends_with(&section) || content.ends_with(&section[2..]));
    let header = HeaderBlock::parse(&block);
    assert_eq!((header.to_bytes(), header.len()), (block.clone(), block.len()));
    for field in header.fields() {
        assert!(!field.name().is_empty() && !field.name().contains(&b'\n'));
        assert!(!field.value().contains(['\r', '\n']));
        assert!(!decode_words(field.value()).contains(char::is_control));
    }
    if let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) {
        check_edits(&header, name, value);
    }
    check_completion(header);
}

fn split(pieces: &[&[u8]]) -> Result<(Bytes, Vec<u8>), HeaderError> {
    let mut splitter = HeaderSplitter::new(MAX);
    for (index, piece) in pieces.iter().enumerate() {
        if let Some((block, start)) = splitter.push(piece)? {
            return Ok((block, [&start[..], &pieces[index + 1..].concat()].concat()));
        }
    }
    splitter.finish().map(|(block, start)| (block, start.to_vec()))
}

/// Reads a block again, as the next server will.
fn again(header: &HeaderBlock) -> HeaderBlock {
    let block = header.to_bytes();
    assert_eq!(header.len(), block.len());
    let again = HeaderBlock::parse(&block);
    assert_eq!(again.count(), header.count(), "{}", block.escape_ascii());
    again
}

fn check_edits(header: &HeaderBlock, name: &str, value: &str) {
    let ends_properly = header.count() == 0 || header.to_bytes().ends_with(b"\n");
    for position in [Position::Top, Position::Bottom] {
        let mut edited = header.clone();
        if (position == Position::Bottom && !ends_properly) || edited.add(position, name, value).is_err() {
            continue;
        }
        let again = again(&edited);
        assert_eq!(again.count(), header.count() + 1);
        let index = if position == Position::Top { 0 } else { header.count() };
        let field = again.get(index).expect("it was added");
        assert_eq!((field.name(), field.value().as_str()), (name.as_bytes(), value.trim()));
        let written = [field.name(), b":", field.raw_value()].concat();
        assert_clean(&written, "a field");
        assert_lines(&written, 998, "a field");
    }
    let mut edited = header.clone();
    if ends_properly && edited.set(name, value).is_ok() {
        let others = header.fields().filter(|field| !field.name().eq_ignore_ascii_case(name.as_bytes())).count();
        let again = again(&edited);
        assert_eq!((again.all(name).count(), again.count()), (1, others + 1));
    }
    let mut edited = header.clone();
    let removed = edited.remove(name);
    assert_eq!((again(&edited).all(name).count(), edited.count()), (0, header.count() - removed));
}

/// What every submitted message gets.
fn check_completion(mut header: HeaderBlock) {
    let path = ReversePath::Path("from@example.com".parse().expect("an address"));
    let envelope = Envelope::new(path);
    let completion = Completion {
        hostname: "mta.example.com",
        queue_id: QueueId(1),
        now: Timestamp(1_795_428_000_000),
        trust_headers: true,
        future_date: true,
        max_hops: 25,
    };
    let ends_properly = header.count() == 0 || header.to_bytes().ends_with(b"\n");
    if completion.apply(&mut header, &envelope).is_ok() && ends_properly {
        let again = again(&header);
        for (name, times) in [("From", 1), ("Bcc", 0), ("X-Sending-Zone", 0)] {
            assert_eq!(again.all(name).count(), times, "{name}");
        }
        for name in ["Date", "Message-ID"] {
            assert!(again.first(name).is_some(), "{name}");
        }
    }
}
