//! Plugins in the whole server: what the client sees when one misbehaves, that other messages are untouched, and what
//! the operator is told about one that does not fit. The plugins are real components (`make guests`).

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Postern, SmtpSink, check, root, run, wait_for};
use std::path::PathBuf;

const ZONE: &str = "[zone.default]\nsmart_host = { host = '127.0.0.1', port = 1 }\n";

/// A header that needs no completion.
const HEADER: &str =
    "From: a@b.example\r\nTo: c@d.example\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@b>\r\n";

fn component(path: &str) -> PathBuf {
    let file = root().join(path);
    assert!(file.exists(), "{path} is missing: run `make plugins guests`");
    std::fs::canonicalize(file).unwrap()
}

fn plugin(name: &str, path: &str, keys: &str) -> String {
    format!("[[plugin]]\nname = '{name}'\ncomponent = '{}'\n{keys}\n", component(path).display())
}

fn hostile(what: &str, on_error: &str) -> String {
    let keys = format!("on_error = '{on_error}'\nconfig = {{ do = '{what}' }}\ncpu = '50ms'\nmemory = '4MiB'");
    plugin("hostile", "tests/guests/hostile/hostile.wasm", &keys)
}

fn header_rewrite(config: &str) -> String {
    plugin("header-rewrite", "plugins/header-rewrite/header-rewrite.wasm", &format!("config = {config}"))
}

#[test]
fn header_rewrite_changes_what_swaks_sends() {
    let sink = AioSink::start();
    let config = "{ remove = ['X-Mailer'], replace = { Subject = '[{listener}] {header:Subject}' }, \
                  add = [{ name = 'X-From', value = '{reverse-path} by {helo}', position = 'top' }] }";
    let server = Postern::start(sink.port, &header_rewrite(config));
    let at = format!("127.0.0.1:{}", server.port);
    let data = "X-Mailer: old\nSubject: hello\nTo: b@c.example\nFrom: a@b.example\nDate: Mon, 23 Nov 2026 10:00:00 +0000\nMessage-ID: <1@b>\n\nbody";
    let _ = run(
        "swaks",
        &["--server", &at, "--helo", "client.example", "-f", "a@b.example", "-t", "b@c.example", "-d", data],
    );
    let messages = wait_for("the message", || Some(sink.messages()).filter(|m| m.len() == 1));
    let content = messages[0]["content"].as_str().unwrap();
    let (received, rest) = content.split_at(content.find("X-From:").unwrap());
    assert!(received.starts_with("Received: from client.example ([127.0.0.1])\r\n"), "{content}");
    assert_eq!(
        rest,
        "X-From: a@b.example by client.example\r\nSubject: [feeder] hello\r\nTo: b@c.example\r\nFrom: a@b.example\r\n\
         Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@b>\r\n\r\nbody\r\n"
    );
    let changes = server.wait_log(" CHANGED ", 1);
    assert_eq!(changes.len(), 1);
    assert!(changes[0].contains("plugin=\"header-rewrite@"), "{changes:?}");
    assert!(changes[0].contains("what=\"remove X-Mailer; set Subject; add X-From\""), "{changes:?}");
}

/// What a client sees of a plugin that fails, by its `on_error`; and that what came before, at the same time and after
/// is as if nothing had been.
fn misbehaves(what: &str) {
    let second = header_rewrite("{ add = [{ name = 'X-Second', value = 'was called' }] }");
    for (on_error, code) in [("defer", 451), ("skip", 250), ("reject", 550)] {
        let place = format!("{what}, on_error = {on_error}");
        let sink = AioSink::start();
        let server = Postern::start(sink.port, &(hostile(what, on_error) + &second));
        let port = server.port;
        std::thread::scope(|scope| {
            let others = scope.spawn(move || {
                let mut client = Client::hello(port).unwrap();
                (0..50).for_each(|_| {
                    let reply =
                        client.mail("other@b.example", &["c@d.example"], "Subject: other\r\n\r\nbody\r\n").unwrap();
                    assert_eq!(reply.code, 250, "{reply:?}");
                });
            });
            let mut client = Client::hello(port).unwrap();
            for _ in 0..3 {
                let reply = client
                    .mail("a@b.example", &["c@d.example"], &format!("X-Trigger: yes\r\n{HEADER}\r\nbody\r\n"))
                    .unwrap();
                assert_eq!(reply.code, code, "{place}: {reply:?}");
                let text = reply.lines.join(" ");
                assert!(
                    !text.contains("hostile") && !text.contains("wasm"),
                    "{place}: the client is told of our insides: {text}"
                );
            }
            others.join().unwrap();
        });
        server.wait_empty();
        let messages = sink.messages();
        let (triggered, others): (Vec<_>, Vec<_>) = messages.iter().partition(|m| m["mail_from"] == "a@b.example");
        assert_eq!(others.len(), 50, "{place}");
        assert!(others.iter().all(|m| m["content"].as_str().unwrap().contains("X-Calls: ")), "{place}");
        assert_eq!(triggered.len(), if code == 250 { 3 } else { 0 }, "{place}");
        for message in triggered {
            let content = message["content"].as_str().unwrap();
            let rest = format!("\r\nX-Trigger: yes\r\n{HEADER}X-Second: was called\r\n\r\nbody\r\n");
            assert!(content.starts_with("Received: ") && content.ends_with(&rest), "{place}: {content}");
        }
        assert!(server.log().contains("hostile"), "{place}: the operator is not told which plugin failed");
    }
}

#[test]
fn a_plugin_that_loops() {
    misbehaves("loop");
}

#[test]
fn a_plugin_that_eats_memory() {
    misbehaves("memory");
}

#[test]
fn a_plugin_that_traps() {
    misbehaves("trap");
}

#[test]
fn a_plugin_that_traps_after_its_edits() {
    misbehaves("edit-then-trap");
}

#[test]
fn an_import_without_a_grant_does_not_load_and_the_line_to_add_is_named() {
    let wants_clock = |keys: &str| plugin("timer", "tests/guests/wants-clock/wants-clock.wasm", keys);
    let (right, said) = check(&format!("{ZONE}{}", wants_clock("")));
    assert!(!right);
    for part in ["timer", "postern:plugin/clock", "grants = { clock = true }"] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    let (right, said) = check(&format!("{ZONE}{}", wants_clock("grants = { clock = true }")));
    assert!(right, "{said}");
    let sink = SmtpSink::start(&[]);
    let server = Postern::start(sink.port, &wants_clock("grants = { clock = true }"));
    let mut client = Client::hello(server.port).unwrap();
    assert_eq!(client.mail("a@b.example", &["c@d.example"], "\r\nbody\r\n").unwrap().code, 250);
    server.wait_empty();
    assert!(sink.messages()[0].contains("X-Time: "));
}

#[test]
fn a_config_that_a_plugin_refuses_is_named() {
    let (right, said) = check(&format!("{ZONE}{}", header_rewrite("{ ad = [] }")));
    assert!(!right && said.contains("header-rewrite") && said.contains("`ad`"), "{said}");
    let (right, said) = check(&format!("{ZONE}{}", hostile("refuse-init", "skip")));
    assert!(!right && said.contains("it says refuse-init"), "{said}");
}

#[test]
fn a_plugin_that_eats_memory_does_not_grow_the_server() {
    let sink = SmtpSink::start(&[]);
    let server = Postern::start(sink.port, &hostile("memory", "skip"));
    let mut client = Client::hello(server.port).unwrap();
    for _ in 0..100 {
        assert_eq!(client.mail("a@b.example", &["c@d.example"], "X-Trigger: y\r\n\r\nbody\r\n").unwrap().code, 250);
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    assert!(peak.unwrap() < 128 << 10, "100 calls that each ask for all the memory there is: peak {peak:?} KiB");
}
