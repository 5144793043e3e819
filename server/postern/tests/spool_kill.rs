//! SIGKILL of a process that runs the embedded engine under load: every message it said was committed is there with
//! its content, every one it said was settled is gone.
//!
//! The child is this test binary itself, told so by the environment. That the page cache survives is the limit of this
//! test; what a power cut does is tested on a simulated disk beside the engine.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod killed;
mod spool_suite;

use killed::{lines_until_killed, say};
use postern::spool::embedded::{Embedded, Options};
use postern::spool::{Draft, SealedDraft, Settle, Spool};
use postern_core::mail::QueueId;
use spool_suite::*;
use std::collections::BTreeSet;
use std::path::Path;

const DIR: &str = "POSTERN_TEST_SPOOL";
const ROUNDS: usize = 6;

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, Options { pregrow: 0, min_free: 0, ..Options::new(now) }).unwrap()
}

fn body(id: QueueId) -> bytes::Bytes {
    let len = if id.0.is_multiple_of(7) { 400_000 } else { 4096 };
    pattern(len, id.0)
}

/// The child's part: it ends by being killed, or when nobody listens any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let spool = open(Path::new(&dir));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let spool = spool.clone();
        tasks.spawn(async move {
            loop {
                let mut draft = spool.begin(None).await.unwrap();
                let body = body(draft.id());
                // Some get their content by a second draft.
                let sealed = if draft.id().0.is_multiple_of(5) {
                    draft.write(pattern(if draft.id().0.is_multiple_of(3) { 500_000 } else { 500 }, 1)).await.unwrap();
                    let first = draft.seal().await.unwrap();
                    let mut second = spool.begin_second(first, message(&[]).header, None).await.unwrap();
                    second.write(body).await.unwrap();
                    second.seal().await.unwrap()
                } else {
                    draft.write(body).await.unwrap();
                    draft.seal().await.unwrap()
                };
                let id = sealed.id();
                spool.commit(sealed, message(&["a.example"])).await.unwrap();
                say("committed", id);
                for leased in spool.lease(&key("a.example"), T0, 1, 1, TTL).await.unwrap() {
                    // Some stay.
                    if !leased.message.id.0.is_multiple_of(3) {
                        say("settling", leased.message.id);
                        assert!(spool.settle(settlement(&leased, &Settle::Done)).await.unwrap());
                        say("settled", leased.message.id);
                    }
                }
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn a_killed_process_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut committed, mut settling, mut settled) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for round in 0..ROUNDS {
        for line in lines_until_killed(DIR, dir.path(), 41 + round * 60) {
            if let Some((word, Ok(id))) = line.split_once(' ').map(|(word, id)| (word, id.parse::<QueueId>())) {
                match word {
                    "committed" => committed.insert(id),
                    "settling" => settling.insert(id),
                    "settled" => settled.insert(id),
                    _ => false,
                };
            }
        }

        let spool = open(dir.path());
        for id in &committed {
            match spool.open(*id).await {
                Ok(source) => {
                    assert!(!settled.contains(id), "{id} was settled and is there");
                    assert!(read_all(&*source).await == whole(&message(&[]), &body(*id)), "content of {id}");
                }
                Err(_) => assert!(settling.contains(id), "{id} was committed and is lost, round {round}"),
            }
        }
    }
    assert!(committed.len() > 100 && !settled.is_empty());
}
