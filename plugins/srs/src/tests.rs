//! Runs the plugin natively, against the SDK's mock host, whose clock stands at 2026-01-01.

use super::*;
use postern_plugin_sdk::testing::{self, Transaction, init};
use serde_json::{Value, json};

fn plugin(mut config: Value) -> Srs {
    testing::secrets::set("secret", "s3cret");
    config["rewrite_domain"] = json!("Relay.example");
    init(&config.to_string()).unwrap()
}

/// The reverse-path after the plugin saw it.
fn rewritten(config: Value, path: &str) -> String {
    let mut transaction = Transaction::new();
    transaction.reverse_path = path.into();
    transaction.rewrite(&mut plugin(config)).unwrap();
    transaction.reverse_path
}

#[test]
fn reverse_paths_are_rewritten() {
    assert_eq!(rewritten(json!({}), "ann@Example.com"), "SRS0=jSNk=7G=example.com=ann@relay.example");
    assert_eq!(rewritten(json!({ "hash": "hex" }), "ann@Example.com"), "SRS0=10ef=7G=example.com=ann@relay.example");
    assert_eq!(testing::metrics::counter("rewritten"), 2);
    let config = json!({ "exclude_domains": ["Own.example"] });
    for path in ["", "a@relay.example", "a@own.EXAMPLE"] {
        assert_eq!(rewritten(config.clone(), path), path);
    }
    assert!(rewritten(config, "a@sub.own.example").starts_with("SRS0="));
}

#[test]
fn what_would_be_too_long_is_left() {
    let path = format!("{}@example.com", "x".repeat(40));
    assert_eq!(rewritten(json!({}), &path), path);
    assert_eq!(testing::metrics::counter("left"), 1);
    assert!(testing::log::lines()[0].1.contains("more than 64 octets"));
    let path = format!("{}@example.com", "x".repeat(39));
    assert_eq!(rewritten(json!({}), &path).find('@'), Some(64));
}

#[test]
fn bounces_find_their_way_back() {
    let rcpt = |config: Value, address: &str| {
        let mut transaction = Transaction::new().with_recipients(&[]);
        let verdict = transaction.rcpt(&mut plugin(config), address).unwrap();
        (verdict, transaction.recipients.pop().unwrap_or_default())
    };
    let address = "SRS0=jSNk=7G=example.com=ann@relay.example";
    assert_eq!(rcpt(json!({}), address), (Verdict::Pass, "ann@example.com".to_owned()));
    assert_eq!(rcpt(json!({ "reverse": false }), address).1, address);
    let invalid = Verdict::reject("550 5.1.1 This is not an SRS address of this server");
    assert_eq!(rcpt(json!({}), "SRS0=zzzz=7G=example.com=ann@relay.example").0, invalid);
    assert_eq!(rcpt(json!({}), "SRS0=a@RELAY.example").0, invalid);
    for other in ["SRS0=zzzz=7G=example.com=ann@else.example", "srs0ann@relay.example", "ann@relay.example"] {
        assert_eq!(rcpt(json!({}), other), (Verdict::Pass, other.to_owned()));
    }
    testing::clock::advance(DAY * 22);
    let expired = Verdict::reject("550 5.1.1 This SRS address has expired");
    assert_eq!(rcpt(json!({}), address).0, expired);
    assert_eq!(rcpt(json!({ "max_age": "30d" }), address).0, Verdict::Pass);
    assert_eq!((testing::metrics::counter("reversed"), testing::metrics::counter("refused")), (2, 3));
}

#[test]
fn the_previous_secret_still_turns_back() {
    testing::secrets::set("secret", "new");
    testing::secrets::set("previous", "s3cret");
    let mut plugin: Srs = init(r#"{ "rewrite_domain": "relay.example" }"#).unwrap();
    let mut transaction = Transaction::new();
    let address = "SRS0=jSNk=7G=example.com=ann@relay.example";
    assert_eq!(transaction.rcpt(&mut plugin, address).unwrap(), Verdict::Pass);
    assert!(!format!("{plugin:?}").contains("s3cret"));
}

#[test]
fn errors_name_the_key() {
    let error = |config: Value| init::<Srs>(&config.to_string()).unwrap_err().to_string();
    assert_eq!(error(json!({ "rewrite_domain": "a" })), "grants.secrets: `secret` is missing or empty");
    testing::secrets::set("secret", "x");
    for (config, expected) in [
        (json!({}), "config: missing field `rewrite_domain`"),
        (json!({ "rewrite_domain": "@a" }), "rewrite_domain: \"@a\" is not a domain"),
        (json!({ "rewrite_domain": "a", "exclude_domains": ["b", ""] }), "exclude_domains[1]: \"\" is not a domain"),
        (json!({ "rewrite_domain": "a", "hash": "md5" }), "config: hash: unknown variant `md5`"),
        (json!({ "rewrite_domain": "a", "hash_length": 3 }), "hash_length: from 4 to 20"),
        (json!({ "rewrite_domain": "a", "max_age": "3h" }), "max_age: from \"1d\""),
        (json!({ "rewrite_domain": "a", "secret": "x" }), "config: secret: unknown field"),
    ] {
        let error = error(config);
        assert!(error.starts_with(expected), "{error}");
    }
}
