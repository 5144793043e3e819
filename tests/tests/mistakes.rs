//! Mistakes of an operator get a clear error that names the place, and never cost mail.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{Client, Postern, SmtpSink, check, free_port};
use std::process::Command;

const ZONE: &str = "[zone.default]\nsmart_host = { host = '127.0.0.1', port = 1 }\n";

/// Starts a server that must not start, and gives what it said.
fn refused(config: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("postern.toml"), format!("{config}\n{ZONE}")).unwrap();
    let output = Command::new(postern_tests::binary())
        .args(["run", "-c", "postern.toml"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_near_miss() {
    let (right, said) = check(&format!("{ZONE}conections = 5\n"));
    assert!(!right);
    for part in ["postern.toml: ", "line 3", "unknown field `conections`", "did you mean `connections`?"] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

#[test]
fn a_right_config_is_printed_in_full() {
    let (right, said) = check(ZONE);
    assert!(right, "{said}");
    for part in ["address = \"127.0.0.1:2525\"", "max_age = \"5d\"", "max_size = \"30MiB\"", "port = 1"] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    let (again, said_again) = check(&said);
    assert!(again, "what check prints is a config: {said_again}");
    assert_eq!(said, said_again);
}

#[test]
fn usage_errors_exit_with_2() {
    let output = Command::new(postern_tests::binary()).args(["rnu"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_missing_component_is_named() {
    let plugin = "[[plugin]]\nname = 'gone'\ncomponent = 'no/such.wasm'\n";
    let (right, said) = check(&format!("{ZONE}{plugin}"));
    assert!(!right && said.contains("gone") && said.contains("no/such.wasm"), "{said}");
    let said = refused(plugin);
    assert!(said.contains("gone") && said.contains("no/such.wasm"), "{said}");
}

#[test]
fn a_file_that_is_no_component_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("text.wasm");
    std::fs::write(&file, "not wasm").unwrap();
    let (right, said) = check(&format!("{ZONE}[[plugin]]\nname = 'text'\ncomponent = '{}'\n", file.display()));
    assert!(!right && said.contains("text.wasm"), "{said}");
}

#[test]
fn a_port_in_use_is_named() {
    let port = free_port();
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let said = refused(&format!("[listener.feeder]\naddress = '127.0.0.1:{port}'"));
    assert!(said.contains("listener.feeder.address") && said.contains(&format!("127.0.0.1:{port}")), "{said}");
    drop(taken);
}

#[test]
fn a_data_dir_that_can_not_be_written_is_named() {
    // Root may write everywhere, but not below a file.
    let said = refused("data_dir = 'postern.toml/data'");
    assert!(said.contains("postern.toml/data"), "{said}");
}

#[test]
fn a_data_dir_in_use_is_named() {
    let sink = SmtpSink::start(&[]);
    let server = Postern::start(sink.port, "");
    let other =
        format!("data_dir = '{}'\n[listener.feeder]\naddress = '127.0.0.1:{}'", server.data().display(), free_port());
    let said = refused(&other);
    assert!(said.contains("LOCK") && said.contains("another process"), "{said}");
    // The one that runs is not disturbed.
    let mut client = Client::hello(server.port).unwrap();
    assert_eq!(client.mail("a@b.example", &["c@d.example"], "\r\n").unwrap().code, 250);
    server.wait_empty();
}

#[test]
fn a_damaged_store_is_refused_and_never_replaced() {
    let mut server = Postern::start(free_port(), "");
    let mut client = Client::hello(server.port).unwrap();
    assert_eq!(client.mail("a@b.example", &["c@d.example"], "\r\nkeep me\r\n").unwrap().code, 250);
    server.wait_log(" DEFERRED ", 1);
    assert!(server.terminate().status.success());
    let file = server.data().join("queue.redb");
    let whole = std::fs::read(&file).unwrap();
    let flipped: Vec<u8> = whole.iter().enumerate().map(|(i, b)| if i < 4096 { b ^ 0x55 } else { *b }).collect();
    let damages: [(&str, Option<&[u8]>); 4] = [
        ("emptied", Some(&[])),
        ("cut", Some(&whole[..whole.len() / 3])),
        ("flipped", Some(&flipped)),
        ("removed", None),
    ];
    for (damage, bytes) in damages {
        match bytes {
            Some(bytes) => std::fs::write(&file, bytes).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let output = server.command(&["run", "-c", "postern.toml"]);
        assert_eq!(output.status.code(), Some(1), "{damage}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("queue.redb"), "{damage}: {said}");
        assert_eq!(std::fs::read(&file).ok().as_deref(), bytes, "{damage}: the store was written to");
    }
    std::fs::write(&file, &whole).unwrap();
    server.restart();
    assert_eq!(server.queue().len(), 1, "the message is there when the store is whole again");
}
