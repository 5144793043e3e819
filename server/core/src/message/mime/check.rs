//! What new content of a part must be before it goes into a message, read once in pieces.

use super::lines::{Line, Lines};
use crate::message::ContentSource;
use std::io;

const CHUNK: usize = 64 << 10;

/// What was found in content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// NUL, or CR or LF without the other.
    pub(super) bad_octets: bool,
    /// Octets above 127.
    pub(super) is_8bit: bool,
    /// A line that one of the boundaries makes a delimiter.
    pub(super) delimiter: bool,
    /// The last line has its line end, or there is no line.
    pub(super) ends_with_line_end: bool,
}

/// Reads all of `source`.
pub(super) async fn check(source: &dyn ContentSource, boundaries: &[&str]) -> io::Result<Found> {
    let mut found = Found { ends_with_line_end: true, ..Found::default() };
    let mut lines = Lines::new();
    let mut offset = 0;
    let mut last = 0;
    while offset < source.len() {
        let piece = source.read(offset, CHUNK).await?;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += piece.len() as u64;
        found.bad_octets |= has_bad_octets(&piece, &mut last);
        found.is_8bit |= !piece.is_ascii();
        lines.push(&piece, &mut |line| found.delimiter |= is_delimiter(line, boundaries));
    }
    lines.finish(&mut |line| {
        found.delimiter |= is_delimiter(line, boundaries);
        found.ends_with_line_end = false;
    });
    found.bad_octets |= last == b'\r';
    Ok(found)
}

fn is_delimiter(line: &Line<'_>, boundaries: &[&str]) -> bool {
    boundaries.iter().any(|boundary| line.delimiter(boundary.as_bytes()).is_some())
}

/// NUL, or CR or LF without the other; `last` is the octet before `piece`, and its last one afterwards.
fn has_bad_octets(piece: &[u8], last: &mut u8) -> bool {
    let Some(end) = piece.last() else {
        return false;
    };
    let before = std::mem::replace(last, *end);
    let first_is_bad = (before == b'\r') != (piece[0] == b'\n');
    first_is_bad
        || memchr::memchr(0, piece).is_some()
        || memchr::memchr2_iter(b'\r', b'\n', piece).any(|at| match piece[at] {
            b'\r' => piece.get(at + 1).is_some_and(|next| *next != b'\n'),
            _ => at > 0 && piece[at - 1] != b'\r',
        })
}
