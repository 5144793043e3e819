//! What the queue must do when there is much of it: memory for content on its way in is bounded, a message of 100,000
//! recipients and a queue of a million are handled in steps.

#![allow(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]

use super::*;
use postern::spool::{Action, Facts, Filter, SpoolError};
use std::time::Instant;

/// More than any engine may hold of drafts: the goal is 64 MiB.
const TOO_MUCH: u64 = 256 << 20;

/// A draft with 200,000 octets, unless the store takes no more for now.
async fn grown<S: Spool>(spool: &S, salt: u64) -> Option<S::Draft> {
    let began = async {
        let mut draft = spool.begin(None).await?;
        draft.write(pattern(200_000, salt)).await?;
        Ok(draft)
    };
    match tokio::time::timeout(Duration::from_millis(200), began).await {
        Ok(Ok(draft)) => Some(draft),
        Ok(Err(SpoolError::Busy(_))) | Err(_) => None,
        Ok(Err(other)) => panic!("{other:?}"),
    }
}

pub async fn drafts_wait_for_memory<S: Spool + Facts>(open: impl Fn() -> S) {
    let spool = open();
    let queued = commit(&spool, message(&["a.example"]), &pattern(3000, 1)).await;
    let mut drafts = Vec::new();
    while let Some(draft) = grown(&spool, drafts.len() as u64).await {
        drafts.push(draft);
        assert!(drafts.len() < 5000, "nothing held {} drafts back", drafts.len());
    }
    assert!(drafts.len() > 3, "{}", drafts.len());
    assert!(spool.stats().draft_memory <= TOO_MUCH, "{}", spool.stats().draft_memory);

    // Whoever has begun can finish, and what is queued goes on.
    assert_eq!(content(&spool, queued).await, whole(&message(&[]), &pattern(3000, 1)));
    let leased = lease(&spool, "a.example", T0).await.remove(0);
    assert!(spool.settle(settlement(&leased, &Settle::Done)).await.unwrap());
    let sealed = drafts.remove(0).seal().await.unwrap();
    let id = spool.commit(sealed, message(&["b.example"])).await.unwrap();
    assert_eq!(content(&spool, id).await, whole(&message(&[]), &pattern(200_000, 0)));
    assert!(grown(&spool, 0).await.is_some(), "what was committed makes room");
    drop(drafts);
    assert_eq!(spool.stats().draft_memory, 0);
}

pub async fn a_hundred_thousand_recipients<S: Spool + Facts>(open: impl Fn() -> S) {
    const ALL: usize = 100_000;
    const STEP: usize = 1000;
    let spool = open();
    let body = pattern(5000, 1);
    let id = commit(&spool, message(&vec!["a.example"; ALL]), &body).await;
    let start = Instant::now();
    for step in 0..ALL / STEP / 2 {
        let leased = spool.lease(&key("a.example"), T0, 1, STEP, TTL).await.unwrap().remove(0);
        assert_eq!((leased.message.id, leased.recipients.len()), (id, STEP));
        let first = leased.recipients[0].token.recipient.seq.index();
        assert_eq!(first, step * STEP, "in order");
        let outcome = if step % 10 == 9 { defer(later(10)) } else { Settle::Done };
        assert!(!spool.settle(settlement(&leased, &outcome)).await.unwrap());
    }
    println!("{} recipients in settlements of {STEP}: {:?}", ALL / 2, start.elapsed());
    drop(spool);
    let spool = open();
    assert_eq!(spool.stats().recipients as usize, ALL / 2 + 5 * STEP);
    let rest = spool.lease(&key("a.example"), T0, 1, ALL, TTL).await.unwrap().remove(0);
    assert_eq!(rest.recipients.len(), ALL / 2);
    assert!(!spool.settle(settlement(&rest, &Settle::Done)).await.unwrap());
    let deferred = spool.lease(&key("a.example"), later(10), 1, ALL, TTL).await.unwrap().remove(0);
    assert_eq!(deferred.recipients.len(), 5 * STEP);
    assert!(deferred.recipients.iter().all(|recipient| recipient.attempts == 1));
    assert_eq!(content(&spool, id).await, whole(&message(&[]), &body));
    assert!(spool.settle(settlement(&deferred, &Settle::Done)).await.unwrap());
    assert_eq!(spool.stats(), postern::spool::Stats::default());
}

/// 20,000 messages; a million with `POSTERN_SOAK`.
pub async fn a_long_queue<S: Spool + Facts>(open: impl Fn() -> S) {
    let all: u64 = if std::env::var_os("POSTERN_SOAK").is_some() { 1_000_000 } else { 20_000 };
    let domain = |number: u64| format!("d{}.example", number % 100);
    let mut spool = open();
    let mut tasks = tokio::task::JoinSet::new();
    for first in 0..200 {
        let spool = spool.clone();
        tasks.spawn(async move {
            for number in (first..all).step_by(200) {
                commit(&spool, message(&[&domain(number)]), &Bytes::from_static(b"\r\nshort\r\n")).await;
            }
        });
    }
    tasks.join_all().await;
    for round in 0..2 {
        let start = Instant::now();
        if round == 1 {
            drop(spool);
            spool = open();
        }
        let opened = start.elapsed();
        assert_eq!(spool.stats().messages, all);
        assert_eq!(spool.list(&Filter::default(), None, 100).await.unwrap().len(), 100);
        let listed = start.elapsed() - opened;
        let one = Filter { destination: Some(domain(7)), ..Filter::default() };
        let at = later(100 + round);
        assert_eq!(spool.admin(&one, Action::Retry(at)).await.unwrap(), all / 100);
        let retried = start.elapsed() - opened - listed;
        assert!(lease(&spool, &domain(7), T0).await.is_empty(), "these are due later now");
        assert_eq!(lease(&spool, &domain(8), T0).await.len(), usize::try_from(all / 100).unwrap().min(1000));
        println!("{all} queued: opened {opened:?}, first page {listed:?}, retry of one in a hundred {retried:?}");
    }
    let start = Instant::now();
    assert_eq!(spool.admin(&Filter::default(), Action::Retry(later(200))).await.unwrap(), all);
    println!("{all} queued: retry of all {:?}", start.elapsed());
}
