//! Composed content, encoded piece by piece as it is taken: attachments are never in memory twice.

use super::super::mime::{Coding, Encoder};
use bytes::Bytes;
use std::collections::VecDeque;

/// Octets of one piece before it is encoded.
const PIECE: usize = 48 << 10;

/// The content of a message.
#[derive(Debug)]
pub struct Content {
    pieces: VecDeque<Piece>,
    encoder: Option<Encoder>,
    eight_bit: bool,
}

#[derive(Debug)]
pub(super) enum Piece {
    Written(Bytes),
    Encode(Coding, Bytes),
}

impl Content {
    pub(super) fn new(pieces: Vec<Piece>, eight_bit: bool) -> Self {
        Self { pieces: pieces.into(), encoder: None, eight_bit }
    }

    /// Are there octets above 127 in it, besides those of addresses? [`is_international`](super::Message::is_international)
    /// tells of these: SMTPUTF8 allows them in the header, whatever BODY says.
    #[must_use]
    pub fn is_eight_bit(&self) -> bool {
        self.eight_bit
    }
}

impl Iterator for Content {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        match self.pieces.front_mut()? {
            Piece::Written(_) => match self.pieces.pop_front() {
                Some(Piece::Written(written)) => Some(written),
                _ => None,
            },
            Piece::Encode(coding, rest) => {
                let encoder = self.encoder.get_or_insert_with(|| Encoder::new(*coding));
                let now = rest.split_to(PIECE.min(rest.len()));
                let mut out = Vec::new();
                encoder.push(&now, &mut out);
                if rest.is_empty() {
                    encoder.finish(&mut out);
                    self.encoder = None;
                    self.pieces.pop_front();
                }
                Some(out.into())
            }
        }
    }
}
