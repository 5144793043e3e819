//! `postern create`: the folder works as it is, and nothing that was there is touched.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{Client, SmtpSink, binary, free_port, wait_for};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn postern(args: &[&str], dir: &Path) -> Output {
    Command::new(binary()).args(args).current_dir(dir).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// A server that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_created_folder_runs_and_takes_mail() {
    let place = tempfile::tempdir().unwrap();
    let made = postern(&["create", "app"], place.path());
    assert!(made.status.success(), "{made:?}");
    assert!(said(&made).contains("postern run -d app"), "{}", said(&made));
    let app = place.path().join("app");
    for file in ["postern.toml", "plugins/README.md", ".gitignore"] {
        assert!(app.join(file).is_file(), "{file}");
    }
    assert!(!app.join("data").exists(), "made at the first start");

    // What is commented out is right too.
    let sink = SmtpSink::start(&[]);
    let port = free_port();
    let text = fs::read_to_string(app.join("postern.toml")).unwrap();
    let text = text.replace(
        "# smart_host = { host = \"relay.example.net\", port = 25 }",
        "smart_host = { host = \"127.0.0.1\", port = 1 }",
    );
    let text = text.replace("port = 1 }", &format!("port = {} }}", sink.port)).replace(":2525", &format!(":{port}"));
    fs::write(app.join("postern.toml"), &text).unwrap();
    let check = postern(&["check", "-d", "app"], place.path());
    assert!(check.status.success(), "{}", said(&check));
    assert!(said(&check).contains("data_dir = \"app/data\""), "{}", said(&check));
    let (server, _) = text.split_once("# Plugins").unwrap();
    let all: String = server
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|key| key.starts_with('[') || key.contains(" = ")).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert!(all.contains("\nhostname = ") && all.contains("\n[dsn]"), "{all}");
    fs::write(place.path().join("all.toml"), all).unwrap();
    let check = postern(&["check", "-c", "all.toml"], place.path());
    assert!(check.status.success(), "{}", said(&check));

    let log = place.path().join("log");
    let child = Command::new(binary())
        .args(["run", "-d", "app"])
        .env("POSTERN__HTTP__ADDRESS", format!("127.0.0.1:{}", free_port()))
        .current_dir(place.path())
        .stdin(Stdio::null())
        .stdout(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let _running = Running(child);
    wait_for("the server to be ready", || fs::read_to_string(&log).unwrap().contains(" ready ").then_some(()));
    let mut client = Client::hello(port).unwrap();
    assert_eq!(client.mail("a@b.example", &["c@d.example"], "\r\nhello\r\n").unwrap().code, 250);
    wait_for("the message", || sink.messages().iter().any(|message| message.contains("hello")).then_some(()));
    let list = postern(&["queue", "list", "-d", "app"], place.path());
    assert!(list.status.success(), "{}", said(&list));
    assert!(app.join("data/queue.redb").is_file());
}

#[test]
fn what_is_there_is_never_touched() {
    let place = tempfile::tempdir().unwrap();
    let app = place.path().join("app");
    fs::create_dir(&app).unwrap();
    fs::write(app.join(".gitignore"), "mine\n").unwrap();
    fs::write(app.join("notes"), "mine\n").unwrap();
    assert!(postern(&["create", "app"], place.path()).status.success());
    assert_eq!(fs::read_to_string(app.join(".gitignore")).unwrap(), "mine\n");
    assert_eq!(fs::read_to_string(app.join("notes")).unwrap(), "mine\n");

    fs::write(app.join("postern.toml"), "mine\n").unwrap();
    fs::remove_dir_all(app.join("plugins")).unwrap();
    let again = postern(&["create", "app"], place.path());
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("app/postern.toml is there already"), "{}", said(&again));
    assert_eq!(fs::read_to_string(app.join("postern.toml")).unwrap(), "mine\n");
    assert!(!app.join("plugins").exists(), "refused before anything was made");

    let file = postern(&["create", "app/postern.toml/deeper"], place.path());
    assert_eq!(file.status.code(), Some(1), "{}", said(&file));
}

#[test]
fn every_key_can_be_printed() {
    let place = tempfile::tempdir().unwrap();
    let keys = postern(&["check", "--keys"], place.path());
    assert!(keys.status.success());
    let shipped = fs::read_to_string(postern_tests::root().join("config/postern.toml")).unwrap();
    assert_eq!(String::from_utf8_lossy(&keys.stdout), shipped);
    let both = postern(&["queue", "list", "-c", "x.toml", "-d", "app"], place.path());
    assert_eq!(both.status.code(), Some(2), "a file or a folder: {}", said(&both));
}
