//! Runs the plugin natively, against the SDK's mock host.

use super::*;
use postern_plugin_sdk::testing::{Transaction, init};

fn run(config: &serde_json::Value, transaction: &mut Transaction) {
    let mut plugin: HeaderRewrite = init(&config.to_string()).unwrap();
    transaction.rewrite(&mut plugin).unwrap();
}

fn fields(transaction: &Transaction) -> Vec<String> {
    transaction.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

#[test]
fn an_empty_config_changes_nothing() {
    let mut transaction = Transaction::new().with_header("Subject", "hi");
    run(&serde_json::json!({}), &mut transaction);
    assert_eq!(transaction, Transaction::new().with_header("Subject", "hi"));
}

#[test]
fn removes_then_replaces_then_adds() {
    let mut transaction = Transaction::new()
        .with_header("X-Mailer", "old")
        .with_header("Subject", "hi")
        .with_header("x-a", "1")
        .with_header("X-A", "2")
        .with_header("X-Mailer", "older");
    run(
        &serde_json::json!({
            "remove": ["x-mailer"],
            "replace": { "X-A": "3", "X-New": "n" },
            "add": [
                { "name": "T1", "value": "1", "position": "top" },
                { "name": "B1", "value": "1" },
                { "name": "T2", "value": "2", "position": "top" },
                { "name": "B2", "value": "2", "position": "bottom" },
            ],
        }),
        &mut transaction,
    );
    assert_eq!(fields(&transaction), ["T1: 1", "T2: 2", "Subject: hi", "X-A: 3", "X-New: n", "B1: 1", "B2: 2"]);
}

#[test]
fn values_come_from_session_envelope_and_message() {
    let value = "{queue-id}|{reverse-path}|{recipient}|{header:subject}|{listener}|{helo}|{peer}|{user}|{{}}";
    let mut transaction = Transaction::new().with_header("Subject", "hi");
    transaction.session.user = Some("app1".into());
    run(&serde_json::json!({ "add": [{ "name": "X-All", "value": value }] }), &mut transaction);
    let expected =
        "00123456789abcdef0|sender@example.com|recipient@example.net|hi|feeder|client.example|192.0.2.1|app1|{}";
    assert_eq!(transaction.header_all("X-All"), [expected]);
}

#[test]
fn a_field_can_be_renamed() {
    let mut transaction = Transaction::new().with_header("X-Old", "v");
    run(
        &serde_json::json!({ "remove": ["X-Old"], "add": [{ "name": "X-New", "value": "{header:X-Old}" }] }),
        &mut transaction,
    );
    assert_eq!(fields(&transaction), ["X-New: v"]);
}

#[test]
fn without_any_value_a_field_is_not_there() {
    let config = serde_json::json!({
        "replace": { "X-User": "{user}" },
        "add": [{ "name": "X-Sub", "value": "s={header:Subject}" }, { "name": "X-Empty", "value": "" }],
    });
    let mut transaction = Transaction::new().with_header("X-User", "forged");
    run(&config, &mut transaction);
    assert_eq!(fields(&transaction), ["X-Empty: "]);
}

#[test]
fn several_recipients_are_not_told_about_each_other() {
    let mut transaction = Transaction::new();
    transaction.recipients.push("second@example.net".into());
    run(&serde_json::json!({ "add": [{ "name": "X-To", "value": "{recipient}" }] }), &mut transaction);
    assert_eq!(transaction.header_all("X-To"), [""; 0]);
}

#[test]
fn errors_name_the_entry() {
    for (config, expected) in [
        (r#"{"ad": []}"#, "config: ad: unknown field `ad`, expected one of `remove`, `replace`, `add`"),
        (r#"{"remove": ["A", "B C"]}"#, "remove[1]: \"B C\" is not a header field name"),
        (r#"{"remove": "A"}"#, "config: remove: invalid type: string \"A\", expected a sequence"),
        (r#"{"replace": {"X-A": "{nope}"}}"#, "replace.X-A: unknown placeholder {nope}; there are {queue-id}"),
        (r#"{"replace": {"X-A": "1", "x-a": "2"}}"#, "replace.x-a: it is there twice"),
        (r#"{"add": [{"name": "A:", "value": ""}]}"#, "add[0].name: \"A:\" is not a header field name"),
        (r#"{"add": [{"name": "A", "value": "a\nb"}]}"#, "add[0].value: a header value must not contain '\\n'"),
        (r#"{"add": [{"name": "A"}]}"#, "config: add[0]: missing field `value`"),
        (r#"{"add": [{"name": "A", "value": "", "position": "up"}]}"#, "config: add[0].position: unknown variant `up`"),
    ] {
        let error = init::<HeaderRewrite>(config).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{config}: {error}");
    }
}
