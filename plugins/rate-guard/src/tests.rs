//! Runs the plugin natively, against the SDK's mock host.

use super::*;
use postern_plugin_sdk::testing::{self, Transaction, init};
use serde_json::{Value, json};
use std::time::Duration;

fn plugin(limits: Value) -> RateGuard {
    init(&json!({ "limits": limits }).to_string()).unwrap()
}

fn later() -> Verdict {
    Verdict::defer("450 4.7.1 Rate limit exceeded, try again later")
}

/// How many of these recipients pass, one after another.
fn passing(plugin: &mut RateGuard, transaction: &Transaction, recipients: &[&str]) -> usize {
    let mut transaction = transaction.clone();
    recipients.iter().filter(|to| transaction.rcpt(plugin, to).unwrap() == Verdict::Pass).count()
}

#[test]
fn recipients_per_user_and_window() {
    let mut plugin = plugin(json!([{ "key": "user", "limit": 2, "window": "1h" }]));
    let user = |name: &str| Transaction::new().with_user(name);
    assert_eq!(passing(&mut plugin, &user("app1"), &["a@x.example"; 3]), 2);
    assert_eq!(user("app1").rcpt(&mut plugin, "b@x.example").unwrap(), later());
    assert_eq!(passing(&mut plugin, &user("app2"), &["a@x.example"; 3]), 2);
    // Without a user the limit does not apply, and messages are not what it counts.
    assert_eq!(passing(&mut plugin, &Transaction::new(), &["a@x.example"; 5]), 5);
    assert_eq!(user("app1").mail(&mut plugin).unwrap(), Verdict::Pass);
    testing::clock::advance(Duration::from_secs(3599));
    assert_eq!(passing(&mut plugin, &user("app1"), &["a@x.example"]), 0);
    testing::clock::advance(Duration::from_secs(1));
    assert_eq!(passing(&mut plugin, &user("app1"), &["a@x.example"; 3]), 2);
    assert_eq!(
        (testing::metrics::counter("refused_recipients"), testing::metrics::counter("refused_messages")),
        (5, 0)
    );
    assert!(testing::log::lines()[0].1.ends_with("more than 2 recipients in 3600s: r/user/3600/app1"));
}

#[test]
fn messages_per_peer_with_a_reply_of_ones_own() {
    let limits = json!([{ "key": "peer", "count": "messages", "limit": 1, "window": "1m", "reply": "550 5.7.1 No" }]);
    let mut plugin = plugin(limits);
    let mut transaction = Transaction::new();
    assert_eq!(transaction.mail(&mut plugin).unwrap(), Verdict::Pass);
    assert_eq!(transaction.mail(&mut plugin).unwrap(), Verdict::reject("550 5.7.1 No"));
    assert_eq!(passing(&mut plugin, &transaction, &["a@x.example"; 3]), 3);
    transaction.session.peer_address = "2001:db8::1".into();
    assert_eq!(transaction.mail(&mut plugin).unwrap(), Verdict::Pass);
    transaction.session.peer_address = "2001:db8::2".into();
    assert_eq!(transaction.mail(&mut plugin).unwrap(), Verdict::reject("550 5.7.1 No"));
    assert_eq!(testing::metrics::counter("refused_messages"), 2);
}

#[test]
fn keys_of_addresses_compare_without_case() {
    let sum = |key: Value, path: &str, recipients: &[&str]| {
        testing::reset();
        let mut plugin = plugin(json!([{ "key": key, "limit": 2, "window": "1h" }]));
        let mut transaction = Transaction::new();
        transaction.reverse_path = path.into();
        passing(&mut plugin, &transaction, recipients)
    };
    let recipients = ["a@x.example", "A@X.example", "b@X.EXAMPLE", "a@y.example", "a@y.example"];
    assert_eq!(sum(json!("recipient"), "s@example.com", &recipients), 5);
    assert_eq!(sum(json!("recipient-domain"), "s@example.com", &recipients), 4);
    assert_eq!(sum(json!("reverse-path"), "s@example.com", &recipients), 2);
    assert_eq!(sum(json!("sender-domain"), "", &recipients), 2);
    assert_eq!(sum(json!("listener"), "s@example.com", &recipients), 2);
    // One sender to one recipient: zonemta-limiter.
    assert_eq!(sum(json!(["reverse-path", "recipient"]), "s@example.com", &["a@x.example"; 3]), 2);
}

#[test]
fn what_one_limit_refuses_the_others_do_not_count() {
    let mut plugin = plugin(json!([
        { "key": "peer", "limit": 3, "window": "1h" },
        { "key": "recipient", "limit": 1, "window": "1h" },
    ]));
    let transaction = Transaction::new();
    assert_eq!(passing(&mut plugin, &transaction, &["a@x.example"; 5]), 1);
    assert_eq!(passing(&mut plugin, &transaction, &["b@x.example", "c@x.example", "d@x.example"]), 2);
    assert_eq!(kv::counter("r/peer/3600/192.0.2.1").unwrap(), 3);
    assert_eq!(kv::counter("r/recipient/3600/d@x.example").unwrap(), 0);
}

#[test]
fn a_failing_store_is_left_to_on_error() {
    let mut plugin = plugin(json!([{ "key": "peer", "limit": 3, "window": "1h" }]));
    testing::kv::fail(true);
    let error = Transaction::new().rcpt(&mut plugin, "a@x.example").unwrap_err().to_string();
    assert!(error.starts_with("counter r/peer/3600/192.0.2.1: unavailable"), "{error}");
    testing::kv::fail(false);
    testing::kv::quota(3);
    let error = Transaction::new().rcpt(&mut plugin, "a@x.example").unwrap_err().to_string();
    assert!(error.contains("too-large"), "{error}");
}

#[test]
fn long_addresses_have_counters() {
    let mut plugin = plugin(json!([{ "key": ["reverse-path", "recipient"], "limit": 1, "window": "1h" }]));
    let long = format!("a@{}.example", "x".repeat(240));
    let mut transaction = Transaction::new();
    transaction.reverse_path.clone_from(&long);
    assert_eq!(passing(&mut plugin, &transaction, &[&long, &long]), 1);
}

#[test]
fn errors_name_the_key() {
    for (config, expected) in [
        (json!({}), "config: missing field `limits`"),
        (json!({ "limits": [] }), "limits: there is none"),
        (json!({ "limits": [{ "key": "user", "limit": 1 }] }), "config: limits[0]: missing field `window`"),
        (
            json!({ "limits": [{ "key": "ip", "limit": 1, "window": "1h" }] }),
            "config: limits[0].key: one or a list of user, peer",
        ),
        (json!({ "limits": [{ "key": [], "limit": 1, "window": "1h" }] }), "limits[0].key: there is none"),
        (json!({ "limits": [{ "key": "user", "limit": 0, "window": "1h" }] }), "limits[0].limit: at least 1"),
        (json!({ "limits": [{ "key": "user", "limit": 1, "window": "9ms" }] }), "limits[0].window: at least"),
        (
            json!({ "limits": [{ "key": "user", "limit": 1, "window": "1 hour" }] }),
            "config: limits[0].window: `1 hour`",
        ),
        (
            json!({ "limits": [{ "key": "recipient", "count": "messages", "limit": 1, "window": "1h" }] }),
            "limits[0].key: a message has no recipient when it is counted",
        ),
        (
            json!({ "limits": [{ "key": "user", "limit": 1, "window": "1h", "reply": "250 Ok" }] }),
            "config: limits[0].reply: ",
        ),
    ] {
        let error = init::<RateGuard>(&config.to_string()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{config}: {error}");
    }
}
