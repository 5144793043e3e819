//! Runs the plugin natively, against the SDK's mock host.

use super::*;
use postern_plugin_sdk::testing::{Transaction, init};
use serde_json::{Value, json};

fn plugin(config: Value) -> SenderLogin {
    init(&config.to_string()).unwrap()
}

fn config() -> Value {
    json!({ "senders": { "app": ["example.com", "*.example.com", "ann@example.org"], "all": ["*"] } })
}

fn refused(plugin: &mut SenderLogin, user: &str, path: &str) -> bool {
    let mut transaction = Transaction::new().with_user(user);
    transaction.reverse_path = path.into();
    match transaction.mail(plugin).unwrap() {
        Verdict::Pass => false,
        verdict => {
            assert_eq!(verdict, Verdict::reject("553 5.7.1 This sender address is not yours"));
            true
        }
    }
}

#[test]
fn reverse_paths() {
    let mut plugin = plugin(config());
    for path in ["a@example.com", "a@EXAMPLE.com", "a@b.example.com", "ann@example.org", "ann@Example.ORG", ""] {
        assert!(!refused(&mut plugin, "app", path), "{path}");
    }
    for path in ["a@example.org", "Ann@example.org", "a@notexample.com", "a@example.com.evil.example", "a@b"] {
        assert!(refused(&mut plugin, "app", path), "{path}");
    }
    assert!(!refused(&mut plugin, "all", "who@ever.example"));
    assert!(refused(&mut plugin, "other", "a@example.com"));
    assert!(!refused(&mut plugin, "ann@example.net", "ann@example.net"));
    let mut transaction = Transaction::new();
    assert_eq!(transaction.mail(&mut plugin).unwrap(), Verdict::Pass, "nobody has authenticated");
}

#[test]
fn a_name_that_is_an_address_may_count_for_nothing() {
    assert!(refused(&mut plugin(json!({ "own_name": false })), "ann@example.net", "ann@example.net"));
}

#[test]
fn what_auth_said() {
    let mut plugin = plugin(json!({ "attribute": "senders" }));
    let mut transaction = Transaction::new().with_user("app");
    transaction.attributes.insert("senders".into(), "one@a.example, b.example".into());
    for (path, passes) in [("one@a.example", true), ("x@b.example", true), ("two@a.example", false)] {
        transaction.reverse_path = path.into();
        assert_eq!(transaction.mail(&mut plugin).unwrap() == Verdict::Pass, passes, "{path}");
    }
    transaction.attributes.insert("senders".into(), "@".into());
    assert!(transaction.mail(&mut plugin).unwrap_err().to_string().contains("attribute senders"));
}

#[test]
fn from_fields() {
    let mut plugin = plugin(config());
    let verdict = |plugin: &mut SenderLogin, transaction: Transaction| match transaction.clone().spam(plugin).unwrap() {
        SpamVerdict::Accept => true,
        SpamVerdict::Reject(_) => false,
        other => panic!("{other:?}"),
    };
    let of = |from: &str| Transaction::new().with_user("app").with_header("From", from);
    assert!(verdict(&mut plugin, of("Ann <ann@example.org>")));
    assert!(verdict(&mut plugin, of("a@example.com, b@example.com")));
    assert!(!verdict(&mut plugin, of("a@example.com, eve@evil.example")));
    assert!(!verdict(&mut plugin, of("\"a@example.com\" <eve@evil.example>")));
    assert!(!verdict(&mut plugin, of("nobody")));
    assert!(!verdict(&mut plugin, of("a@example.com").with_header("From", "a@example.com")));
    let mut nobody = of("eve@evil.example");
    nobody.session.user = None;
    assert!(verdict(&mut plugin, nobody));
    let mut lax = init::<SenderLogin>(r#"{ "from": false }"#).unwrap();
    assert!(verdict(&mut lax, of("eve@evil.example")));
}

#[test]
fn mistakes_in_the_config() {
    for rule in ["", "@example.com", "*example.com", "a@*"] {
        let text = json!({ "senders": { "app": [rule] } }).to_string();
        let error = init::<SenderLogin>(&text).unwrap_err().to_string();
        assert!(error.contains("senders.\"app\""), "{error}");
    }
}
