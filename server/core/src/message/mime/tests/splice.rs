//! Splices read at every offset.

use super::{now, read_all};
use crate::message::mime::{Splice, SpliceBuilder};
use crate::message::{ContentSource, MemorySource};
use bytes::Bytes;
use std::sync::Arc;

fn memory(octets: &'static [u8]) -> Arc<dyn ContentSource> {
    Arc::new(MemorySource(Bytes::from_static(octets)))
}

fn check(splice: &Splice, expected: &[u8]) {
    assert_eq!(splice.len(), expected.len() as u64);
    for step in 1..=expected.len() + 1 {
        assert_eq!(read_all(splice, step), expected, "by {step}");
        for offset in 0..expected.len() {
            let piece = now(splice.clone().read(offset as u64, step)).unwrap();
            assert!(!piece.is_empty() && expected[offset..].starts_with(&piece), "{step} from {offset}");
        }
    }
    for offset in [splice.len() + 1, u64::MAX] {
        assert!(now(splice.read(offset, 10)).unwrap().is_empty());
    }
    assert!(now(splice.read(0, 0)).unwrap().is_empty());
}

#[test]
fn reads_at_every_offset() {
    let source = memory(b"0123456789");
    let splice =
        || SpliceBuilder::new().octets(&b"abc"[..]).range(&source, 2..5).octets(&b""[..]).range(&source, 9..99);
    check(&SpliceBuilder::new().build(), b"");
    check(&splice().build(), b"abc2349");
    let backwards = std::ops::Range { start: 7, end: 3 };
    check(&splice().range(&source, 20..30).range(&source, backwards).all(&source).build(), b"abc23490123456789");
    let nested: Arc<dyn ContentSource> = Arc::new(splice().build());
    check(&SpliceBuilder::new().range(&nested, 1..6).octets(&b"-"[..]).all(&nested).build(), b"bc234-abc2349");
    check(&splice().append(&splice()).build(), b"abc2349abc2349");
}

/// Says it is longer than it is.
struct Short;

impl ContentSource for Short {
    fn len(&self) -> u64 {
        10
    }

    fn read(&self, _: u64, _: usize) -> futures_util::future::BoxFuture<'_, std::io::Result<Bytes>> {
        Box::pin(std::future::ready(Ok(Bytes::new())))
    }
}

#[test]
fn a_source_that_ends_early_is_an_error() {
    let source: Arc<dyn ContentSource> = Arc::new(Short);
    let error = now(SpliceBuilder::new().all(&source).build().read(0, 1)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}
