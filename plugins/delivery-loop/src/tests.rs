//! Runs the plugin natively, against the SDK's mock host.

use super::*;
use postern_plugin_sdk::testing::{self, Transaction, init};
use serde_json::{Value, json};

fn plugin(config: Value) -> DeliveryLoop {
    testing::secrets::set("secret", "s3cret");
    init(&config.to_string()).unwrap()
}

fn refused() -> SpamVerdict {
    SpamVerdict::reject("554 5.4.6 A mail loop was detected")
}

/// The message as it leaves here for these recipients.
fn sent(mut transaction: Transaction, config: Value, recipients: &[&str]) -> Transaction {
    let mut delivery = testing::Delivery::new();
    delivery.recipients = recipients.iter().map(|recipient| (*recipient).to_owned()).collect();
    assert_eq!(delivery.before(&mut plugin(config)).unwrap(), Decision::Go);
    transaction.headers.splice(0..0, delivery.prepended);
    transaction.recipients = delivery.recipients;
    transaction
}

fn check(transaction: &Transaction, config: Value) -> SpamVerdict {
    transaction.clone().spam(&mut plugin(config)).unwrap()
}

#[test]
fn too_many_received_fields_are_a_loop() {
    let with = |count: usize| {
        let transaction = Transaction::new();
        (0..count).fold(transaction, |transaction, _| transaction.with_header("Received", "from a by b; now"))
    };
    assert_eq!(check(&with(35), json!({})), SpamVerdict::Accept);
    assert_eq!(check(&with(36), json!({})), refused());
    assert_eq!(check(&with(3), json!({ "max_hops": 2, "reply": "550 No" })), SpamVerdict::reject("550 No"));
    assert_eq!((testing::metrics::counter("hops"), testing::metrics::counter("passes")), (2, 0));
}

#[test]
fn a_message_to_the_same_recipient_is_a_loop() {
    let transaction = sent(Transaction::new(), json!({}), &["bob@example.net", "eve@example.net"]);
    assert_eq!(transaction.header_all("X-Zone-Loop").len(), 1);
    assert!(!transaction.header_all("X-Zone-Loop")[0].contains("bob"));
    assert_eq!(check(&transaction, json!({})), refused());
    assert_eq!(check(&transaction.clone().with_recipients(&["BOB@Example.net"]), json!({})), refused());
    assert_eq!(
        check(&transaction.clone().with_recipients(&["new@example.net", "eve@example.net"]), json!({})),
        refused()
    );
    assert!(testing::log::lines()[0].1.contains("it was sent to bob@example.net before (1 times)"));
    // A list or an alias that passes it on to others is none.
    assert_eq!(check(&transaction.with_recipients(&["ann@example.org"]), json!({})), SpamVerdict::Accept);
    assert_eq!(testing::metrics::counter("passes"), 3);
}

#[test]
fn passes_can_be_allowed() {
    let config = json!({ "max_passes": 2, "header": "X-Loop" });
    let once = sent(Transaction::new(), config.clone(), &["bob@example.net"]);
    assert_eq!(check(&once, config.clone()), SpamVerdict::Accept);
    let twice = sent(once, config.clone(), &["bob@example.net"]);
    assert_eq!(twice.header_all("X-Loop").len(), 2);
    assert_eq!(check(&twice, config), refused());
}

#[test]
fn marks_of_others_mean_nothing() {
    testing::secrets::set("secret", "another");
    let mut other: DeliveryLoop = init("{}").unwrap();
    let mut delivery = testing::Delivery::new();
    delivery.before(&mut other).unwrap();
    let mut transaction = Transaction::new().with_header("X-Zone-Loop", "bob@example.net  \t é");
    transaction.headers.extend(delivery.prepended);
    assert_eq!(check(&transaction, json!({})), SpamVerdict::Accept);
}

#[test]
fn many_recipients_fill_several_fields() {
    let recipients: Vec<String> = (0..1500).map(|at| format!("r{at}@example.net")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let transaction = sent(Transaction::new(), json!({}), &recipients);
    let fields = transaction.header_all("X-Zone-Loop");
    assert_eq!(fields.len(), 25);
    assert!(fields.iter().all(|field| field.len() < 700));
    assert_eq!(check(&transaction.clone().with_recipients(&["r999@example.net"]), json!({})), refused());
    assert_eq!(check(&transaction.with_recipients(&["r1000@example.net"]), json!({})), SpamVerdict::Accept);
}

#[test]
fn errors_name_the_key() {
    let error = |config: Value| init::<DeliveryLoop>(&config.to_string()).unwrap_err().to_string();
    assert_eq!(error(json!({})), "grants.secrets: `secret` is missing or empty");
    for (config, expected) in [
        (json!({ "max_hops": 0 }), "max_hops: at least 1"),
        (json!({ "max_passes": 0 }), "max_passes: at least 1"),
        (json!({ "header": "A B" }), "config: header: \"A B\" is not a header field name"),
        (json!({ "reply": "451 Later" }), "reply: its code begins with 5"),
        (json!({ "maxHops": 35 }), "config: maxHops: unknown field"),
    ] {
        let error = error(config);
        assert!(error.starts_with(expected), "{error}");
    }
}
