//! `postern spool check` and `spool export` with the store of a real server: stopped, killed and damaged.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{Client, Postern, SmtpSink, free_port, root, run};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

/// Ten messages that wait in a server's queue: their ids, and what each has in its body.
fn filled() -> (Postern, BTreeMap<String, String>) {
    let server = Postern::start(free_port(), "");
    let mut client = Client::hello(server.port).unwrap();
    for number in 0..10 {
        // One of them in several pieces, one streamed to the disk as it came.
        let lines = [3, 3_000, 10_000][usize::from(number == 4) + 2 * usize::from(number == 7)];
        let body = format!("this is message number {number}\r\n").repeat(lines);
        let reply = client.mail(
            "ann@example.com",
            &["bob@example.org", "carl@example.net"],
            &format!("Subject: {number}\r\n\r\n{body}"),
        );
        assert_eq!(reply.unwrap().code, 250);
    }
    server.wait_log(" DEFERRED ", 1);
    let mut messages = BTreeMap::new();
    for row in server.queue() {
        let id = row["id"].as_str().unwrap().to_owned();
        let fetched = server.command(&["queue", "fetch", &id, "-d", "."]);
        assert!(fetched.status.success());
        messages.insert(id, String::from_utf8(fetched.stdout).unwrap());
    }
    assert_eq!(messages.len(), 10);
    (server, messages)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn spool(server: &Postern, args: &[&str]) -> (i32, String) {
    let output = server.command(&[&["spool"], args, &["-d", "."]].concat());
    (output.status.code().unwrap(), text(&output))
}

/// All files of a folder with their octets.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let file =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default());
    fs::read_dir(dir).unwrap().map(|entry| file(entry.unwrap())).collect()
}

#[test]
fn a_running_servers_store_is_left_alone() {
    let (mut server, messages) = filled();
    for args in [&["check"][..], &["export", "out"]] {
        let (code, said) = spool(&server, args);
        assert!(code == 1 && said.contains("a server runs on data: stop it first"), "{code} {said}");
    }
    assert!(!server.dir().join("out").exists());
    assert_eq!(server.queue().len(), 20);

    // Killed or stopped: whole, and not changed by being looked at.
    for end in [Postern::kill, |server: &mut Postern| assert!(server.terminate().status.success())] {
        end(&mut server);
        let before = files(&server.data());
        let (code, said) = spool(&server, &["check"]);
        assert!(
            code == 0 && said.contains("10 messages, 20 recipients (0 held)") && said.contains("no damage"),
            "{said}"
        );
        let (code, said) = spool(&server, &["check", "--json"]);
        assert!(code == 0 && said.contains("\"damages\":0"), "{said}");
        let out = tempfile::tempdir().unwrap();
        let (code, said) = spool(&server, &["export", out.path().to_str().unwrap()]);
        assert!(code == 0 && said.contains("10 messages saved"), "{said}");
        for (id, content) in &messages {
            assert_eq!(fs::read_to_string(out.path().join(format!("{id}.eml"))).unwrap(), *content);
        }
        let (code, said) = spool(&server, &["export", out.path().to_str().unwrap()]);
        assert!(code == 1 && said.contains("is not empty"), "{said}");
        assert!(files(&server.data()) == before, "the store was changed");
        server.restart();
    }
    assert_eq!(server.queue().len(), 20);
}

#[test]
fn of_a_damaged_store_the_rest_is_saved() {
    let (mut server, messages) = filled();
    assert!(server.terminate().status.success());
    let file = server.data().join("queue.redb");
    let mut bytes = fs::read(&file).unwrap();
    let victim = messages.keys().nth(2).unwrap();
    let needle = b"this is message number 2";
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    places.iter().for_each(|at| bytes[*at + 5] ^= 0x20);
    fs::write(&file, &bytes).unwrap();
    let before = files(&server.data());

    let (code, said) = spool(&server, &["check"]);
    assert!(code == 1 && said.contains(&format!("{victim}: chunk 0 of its content has a wrong checksum")), "{said}");
    assert!(messages.keys().all(|id| id == victim || !said.contains(id.as_str())), "the others are whole: {said}");
    let (code, said) = spool(&server, &["export", "out"]);
    assert!(code == 1 && said.contains("9 messages saved to out, 1 in part, 0 lost"), "{said}");
    for (id, content) in messages.iter().filter(|(id, _)| *id != victim) {
        assert_eq!(fs::read_to_string(server.dir().join(format!("out/{id}.eml"))).unwrap(), *content);
    }
    assert!(!server.dir().join(format!("out/{victim}.eml")).exists());
    assert!(server.dir().join(format!("out/{victim}.partial.eml")).exists());
    assert!(files(&server.data()) == before, "the store was changed");
}

#[test]
fn a_store_that_the_server_refuses_is_read_all_the_same() {
    let (mut server, messages) = filled();
    assert!(server.terminate().status.success());
    let file = server.data().join("queue.redb");
    let whole = fs::read(&file).unwrap();
    let mut header = whole.clone();
    header[2] ^= 0xff;
    fs::write(&file, &header).unwrap();
    let refused = server.command(&["run", "-d", "."]);
    assert!(refused.status.code() == Some(1) && text(&refused).contains("damaged"), "{}", text(&refused));
    let (code, said) = spool(&server, &["check"]);
    assert!(code == 1 && said.contains("its header is damaged"), "{said}");
    let (code, said) = spool(&server, &["export", "out"]);
    assert!(code == 1 && said.contains("10 messages saved"), "{said}");
    for (id, content) in &messages {
        assert_eq!(fs::read_to_string(server.dir().join(format!("out/{id}.eml"))).unwrap(), *content);
    }
    assert!(fs::read(&file).unwrap() == header, "the store was changed");

    for (damage, bytes) in [("cut", &whole[..5000]), ("emptied", &whole[..0]), ("foreign", &[7; 100_000][..])] {
        fs::write(&file, bytes).unwrap();
        for args in [&["check"][..], &["export", "none"]] {
            let (code, said) = spool(&server, args);
            assert!(code == 1 && said.contains("queue.redb") && !said.contains("panicked"), "{damage}: {said}");
        }
        assert!(fs::read(&file).unwrap() == bytes, "{damage}: the store was changed");
        assert!(!server.dir().join("none").exists(), "{damage}");
    }
}

#[test]
fn where_there_is_no_queue_none_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let zone = "[zone.default]\nsmart_host = { host = '127.0.0.1', port = 1 }\n";
    fs::write(dir.path().join("postern.toml"), format!("data_dir = 'data'\n{zone}")).unwrap();
    for args in [&["spool", "check", "-d", "."][..], &["spool", "export", "out", "-d", "."]] {
        let output =
            std::process::Command::new(postern_tests::binary()).args(args).current_dir(dir.path()).output().unwrap();
        assert!(
            output.status.code() == Some(1) && text(&output).contains("there is no queue in ./data"),
            "{}",
            text(&output)
        );
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_was_exported_can_be_taken_in_again() {
    let (mut server, messages) = filled();
    let held = messages.keys().next().unwrap();
    assert!(server.command(&["queue", "hold", held, "-d", "."]).status.success());
    let deleted = format!("{}.002", messages.keys().nth(1).unwrap());
    assert!(server.command(&["queue", "delete", &deleted, "-d", "."]).status.success());
    assert!(server.terminate().status.success());
    assert_eq!(spool(&server, &["export", "out"]).0, 0);

    let sink = SmtpSink::start(&[]);
    let other = Postern::start(sink.port, "");
    let out = server.dir().join("out");
    let script = root().join("scripts/requeue");
    let at = format!("127.0.0.1:{}", other.port);
    let first = std::process::Command::new(&script).args([out.to_str().unwrap(), &at]).output().unwrap();
    assert!(first.status.code() == Some(1) && text(&first).contains("9 taken in, 1 left"), "{}", text(&first));
    let rest = run(script.to_str().unwrap(), &[out.to_str().unwrap(), &at, "--held"]);
    assert!(text(&rest).contains("1 taken in, 0 left"), "{}", text(&rest));
    other.wait_empty();
    let arrived = sink.messages();
    for (id, content) in &messages {
        let found: Vec<_> = arrived
            .iter()
            .filter(|message| message.replace('\n', "").contains(&content.replace(['\r', '\n'], "")))
            .collect();
        assert_eq!(found.len(), 1, "{id}");
    }
    let queued = other.log_lines(" ACCEPTED ");
    assert_eq!(queued.len(), 19, "the deleted recipient gets nothing");
}
