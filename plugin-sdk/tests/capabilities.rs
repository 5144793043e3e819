//! Capabilities against the mock host: their limits, their errors, and what a test sees of them.
#![allow(clippy::unwrap_used, missing_docs)]

use postern_plugin_sdk::prelude::*;
use postern_plugin_sdk::testing::{self, Answer};
use serde_json::json;
use std::io::{BufRead as _, Read as _};
use std::time::Duration;

fn word<T>(result: Result<T, HostError>) -> String {
    result.err().map_or_else(|| "ok".into(), |error| error.word().to_owned())
}

#[test]
fn values_are_kept_until_their_time_is_over() {
    assert_eq!(kv::get("a").unwrap(), None);
    kv::set("a", "1", None).unwrap();
    kv::set("b", [1, 2], Some(Duration::from_secs(10))).unwrap();
    assert!(!kv::set_new("b", "x", None).unwrap());
    assert_eq!(kv::get("b").unwrap(), Some(vec![1, 2]));
    testing::clock::advance(Duration::from_secs(10));
    assert_eq!(kv::get("b").unwrap(), None);
    assert!(kv::set_new("b", "x", None).unwrap());
    kv::delete("a").unwrap();
    kv::delete("a").unwrap();
    assert_eq!(kv::keys("").collect::<Result<Vec<_>, _>>().unwrap(), ["b"]);
    kv::set_json("json", &json!({ "n": 1 }), None).unwrap();
    assert_eq!(kv::get_json::<serde_json::Value>("json").unwrap().unwrap()["n"], 1);
    let error = kv::get_json::<u8>("json").unwrap_err();
    assert!(error.text().starts_with("json: invalid type"), "{error}");
}

#[test]
fn counters_count() {
    let minute = Some(Duration::from_secs(60));
    assert_eq!(kv::counter("c").unwrap(), 0);
    assert_eq!(kv::increment("c", 2, minute).unwrap(), 2);
    testing::clock::advance(Duration::from_secs(40));
    assert_eq!(kv::increment("c", -3, minute).unwrap(), -1);
    assert_eq!(kv::counter("c").unwrap(), -1);
    // It ends when the first increment said.
    testing::clock::advance(Duration::from_secs(20));
    assert_eq!(kv::counter("c").unwrap(), 0);
    kv::set("text", "1", None).unwrap();
    assert_eq!(word(kv::increment("text", 1, None)), "bad-value");
    kv::increment("c", i64::MAX, None).unwrap();
    assert_eq!(word(kv::increment("c", 1, None)), "bad-value");
}

#[test]
fn the_store_is_bounded() {
    assert_eq!(word(kv::set("", "", None)), "bad-name");
    assert_eq!(word(kv::get(&"k".repeat(513))), "bad-name");
    assert_eq!(word(kv::set("k", vec![0; (60 << 10) + 1], None)), "too-large");
    testing::kv::quota(100);
    kv::set("k", [0; 99], None).unwrap();
    kv::set("k", [1; 99], None).unwrap();
    assert_eq!(word(kv::set("l", "", None)), "too-large");
    testing::kv::quota(1 << 20);
    (0..2500).for_each(|n| kv::set(&format!("n/{n:04}"), "", None).unwrap());
    let keys: Vec<_> = kv::keys("n/").collect::<Result<_, _>>().unwrap();
    assert_eq!((keys.len(), keys[2499].as_str()), (2500, "n/2499"));
    testing::kv::fail(true);
    assert_eq!(word(kv::get("k")), "unavailable");
    assert_eq!(kv::keys("").map(word).collect::<Vec<_>>(), ["unavailable"]);
}

#[test]
fn requests_are_recorded_and_answered() {
    testing::http::respond(|request| match request.method.as_str() {
        "GET" => Answer::new(200).with_header("X-A", "b").with_body("one\ntwo"),
        "PUT" => Answer::failed("timeout", "no answer in 2 s"),
        _ => Answer::new(404),
    });
    let answer = http::Request::get("http://a.example/x?y").header("Accept", "text/plain").send().unwrap();
    assert_eq!((answer.status(), answer.header("x-a").as_deref()), (200, Some("b")));
    let mut first = String::new();
    let mut reader = answer.reader();
    reader.read_line(&mut first).unwrap();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!((first.as_str(), rest.as_str()), ("one\n", "two"));
    let error = http::Request::put("http://a.example").timeout(Duration::from_secs(2)).send().err().unwrap();
    assert_eq!((error.kind(), error.text()), (ErrorKind::Timeout, "no answer in 2 s"));
    let answer = http::Request::delete("http://a.example").form(&[("a", "b c")]).send().unwrap();
    assert_eq!(answer.success().err().unwrap().text(), "the server answered with status 404");
    let sent = testing::http::requests();
    assert_eq!((sent[0].url.as_str(), sent[0].header("accept")), ("http://a.example/x?y", Some("text/plain")));
    assert_eq!(sent[1].timeout, Some(Duration::from_secs(2)));
    assert_eq!(sent[2].text(), "a=b+c");
}

#[test]
fn requests_that_are_refused() {
    assert_eq!(word(http::Request::get("https://a.example/").send()), "unavailable");
    testing::http::respond(|_| Answer::new(200));
    let refused = |request: http::Request| word(request.send());
    assert_eq!(refused(http::Request::get("https://a.example/").header("Host", "b")), "bad-name");
    assert_eq!(
        refused(http::Request::get("https://a.example/").header("X", "a\r\nb").header("Y", "fine")),
        "bad-value"
    );
    assert_eq!(refused(http::Request::get("/relative")), "bad-value");
    assert_eq!(refused(http::Request::get("https://user@a.example/")), "bad-value");
    assert_eq!(refused(http::Request::new("get", "https://a.example/")), "bad-value");
    testing::http::grant(&["https://a.example"]);
    assert_eq!(refused(http::Request::get("https://a.example/x")), "ok");
    assert_eq!(refused(http::Request::get("https://a.example.evil.example/x")), "denied");
    testing::http::respond(|_| Answer::new(200).with_body(vec![0; (4 << 20) + 1]));
    let answer = http::Request::get("https://a.example/x").send().unwrap();
    assert_eq!(word(answer.body()), "too-large");
}

#[test]
fn names_are_looked_up() {
    testing::dns::records("Example.com.", "MX", &["10 mx.example.com"]);
    testing::dns::fail("broken.example", "A", "timeout", "no server answered");
    assert_eq!(dns::lookup("example.com", "MX").unwrap(), ["10 mx.example.com"]);
    assert!(dns::lookup("example.com", "A").unwrap().is_empty());
    assert_eq!(word(dns::lookup("broken.example", "A")), "timeout");
    assert_eq!(word(dns::lookup("example.com", "SOA")), "bad-value");
    assert_eq!(word(dns::lookup("a b", "A")), "bad-name");
}

#[test]
fn time_numbers_and_secrets_are_the_tests_own() {
    let start = clock::now();
    assert_eq!(start, Duration::from_secs(1_767_225_600));
    testing::clock::advance(Duration::from_millis(5));
    assert_eq!((clock::now() - start, clock::monotonic()), (Duration::from_millis(5), Duration::from_millis(5)));
    let first = (random::number(), random::bytes(5));
    testing::random::seed(0);
    assert_eq!((random::number(), random::bytes(5)), first);
    assert_eq!(first.1.len(), 5);
    assert!((0..100).all(|_| random::below(6) < 6) && random::below(0) == 0);
    assert_eq!(secrets::get("key"), None);
    testing::secrets::set("key", "1234");
    assert_eq!(secrets::get("key").as_deref(), Some("1234"));
}

#[test]
fn lines_and_figures_can_be_looked_at() {
    log::warn("a\r\nb");
    log::info(&"ü".repeat(1000));
    let lines = testing::log::lines();
    assert_eq!(lines[0], (testing::log::Level::Warn, "a\\r\\nb".into()));
    assert_eq!(lines[1].1.len(), 1024);
    metrics::count("seen", 2);
    metrics::count("seen", 3);
    metrics::gauge("open", 1.5);
    metrics::observe("size", 1.0);
    metrics::observe("size", 2.0);
    metrics::count("no good", 1);
    assert_eq!((testing::metrics::counter("seen"), testing::metrics::gauge("open")), (5, Some(1.5)));
    assert_eq!(testing::metrics::observations("size"), [1.0, 2.0]);
    (0..60).for_each(|n| metrics::count(&format!("n{n}"), 1));
    assert_eq!((testing::metrics::counter("n46"), testing::metrics::counter("n47")), (1, 0));
    testing::reset();
    assert!(testing::log::lines().is_empty() && testing::metrics::counter("seen") == 0);
}

#[test]
fn the_config_by_pieces() {
    testing::config::set(json!({ "add": [{ "name": "X" }] }));
    assert_eq!(config::get::<String>("/add/0/name").unwrap().as_deref(), Some("X"));
    assert_eq!(config::get::<u8>("/none").unwrap(), None);
    assert!(config::get::<u8>("/add").unwrap_err().text().starts_with("/add: invalid type"));
}
