//! The data codec of a server: content after DATA, dots unstuffed, ended by `<CRLF>.<CRLF>` alone.
//!
//! A bare CR, a bare LF or a NUL is never taken for a line end; it is remembered as a fault, and the content is read on
//! to its true end, so that nothing after a false one is taken for commands (the smuggling of 2023, CVE-2023-51764 and
//! its kin).

use super::line::Line;
use bytes::{Buf, Bytes, BytesMut};

/// What is wrong with content as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentFault {
    /// A CR that no LF follows, or an LF that no CR precedes.
    BareLineEnd,
    /// A NUL octet.
    Nul,
    /// A line longer than the decoder's limit.
    LongLine,
}

/// What [`DataDecoder::decode`] found at the front of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The next piece of the content, unstuffed.
    Content(Bytes),
    /// The end of the content. What is left of the input follows it.
    End,
    /// More input is needed.
    More,
}

/// Decodes the content of one DATA command.
#[derive(Debug)]
pub struct DataDecoder {
    line: Line,
}

impl DataDecoder {
    /// A decoder at the start of the content; lines longer than `max_line` octets (line end not counted) are a fault.
    #[must_use]
    pub fn new(max_line: usize) -> Self {
        Self { line: Line::new(max_line) }
    }

    /// The first fault so far.
    #[must_use]
    pub fn fault(&self) -> Option<ContentFault> {
        self.line.fault()
    }

    /// Takes what can be decoded off the front of `input`.
    pub fn decode(&mut self, input: &mut BytesMut) -> Decoded {
        if self.line.at_start && input.first() == Some(&b'.') {
            match input.get(1..3) {
                Some(b"\r\n") => {
                    input.advance(3);
                    return Decoded::End;
                }
                None if input.len() == 1 || input[1] == b'\r' => return Decoded::More,
                _ => {
                    input.advance(1);
                    self.line.at_start = false;
                }
            }
        }
        match self.scan(input) {
            0 => Decoded::More,
            length => Decoded::Content(input.split_to(length).freeze()),
        }
    }

    /// How much of the front of `input` is content without a dot to unstuff or judge.
    fn scan(&mut self, input: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let Some(found) = memchr::memchr3(b'\r', b'\n', 0, &input[at..]) else {
                self.line.text(input.len() - at);
                return input.len();
            };
            self.line.text(found);
            let special = at + found;
            match (input[special], input.get(special + 1)) {
                (b'\r', None) => return special,
                (b'\r', Some(b'\n')) => {
                    self.line.ended();
                    at = special + 2;
                    if matches!(input.get(at), None | Some(b'.')) {
                        return at;
                    }
                }
                (0, _) => {
                    self.line.bad(ContentFault::Nul);
                    at = special + 1;
                }
                _ => {
                    self.line.bad(ContentFault::BareLineEnd);
                    at = special + 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `wire`, given in pieces of `step`; the content, the fault and what was left behind the end.
    fn decode(wire: &[u8], step: usize) -> (Vec<u8>, Option<ContentFault>, Option<Vec<u8>>) {
        let mut decoder = DataDecoder::new(20);
        let (mut input, mut content) = (BytesMut::new(), Vec::new());
        let mut pieces = wire.chunks(step);
        loop {
            match decoder.decode(&mut input) {
                Decoded::Content(piece) => content.extend_from_slice(&piece),
                Decoded::End => {
                    let rest = [&input[..], &pieces.collect::<Vec<_>>().concat()].concat();
                    return (content, decoder.fault(), Some(rest));
                }
                Decoded::More => match pieces.next() {
                    Some(piece) => input.extend_from_slice(piece),
                    None => return (content, decoder.fault(), None),
                },
            }
        }
    }

    fn check(wire: &[u8], content: &[u8], fault: Option<ContentFault>, rest: Option<&[u8]>) {
        for step in 1..=wire.len() {
            let (found, found_fault, found_rest) = decode(wire, step);
            let shown = String::from_utf8_lossy(wire);
            assert_eq!((&found[..], found_fault, found_rest.as_deref()), (content, fault, rest), "{shown:?} by {step}");
        }
    }

    #[test]
    fn content_and_its_end() {
        check(b".\r\n", b"", None, Some(b""));
        check(b"a\r\n.\r\nQUIT\r\n", b"a\r\n", None, Some(b"QUIT\r\n"));
        check(b"..a\r\n...\r\n.b\r\n.\r\n", b".a\r\n..\r\nb\r\n", None, Some(b""));
        check(b"\r\n\r\n.\r\n", b"\r\n\r\n", None, Some(b""));
        check(b"a.\r\n.\r\n", b"a.\r\n", None, Some(b""));
        check(b"a\r\n.", b"a\r\n", None, None);
    }

    #[test]
    fn false_ends_are_faults_and_never_ends() {
        let fault = Some(ContentFault::BareLineEnd);
        for end in
            ["\n.\n", "\n.\r\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r\n.\n", "\r\n.\r\r\n", "\r\r\n.\r\r\n", "\n\n.\r\n"]
        {
            let wire = format!("a{end}MAIL FROM:<evil@x>\r\n.\r\nNOOP\r\n");
            for step in 1..=wire.len() {
                let (_, found, rest) = decode(wire.as_bytes(), step);
                assert_eq!((found, rest.as_deref()), (fault, Some(&b"NOOP\r\n"[..])), "{end:?} by {step}");
            }
        }
        for end in ["\r\n\0.\r\n", "\r\n.\0\r\n"] {
            let (_, found, rest) = decode(format!("a{end}b\r\n.\r\n").as_bytes(), 100);
            assert_eq!((found, rest), (Some(ContentFault::Nul), Some(Vec::new())), "{end:?}");
        }
    }

    #[test]
    fn long_lines() {
        check(b"12345678901234567890\r\n.\r\n", b"12345678901234567890\r\n", None, Some(b""));
        let (_, fault, _) = decode(b"123456789012345678901\r\n.\r\n", 7);
        assert_eq!(fault, Some(ContentFault::LongLine));
    }
}
