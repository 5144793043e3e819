//! Guests that misbehave: each harms only the call it is in, and ends it in its `on_error`.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use postern_core::hook::{HookPoint, Hooks as _, MemoryScratch, Transaction};
use std::time::Duration;

/// How each misbehaviour is counted.
const CASES: [(&str, ErrorKind); 9] = [
    ("loop", ErrorKind::Cpu),
    ("memory", ErrorKind::Memory),
    ("trap", ErrorKind::Trap),
    ("recurse", ErrorKind::Trap),
    ("error", ErrorKind::Refused),
    ("edit-then-trap", ErrorKind::Trap),
    ("edit-then-loop", ErrorKind::Cpu),
    ("edit-then-error", ErrorKind::Refused),
    ("edit-without-end", ErrorKind::Refused),
];

/// A hostile plugin, and one behind it that adds `X-Next`.
async fn pair(what: &str, on_error: OnError) -> PluginSet {
    let host = host();
    let mut bad = hostile(what);
    bad.on_error = on_error;
    bad.cpu = Duration::from_millis(100);
    let next = header_rewrite(json!({ "add": [{ "name": "X-Next", "value": "ran" }] }));
    set_of(vec![host.load(bad).await.unwrap(), host.load(next).await.unwrap()])
}

#[tokio::test]
async fn defer_and_reject_answer_without_a_word_about_the_inside() {
    for (what, kind) in CASES {
        for (on_error, reply) in [
            (OnError::Defer, "451 4.3.0 Message not accepted for now, try again later"),
            (OnError::Reject, "550 5.3.0 Message not accepted"),
        ] {
            let set = pair(what, on_error).await;
            let mut transaction = trigger();
            let before = edited(&transaction);
            let refusal = set.rewrite(&mut transaction).await.unwrap_err();
            assert_eq!(refusal.reply.to_string(), reply, "{what}");
            let start = format!("plugin hostile@0.1.0, hook rewrite: {}: ", kind.name());
            assert!(refusal.detail.starts_with(&start), "{what}: {}", refusal.detail);
            assert!(!refusal.detail.contains(char::is_control), "{what}: {}", refusal.detail);
            assert_eq!(edited(&transaction), before, "{what}");
            let stats = &stats(&set)[0];
            assert_eq!((stats.calls, stats.errors_of(kind)), (1, 1), "{what}");
        }
    }
}

#[tokio::test]
async fn skip_leaves_no_trace_and_the_next_plugin_runs() {
    for (what, kind) in CASES {
        let set = pair(what, OnError::Skip).await;
        let mut transaction = trigger();
        set.rewrite(&mut transaction).await.unwrap();
        assert_eq!(header(&transaction), "Subject: hi\r\nX-Trigger: 1\r\nX-Next: ran\r\n", "{what}");
        assert_eq!(changes(&transaction), ["header-rewrite@0.1.0: add X-Next"], "{what}");
        assert_eq!(transaction.envelope, trigger().envelope, "{what}");
        assert!(transaction.zone.is_none() && transaction.delay.is_none() && transaction.attributes.is_empty());
        assert_eq!(stats(&set)[0].errors_of(kind), 1, "{what}");
        assert_eq!(stats(&set)[1].errors.iter().map(|(_, count)| count).sum::<u64>(), 0, "{what}");
    }
}

#[tokio::test]
async fn a_trap_says_where_it_was() {
    let set = pair("trap", OnError::Defer).await;
    let refusal = set.rewrite(&mut trigger()).await.unwrap_err();
    assert!(refusal.detail.contains("unreachable") && refusal.detail.contains(" in "), "{}", refusal.detail);
    assert!(refusal.detail.contains("panic"), "{}", refusal.detail);
}

#[tokio::test]
async fn only_a_failed_instance_is_replaced() {
    let set = set_of(vec![load(hostile("trap")).await]);
    let calls = async || {
        let mut transaction = transaction(&[]);
        set.rewrite(&mut transaction).await.unwrap();
        header(&transaction)
    };
    assert_eq!(calls().await, "X-Calls: 1\r\n");
    assert_eq!(calls().await, "X-Calls: 2\r\n");
    set.rewrite(&mut trigger()).await.unwrap_err();
    assert_eq!(calls().await, "X-Calls: 1\r\n");
    assert_eq!(made(&set), 2);
}

#[tokio::test]
async fn an_error_that_the_plugin_returned_drops_its_instance_too() {
    // What it keeps in itself may belong to the call that failed.
    let set = set_of(vec![load(hostile("error")).await]);
    set.rewrite(&mut trigger()).await.unwrap_err();
    let mut transaction = transaction(&[]);
    set.rewrite(&mut transaction).await.unwrap();
    assert_eq!(header(&transaction), "X-Calls: 1\r\n");
}

#[tokio::test]
async fn a_dropped_call_drops_its_instance() {
    let set = set_of(vec![load(hostile("loop")).await]);
    let mut looping = trigger();
    let call = set.rewrite(&mut looping);
    assert!(tokio::time::timeout(Duration::from_millis(30), call).await.is_err());
    assert_eq!(header(&looping), header(&trigger()));
    let mut transaction = transaction(&[]);
    set.rewrite(&mut transaction).await.unwrap();
    assert_eq!(header(&transaction), "X-Calls: 1\r\n");
    assert_eq!(made(&set), 2);
}

/// One thread: what the loop does not hand back, nobody else has.
#[tokio::test(flavor = "current_thread")]
async fn a_looping_guest_does_not_hold_its_thread() {
    let mut spec = hostile("loop");
    spec.cpu = Duration::from_millis(500);
    let set = set_of(vec![load(spec).await]);
    let mut looping = trigger();
    let mut other = 0;
    let mut call = set.rewrite(&mut looping);
    loop {
        tokio::select! {
            result = &mut call => {
                result.unwrap_err();
                break;
            }
            () = tokio::task::yield_now() => other += 1,
        }
    }
    // Ten milliseconds a slice make fifty of them; a guest that never yields would leave one.
    assert!(other >= 20, "others ran {other} times");
    assert_eq!(stats(&set)[0].errors_of(ErrorKind::Cpu), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_served_while_guests_loop() {
    let mut spec = hostile("loop");
    spec.instances = 4;
    let set = set_of(vec![load(spec).await]);
    let looping = async {
        let mut transaction = trigger();
        set.rewrite(&mut transaction).await.unwrap_err();
    };
    let served = async {
        for _ in 0..200 {
            let mut transaction = transaction(&[]);
            set.rewrite(&mut transaction).await.unwrap();
        }
    };
    tokio::join!(async {
        tokio::select! { () = looping => panic!("the loop ended first"), () = served => {} }
    });
    assert_eq!(stats(&set)[0].calls, 200);
}

#[tokio::test]
async fn the_deadline_ends_a_call() {
    let mut spec = hostile("loop");
    spec.deadline = Duration::from_millis(200);
    spec.cpu = Duration::from_secs(60);
    let set = set_of(vec![load(spec).await]);
    let refusal = set.rewrite(&mut trigger()).await.unwrap_err();
    assert!(refusal.detail.contains("deadline: the deadline passed"), "{}", refusal.detail);
    set.rewrite(&mut transaction(&[])).await.unwrap();
}

#[tokio::test]
async fn a_busy_server_answers_451_whatever_on_error_says() {
    for on_error in [OnError::Defer, OnError::Skip, OnError::Reject] {
        let mut spec = hostile("loop");
        (spec.instances, spec.on_error) = (1, on_error);
        (spec.cpu, spec.deadline) = (Duration::from_secs(60), Duration::from_millis(50));
        let set = set_of(vec![load(spec).await]);
        let mut looping = trigger();
        let mut holding = set.rewrite(&mut looping);
        // It runs its first slice and is not asked again, so it keeps the only instance.
        tokio::select! {
            biased;
            _ = &mut holding => panic!("the loop ended"),
            () = tokio::task::yield_now() => {}
        }
        let refusal = set.rewrite(&mut transaction(&[])).await.unwrap_err();
        let reply = "451 4.3.2 Message not accepted: too busy, try again later";
        assert_eq!(refusal.reply.to_string(), reply, "{on_error:?}");
        assert!(refusal.detail.contains("busy: no instance became free"), "{}", refusal.detail);
    }
}

#[tokio::test]
async fn what_waits_in_the_host_costs_no_cpu() {
    let mut spec = hostile("read-forever");
    spec.cpu = Duration::from_millis(500);
    spec.deadline = Duration::from_secs(2);
    let set = set_of(vec![load(spec).await]);
    let mut transaction = trigger();
    transaction.body = std::sync::Arc::new(Slow);
    let refusal = set.rewrite(&mut transaction).await.unwrap_err();
    assert!(refusal.detail.contains("deadline: "), "{}", refusal.detail);
}

/// Content from a slow disk.
struct Slow;

impl postern_core::message::ContentSource for Slow {
    fn len(&self) -> u64 {
        10
    }

    fn read(&self, _: u64, _: usize) -> futures_util::future::BoxFuture<'_, std::io::Result<bytes::Bytes>> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(bytes::Bytes::from_static(b"x"))
        })
    }
}

/// Runs the plugin with a log that shows `info` and above, and gives what was logged.
async fn logged(spec: PluginSpec, transaction: &mut Transaction) -> String {
    let log = tempfile::NamedTempFile::new().unwrap();
    let writer = std::sync::Arc::new(log.reopen().unwrap());
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(false).with_writer(writer).finish();
    let set = set_of(vec![load(spec).await]);
    let _shown = tracing::subscriber::set_default(subscriber);
    let _ = set.rewrite(transaction).await;
    std::fs::read_to_string(log.path()).unwrap()
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut() {
    let log = logged(hostile("flood-log"), &mut trigger()).await;
    let lines = log.matches("flood").count();
    assert!((100..1000).contains(&lines), "{lines} of 1000 lines");
    assert!(!log.contains('\x1b') && log.contains("\\r\\n"), "{log}");
}

#[tokio::test]
async fn a_write_that_is_refused_again_and_again_is_told_once() {
    let mut transaction = trigger();
    transaction.scratch = std::sync::Arc::new(MemoryScratch(1 << 20));
    let mut spec = hostile("write-forever");
    spec.deadline = Duration::from_millis(500);
    let log = logged(spec, &mut transaction).await;
    assert_eq!(log.matches("cannot keep what a plugin writes").count(), 1, "{log}");
    assert!(log.contains("plugin call failed"), "{log}");
}

#[tokio::test]
async fn lines_that_nobody_sees_cost_none_that_somebody_does() {
    let log = logged(hostile("flood-debug"), &mut trigger()).await;
    assert!(!log.contains("flood") && log.contains("the one that matters"), "{log}");
}

#[tokio::test]
async fn memory_is_the_plugins_own_limit() {
    let mut spec = hostile("memory");
    spec.memory = 3 << 20;
    let set = set_of(vec![load(spec).await]);
    let refusal = set.rewrite(&mut trigger()).await.unwrap_err();
    assert!(refusal.detail.contains("bytes of memory and may have 3145728"), "{}", refusal.detail);
}

#[tokio::test]
async fn an_init_that_fails_is_a_load_error() {
    let check = async |what: &str, expected: &str| {
        let mut spec = hostile(what);
        spec.cpu = Duration::from_millis(100);
        let error = refused(spec).await;
        assert!(error.contains(expected), "{what}: {error}");
        assert!(!error.contains(char::is_control), "{error}");
    };
    check("refuse-init", "plugin \"hostile\" refuses its config: do: it says refuse-init\\r\\nso I refuse").await;
    check("trap-init", "plugin \"hostile\" did not start: its start failed: wasm").await;
    check("loop-init", "plugin \"hostile\" did not start: it used up its CPU limit").await;
    check("nonsense", "plugin \"hostile\" refuses its config: config: do: unknown variant `nonsense`").await;
}

#[tokio::test]
async fn wants_is_what_is_exported() {
    assert!(set_of(vec![load(hostile("trap")).await]).wants(HookPoint::Rewrite));
    assert!(!set_of(Vec::new()).wants(HookPoint::Rewrite));
}
