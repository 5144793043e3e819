//! Transfer encodings to octets, piece by piece, liberally: nothing is an error, what makes no sense is skipped
//! (base64) or kept as it is (quoted-printable).

use super::TransferEncoding;

/// Symbols of base64 that are decoded at a time; a multiple of four.
const SYMBOLS: usize = 4096;

/// Blanks that are held back at a time, to be dropped at the end of a line.
const BLANKS: usize = 1024;

/// Turns a body in its transfer encoding into octets. Holds at most a few KiB.
#[derive(Debug)]
pub struct Decoder {
    state: State,
}

#[derive(Debug)]
enum State {
    Identity,
    Base64(Base64),
    QuotedPrintable(QuotedPrintable),
}

impl Decoder {
    /// A decoder of `encoding`; what is unknown is passed on as it is.
    #[must_use]
    pub fn new(encoding: TransferEncoding) -> Self {
        let state = match encoding {
            TransferEncoding::Base64 => State::Base64(Base64::default()),
            TransferEncoding::QuotedPrintable => State::QuotedPrintable(QuotedPrintable::default()),
            _ => State::Identity,
        };
        Self { state }
    }

    /// Takes the next piece and appends what it decodes to; `out` grows by no more than `piece` and 4 KiB.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match &mut self.state {
            State::Identity => out.extend_from_slice(piece),
            State::Base64(base64) => base64.push(piece, out),
            State::QuotedPrintable(quoted) => piece.iter().for_each(|b| quoted.push(*b, out)),
        }
    }

    /// The body is over: appends what was held back. The decoder is then as new.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match &mut self.state {
            State::Identity => {}
            State::Base64(base64) => base64.end_of_data(out),
            State::QuotedPrintable(quoted) => quoted.finish(out),
        }
    }
}

/// RFC 2045 section 6.8. `=` ends a quantum, also where more data follows, as in pieces that were encoded one by one.
#[derive(Debug, Default)]
struct Base64 {
    symbols: Vec<u8>,
}

impl Base64 {
    fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for b in piece {
            match b {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => {
                    self.symbols.push(*b);
                    if self.symbols.len() == SYMBOLS {
                        self.quanta(out);
                    }
                }
                b'=' => self.end_of_data(out),
                _ => {}
            }
        }
        self.quanta(out);
    }

    /// Decodes all whole quanta.
    fn quanta(&mut self, out: &mut Vec<u8>) {
        let whole = self.symbols.len() / 4 * 4;
        let start = out.len();
        out.resize(start + whole / 4 * 3, 0);
        let decoded = data_encoding::BASE64.decode_mut(&self.symbols[..whole], &mut out[start..]);
        debug_assert!(decoded.is_ok(), "quanta of nothing but symbols");
        self.symbols.drain(..whole);
    }

    /// Decodes also the quantum that has come only in part: two symbols are one octet, three are two.
    fn end_of_data(&mut self, out: &mut Vec<u8>) {
        self.quanta(out);
        let octets = self.symbols.len().saturating_sub(1);
        if octets > 0 {
            let end = out.len() + octets;
            self.symbols.resize(4, b'A');
            self.quanta(out);
            out.truncate(end);
        }
        self.symbols.clear();
    }
}

/// RFC 2045 section 6.7.
#[derive(Debug, Default)]
struct QuotedPrintable {
    after: After,
    /// Blanks that are dropped if the line ends now.
    blanks: Vec<u8>,
}

/// What came last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum After {
    #[default]
    Text,
    /// `=`, and perhaps blanks.
    Equals,
    /// `=` and a hexadecimal digit.
    Digit(u8),
    /// `=`, perhaps blanks, and CR.
    SoftReturn,
}

impl QuotedPrintable {
    fn push(&mut self, b: u8, out: &mut Vec<u8>) {
        match self.after {
            After::Text => self.text(b, out),
            After::Equals => self.equals(b, out),
            After::Digit(first) => {
                self.after = After::Text;
                if let (Some(high), Some(low)) = (hex(first), hex(b)) {
                    out.push(high << 4 | low);
                } else {
                    out.extend_from_slice(&[b'=', first]);
                    self.text(b, out);
                }
            }
            After::SoftReturn => {
                self.after = After::Text;
                if b != b'\n' {
                    self.text(b, out);
                }
            }
        }
    }

    fn text(&mut self, b: u8, out: &mut Vec<u8>) {
        match b {
            b'=' => {
                out.append(&mut self.blanks);
                self.after = After::Equals;
            }
            b' ' | b'\t' => self.hold(b, out),
            b'\r' | b'\n' => {
                self.blanks.clear();
                out.push(b);
            }
            _ => {
                out.append(&mut self.blanks);
                out.push(b);
            }
        }
    }

    fn equals(&mut self, b: u8, out: &mut Vec<u8>) {
        match b {
            b' ' | b'\t' if self.blanks.len() < BLANKS => self.blanks.push(b),
            b'\r' | b'\n' => {
                self.blanks.clear();
                self.after = if b == b'\r' { After::SoftReturn } else { After::Text };
            }
            _ if self.blanks.is_empty() && hex(b).is_some() => self.after = After::Digit(b),
            _ => {
                // Not an escape at all: `a = b`.
                out.push(b'=');
                self.after = After::Text;
                self.text(b, out);
            }
        }
    }

    /// Holds a blank back; so many that no line has them at its end by accident are let through.
    fn hold(&mut self, blank: u8, out: &mut Vec<u8>) {
        if self.blanks.len() == BLANKS {
            out.append(&mut self.blanks);
        }
        self.blanks.push(blank);
    }

    /// The end of the data is the end of a line, and may be a soft line break.
    fn finish(&mut self, out: &mut Vec<u8>) {
        if let After::Digit(first) = self.after {
            out.extend_from_slice(&[b'=', first]);
        }
        *self = Self::default();
    }
}

fn hex(b: u8) -> Option<u8> {
    // Below 16, so it fits.
    char::from(b).to_digit(16).map(|digit| digit as u8)
}
