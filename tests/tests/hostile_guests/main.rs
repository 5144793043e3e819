//! Hostile guests in the whole server. Each call ends inside its budget and is counted by its kind, `on_error` decides
//! what becomes of the message, nothing of what the call did stays, and other mail goes on meanwhile.
//!
//! The guests are `tests/guests/hostile-messages`, whose table is in `cases.rs`, and one written by hand, in `odd.rs`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod cases;
mod odd;

use cases::{CASES, Ends};
use postern_tests::{AioSink, Client, HttpPeer, Postern, Reply, check, free_port, root, run, wait_for};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const HEADER: &str = "From: a@b.example\r\nTo: c@d.example\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\
                      Message-ID: <1@b>\r\nSubject: original\r\nMIME-Version: 1.0\r\n\
                      Content-Type: multipart/mixed; boundary=b\r\n";
const BODY: &str = "\r\n--b\r\nContent-Type: text/plain\r\n\r\nfirst\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>second</p>\r\n\
                    --b--\r\n";

/// Cases of the hook `connect`, by listener, and their kinds.
const CONNECT: [(&str, &str); 4] = [("panic", "trap"), ("loop", "cpu"), ("crlf", "verdict"), ("ok", "verdict")];

/// A server with hostile plugins, and what they are against.
struct Place {
    sink: AioSink,
    server: Postern,
    _peers: [HttpPeer; 2],
    /// Takes questions and never answers.
    _dns: UdpSocket,
    _dir: tempfile::TempDir,
}

fn guest(path: &str) -> PathBuf {
    let file = root().join("tests/guests").join(path);
    assert!(file.exists(), "{path} is missing: run `make guests`");
    std::fs::canonicalize(file).unwrap()
}

impl Place {
    /// Both plugins have this `on_error`; `config` is added.
    fn start(on_error: &str, config: &str) -> Self {
        let (sink, peers) = (AioSink::start(), [HttpPeer::start(), HttpPeer::start()]);
        let dns = UdpSocket::bind("127.0.0.1:0").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let [peer, other] = [peers[0].url(""), peers[1].url("")];
        // A plugin that rested would not be called.
        let keys = format!("on_error = '{on_error}'\ncpu = '50ms'\ndeadline = '1s'\nbreaker = {{ failures = 0 }}");
        let config = format!(
            "[dns]\nservers = ['{}']\n{config}\n\
             [[plugin]]\nname = 'hostile'\ncomponent = '{}'\n{keys}\n\
             grants = {{ http = ['{peer}'], kv = true, dns = true, random = true }}\n\
             config = {{ peer = '{peer}', other = '{other}' }}\n\
             [[plugin]]\nname = 'odd'\ncomponent = '{}'\n{keys}\nmemory = '4MiB'\n",
            dns.local_addr().unwrap(),
            guest("hostile-messages/hostile-messages.wasm").display(),
            odd::write(dir.path(), "odd.wasm", &odd::component("")).display(),
        );
        let server = Postern::start(sink.port, &config);
        Self { sink, server, _peers: peers, _dns: dns, _dir: dir }
    }

    /// What an address of the control socket gives.
    fn control(&self, path: &str) -> String {
        let socket = self.server.data().join("control.sock");
        let url = format!("http://postern{path}");
        let said = run("curl", &["-sS", "--fail", "--unix-socket", socket.to_str().unwrap(), &url]);
        String::from_utf8(said.stdout).unwrap()
    }

    /// Failed calls by kind, of all plugins and hooks.
    fn errors(&self) -> BTreeMap<String, u64> {
        let view: Value = serde_json::from_str(&self.control("/api/v1/plugins")).unwrap();
        let mut errors = BTreeMap::new();
        for hook in view["plugins"].as_array().unwrap().iter().flat_map(|plugin| plugin["hooks"].as_array().unwrap()) {
            for (kind, count) in hook["errors"].as_object().unwrap() {
                *errors.entry(kind.clone()).or_default() += count.as_u64().unwrap();
            }
        }
        errors.retain(|_, count| *count > 0);
        errors
    }

    /// Runs what fails at most once, and gives its result and the log's line of the failure.
    fn failing<T>(&self, fails: bool, act: impl FnOnce() -> T) -> (T, Option<String>) {
        let before = self.server.log_lines("plugin call failed").len();
        let result = act();
        let mut lines = self.server.wait_log("plugin call failed", before + usize::from(fails));
        assert!(lines.len() <= before + 1, "{lines:?}");
        (result, lines.drain(before..).next())
    }
}

/// A whole transaction; gives the first reply that refuses, or the last one.
fn submit(port: u16, from: &str, to: &str) -> Reply {
    let mut client = Client::hello(port).unwrap();
    for command in [format!("MAIL FROM:<{from}>"), format!("RCPT TO:<{to}>"), "DATA".to_owned()] {
        client.send(format!("{command}\r\n").as_bytes()).unwrap();
        let reply = client.reply().unwrap();
        if reply.code >= 400 {
            return reply;
        }
    }
    client.send(format!("{HEADER}{BODY}.\r\n").as_bytes()).unwrap();
    client.reply().unwrap()
}

fn is_kind(line: &str, kinds: &[&str]) -> Option<String> {
    kinds.iter().find(|kind| line.contains(&format!("kind=\"{kind}\""))).map(|kind| (*kind).to_owned())
}

fn text<'v>(message: &'v Value, key: &str) -> &'v str {
    message[key].as_str().unwrap()
}

/// All cases of intake, one after the other, while other mail comes in.
fn intake(on_error: &str, code: u16, greeting: u16) {
    let ports = CONNECT.map(|_| free_port());
    let listeners: String = CONNECT
        .iter()
        .zip(ports)
        .map(|((act, _), port)| format!("[listener.connect-{act}]\naddress = '127.0.0.1:{port}'\n"))
        .collect();
    let place = Place::start(on_error, &listeners);
    let port = place.server.port;
    let over = AtomicBool::new(false);
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    let others = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut client = Client::hello(port).unwrap();
            let mut sent = 0;
            loop {
                // The last one comes after all that was hostile.
                let last = over.load(Ordering::SeqCst);
                let content = format!("{HEADER}{BODY}");
                let reply = client.mail("other@b.example", &["c@d.example"], &content).unwrap();
                assert_eq!(reply.code, 250, "{reply:?}");
                sent += 1;
                if last {
                    return sent;
                }
                // A message in a while is enough to see that they pass.
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let hostile = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut wrong = Vec::new();
            for (case, ends) in CASES {
                wrong.extend(wrong_end(&place, case, *ends, code, &mut expected));
            }
            for (letter, _, kind, said) in &odd::CASES {
                let ends = Ends::Fails(std::slice::from_ref(kind), said);
                wrong.extend(wrong_end(&place, &letter.to_string(), ends, code, &mut expected));
            }
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
            for ((act, kind), port) in CONNECT.iter().zip(ports) {
                let (reply, line) = place.failing(true, || Client::connect(port).unwrap().reply().unwrap());
                assert_eq!(reply.code, greeting, "connect.{act}: {reply:?}");
                assert!(is_kind(&line.unwrap(), &[kind]).is_some(), "connect.{act}");
                *expected.entry((*kind).to_owned()).or_default() += 1;
            }
        }));
        over.store(true, Ordering::SeqCst);
        let sent: usize = others.join().unwrap();
        hostile.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sent
    });
    assert_eq!(place.errors(), expected);
    check_figures(&place);
    place.server.wait_empty();
    check_arrived(&place.sink.messages(), others, code);
}

/// Runs one case and counts its failure; says what is wrong with how it ended.
fn wrong_end(place: &Place, case: &str, ends: Ends, code: u16, expected: &mut BTreeMap<String, u64>) -> Option<String> {
    let from = format!("{case}@{}.example", if case.contains('.') { "hostile" } else { "odd" });
    let fails = matches!(ends, Ends::Fails(..));
    let (reply, line) = place.failing(fails, || submit(place.server.port, &from, "c@d.example"));
    let told = reply.lines.join(" ");
    let inside = ["wasm", "hostile", "forged"].into_iter().any(|word| told.contains(word));
    let line = line.unwrap_or_default();
    let is_right = match ends {
        Ends::Fails(kinds, said) => {
            let kind = is_kind(&line, kinds);
            *expected.entry(kind.clone().unwrap_or_default()).or_default() += 1;
            kind.is_some() && line.contains(said) && line.len() < 4000 && reply.code == code && !inside
        }
        Ends::Refused(_) => reply.code == 250 && line.is_empty(),
        Ends::Deferred(said) => reply.code == 451 && line.is_empty() && !place.server.wait_log(said, 1).is_empty(),
    };
    (!is_right).then(|| format!("{case}: {reply:?}, where {ends:?}: {line}"))
}

/// What the cases left in the server's figures and in its log.
fn check_figures(place: &Place) {
    let refusals: u64 = CASES.iter().map(|(_, ends)| if let Ends::Refused(count) = ends { *count } else { 0 }).sum();
    let figures = place.control("/metrics");
    let refused = format!("postern_plugin_custom_refused{{plugin=\"hostile\"}} {refusals}");
    assert!(figures.lines().any(|line| line == refused), "{refused} in\n{figures}");
    let names = figures.lines().filter(|line| line.starts_with("postern_plugin_custom_")).count();
    assert!((2..=50).contains(&names), "{names} names");
    let log = place.server.log();
    assert!(!log.contains('\x1b') && log.len() < 1 << 20, "a log of {} octets", log.len());
    let status = std::fs::read_to_string(format!("/proc/{}/status", place.server.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let peak: u64 = peak.unwrap().parse().unwrap();
    assert!(peak < 256 << 10, "a peak of {peak} KiB");
}

/// What arrived is what was sent, whatever the plugins began.
fn check_arrived(messages: &[Value], others: usize, code: u16) {
    let (ours, theirs): (Vec<_>, Vec<_>) = messages.iter().partition(|m| text(m, "mail_from") == "other@b.example");
    assert_eq!(ours.len(), others);
    assert!(ours.iter().all(|message| text(message, "content").contains("X-Seen: yes\r\n")));
    let arrives = |ends: &Ends| match ends {
        Ends::Fails(..) => code == 250,
        Ends::Refused(_) => true,
        Ends::Deferred(_) => false,
    };
    let mut expected: Vec<String> =
        CASES.iter().filter(|(_, ends)| arrives(ends)).map(|(case, _)| format!("{case}@hostile.example")).collect();
    if code == 250 {
        expected.extend(odd::CASES.iter().map(|(letter, ..)| format!("{letter}@odd.example")));
    }
    let mut came: Vec<&str> = theirs.iter().map(|message| text(message, "mail_from")).collect();
    expected.sort();
    came.sort_unstable();
    assert_eq!(came, expected);
    for message in theirs {
        let content = text(message, "content").replace("X-Seen: yes\r\n", "");
        assert!(content.starts_with("Received: ") && content.ends_with(&format!("\r\n{HEADER}{BODY}")), "{message}");
        assert!(!content.contains("left behind") && !content.contains("X-Forged"), "{message}");
        assert_eq!(message["rcpt_tos"], serde_json::json!(["c@d.example"]), "{message}");
    }
}

#[test]
fn deferred() {
    intake("defer", 451, 421);
}

#[test]
fn skipped() {
    intake("skip", 250, 220);
}

#[test]
fn rejected() {
    intake("reject", 550, 554);
}

#[test]
fn memory_that_an_instance_keeps_ends_with_it() {
    let place = Place::start("defer", "");
    let leak = || submit(place.server.port, "rewrite.leak@hostile.example", "c@d.example").code;
    // An instance that has swollen is replaced before it meets its limit.
    assert!((0..50).all(|_| leak() == 250));
    assert_eq!(place.errors(), BTreeMap::new());
    let view: Value = serde_json::from_str(&place.control("/api/v1/plugins")).unwrap();
    let plugins = view["plugins"].as_array().unwrap();
    let of = |key: &str| plugins.iter().map(|plugin| plugin[key].as_u64().unwrap()).max().unwrap();
    assert!(of("instances_made") > 3 && of("memory_peak") <= 16 << 20, "{view}");
}

#[test]
fn attempts_are_put_off_or_made_and_mail_never_bounces() {
    let cases = [
        ("panic", "trap"),
        ("loop", "cpu"),
        ("memory", "memory"),
        ("error-large", "refused"),
        ("http-slow", "deadline"),
        ("bounce-ok", "verdict"),
        ("bounce-temporary", "verdict"),
        ("defer-crlf", "verdict"),
        ("defer-long", "verdict"),
    ];
    for (on_error, goes) in [("defer", false), ("reject", false), ("skip", true)] {
        let place = Place::start(on_error, "");
        let mut expected = BTreeMap::new();
        for (n, (act, kind)) in cases.iter().enumerate() {
            let from = format!("delivery-before.{act}@hostile.example");
            let ((), line) = place.failing(true, || {
                assert_eq!(submit(place.server.port, &from, "c@d.example").code, 250);
            });
            assert!(is_kind(&line.unwrap(), &[kind]).is_some(), "{act}");
            *expected.entry((*kind).to_owned()).or_default() += 1;
            if !goes {
                let deferred = place.server.wait_log(" DEFERRED ", n + 1);
                assert!(deferred[n].contains("local error in processing"), "{deferred:?}");
            }
        }
        assert_eq!(submit(place.server.port, "other@b.example", "c@d.example").code, 250);
        let count = if goes { cases.len() + 1 } else { 1 };
        let messages = wait_for("messages", || Some(place.sink.messages()).filter(|all| all.len() >= count));
        assert_eq!(messages.len(), count);
        assert!(!messages.iter().any(|message| text(message, "content").contains("X-Trace")), "{messages:?}");
        assert_eq!((place.errors(), place.server.log_lines(" REJECTED ").len()), (expected, 0), "{on_error}");
    }
}

#[test]
fn decisions_about_failures_stand_and_events_come_again() {
    // Whatever `on_error` says.
    let place = Place::start("reject", "");
    let port = place.server.port;
    for (n, (act, kind)) in
        [("panic", "trap"), ("loop", "cpu"), ("error-huge", "trap"), ("http-slow", "deadline")].iter().enumerate()
    {
        let from = format!("bounce.{act}@hostile.example");
        let ((), line) = place.failing(true, || assert_eq!(submit(port, &from, "perm@d.example").code, 250));
        assert!(is_kind(&line.unwrap(), &[kind]).is_some(), "{act}");
        let rejected = place.server.wait_log(" REJECTED ", n + 1);
        assert!(rejected[n].contains("dsn=true"), "{rejected:?}");
        let messages = wait_for("the DSN", || Some(place.sink.messages()).filter(|all| all.len() > n));
        assert_eq!(messages[n]["rcpt_tos"][0], *from);
    }
    let events = ["panic", "loop", "http-slow"].map(|act| format!("event.{act}@hostile.example"));
    for from in &events {
        assert_eq!(submit(port, from, "c@d.example").code, 250);
    }
    assert_eq!(submit(port, "other@b.example", "c@d.example").code, 250);
    for from in events.iter().map(String::as_str).chain(["other@b.example"]) {
        for kind in ["accepted", "delivered"] {
            place.server.wait_log(&format!("TAKEN {kind} {from}"), 1);
        }
    }
    place.server.wait_empty();
    let errors = place.errors();
    assert_eq!((errors["trap"], errors["cpu"], errors["deadline"]), (3, 2, 2), "{errors:?}");
}

#[test]
fn what_cannot_start_does_not_load() {
    let dir = tempfile::tempdir().unwrap();
    let said = |component: &[u8], keys: &str| {
        let path = odd::write(dir.path(), "guest.wasm", component);
        let zone = "[zone.default]\nsmart_host = { host = '127.0.0.1', port = 1 }\n";
        let config = format!("{zone}[[plugin]]\nname = 'odd'\ncomponent = '{}'\n{keys}", path.display());
        let (right, said) = check(&config);
        assert!(!right && said.contains("\"odd\""), "{said}");
        said
    };
    let refused = |component: &[u8], keys: &str, part: &str| {
        let said = said(component, keys);
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    };
    refused(&odd::component("(start $stop) (func $stop unreachable)"), "", "its start failed: wasm trap");
    refused(&odd::component("(start $spin) (func $spin (loop $on (br $on)))"), "", "it used up its CPU limit");
    refused(&odd::component("(table 90000 funcref)"), "memory = '128KiB'", "bytes of memory and may have 131072");
    refused(b"\0asm\x01\0\0\0", "", "is not a WebAssembly component");
    refused(b"\0asm\x0d\0\x01\0\xff\xff\xff", "", "not a component that this server can run");
    let wasi = wat::parse_str(
        r#"(component (import "wasi:cli/environment@0.2.0" (instance
            (export "get-environment" (func (result (list (tuple string string))))))))"#,
    );
    refused(&wasi.unwrap(), "", "imports wasi:cli/environment@0.2.0");
    let capabilities = std::fs::read(guest("capabilities/capabilities.wasm")).unwrap();
    refused(&capabilities, "", "which needs a grant. Add to its [[plugin]] table: ");
}
