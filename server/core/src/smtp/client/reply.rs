//! Reads replies (RFC 5321 section 4.2) from a stream that is cut anywhere.
//!
//! It is a parser of our own because smtp-proto's keeps enhanced codes in octets (4.7.650 exists), cuts replies at
//! 4 KiB and takes lines with different codes for one reply: what says 250 and then 550 must not count as either.

use crate::mail::{EnhancedCode, Reply};

/// Longest line of a reply, line end included. RFC 5321 section 4.5.3.1.5 says 512; servers in use exceed it.
pub const MAX_LINE: usize = 4096;
/// Longest reply in octets, all lines together.
pub const MAX_REPLY: usize = 32 * 1024;

/// What came is not a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A line is longer than [`MAX_LINE`] or the reply than [`MAX_REPLY`].
    #[error("the reply is too long")]
    TooLong,
    /// A line does not start with a code of 200 to 599 and a space, hyphen or line end.
    #[error("the reply has no code")]
    NoCode,
    /// The lines of one reply have different codes.
    #[error("the lines of the reply have different codes")]
    MixedCodes,
}

/// Collects the lines of one reply at a time.
#[derive(Debug, Default)]
pub struct ReplyParser {
    /// The line that has no end yet.
    line: Vec<u8>,
    reply: Option<Reply>,
    /// Octets of the reply so far.
    len: usize,
}

impl ReplyParser {
    /// A parser at the start of a reply.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has a reply begun that is not complete?
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.reply.is_some() || !self.line.is_empty()
    }

    /// Takes octets from the front of `input` up to the end of a reply, and gives it.
    ///
    /// # Errors
    /// See [`Malformed`]; the parser is of no more use.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, Malformed> {
        while let Some(end) = memchr::memchr(b'\n', input) {
            let (line, rest) = input.split_at(end + 1);
            *input = rest;
            self.count(line.len())?;
            let done = if self.line.is_empty() {
                self.take_line(line)?
            } else {
                let mut held = std::mem::take(&mut self.line);
                held.extend_from_slice(line);
                let done = self.take_line(&held)?;
                held.clear();
                self.line = held;
                done
            };
            if done {
                self.len = 0;
                return Ok(self.reply.take());
            }
        }
        self.count(input.len())?;
        self.line.extend_from_slice(input);
        *input = &[];
        // Text that can't become a reply is refused at once, not when (or if) its line ends.
        let digits = &self.line[..self.line.len().min(3)];
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(Malformed::NoCode);
        }
        Ok(None)
    }

    fn count(&mut self, octets: usize) -> Result<(), Malformed> {
        self.len += octets;
        if self.line.len() + octets > MAX_LINE || self.len > MAX_REPLY {
            return Err(Malformed::TooLong);
        }
        Ok(())
    }

    /// Adds a whole line; true if it was the last of its reply.
    fn take_line(&mut self, line: &[u8]) -> Result<bool, Malformed> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', after @ ..] = line else {
            return Err(Malformed::NoCode);
        };
        let code = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
        let (last, text) = match after {
            [] => (true, after),
            [b' ', text @ ..] => (true, text),
            [b'-', text @ ..] => (false, text),
            _ => return Err(Malformed::NoCode),
        };
        let (enhanced, text) = split_enhanced(code, text);
        match &mut self.reply {
            None => {
                let mut shown = String::with_capacity(text.len());
                push_clean(&mut shown, text);
                self.reply = Some(Reply { code, enhanced, text: shown });
            }
            Some(reply) if reply.code != code => return Err(Malformed::MixedCodes),
            Some(reply) => {
                reply.enhanced = reply.enhanced.or(enhanced);
                reply.text.push('\n');
                push_clean(&mut reply.text, text);
            }
        }
        Ok(last)
    }
}

/// The enhanced code at the front of the text, if its class is that of the code (RFC 2034 section 4), and the rest.
fn split_enhanced(code: u16, text: &[u8]) -> (Option<EnhancedCode>, &[u8]) {
    let end = memchr::memchr(b' ', text).unwrap_or(text.len());
    let enhanced = std::str::from_utf8(&text[..end]).ok().and_then(EnhancedCode::parse);
    match enhanced.filter(|e| u16::from(e.0) == code / 100) {
        Some(enhanced) => (Some(enhanced), text[end..].trim_ascii_start()),
        None => (None, text),
    }
}

/// Appends text of a peer: what is not UTF-8 is replaced, what is not printable becomes `?`.
fn push_clean(out: &mut String, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    out.extend(text.chars().map(|c| match c {
        '\t' => ' ',
        c if c.is_control() => '?',
        c => c,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8], step: usize) -> Result<Vec<String>, Malformed> {
        let mut parser = ReplyParser::new();
        let mut replies = Vec::new();
        for mut piece in input.chunks(step) {
            while let Some(reply) = parser.next(&mut piece)? {
                replies.push(format!("{}|{}", reply, reply.text.replace('\n', "/")));
            }
        }
        Ok(replies)
    }

    #[track_caller]
    fn check(input: &str, expected: Result<&[&str], Malformed>) {
        for step in 1..=input.len() {
            let found = read(input.as_bytes(), step);
            assert_eq!(
                found.as_deref().map_err(|e| *e),
                expected.map(|e| e.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()).as_deref().map_err(|e| *e),
                "{input:?} by {step}"
            );
        }
    }

    #[test]
    fn replies_however_they_are_cut() {
        check("250 ok\r\n", Ok(&["250 ok|ok"]));
        check("250 2.1.0 ok\r\n250\r\n", Ok(&["250 2.1.0 ok|ok", "250 |"]));
        check("250-a\r\n250-b\r\n250 c\r\n", Ok(&["250 a b c|a/b/c"]));
        check("550-5.1.1 no\r\n550 5.1.1 such user\r\n", Ok(&["550 5.1.1 no such user|no/such user"]));
        check("450 4.7.650 slow\r\n", Ok(&["450 4.7.650 slow|slow"]));
        check("220 bare line feed\n", Ok(&["220 bare line feed|bare line feed"]));
        check("250 2.0.0\r\n", Ok(&["250 2.0.0 |"]));
    }

    #[test]
    fn an_enhanced_code_of_another_class_is_text() {
        check("550 4.1.1 x\r\n", Ok(&["550 4.1.1 x|4.1.1 x"]));
        check("550 5.1.1.1 x\r\n", Ok(&["550 5.1.1.1 x|5.1.1.1 x"]));
    }

    #[test]
    fn text_is_printable() {
        check("250 a\0b\x1b[31m\tc\rd\r\n", Ok(&["250 a?b?[31m c?d|a?b?[31m c?d"]));
        assert_eq!(read(b"250 \xff\r\n", 3).unwrap(), ["250 \u{fffd}|\u{fffd}"]);
    }

    #[test]
    fn malformed() {
        check("HTTP/1.1 400 Bad Request\r\n", Err(Malformed::NoCode));
        check("\r\n", Err(Malformed::NoCode));
        check("25\r\n", Err(Malformed::NoCode));
        check("2500 x\r\n", Err(Malformed::NoCode));
        check("150 x\r\n", Err(Malformed::NoCode));
        check("650 x\r\n", Err(Malformed::NoCode));
        check("250-a\r\n550 b\r\n", Err(Malformed::MixedCodes));
        let line = format!("250 {}\r\n", "x".repeat(MAX_LINE));
        assert_eq!(read(line.as_bytes(), 100), Err(Malformed::TooLong));
        assert_eq!(read(line.as_bytes(), line.len()), Err(Malformed::TooLong));
        let endless = "250-x\r\n".repeat(MAX_REPLY);
        assert_eq!(read(endless.as_bytes(), 1000), Err(Malformed::TooLong));
    }
}
