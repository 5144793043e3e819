//! Plugins are replaced while mail flows: by `postern reload`, SIGHUP, or another component in the place of one. The
//! plugin is `tests/guests/generations`, which notes at each hook which generation was called.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Postern, root, soak, wait_for};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

fn component() -> String {
    let component = root().join("tests/guests/generations/generations.wasm");
    assert!(component.exists(), "it is missing: run `make guests`");
    std::fs::canonicalize(component).unwrap().display().to_string()
}

fn plugin(name: &str, component: &str, keys: &str) -> String {
    format!("[[plugin]]\nname = '{name}'\ncomponent = '{component}'\n{keys}\n")
}

fn generation(name: &str, generation: &str) -> String {
    plugin(name, &component(), &format!("config = {{ generation = '{generation}' }}"))
}

/// Replaces the plugins in the server's config file.
fn write_plugins(server: &Postern, plugins: &str) {
    let file = server.dir().join("postern.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let base = text.split("[[plugin]]").next().unwrap();
    let new = server.dir().join("new.toml");
    std::fs::write(&new, format!("{base}{plugins}")).unwrap();
    std::fs::rename(new, file).unwrap();
}

fn reload(server: &Postern) -> Result<String, String> {
    let output = server.command(&["reload", "-c", "postern.toml"]);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    if output.status.success() { Ok(text) } else { Err(text) }
}

/// Sends a message and gives the generations that it has seen.
fn seen(server: &Postern, sink: &AioSink) -> String {
    let before = sink.messages().len();
    let mut client = Client::hello(server.port).unwrap();
    assert_eq!(client.mail("a@b.example", &["c@d.example"], "Subject: x\r\n\r\nbody\r\n").unwrap().code, 250);
    let messages = wait_for("the message", || Some(sink.messages()).filter(|m| m.len() > before));
    generations(messages.last().unwrap()["content"].as_str().unwrap())
}

fn generations(content: &str) -> String {
    content.lines().find_map(|line| line.strip_prefix("X-Generations: ")).unwrap_or("none").to_owned()
}

#[test]
fn a_reload_is_whole_or_nothing() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, &generation("one", "1"));
    assert_eq!(seen(&server, &sink), "1 1 1 1");
    write_plugins(&server, &(generation("one", "2") + &generation("two", "2")));
    assert_eq!(reload(&server).unwrap(), "generation 2: one, two\n");
    assert_eq!(seen(&server, &sink), "2 2 2 2 2 2 2 2");
    // One that refuses its config changes nothing, though the one before it is fine.
    write_plugins(&server, &(generation("one", "3") + &generation("two", "bad")));
    let said = reload(&server).unwrap_err();
    assert!(said.contains("plugin \"two\" refuses its config: generation: a bad one"), "{said}");
    assert_eq!(seen(&server, &sink), "2 2 2 2 2 2 2 2");
    write_plugins(&server, "[[plugin]]\nname = 'one'\n");
    assert!(reload(&server).unwrap_err().contains("[[plugin]] one: needs a component"));
    write_plugins(&server, &generation("one", "4"));
    server.signal(libc::SIGHUP);
    server.wait_log(" RELOADED generation=3 ", 1);
    assert_eq!(seen(&server, &sink), "4 4 4 4");
    write_plugins(&server, &generation("one", "bad"));
    server.signal(libc::SIGHUP);
    let failed = server.wait_log("not reloaded, nothing has changed", 2);
    assert!(failed[1].contains("a bad one"), "{failed:?}");
    // What a reload does not take over is named.
    write_plugins(&server, &("[dsn]\nname = 'Other'\n".to_owned() + &generation("one", "5")));
    let said = reload(&server).unwrap();
    assert!(said.contains("taken over only by a restart: dsn"), "{said}");
    write_plugins(&server, "");
    assert_eq!(reload(&server).unwrap().lines().next(), Some("generation 5: no plugins"));
    assert_eq!(seen(&server, &sink), "none");
}

#[test]
fn another_component_in_its_place_is_taken_over() {
    let sink = AioSink::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plugin.wasm");
    std::fs::copy(component(), &file).unwrap();
    let server = Postern::start(sink.port, &plugin("one", file.to_str().unwrap(), "config = { generation = '1' }"));
    assert_eq!(seen(&server, &sink), "1 1 1 1");
    let replace = |bytes: &[u8]| {
        std::fs::write(dir.path().join("new"), bytes).unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
    };
    replace(b"\0asm but no component");
    let failed = server.wait_log("not reloaded, nothing has changed", 1);
    assert!(failed[0].contains("is not a WebAssembly component"), "{failed:?}");
    assert_eq!(seen(&server, &sink), "1 1 1 1");
    let code = std::fs::read_dir(server.data().join("cache")).unwrap().count();
    // Another hash with the same behaviour: a custom section at the end.
    let mut other = std::fs::read(component()).unwrap();
    other.extend_from_slice(b"\0\x05\x04note");
    replace(&other);
    server.wait_log(" RELOADED generation=2 ", 1);
    assert_eq!(seen(&server, &sink), "1 1 1 1");
    assert_eq!(std::fs::read_dir(server.data().join("cache")).unwrap().count(), code, "old code is removed");
    let output = postern_tests::run(
        "curl",
        &["-s", "--unix-socket", server.data().join("control.sock").to_str().unwrap(), "http://p/api/v1/plugins"],
    );
    let view: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((view["generation"].as_u64(), view["plugins"][0]["name"].as_str()), (Some(2), Some("one")), "{view}");
    let hooks = view["plugins"][0]["hooks"].as_array().unwrap();
    let called: Vec<_> = hooks.iter().map(|hook| (hook["name"].as_str().unwrap(), hook["calls"].as_u64())).collect();
    // Counted on over the reload.
    assert_eq!(called, [("mail", Some(3)), ("rcpt", Some(3)), ("spam", Some(3)), ("rewrite", Some(3))], "{view}");
}

#[test]
fn a_pin_a_shadow_and_what_narrows() {
    let sink = AioSink::start();
    let sum = postern_tests::run("sha256sum", &[&component()]).stdout;
    let sum = String::from_utf8(sum).unwrap()[..64].to_owned();
    let pinned = |sum: &str| plugin("one", &component(), &format!("config = {{ generation = '1' }}\nsha256 = '{sum}'"));
    let server = Postern::start(sink.port, &pinned(&sum.to_uppercase()));
    write_plugins(&server, &pinned(&"0".repeat(64)));
    let said = reload(&server).unwrap_err();
    assert!(said.contains(&format!("sha256 is {sum}")), "{said}");
    let shadow = "config = { generation = '2', refuse = true }\nshadow = true";
    write_plugins(&server, &(pinned(&sum) + &plugin("two", &component(), shadow)));
    reload(&server).unwrap();
    assert_eq!(seen(&server, &sink), "1 1 1 1");
    let lines = server.wait_log(" SHADOW ", 4);
    assert!(
        lines[0].contains("plugin=\"two@0.1.0\" hook=\"mail\"") && lines[0].contains("Refused by config"),
        "{lines:?}"
    );
    assert!(lines[3].contains("set X-Generations"), "{lines:?}");
    let user = "config = { generation = '3' }\nwhen = { user = ['somebody'] }";
    let listener = "config = { generation = '4' }\nwhen = { listener = ['feeder'], zone = ['default'] }";
    write_plugins(&server, &(plugin("three", &component(), user) + &plugin("four", &component(), listener)));
    reload(&server).unwrap();
    // The zone of a message is known once its header is there.
    assert_eq!(seen(&server, &sink), "4 4");
}

/// Messages go through all the time; each must be taken, arrive, and have seen one generation alone.
#[test]
fn reloads_under_load() {
    const CLIENTS: usize = 4;
    let reloads = if soak() { 1000 } else { 100 };
    let sink = AioSink::start();
    let server = Postern::start(sink.port, &(generation("one", "1") + &generation("two", "1")));
    let (done, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::hello(server.port).unwrap();
                while !done.load(Relaxed) {
                    client.command("MAIL FROM:<a@b.example>", 2).unwrap();
                    client.command("RCPT TO:<c@d.example>", 2).unwrap();
                    client.command("DATA", 3).unwrap();
                    client.send(b"Subject: x\r\n\r\nbody\r\n").unwrap();
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    client.send(b".\r\n").unwrap();
                    client.expect(2).unwrap();
                    sent.fetch_add(1, Relaxed);
                }
                client.command("QUIT", 2).unwrap();
            });
        }
        for number in 2..reloads + 2 {
            write_plugins(&server, &(generation("one", &number.to_string()) + &generation("two", &number.to_string())));
            let said = reload(&server);
            if said.is_err() {
                done.store(true, Relaxed);
            }
            assert_eq!(said.unwrap(), format!("generation {number}: one, two\n"));
        }
        done.store(true, Relaxed);
    });
    let sent = sent.load(Relaxed);
    server.wait_empty();
    let messages = sink.messages();
    assert_eq!(messages.len(), sent);
    let mut all = std::collections::BTreeSet::new();
    for message in &messages {
        let seen = generations(message["content"].as_str().unwrap());
        let numbers: Vec<&str> = seen.split(' ').collect();
        assert_eq!(numbers.len(), 8, "{seen}");
        assert!(numbers.iter().all(|number| *number == numbers[0]), "{seen}");
        all.insert(numbers[0].to_owned());
    }
    assert!(all.len() > reloads / 4, "{sent} messages saw {} generations of {reloads}", all.len());
    assert_eq!(server.log_lines(" NOQUEUE "), [""; 0]);
}
