//! `Read` over what the host gives in pieces.

use crate::HostError;
use std::io::{self, BufRead, Read};

/// How much is asked for at once: larger pieces cost memory, smaller ones calls.
pub(crate) const PIECE: u32 = 64 << 10;

/// Asks for a piece when the last one is used up; an empty one is the end.
pub(crate) struct Pieces<F> {
    next: F,
    piece: Vec<u8>,
    at: usize,
}

impl<F: FnMut(u32) -> Result<Vec<u8>, HostError>> Pieces<F> {
    pub(crate) fn new(next: F) -> Self {
        Self { next, piece: Vec::new(), at: 0 }
    }
}

impl<F: FnMut(u32) -> Result<Vec<u8>, HostError>> BufRead for Pieces<F> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.piece.len() {
            self.piece = (self.next)(PIECE).map_err(io::Error::other)?;
            self.at = 0;
        }
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at = (self.at + amount).min(self.piece.len());
    }
}

impl<F: FnMut(u32) -> Result<Vec<u8>, HostError>> Read for Pieces<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let count = piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// `read` from an offset on, which grows by what came.
pub(crate) fn from_offset(
    read: impl Fn(u64, u32) -> Result<Vec<u8>, HostError>,
) -> impl FnMut(u32) -> Result<Vec<u8>, HostError> {
    let mut offset = 0;
    move |max| {
        let piece = read(offset, max)?;
        offset += piece.len() as u64;
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_through() {
        let content = b"one\ntwo\nthree";
        let read = |offset: u64, _: u32| Ok(content[offset as usize..].iter().take(5).copied().collect());
        let lines: Vec<_> = Pieces::new(from_offset(read)).lines().map(Result::unwrap).collect();
        assert_eq!(lines, ["one", "two", "three"]);
        let mut failing = Pieces::new(|_| Err(HostError::new("unavailable", "the disk is gone")));
        assert_eq!(failing.read(&mut [0; 3]).unwrap_err().to_string(), "unavailable: the disk is gone");
    }
}
