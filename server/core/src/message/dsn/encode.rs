//! How the parts of a DSN are written: fields that stay on their line, transfer encodings, what is cut off.

use super::MAX_ORIGINAL;
use crate::message::HeaderBlock;
use std::fmt::Write as _;

/// Appends `Name: value`, printable ASCII, folded within 78 characters where it can be and always within 998.
pub(super) fn field(out: &mut String, name: &str, value: &str) {
    fold(out, name, &ascii(value));
}

/// As [`field`], for a value that may have UTF-8 in it (RFC 6533 section 3) and was validated.
pub(super) fn utf8_field(out: &mut String, name: &str, value: &str) {
    fold(out, name, value);
}

/// Printable ASCII: other characters as `\x{HEX}`, control characters as spaces.
fn ascii(value: &str) -> String {
    let mut clean = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            ' '..='~' => clean.push(c),
            c if c.is_control() => clean.push(' '),
            c => {
                // Writing to a String does not fail.
                let _ = write!(clean, "\\x{{{:02X}}}", u32::from(c));
            }
        }
    }
    clean
}

fn fold(out: &mut String, name: &str, clean: &str) {
    const LINE: usize = 78;
    // With its name and a space still short enough not to be encoded.
    const WORD: usize = 800;
    let _ = write!(out, "{name}:");
    let mut column = name.len() + 1;
    for word in clean.split(' ').filter(|word| !word.is_empty()) {
        let mut rest = word;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(WORD));
            if column + 1 + piece.len() > LINE && column > name.len() + 1 {
                out.push_str("\r\n");
                column = 0;
            }
            out.push(' ');
            out.push_str(piece);
            column += 1 + piece.len();
            rest = after;
        }
    }
    out.push_str("\r\n");
}

/// A display name (RFC 5322 section 3.2.5): quoted, or as encoded words (RFC 2047) if it is not ASCII.
pub(super) fn display_name(name: &str) -> String {
    let clean: String = name.chars().filter(|c| !c.is_control()).collect();
    if clean.is_ascii() {
        return format!("\"{}\"", clean.replace('\\', "\\\\").replace('"', "\\\""));
    }
    let mut words = Vec::new();
    let mut word = String::new();
    for c in clean.chars() {
        let mut encoded = String::new();
        if c.is_ascii_alphanumeric() {
            encoded.push(c);
        } else {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| {
                let _ = write!(encoded, "={b:02X}");
            });
        }
        // RFC 2047 section 2: 75 characters, and no character split between words.
        if word.len() + encoded.len() > 60 {
            words.push(std::mem::take(&mut word));
        }
        word.push_str(&encoded);
    }
    words.push(word);
    words.iter().map(|word| format!("=?utf-8?Q?{word}?=")).collect::<Vec<_>>().join(" ")
}

/// As many whole fields from the top as fit.
pub(super) fn cut_original(header: &HeaderBlock) -> Vec<u8> {
    let block = header.to_bytes();
    if block.len() <= MAX_ORIGINAL {
        return block.to_vec();
    }
    let end = memchr::memmem::rfind(&block[..MAX_ORIGINAL], b"\r\n").map_or(MAX_ORIGINAL, |end| end + 2);
    block[..end].to_vec()
}

/// As it is, if 8-bit text is `welcome` and its lines are such as SMTP has; else encoded.
pub(super) fn clear_or_encoded(bytes: &[u8], welcome: bool) -> (&'static str, Vec<u8>) {
    if welcome && !bytes.is_ascii() && memchr::memchr(0, bytes).is_none() && has_lines(bytes) {
        return ("8bit", bytes.to_vec());
    }
    encode_bytes(bytes)
}

/// The transfer encoding and the text in it.
pub(super) fn encode_bytes(bytes: &[u8]) -> (&'static str, Vec<u8>) {
    if bytes.iter().all(|b| matches!(b, b' '..=b'~' | b'\t' | b'\r' | b'\n')) && has_lines(bytes) {
        ("7bit", bytes.to_vec())
    } else {
        ("quoted-printable", quoted_printable(bytes).into_bytes())
    }
}

/// Lines that end with CR LF and are of a length for SMTP?
fn has_lines(bytes: &[u8]) -> bool {
    let ends = memchr::memmem::find_iter(bytes, b"\r\n").count();
    memchr::memchr2_iter(b'\r', b'\n', bytes).count() == 2 * ends
        && bytes.split(|b| *b == b'\n').all(|line| line.len() <= 900)
}

/// RFC 2045 section 6.7, for content with CRLF line ends.
fn quoted_printable(bytes: &[u8]) -> String {
    const LINE: usize = 72;
    let mut out = String::with_capacity(bytes.len() * 2);
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let (line, end) = match line.strip_suffix(b"\r\n") {
            Some(line) => (line, "\r\n"),
            None => (line, ""),
        };
        let mut column = 0;
        for (at, b) in line.iter().enumerate() {
            if column >= LINE {
                out.push_str("=\r\n");
                column = 0;
            }
            let blank_at_end = matches!(b, b' ' | b'\t') && at + 1 == line.len();
            if matches!(b, b' '..=b'~' | b'\t') && *b != b'=' && !blank_at_end {
                out.push(char::from(*b));
                column += 1;
            } else {
                let _ = write!(out, "={b:02X}");
                column += 3;
            }
        }
        out.push_str(end);
    }
    out
}
