//! DKIM's hashes of a body that comes as a body section: after the empty line that the section begins with.

use postern_core::message::{BodyHasher, BodyHashes};

/// Octets of the empty line.
const EMPTY_LINE: usize = 2;

/// Hashes what passes.
#[derive(Default)]
pub(super) struct SectionHasher {
    hasher: BodyHasher,
    /// Octets of the empty line that have come.
    skipped: usize,
}

impl SectionHasher {
    pub(super) fn push(&mut self, piece: &[u8]) {
        let skip = piece.len().min(EMPTY_LINE - self.skipped);
        self.skipped += skip;
        self.hasher.push(&piece[skip..]);
    }

    pub(super) fn finish(self) -> BodyHashes {
        self.hasher.finish()
    }
}
