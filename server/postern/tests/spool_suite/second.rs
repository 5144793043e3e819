//! Second drafts, whose content takes the place of a first one's under its id, and drafts that are never committed.

use super::*;
use postern::spool::{Draft, Facts, SealedDraft, SpoolError};

/// Lengths of a first content and of the second: in memory, or too long for that.
const LENGTHS: [(usize, usize); 6] =
    [(10, 2000), (1000, 0), (300_000, 2000), (2000, 300_000), (700_000, 300_000), (300_000, 5_000_000)];

async fn second<S: Spool>(spool: &S, first: S::Sealed, new: &NewMessage, body: &Bytes) -> S::Sealed {
    let mut draft = spool.begin_second(first, new.header.clone(), None).await.unwrap();
    for chunk in body.chunks(70_000) {
        draft.write(body.slice_ref(chunk)).await.unwrap();
    }
    draft.seal().await.unwrap()
}

pub async fn takes_the_place_of_the_first<S: Spool + Facts>(open: impl Fn() -> S) {
    let mut spool = open();
    let mut ids = Vec::new();
    let new = message(&["a.example"]);
    for (salt, (first_len, second_len)) in (0..).zip(LENGTHS) {
        let (before, after) = (pattern(first_len, salt), pattern(second_len, salt + 100));
        let first = draft(&spool, &before).await;
        let (id, source) = (first.id(), first.body());
        let sealed = second(&spool, first, &new, &after).await;
        assert_eq!(sealed.id(), id);
        assert!(read_all(&*source).await == before, "the first can be read until the commit");
        assert!(read_all(&*sealed.body()).await == after, "{first_len} {second_len}");
        assert_eq!(spool.commit(sealed, new.clone()).await.unwrap(), id);
        assert!(content(&spool, id).await == whole(&new, &after), "{first_len} {second_len}");
        ids.push((id, after));
    }
    assert_eq!(spool.stats().draft_memory, 0);
    for _ in 0..2 {
        drop(spool);
        spool = open();
        for (id, after) in &ids {
            assert!(content(&spool, *id).await == whole(&new, after), "{id}");
        }
    }
    for leased in lease(&spool, "a.example", T0).await {
        assert_eq!(leased.message.header_len, new.header.len() as u64);
        assert!(spool.settle(settlement(&leased, &Settle::Done)).await.unwrap());
    }
    assert_eq!(spool.stats(), postern::spool::Stats::default());
}

pub async fn leaves_nothing<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let new = message(&["a.example"]);
    for (first_len, second_len) in LENGTHS {
        let first = draft(&spool, &pattern(first_len, 1)).await;
        let mut half = spool.begin_second(first, new.header.clone(), Some(5)).await.unwrap();
        half.write(pattern(second_len, 2)).await.unwrap();
        drop(half);
        let first = draft(&spool, &pattern(first_len, 1)).await;
        drop(second(&spool, first, &new, &pattern(second_len, 2)).await);
    }
    // Its header block lies with the content.
    let first = draft(&spool, &pattern(10, 1)).await;
    let sealed = second(&spool, first, &new, &pattern(300_000, 2)).await;
    let other = NewMessage { header: Bytes::from_static(b"Other: header\r\n"), ..new.clone() };
    assert!(matches!(spool.commit(sealed, other).await, Err(SpoolError::Invalid(_))));
    assert_eq!(spool.stats(), postern::spool::Stats::default());
}

pub async fn streams<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let new = message(&["a.example"]);
    let first = draft(&spool, &pattern(10, 1)).await;
    let mut draft = spool.begin_second(first, new.header.clone(), Some(20 << 20)).await.unwrap();
    let chunk = pattern(1 << 20, 3);
    for _ in 0..20 {
        draft.write(chunk.clone()).await.unwrap();
        assert!(spool.stats().draft_memory < 1 << 20);
    }
    let sealed = draft.seal().await.unwrap();
    let id = spool.commit(sealed, new.clone()).await.unwrap();
    let source = spool.open(id).await.unwrap();
    assert_eq!(source.len(), (20 << 20) + new.header.len() as u64);
    let part = source.read(new.header.len() as u64 + (7 << 20), 400).await.unwrap();
    assert!(!part.is_empty() && chunk[..part.len()] == part[..]);
}

pub async fn scratch_holds_no_memory<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let mut pieces = Vec::new();
    for salt in 0..80 {
        let body = pattern(if salt % 20 == 0 { 300_000 } else { 10_000 }, salt);
        let mut draft = spool.begin_scratch().await.unwrap();
        draft.write(body.clone()).await.unwrap();
        pieces.push((draft.seal().await.unwrap(), body));
        assert_eq!(spool.stats().draft_memory, 0);
    }
    for (sealed, body) in &pieces {
        assert!(read_all(&*sealed.body()).await == *body);
    }
    drop(pieces);
    assert_eq!(spool.stats(), postern::spool::Stats::default());
}
