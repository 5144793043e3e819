//! DKIM's hashes of a body (RFC 6376 section 3.4, SHA-256), computed as the content passes, so that signing needs no
//! second look at it.
//!
//! Both canonicalizations leave out empty lines at the end. *Simple* leaves the rest as it is; *relaxed* makes runs of
//! spaces and tabs one space, and none at the end of a line.

use ring::digest::{Context, SHA256};
use std::fmt;

/// The hashes of one body, whole (`l=` is never used: what is appended later would pass).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyHashes {
    /// Of the body in simple canonicalization.
    pub simple: [u8; 32],
    /// Of the body in relaxed canonicalization.
    pub relaxed: [u8; 32],
}

/// Takes a body in pieces, wherever they are cut. The body is what follows the empty line after the header, with lines
/// that end with CR LF.
#[derive(Clone, Default)]
pub struct BodyHasher {
    simple: Simple,
    relaxed: Relaxed,
    /// The last piece ended with a CR.
    after_cr: bool,
}

impl fmt::Debug for BodyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyHasher").finish_non_exhaustive()
    }
}

impl BodyHasher {
    /// The next piece.
    pub fn push(&mut self, mut piece: &[u8]) {
        if self.after_cr && !piece.is_empty() {
            self.after_cr = false;
            if piece[0] == b'\n' {
                self.line_end();
                piece = &piece[1..];
            } else {
                self.text(b"\r");
            }
        }
        while let Some(at) = memchr::memchr(b'\r', piece) {
            self.text(&piece[..at]);
            match piece.get(at + 1) {
                Some(b'\n') => {
                    self.line_end();
                    piece = &piece[at + 2..];
                }
                Some(_) => {
                    self.text(b"\r");
                    piece = &piece[at + 1..];
                }
                None => {
                    self.after_cr = true;
                    return;
                }
            }
        }
        self.text(piece);
    }

    /// The hashes of all of it.
    #[must_use]
    pub fn finish(mut self) -> BodyHashes {
        if self.after_cr {
            self.text(b"\r");
        }
        BodyHashes { simple: self.simple.finish(), relaxed: self.relaxed.finish() }
    }

    fn text(&mut self, text: &[u8]) {
        if !text.is_empty() {
            self.simple.text(text);
            self.relaxed.text(text);
        }
    }

    fn line_end(&mut self) {
        self.simple.line_ends += 1;
        self.relaxed.line_end();
    }
}

/// Octets that are hashed together: most lines are short.
#[derive(Clone)]
struct Output {
    hash: Context,
    buffer: Vec<u8>,
}

impl Default for Output {
    fn default() -> Self {
        Self { hash: Context::new(&SHA256), buffer: Vec::new() }
    }
}

/// Octets that gather before they are hashed.
const BUFFER: usize = 4096;

impl Output {
    fn push(&mut self, octets: &[u8]) {
        if self.buffer.len() + octets.len() > BUFFER {
            self.flush();
        }
        if octets.len() > BUFFER {
            self.hash.update(octets);
        } else {
            self.buffer.extend_from_slice(octets);
        }
    }

    fn line_ends(&mut self, count: u64) {
        for _ in 0..count {
            self.push(b"\r\n");
        }
    }

    fn flush(&mut self) {
        self.hash.update(&self.buffer);
        self.buffer.clear();
    }

    fn finish(mut self) -> [u8; 32] {
        self.flush();
        let mut digest = [0; 32];
        digest.copy_from_slice(self.hash.finish().as_ref());
        digest
    }
}

#[derive(Clone, Default)]
struct Simple {
    output: Output,
    /// Line ends that are left out if nothing follows.
    line_ends: u64,
}

impl Simple {
    fn text(&mut self, text: &[u8]) {
        self.output.line_ends(std::mem::take(&mut self.line_ends));
        self.output.push(text);
    }

    /// An empty body is one line end (RFC 6376 section 3.4.3).
    fn finish(mut self) -> [u8; 32] {
        self.output.line_ends(1);
        self.output.finish()
    }
}

#[derive(Clone, Default)]
struct Relaxed {
    output: Output,
    line_ends: u64,
    /// White space that is left out if the line ends.
    space: bool,
    has_text: bool,
}

impl Relaxed {
    fn text(&mut self, mut text: &[u8]) {
        while !text.is_empty() {
            let word = memchr::memchr2(b' ', b'\t', text).unwrap_or(text.len());
            if word > 0 {
                self.output.line_ends(std::mem::take(&mut self.line_ends));
                if std::mem::take(&mut self.space) {
                    self.output.push(b" ");
                }
                self.output.push(&text[..word]);
                self.has_text = true;
            }
            if word < text.len() {
                self.space = true;
            }
            text = text.get(word + 1..).unwrap_or_default();
        }
    }

    fn line_end(&mut self) {
        self.space = false;
        self.line_ends += 1;
    }

    /// An empty body is nothing (RFC 6376 section 3.4.4).
    fn finish(mut self) -> [u8; 32] {
        if self.has_text {
            self.output.line_ends(1);
        }
        self.output.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(text: &str) -> [u8; 32] {
        ring::digest::digest(&SHA256, text.as_bytes()).as_ref().try_into().unwrap()
    }

    fn check(body: &str, simple: &str, relaxed: &str) {
        let expected = BodyHashes { simple: sha256(simple), relaxed: sha256(relaxed) };
        for step in 1..=body.len().max(1) {
            let mut hasher = BodyHasher::default();
            body.as_bytes().chunks(step).for_each(|piece| hasher.push(piece));
            assert_eq!(hasher.finish(), expected, "{body:?} by {step}");
        }
    }

    #[test]
    fn canonical_forms() {
        check("", "\r\n", "");
        check("\r\n\r\n", "\r\n", "");
        check(" \t\r\n", " \t\r\n", "");
        // RFC 6376 section 3.4.5.
        check(" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n");
        check("a\r\n \r\nb", "a\r\n \r\nb\r\n", "a\r\n\r\nb\r\n");
        check("a\r\n\r\n \t\r\n\r\n", "a\r\n\r\n \t\r\n", "a\r\n");
        check("a\rb\r", "a\rb\r\r\n", "a\rb\r\r\n");
        check("  a", "  a\r\n", " a\r\n");
        let long = format!("{}\r\nx\r\n", "y z".repeat(5000));
        let mut hasher = BodyHasher::default();
        hasher.push(long.as_bytes());
        assert_eq!(hasher.finish().simple, sha256(&long));
    }

    /// `bh=` of the examples in RFC 6376 appendix A.2 (simple body) and RFC 8463 appendix A.2 (relaxed).
    #[test]
    fn hashes_of_others() {
        let base64 = |hash: [u8; 32]| data_encoding::BASE64.encode(&hash);
        let mut hasher = BodyHasher::default();
        hasher.push(b"Hi.\r\n\r\nWe lost the game. Are you hungry yet?\r\n\r\nJoe.\r\n");
        let hashes = hasher.finish();
        assert_eq!(base64(hashes.simple), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
        assert_eq!(base64(hashes.relaxed), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
    }
}
