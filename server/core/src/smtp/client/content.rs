//! Content as it goes over the wire after DATA (RFC 5321 section 4.5.2): dots doubled at line starts, a final dot.
//!
//! It is also the last guard of promise 7: a bare CR, a bare LF or a NUL stops it. Intake has seen to it that there is
//! none, so one here is a defect, and sending it could smuggle a second message past the next hop.

/// A bare CR, bare LF or NUL stands in the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the content has a bare CR, bare LF or NUL")]
pub struct Unclean;

/// Encodes content that comes in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct ContentEncoder {
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    LineStart,
    InLine,
    AfterCr,
}

impl ContentEncoder {
    /// An encoder at the start of the content.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `piece` to `out`, which grows by at most twice its length.
    ///
    /// # Errors
    /// The content may not leave. What is in `out` must not be sent, and the connection not be used any more.
    pub fn encode(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Unclean> {
        out.reserve(piece.len() + 8);
        let mut copied = 0;
        let mut at = 0;
        if self.state == State::AfterCr && !piece.is_empty() {
            if piece[0] != b'\n' {
                return Err(Unclean);
            }
            at = 1;
            self.state = State::LineStart;
        }
        while at < piece.len() {
            if self.state == State::LineStart {
                if piece[at] == b'.' {
                    out.extend_from_slice(&piece[copied..at]);
                    out.push(b'.');
                    copied = at;
                }
                self.state = State::InLine;
            }
            let Some(found) = memchr::memchr3(b'\r', b'\n', 0, &piece[at..]) else { break };
            at += found;
            match (piece[at], piece.get(at + 1)) {
                (b'\r', Some(b'\n')) => self.state = State::LineStart,
                (b'\r', None) => self.state = State::AfterCr,
                _ => return Err(Unclean),
            }
            at += 2;
        }
        out.extend_from_slice(&piece[copied..]);
        Ok(())
    }

    /// Ends the last line if need be and appends the final dot.
    ///
    /// # Errors
    /// The content ends in a bare CR.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), Unclean> {
        match self.state {
            State::LineStart => out.extend_from_slice(b".\r\n"),
            State::InLine => out.extend_from_slice(b"\r\n.\r\n"),
            State::AfterCr => return Err(Unclean),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, Unclean> {
        let (mut encoder, mut out) = (ContentEncoder::new(), Vec::new());
        for piece in pieces {
            encoder.encode(piece, &mut out)?;
        }
        encoder.finish(&mut out)?;
        Ok(out)
    }

    /// In one piece, cut in three at every two places, and octet by octet.
    #[track_caller]
    fn check(content: &[u8], expected: Result<&[u8], Unclean>) {
        assert_eq!(encode([content]).as_deref().map_err(|e| *e), expected);
        assert_eq!(encode(content.chunks(1)).as_deref().map_err(|e| *e), expected);
        for first in 0..=content.len() {
            for second in first..=content.len() {
                let pieces = [&content[..first], &content[first..second], &content[second..]];
                assert_eq!(encode(pieces).as_deref().map_err(|e| *e), expected, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn doubles_dots_and_ends() {
        check(b"", Ok(b".\r\n"));
        check(b"A: b\r\n\r\nc\r\n", Ok(b"A: b\r\n\r\nc\r\n.\r\n"));
        check(b"no end", Ok(b"no end\r\n.\r\n"));
        check(b".", Ok(b"..\r\n.\r\n"));
        check(b".\r\n", Ok(b"..\r\n.\r\n"));
        check(b"\r\n.\r\n", Ok(b"\r\n..\r\n.\r\n"));
        check(b"a.\r\n..\r\n.b.\r\n", Ok(b"a.\r\n...\r\n..b.\r\n.\r\n"));
        check(b"\xff\xfe.\r\n", Ok(b"\xff\xfe.\r\n.\r\n"));
    }

    #[test]
    fn refuses_what_could_end_the_data_early() {
        for content in [
            "a\n.\n",
            "a\n.\r\n",
            "a\r.\r",
            "a\r.\r\n",
            "a\r\n.\r",
            "a\r\n\0.\r\n",
            "a\r\n.\0\r\n",
            "a\r\n.\r\r\n",
            "a\r\r\n.\r\r\n",
            "a\r\r\n",
            "\n",
            "\r",
            "\0",
            "a\rb",
            "a\nb",
            "a\r",
        ] {
            check(content.as_bytes(), Err(Unclean));
        }
    }

    /// What the receiver takes out is what went in.
    #[test]
    fn unstuffing_gives_the_content_back() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..500 {
            let mut content = Vec::new();
            for _ in 0..random.usize(1..20) {
                content.extend_from_slice([&b"."[..], b"..", b"\r\n", b"ab", b"x\r\n.", b"\xe9"][random.usize(..6)]);
            }
            let wire = encode([&content[..]]).unwrap();
            assert_eq!(memchr::memmem::find_iter(&[b"\r\n", &wire[..]].concat(), b"\r\n.\r\n").count(), 1);
            let text = wire.strip_suffix(b".\r\n").unwrap();
            let mut back = Vec::new();
            for line in text.split_inclusive(|b| *b == b'\n') {
                back.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            }
            if !content.ends_with(b"\r\n") {
                content.extend_from_slice(b"\r\n");
            }
            assert_eq!(back, content);
        }
    }
}
