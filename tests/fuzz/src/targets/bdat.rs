//! Content in chunks of BDAT: judged alike whole and cut, and as the same content after DATA would be.

use crate::cut::cut;
use bytes::BytesMut;
use postern_core::smtp::chunk::{Chunk, ChunkEnd, TextJudge};
use postern_core::smtp::client::ContentEncoder;
use postern_core::smtp::data::{ContentFault, DataDecoder, Decoded};

const MAX_LINE: usize = 20;

pub fn run(content: &[u8]) {
    let judged = judge(&[content]);
    assert_eq!(judged, judge(&cut(content)));
    assert_eq!(judged.is_err(), is_faulty_after_data(content), "{judged:?}");
    check_chunks(content);
}

fn judge(pieces: &[&[u8]]) -> Result<&'static [u8], ContentFault> {
    let mut judge = TextJudge::new(MAX_LINE);
    pieces.iter().for_each(|piece| judge.judge(piece));
    judge.finish()
}

fn is_faulty_after_data(content: &[u8]) -> bool {
    let (mut encoder, mut wire) = (ContentEncoder::new(), Vec::new());
    if encoder.encode(content, &mut wire).and_then(|()| encoder.finish(&mut wire)).is_err() {
        return true;
    }
    let (mut decoder, mut input) = (DataDecoder::new(MAX_LINE), BytesMut::from(&wire[..]));
    while !matches!(decoder.decode(&mut input), Decoded::End) {}
    decoder.fault().is_some()
}

/// The first octet is the chunk's length; it takes so much and no more, however it comes.
fn check_chunks(input: &[u8]) {
    let Some((length, octets)) = input.split_first() else { return };
    let mut chunk = Chunk { left: u64::from(*length), end: ChunkEnd::Last };
    let (mut taken, mut held) = (Vec::new(), BytesMut::new());
    for piece in cut(octets) {
        held.extend_from_slice(piece);
        taken.extend_from_slice(&chunk.take(&mut held));
    }
    let wanted = octets.len().min(usize::from(*length));
    assert_eq!((&taken[..], &held[..]), octets.split_at(wanted));
    assert_eq!(chunk.left, u64::from(*length) - wanted as u64);
}
