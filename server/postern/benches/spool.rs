//! Figures of the embedded spool: accepts per second and CPU per 1,000 at several numbers of connections, accept with
//! delivery, and memory and opening time with many queued.
//!
//! `cargo bench -p postern --no-default-features --bench spool -- [accept|relay|queued|large] [messages or MiB]`. Run on a quiet
//! machine and compare within one run only. Not a test: nothing here is asserted.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use bytes::Bytes;
use postern::spool::embedded::{Embedded, Options};
use postern::spool::{Draft, NewMessage, Origin, Settle, Settlement, Spool};
use postern_core::mail::{Envelope, Recipient, ReversePath};
use postern_core::route::QueueKey;
use postern_core::time::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp(u64::try_from(now.as_millis()).unwrap())
}

fn key() -> QueueKey {
    QueueKey { zone: "default".into(), destination: "next.example".into() }
}

fn message() -> NewMessage {
    let mut envelope = Envelope::new(ReversePath::Path("sender@example.com".parse().unwrap()));
    envelope.recipients = vec![Recipient::new("recipient@next.example".parse().unwrap())];
    let at = now();
    NewMessage {
        envelope,
        header: Bytes::from(vec![b'h'; 600]),
        queues: vec![key()],
        accepted: at,
        deliver_at: at,
        origin: Origin {
            session: "s".into(),
            listener: "feeder".into(),
            peer_addr: None,
            user: None,
            attributes: Arc::default(),
        },
        starts: Vec::new(),
        body_hashes: None,
        facts: Vec::new(),
    }
}

async fn accept(spool: &Embedded, body: &Bytes) {
    let mut draft = spool.begin(Some(body.len() as u64 + 600)).await.unwrap();
    draft.write(body.clone()).await.unwrap();
    let sealed = draft.seal().await.unwrap();
    spool.commit(sealed, message()).await.unwrap();
}

/// CPU seconds of this process, and its resident memory (now and at most) in MiB.
fn usage() -> (f64, u64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or("");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
    };
    ((ticks(11) + ticks(12)) / 100.0, field("VmRSS:"), field("VmHWM:"))
}

fn options() -> Options {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let defaults = Options::new(now);
    let quick_repair = std::env::var("QUICK").map_or(defaults.quick_repair, |quick| quick == "1");
    Options {
        quick_repair,
        cache: number("CACHE", defaults.cache),
        pregrow: number("PREGROW", defaults.pregrow),
        ..defaults
    }
}

async fn clients(spool: &Embedded, connections: usize, messages: usize, body: &Bytes) {
    let tasks: Vec<_> = (0..connections)
        .map(|n| {
            let (spool, body) = (spool.clone(), body.clone());
            let share = messages / connections + usize::from(n < messages % connections);
            tokio::spawn(async move {
                for _ in 0..share {
                    accept(&spool, &body).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn deliver(spool: Embedded, messages: usize) {
    let mut done = 0;
    let mut running = tokio::task::JoinSet::new();
    while done < messages {
        let room = 100usize.saturating_sub(running.len());
        let leased = spool.lease(&key(), now(), room, 1, Duration::from_secs(60)).await.unwrap();
        if leased.is_empty() && running.is_empty() {
            spool.ready(now());
            spool.changed().await;
            continue;
        }
        for leased in leased {
            let spool = spool.clone();
            running.spawn(async move {
                let source = spool.open(leased.message.id).await.unwrap();
                let mut at = 0;
                while at < source.len() {
                    at += source.read(at, 65_536).await.unwrap().len() as u64;
                }
                let outcomes = vec![(leased.recipients[0].token, Settle::Done)];
                let settlement =
                    Settlement { message: leased.message.id, outcomes, emit: Vec::new(), facts: Vec::new() };
                spool.settle(settlement).await.unwrap();
            });
        }
        running.join_next().await.unwrap().unwrap();
        done += 1;
        while let Some(ended) = running.try_join_next() {
            ended.unwrap();
            done += 1;
        }
    }
}

/// One message of `mib` MiB in and out.
async fn stream(spool: &Embedded, mib: usize) {
    let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
    let (cpu, before, _) = usage();
    let begun = Instant::now();
    let mut draft = spool.begin(Some((mib as u64) << 20)).await.unwrap();
    for _ in 0..mib * 16 {
        draft.write(chunk.clone()).await.unwrap();
    }
    let sealed = draft.seal().await.unwrap();
    let id = spool.commit(sealed, message()).await.unwrap();
    report("in, per MiB", mib, begun, cpu);
    let (cpu, ..) = usage();
    let begun = Instant::now();
    let source = spool.open(id).await.unwrap();
    let mut at = 0;
    while at < source.len() {
        at += source.read(at, 65_536).await.unwrap().len() as u64;
    }
    report("out, per MiB", mib, begun, cpu);
    println!("RSS before {before} MiB");
}

fn report(what: &str, messages: usize, begun: Instant, cpu: f64) {
    let seconds = begun.elapsed().as_secs_f64();
    let (cpu_now, rss, peak) = usage();
    let n = messages as f64;
    println!(
        "{what:28} {:8.0} msg/s  {:.3} CPU s per 1,000  RSS {rss} MiB, peak {peak}",
        n / seconds,
        (cpu_now - cpu) / n * 1000.0
    );
}

async fn run(what: &str, messages: usize) {
    // Not in a memory file system: the point is what fsync costs.
    let base = std::env::var("BENCH_DIR").map_or_else(|_| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let body = Bytes::from(vec![b'x'; if what == "queued" { 200 } else { 4096 }]);
    if what == "queued" {
        let dir = tempfile::tempdir_in(base).unwrap();
        let spool = Embedded::open(dir.path(), options()).unwrap();
        let (cpu, ..) = usage();
        let begun = Instant::now();
        clients(&spool, 2000, messages, &body).await;
        report("fill", messages, begun, cpu);
        let begun = Instant::now();
        drop(spool);
        println!("closed in {:.2} s, file {} MiB", begun.elapsed().as_secs_f64(), size(&dir) >> 20);
        let begun = Instant::now();
        let spool = Embedded::open(dir.path(), options()).unwrap();
        println!("opened {} in {:.2} s", spool.stats().messages, begun.elapsed().as_secs_f64());
        // As a crash leaves it.
        let copy = tempfile::tempdir_in(dir.path()).unwrap();
        accept(&spool, &body).await;
        for name in ["queue.redb", "STORE"] {
            std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
        }
        drop(spool);
        let begun = Instant::now();
        let spool = Embedded::open(copy.path(), options()).unwrap();
        println!("opened {} after a crash in {:.2} s", spool.stats().messages, begun.elapsed().as_secs_f64());
        println!("RSS {} MiB, peak {} MiB", usage().1, usage().2);
        return;
    }
    if what == "large" {
        let dir = tempfile::tempdir_in(&base).unwrap();
        let spool = Embedded::open(dir.path(), options()).unwrap();
        stream(&spool, messages).await;
        return;
    }
    for connections in [1, 20, 100] {
        let dir = tempfile::tempdir_in(&base).unwrap();
        let spool = Embedded::open(dir.path(), options()).unwrap();
        let messages = if connections == 1 { messages / 10 } else { messages };
        // What is queued already is in another queue's way, not in this one's.
        let prefill = std::env::var("PREFILL").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
        clients(&spool, 2000, prefill, &Bytes::from(vec![b'x'; 4096])).await;
        let (cpu, ..) = usage();
        let begun = Instant::now();
        if what == "accept" {
            clients(&spool, connections, messages, &body).await;
        } else {
            let delivery = tokio::spawn(deliver(spool.clone(), messages));
            clients(&spool, connections, messages, &body).await;
            delivery.await.unwrap();
        }
        report(&format!("{what} 4 KiB, C={connections}"), messages, begun, cpu);
    }
}

fn size(dir: &tempfile::TempDir) -> u64 {
    std::fs::metadata(dir.path().join("queue.redb")).map_or(0, |file| file.len())
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let messages = args.get(1).and_then(|n| n.parse().ok());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match args.first().map(String::as_str) {
        Some(what @ ("accept" | "relay")) => runtime.block_on(run(what, messages.unwrap_or(20_000))),
        Some("queued") => runtime.block_on(run("queued", messages.unwrap_or(1_000_000))),
        Some("large") => runtime.block_on(run("large", messages.unwrap_or(1024))),
        _ => {
            runtime.block_on(run("accept", 20_000));
            runtime.block_on(run("relay", 20_000));
        }
    }
}
