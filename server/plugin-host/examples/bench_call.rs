//! What a plugin call costs: `cargo run --release -p postern-plugin-host --example bench_call`.
//!
//! The message has twenty fields. "realistic" reads the reverse-path and one header and adds a field made of them;
//! "kept" is the way of production, "fresh" makes an instance for each call. The last figure is a message's eight calls
//! of five plugins: four that add a field each, and one with the hooks mail, rcpt, spam and rewrite that leaves a note at
//! each.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;

use common::*;
use postern_core::hook::Hooks as _;
use std::time::{Duration, Instant};

fn main() {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run());
}

async fn run() {
    let fields: Vec<String> = (0..19).map(|n| format!("X-Field-{n}: some value of usual length {n}")).collect();
    let mut fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    fields.push("Subject: a subject of usual length");
    let message = transaction(&fields);
    let value = "{reverse-path} {header:Subject}";
    let one = || header_rewrite(json!({ "add": [{ "name": "X-Relay", "value": value }] }));
    let host = host();

    let calls = std::env::args().nth(1).map_or(20_000, |calls| calls.parse().unwrap());
    let set = set_of(vec![host.load(one()).await.unwrap()]);
    let kept = measure(calls, async || {
        let mut transaction = message.clone();
        let start = Instant::now();
        set.rewrite(&mut transaction).await.unwrap();
        start.elapsed()
    })
    .await;
    report("kept, realistic: two read, one field added", &kept);
    if std::env::args().nth(1).is_some() {
        return;
    }

    let empty = set_of(vec![host.load(header_rewrite(json!({}))).await.unwrap()]);
    let kept = measure(20_000, async || {
        let mut transaction = message.clone();
        let start = Instant::now();
        empty.rewrite(&mut transaction).await.unwrap();
        start.elapsed()
    })
    .await;
    report("kept: nothing to do", &kept);

    let copies = measure(20_000, async || {
        let start = Instant::now();
        std::hint::black_box(message.clone());
        start.elapsed()
    })
    .await;
    report("of that: copying the transaction", &copies);

    let hostile = set_of(vec![host.load(hostile("error")).await.unwrap()]);
    let mut trigger = message.clone();
    trigger.header.set("X-Trigger", "1").unwrap();
    let fresh = measure(5_000, async || {
        // A call that fails drops its instance, so that the next call makes a new one.
        let start = Instant::now();
        hostile.rewrite(&mut trigger.clone()).await.unwrap_err();
        start.elapsed()
    })
    .await;
    report("fresh: make, init, call that returns an error, drop", &fresh);

    let mut five = Vec::new();
    for _ in 0..4 {
        five.push(host.load(one()).await.unwrap());
    }
    five.push(host.load(spec("tests/guests/generations", json!({ "generation": "1" }))).await.unwrap());
    let set = set_of(five);
    let eight = measure(20_000, async || {
        let mut transaction = message.clone();
        let mut recipient = transaction.envelope.recipients[0].clone();
        let start = Instant::now();
        set.mail(&mut transaction).await.unwrap();
        set.rcpt(&mut transaction, &mut recipient).await.unwrap();
        set.spam(&mut transaction).await.unwrap();
        set.rewrite(&mut transaction).await.unwrap();
        start.elapsed()
    })
    .await;
    report("eight calls of five plugins", &eight);

    let loads = measure(200, async || {
        let start = Instant::now();
        host.load(one()).await.unwrap();
        start.elapsed()
    })
    .await;
    report("load from the code cache, first instance included", &loads);
}

async fn measure(calls: usize, mut call: impl AsyncFnMut() -> Duration) -> Vec<Duration> {
    for _ in 0..calls / 10 {
        call().await;
    }
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        times.push(call().await);
    }
    times.sort_unstable();
    times
}

fn report(what: &str, times: &[Duration]) {
    let at = |percent: usize| times[times.len() * percent / 100].as_nanos() as f64 / 1000.0;
    println!("{what:52} p10 {:8.2} µs  p50 {:8.2} µs  p99 {:8.2} µs", at(10), at(50), at(99));
}
