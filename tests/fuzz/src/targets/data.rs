//! Content after DATA: decoded alike whole, cut and by a reader that knows the whole; and what the client encodes comes
//! back as it was.

use crate::cut::cut;
use crate::wire::assert_clean;
use bytes::BytesMut;
use postern_core::smtp::client::{ContentEncoder, Unclean};
use postern_core::smtp::data::{ContentFault, DataDecoder, Decoded};

/// Short, so that lines that are too long are found.
const MAX_LINE: usize = 20;

#[derive(Debug, PartialEq, Eq)]
struct Found {
    content: Vec<u8>,
    fault: Option<ContentFault>,
    /// What followed the end, if it came.
    rest: Option<Vec<u8>>,
}

pub fn run(wire: &[u8]) {
    let whole = decode(&[wire], MAX_LINE);
    assert_eq!(whole, decode(&cut(wire), MAX_LINE));
    if let Some((content, rest)) = known(wire) {
        assert_eq!(whole.content, content);
        assert_eq!(whole.rest.as_deref(), Some(rest));
        assert_eq!(whole.fault.is_some(), is_faulty(&content), "{:?}", whole.fault);
    } else {
        assert_eq!(whole.rest, None);
    }
    check_encoder(wire);
}

fn decode(pieces: &[&[u8]], max_line: usize) -> Found {
    let mut decoder = DataDecoder::new(max_line);
    let (mut input, mut content) = (BytesMut::new(), Vec::new());
    let mut pieces = pieces.iter();
    loop {
        match decoder.decode(&mut input) {
            Decoded::Content(piece) => {
                assert!(!piece.is_empty());
                content.extend_from_slice(&piece);
            }
            Decoded::End => {
                pieces.for_each(|piece| input.extend_from_slice(piece));
                return Found { content, fault: decoder.fault(), rest: Some(input.to_vec()) };
            }
            Decoded::More => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => return Found { content, fault: decoder.fault(), rest: None },
            },
        }
    }
}

/// Content and rest, by looking for the one true end.
fn known(wire: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (stuffed, rest) = match wire.strip_prefix(b".\r\n") {
        Some(rest) => (&wire[..0], rest),
        None => {
            let end = wire.windows(5).position(|five| five == b"\r\n.\r\n")?;
            (&wire[..end + 2], &wire[end + 5..])
        }
    };
    let (mut content, mut at_start) = (Vec::new(), true);
    for (at, octet) in stuffed.iter().enumerate() {
        if !(at_start && *octet == b'.') {
            content.push(*octet);
        }
        at_start = *octet == b'\n' && at > 0 && stuffed[at - 1] == b'\r';
    }
    Some((content, rest))
}

fn is_faulty(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content).replace("\r\n", "");
    let lines = content.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    text.contains(['\r', '\n', '\0']) || lines.map(<[u8]>::len).any(|length| length > MAX_LINE)
}

fn check_encoder(content: &[u8]) {
    let encoded = |pieces: &[&[u8]]| -> Result<Vec<u8>, Unclean> {
        let (mut encoder, mut out) = (ContentEncoder::new(), Vec::new());
        pieces.iter().try_for_each(|piece| encoder.encode(piece, &mut out))?;
        encoder.finish(&mut out)?;
        Ok(out)
    };
    let wire = encoded(&[content]);
    assert_eq!(wire, encoded(&cut(content)));
    let without_ends = String::from_utf8_lossy(content).replace("\r\n", "");
    assert_eq!(wire.is_err(), without_ends.contains(['\r', '\n', '\0']));
    if let Ok(wire) = wire {
        assert_clean(&wire, "encoded content");
        let line_end: &[u8] = if content.is_empty() || content.ends_with(b"\r\n") { b"" } else { b"\r\n" };
        let expected = Found { content: [content, line_end].concat(), fault: None, rest: Some(Vec::new()) };
        assert_eq!(decode(&[&wire], usize::MAX), expected);
    }
}
