//! What SMTP adds to the store: one client, one message at a time, against commits of the store itself in the same run,
//! in turns. A long form, since it measures.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use bytes::Bytes;
use postern::spool::embedded::{Embedded, Options};
use postern::spool::{Draft as _, NewMessage, Origin, Spool as _};
use postern_core::mail::{Envelope, Recipient, ReversePath};
use postern_core::route::QueueKey;
use postern_core::time::Timestamp;
use postern_tests::{Client, Postern, free_port, soak};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages of each kind in a turn, and turns.
const MESSAGES: usize = 50;
const TURNS: usize = 10;
/// Of the medians, at most. The goal is 1.5; the slack is for machines that do something else besides.
const MOST: f64 = 3.0;

fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(u64::try_from(now.as_millis()).unwrap())
}

async fn commit(spool: &Embedded, body: &Bytes) {
    let mut draft = spool.begin(None).await.unwrap();
    draft.write(body.clone()).await.unwrap();
    let sealed = draft.seal().await.unwrap();
    let mut envelope = Envelope::new(ReversePath::Path("a@b.example".parse().unwrap()));
    envelope.recipients = vec![Recipient::new("c@d.example".parse().unwrap())];
    let at = now();
    let origin = Origin {
        session: "s".into(),
        listener: "feeder".into(),
        peer_addr: None,
        user: None,
        attributes: Arc::default(),
    };
    let message = NewMessage {
        envelope,
        header: Bytes::from(vec![b'h'; 600]),
        queues: vec![QueueKey { zone: "default".into(), destination: "d.example".into() }],
        accepted: at,
        deliver_at: at,
        origin,
        starts: Vec::new(),
        body_hashes: None,
        facts: Vec::new(),
    };
    spool.commit(sealed, message).await.unwrap();
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn a_message_takes_little_longer_than_its_commit() {
    if !soak() {
        return;
    }
    let server = Postern::start(free_port(), "");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // On the file system that the server's is on.
    let folder = tempfile::tempdir().unwrap();
    let spool = runtime.block_on(async { Embedded::open(folder.path(), Options::new(now)) }).unwrap();
    let text = "Subject: s\r\n\r\n".to_owned() + &format!("{}\r\n", "x".repeat(70)).repeat(50);
    let body = Bytes::from(text.clone());
    let mut client = Client::hello(server.port).unwrap();
    let (mut commits, mut transactions, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        for _ in 0..MESSAGES {
            let start = Instant::now();
            runtime.block_on(commit(&spool, &body));
            commits.push(start.elapsed());
        }
        for _ in 0..MESSAGES {
            let start = Instant::now();
            client.send(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n").unwrap();
            (0..2).for_each(|_| drop(client.expect(2).unwrap()));
            client.expect(3).unwrap();
            let end = Instant::now();
            client.send(format!("{text}.\r\n").as_bytes()).unwrap();
            client.expect(2).unwrap();
            ends.push(end.elapsed());
            transactions.push(start.elapsed());
        }
        if turn == 0 {
            // Both are warm now.
            [&mut commits, &mut transactions, &mut ends].into_iter().for_each(Vec::clear);
        }
    }
    let [commit, transaction, end] = [commits, transactions, ends].map(|mut times| median(&mut times));
    let ratio = transaction.as_secs_f64() / commit.as_secs_f64();
    println!("p50: commit {commit:?}, transaction {transaction:?} ({ratio:.2} times), from content to 250 {end:?}");
    assert!(ratio < MOST, "a transaction takes {ratio} times as long as a commit");
}
