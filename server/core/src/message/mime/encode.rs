//! Octets to transfer encodings, piece by piece. No NUL, bare CR or bare LF ever leaves, no line is longer than 76
//! octets, and no line starts like a delimiter.

use super::TransferEncoding;
use super::fields::is_composite;

/// Octets of one line of base64: 76 symbols.
const BASE64_OCTETS: usize = 57;

/// Characters of a line of quoted-printable, the `=` of a soft line break included (RFC 2045 section 6.7).
const QUOTED_LINE: usize = 76;

/// An encoding that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 2045 section 6.8: for octets of any kind.
    Base64,
    /// RFC 2045 section 6.7, as text: CRLF stays a line end, and a bare CR or LF becomes one.
    QuotedPrintable,
}

/// Why content of a type can't be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the content of multipart/* and message/* must not be in base64 or quoted-printable")]
pub struct NotEncodable;

impl From<Coding> for TransferEncoding {
    fn from(coding: Coding) -> Self {
        match coding {
            Coding::Base64 => Self::Base64,
            Coding::QuotedPrintable => Self::QuotedPrintable,
        }
    }
}

/// The encoding for content of a media type (`type/subtype`, parameters may follow): text as quoted-printable, all
/// else as base64. Text in a charset whose line ends are not CRLF, such as UTF-16, is not text in this sense: ask for
/// base64.
///
/// # Errors
/// multipart/* and message/* (RFC 2045 section 6.4).
pub fn choose(media_type: &str) -> Result<Coding, NotEncodable> {
    let media_type = media_type.trim_start().to_ascii_lowercase();
    if is_composite(&media_type) {
        Err(NotEncodable)
    } else if media_type.starts_with("text/") {
        Ok(Coding::QuotedPrintable)
    } else {
        Ok(Coding::Base64)
    }
}

/// Encodes content piece by piece. Holds less than a line.
#[derive(Debug)]
pub struct Encoder {
    state: State,
}

#[derive(Debug)]
enum State {
    Base64(Base64),
    QuotedPrintable(QuotedPrintable),
}

impl Encoder {
    /// An encoder.
    #[must_use]
    pub fn new(coding: Coding) -> Self {
        let state = match coding {
            Coding::Base64 => State::Base64(Base64::default()),
            Coding::QuotedPrintable => State::QuotedPrintable(QuotedPrintable::default()),
        };
        Self { state }
    }

    /// Takes the next piece and appends what it encodes to: at most some three times its length.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match &mut self.state {
            State::Base64(base64) => base64.push(piece, out),
            State::QuotedPrintable(quoted) => piece.iter().for_each(|b| quoted.push(*b, out)),
        }
    }

    /// The content is over: appends what was held back. There is no line end after the last line, unless the content
    /// ended with one: [`super::edit()`] adds it where it is wanted. The encoder is then as new.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match &mut self.state {
            State::Base64(base64) => base64.finish(out),
            State::QuotedPrintable(quoted) => quoted.finish(out),
        }
    }
}

#[derive(Debug, Default)]
struct Base64 {
    /// Less than a line.
    held: Vec<u8>,
    /// A line stands before the next one.
    has_line: bool,
}

impl Base64 {
    fn push(&mut self, mut piece: &[u8], out: &mut Vec<u8>) {
        while self.held.len() + piece.len() >= BASE64_OCTETS {
            let (now, rest) = piece.split_at(BASE64_OCTETS - self.held.len());
            self.held.extend_from_slice(now);
            self.line(out);
            piece = rest;
        }
        self.held.extend_from_slice(piece);
    }

    fn line(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_line, true) {
            out.extend_from_slice(b"\r\n");
        }
        let start = out.len();
        out.resize(start + data_encoding::BASE64.encode_len(self.held.len()), 0);
        data_encoding::BASE64.encode_mut(&self.held, &mut out[start..]);
        self.held.clear();
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.held.is_empty() {
            self.line(out);
        }
        self.has_line = false;
    }
}

#[derive(Debug, Default)]
struct QuotedPrintable {
    column: usize,
    /// A space or tab, or a CR, about which the next octet decides.
    held: Option<u8>,
}

impl QuotedPrintable {
    fn push(&mut self, b: u8, out: &mut Vec<u8>) {
        match (self.held.take(), b) {
            (Some(b'\r'), b'\n') => return self.line_end(out),
            (Some(b'\r'), _) => self.line_end(out),
            // A blank at the end of a line would be lost on the way.
            (Some(blank), b'\r' | b'\n') => self.escaped(blank, out),
            (Some(blank), _) => self.literal(blank, out),
            (None, _) => {}
        }
        match b {
            b' ' | b'\t' | b'\r' => self.held = Some(b),
            b'\n' => self.line_end(out),
            // What is not escaped at the start of a line could make a delimiter of it.
            b'-' if self.column == 0 => self.escaped(b, out),
            b'!'..=b'<' | b'>'..=b'~' => self.literal(b, out),
            _ => self.escaped(b, out),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        match self.held.take() {
            Some(b'\r') => self.line_end(out),
            Some(blank) => self.escaped(blank, out),
            None => {}
        }
        self.column = 0;
    }

    fn literal(&mut self, b: u8, out: &mut Vec<u8>) {
        if self.make_room(1, out) && b == b'-' {
            return self.escaped(b, out);
        }
        out.push(b);
        self.column += 1;
    }

    fn escaped(&mut self, b: u8, out: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        self.make_room(3, out);
        out.extend_from_slice(&[b'=', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        self.column += 3;
    }

    /// Breaks the line if `width` more characters and the `=` of a soft line break don't fit, and says whether it did.
    fn make_room(&mut self, width: usize, out: &mut Vec<u8>) -> bool {
        let is_full = self.column + width >= QUOTED_LINE;
        if is_full {
            out.extend_from_slice(b"=\r\n");
            self.column = 0;
        }
        is_full
    }

    fn line_end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
        self.column = 0;
    }
}
