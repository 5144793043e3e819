//! What attackers write into requests of the HTTP API, and what comes of it: every string field of its description, the
//! envelope, addresses that readers differ on, files and URLs, JSON bombs, smuggled requests, credentials by scope, and
//! what must not leave. The program is `tests/src/http_attacks.py`, with aiosmtpd as the next hop and Python's email as the
//! reader.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use postern_tests::{Postern, Setup, curl, free_port, not_run, python, root, send};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Runs a row against a server, which delivers to the row's own sink; what it reports, once nothing is wrong.
fn row(name: &str, http: &str, config: &str, argument: impl Fn(&Postern) -> Option<String>) -> (Postern, Value) {
    let sink = free_port();
    let setup = Setup { http: http.into(), config: config.into(), ..Setup::default() };
    let mut server = Postern::prepare(sink, setup);
    server.restart();
    let (port, sink, folder) = (server.http_port.to_string(), sink.to_string(), server.dir().display().to_string());
    let argument = argument(&server);
    let args = [name, &port, &sink, &folder].into_iter().chain(argument.as_deref());
    let report = python(include_str!("../src/http_attacks.py"), &args.collect::<Vec<_>>());
    let report: Value = serde_json::from_str(&report).unwrap();
    println!("{name}: {report}");
    assert_eq!(report["wrongs"], 0, "{:#}", report["wrong"]);
    (server, report)
}

fn nothing(_: &Postern) -> Option<String> {
    None
}

fn number(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap()
}

#[test]
fn no_field_becomes_another_field_or_recipient() {
    let (server, report) = row("fields", "", "", nothing);
    assert!(
        number(&report, "fields") > 100 && number(&report, "sent") > 500 && number(&report, "refused") > 1000,
        "{report}"
    );
    server.wait_empty();
}

#[test]
fn no_file_is_read_and_no_url_is_fetched() {
    let (_server, report) = row("attachments", "", "", nothing);
    assert!(number(&report, "sent") > 0 && number(&report, "refused") > 1000 && report["fetched"] == 0, "{report}");
}

#[test]
fn nothing_is_added_to_the_envelope() {
    let (_server, report) = row("envelopes", "", "", nothing);
    assert!(number(&report, "refused") > 100, "{report}");
}

#[test]
fn nothing_is_expanded() {
    let (server, report) = row("expansions", "", "", nothing);
    assert_eq!(report["sent"], 64, "{report}");
    assert!(!server.log().contains("49@"), "{}", server.log());
}

#[test]
fn addresses_are_what_other_readers_see() {
    let nodemailer = root().join("target/nodemailer");
    let is_there = nodemailer.join("node_modules/nodemailer").exists();
    if !is_there {
        not_run("addresses against Nodemailer's parser", "it was not installed; `make test-deps` says why");
    }
    let path = || nodemailer.canonicalize().unwrap().display().to_string();
    let (_server, report) = row("addresses", "", "", |_| is_there.then(path));
    assert!(number(&report, "taken") > 10 && number(&report, "refused") > 20, "{report}");
}

#[test]
fn bombs_are_refused_at_once_and_in_little_memory() {
    let (server, report) = row("bombs", "", "", |server| Some(server.pid().to_string()));
    assert_eq!(report["bombs"].as_object().unwrap().len(), 27, "{report}");
    assert_eq!(send(&server, &json!({"from": "a@b.example", "to": "c@d.example", "text": "t"}), &[]).0, 200);
}

#[test]
fn a_request_is_one_request() {
    let (_server, report) = row("smuggling", "", "", nothing);
    assert!(report["said"].as_object().unwrap().len() > 20, "{report}");
}

#[test]
fn each_caller_has_its_scopes_alone() {
    let user = |name: &str, scope: &str| {
        let token: String = Sha256::digest(name).iter().map(|b| format!("{b:02x}")).collect();
        format!("[[http.user]]\nname = '{name}'\ntoken = '{token}'\nscopes = ['{scope}']\n")
    };
    let users = ["submit", "impersonate", "read", "admin", "plugin"].map(|scope| user(scope, scope)).concat();
    let users = users + &user("other", "submit");
    let (_server, report) = row("scopes", "auth_failures = 100000", &users, nothing);
    assert!(number(&report, "tried") > 200, "{report}");
}

#[test]
fn what_is_secret_stays() {
    // Content, envelope and one report of a failure are looked at by the program.
    let (server, report) = row("canaries", "", "", nothing);
    assert_eq!(number(&report, "sent"), 2, "{report}");
    let (_, figures) = curl(&server, "/metrics", &[], None);
    let log = server.log();
    for secret in [
        "canary-user",
        "canary-password",
        "Y2FuYXJ5",
        "canary-cookie",
        "canary-header",
        "canary-key",
        "canary-metadata",
    ] {
        assert!(!log.contains(secret) && !figures.contains(secret), "{secret}");
    }
}
