//! Input in pieces: what comes over a connection is cut anywhere.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use postern_core::message::ContentSource;
use std::sync::Mutex;

/// A generator that depends on the input alone.
pub fn random(data: &[u8]) -> fastrand::Rng {
    let fold = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    fastrand::Rng::with_seed(data.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// The octets in pieces of lengths that depend on them alone.
pub fn cut(data: &[u8]) -> Vec<&[u8]> {
    let mut random = random(data);
    let most = [1, 2, 7, 100][random.usize(..4)];
    let (mut pieces, mut rest) = (Vec::new(), data);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.usize(1..=most).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Content in memory that is read in pieces shorter than was asked for.
pub struct ShortReads {
    content: Bytes,
    random: Mutex<fastrand::Rng>,
}

impl ShortReads {
    /// Of this content.
    pub fn new(content: Bytes) -> Self {
        Self { random: Mutex::new(random(&content)), content }
    }
}

impl ContentSource for ShortReads {
    fn len(&self) -> u64 {
        self.content.len() as u64
    }

    fn read(&self, offset: u64, max: usize) -> BoxFuture<'_, std::io::Result<Bytes>> {
        let start = (offset as usize).min(self.content.len());
        let most = max.min(self.content.len() - start);
        let length = if most == 0 { 0 } else { self.random.lock().expect("one thread").usize(1..=most.min(50)) };
        Box::pin(std::future::ready(Ok(self.content.slice(start..start + length))))
    }
}
