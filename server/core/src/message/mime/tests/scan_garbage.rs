//! Foreign octets of any kind: nothing panics, ranges are in order and within bounds, reads are bounded.

use super::{BROKEN, NESTED, Sample, now};
use crate::message::mime::{Kind, Structure, scan};
use crate::message::{ContentSource, HeaderBlock};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Octets changed, removed, added and moved about.
pub(super) fn mutate(content: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    const PIECES: [&[u8]; 12] = [
        b"\r\n",
        b"--",
        b"--inner\r\n",
        b"--outer b\r\n",
        b"--b--\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"=",
        b"\"",
        b"*0*=utf-8'en'%41;",
        b"=?utf-8?B?AAAA?=",
        b"(\\",
        b" ",
    ];
    let mut octets = content.to_vec();
    for _ in 0..random.usize(1..12) {
        let at = random.usize(..=octets.len());
        match random.u8(..4) {
            0 if at < octets.len() => octets[at] = random.u8(..),
            1 => drop(octets.drain(at..(at + random.usize(..20)).min(octets.len()))),
            2 => {
                let from = random.usize(..=octets.len());
                let piece = octets[from..(from + random.usize(..80)).min(octets.len())].to_vec();
                octets.splice(at..at, piece);
            }
            _ => drop(octets.splice(at..at, PIECES[random.usize(..PIECES.len())].iter().copied())),
        }
    }
    octets
}

/// What holds of any structure.
pub(super) fn assert_sound(structure: &Structure, len: u64) {
    let parts = structure.parts();
    let mut at = 0;
    for (index, part) in parts.iter().enumerate() {
        assert!(at <= part.header.start && part.header.start <= part.header.end, "{structure:?}");
        assert!(part.header.end <= part.body.start && part.body.start <= part.body.end, "{structure:?}");
        assert!(part.body.end <= len, "{structure:?}");
        assert_eq!(part.parent.is_none(), index == 0);
        if let Some(parent) = part.parent {
            let outer = &parts[parent];
            assert!(parent < index && outer.kind == Kind::Multipart);
            assert!(outer.body.start <= part.header.start && part.body.end <= outer.body.end, "{structure:?}");
        }
        at = if part.kind == Kind::Multipart { part.body.start } else { part.body.end };
        assert_eq!(part.kind == Kind::Multipart, structure.children(index).next().is_some());
    }
}

#[test]
fn mutated_messages_have_sound_structures() {
    let mut random = fastrand::Rng::with_seed(2046);
    for round in 0..6000 {
        let content = mutate([NESTED, BROKEN][round % 2].as_bytes(), &mut random);
        let sample = Sample::new(&content);
        let structure = sample.scan();
        assert_sound(&structure, sample.section.len() as u64);
        let chunk = random.usize(1..100);
        assert_eq!(format!("{structure:?}"), format!("{:?}", sample.scan_by(chunk)), "{content:?} by {chunk}");
    }
}

#[test]
fn mutated_fields_are_read_without_harm() {
    const FIELDS: &str = "Content-Type: multipart/mixed (c(d)\\e); boundary=\"a\\\"b\";\r\n name*0*=iso-8859-1'en'%E9t%E9; \
        name*1=\"x;y\"; charset==?utf-8?Q?a=C3=A9?= ; n=\"=?utf-8?B?w6k=?= =?shift_jis?Q?=93?=\"\r\n\
        Content-Disposition: attachment; filename=\"=?utf-7?Q?+AOk-?=\"; filename*2*=%; x*9999999999999=1\r\n\
        Content-Transfer-Encoding: \"base64\" (c)\r\nContent-ID: <<a>>\r\n\r\n--a\r\n\r\n--a--\r\n";
    let mut random = fastrand::Rng::with_seed(2231);
    for _ in 0..20_000 {
        let sample = Sample::new(&mutate(FIELDS.as_bytes(), &mut random));
        assert_sound(&sample.scan(), sample.section.len() as u64);
    }
}

/// Content that is made when it is read.
struct Synthetic {
    start: Bytes,
    len: u64,
    most: AtomicUsize,
    read: AtomicU64,
}

impl ContentSource for Synthetic {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, max: usize) -> BoxFuture<'_, std::io::Result<Bytes>> {
        self.most.fetch_max(max, Ordering::Relaxed);
        let max = max.min((self.len - offset) as usize);
        let piece = match self.start.get(offset as usize..) {
            Some(start) if !start.is_empty() => Bytes::copy_from_slice(&start[..start.len().min(max)]),
            _ => {
                const LINE: &[u8] = b"VGhpcyBpcyBhIGxpbmUgb2YgYmFzZTY0IHRoYXQgaXMgNzYgc3ltYm9scyBsb25nLCBubyBtb3\r\n";
                LINE.iter().copied().cycle().skip((offset as usize - self.start.len()) % LINE.len()).take(max).collect()
            }
        };
        self.read.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(piece)))
    }
}

#[test]
fn large_content_is_read_once_in_small_pieces() {
    let len = 64 << 20;
    let start = Bytes::from_static(b"\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    let source = Synthetic { start, len, most: AtomicUsize::new(0), read: AtomicU64::new(0) };
    let header = HeaderBlock::parse(&Bytes::from_static(b"Content-Type: multipart/mixed; boundary=b\r\n"));
    let structure = now(scan(&header, &source)).unwrap();
    assert_eq!((structure.parts().len(), structure.parts()[1].body.end), (2, len));
    assert!(source.most.into_inner() <= 256 << 10);
    assert_eq!(source.read.into_inner(), len);
}
