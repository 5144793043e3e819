//! Runs the plugin natively, against the SDK's mock host and a made-up service.

use super::*;
use postern_plugin_sdk::testing::{self, Answer as Response, Transaction, init};
use serde_json::{Value, json};
use std::time::Duration;

const URL: &str = "https://api.example.com/sender";

fn plugin(mut config: Value) -> HttpConfig {
    config["url"] = json!(URL);
    init(&config.to_string()).unwrap()
}

fn answers(answer: Value) {
    testing::http::respond(move |_| Response::json(200, &answer));
}

#[test]
fn the_request_is_zonemtas() {
    answers(json!({}));
    let mut transaction = Transaction::new().with_user("app 1");
    let before = transaction.clone();
    assert_eq!(transaction.mail(&mut plugin(json!({}))).unwrap(), Verdict::Pass);
    assert_eq!(transaction, before);
    let request = testing::http::requests().remove(0);
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", URL));
    assert_eq!(request.header("Content-Type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(
        request.text(),
        "from=sender%40example.com&origin=192.0.2.1&originhost=&transhost=client.example&transtype=ESMTP&user=app+1"
    );
    assert_eq!((request.header("Authorization"), request.timeout), (None, None));
}

#[test]
fn the_request_can_have_more() {
    answers(json!({}));
    testing::secrets::set("password", "secret");
    let mut transaction = Transaction::new();
    transaction.session.attributes.insert("tenant".into(), "7".into());
    let config = json!({ "user": "postern", "timeout": "2s", "session_attributes": ["tenant", "plan"] });
    transaction.mail(&mut plugin(config)).unwrap();
    let request = testing::http::requests().remove(0);
    assert!(request.text().ends_with("&user=&tenant=7&plan="), "{}", request.text());
    assert_eq!(request.header("Authorization"), Some("Basic cG9zdGVybjpzZWNyZXQ="));
    assert_eq!(request.timeout, Some(Duration::from_secs(2)));
}

#[test]
fn senders_are_refused() {
    let verdict = |answer: Value| {
        answers(answer);
        Transaction::new().mail(&mut plugin(json!({}))).unwrap()
    };
    let no = Verdict::reject("550 5.7.1 No");
    assert_eq!(verdict(json!({ "error": "No" })), no);
    assert_eq!(verdict(json!({ "error": "No", "code": 250 })), no);
    assert_eq!(verdict(json!({ "error": "No", "code": "553" })), Verdict::reject("553 5.7.1 No"));
    assert_eq!(verdict(json!({ "error": "Later\r\n", "code": 450 })), Verdict::defer("450 4.7.1 Later"));
    assert_eq!(verdict(json!({ "error": true })), Verdict::reject("550 5.7.1 true"));
    for error in [Value::Null, json!(false), json!("")] {
        assert_eq!(verdict(json!({ "error": error, "code": 550 })), Verdict::Pass);
    }
}

#[test]
fn zone_sender_and_attributes() {
    answers(json!({
        "sendingZone": "bulk",
        "rewriteFrom": "List <list@example.org>",
        "attributes": { "account": "7" },
        "somethingElse": [1],
    }));
    let mut plugin = plugin(json!({}));
    let mut transaction = Transaction::new().with_header("From", "Ann <a@example.com>");
    assert_eq!(transaction.mail(&mut plugin).unwrap(), Verdict::Pass);
    assert_eq!((transaction.zone.as_deref(), transaction.reverse_path.as_str()), (Some("bulk"), "list@example.org"));
    assert_eq!(transaction.attributes["account"], "7");
    transaction.rewrite(&mut plugin).unwrap();
    assert_eq!(transaction.header_all("From"), ["\"Ann\" <list@example.org>"]);
}

#[test]
fn what_has_no_sender_gets_none() {
    answers(json!({ "rewriteFrom": { "name": "List", "address": "list@example.org" } }));
    let mut plugin = plugin(json!({}));
    let mut transaction = Transaction::new().with_header("From", "a@example.com");
    transaction.reverse_path = String::new();
    transaction.mail(&mut plugin).unwrap();
    transaction.rewrite(&mut plugin).unwrap();
    assert_eq!(transaction.reverse_path, "");
    assert_eq!(transaction.header_all("From"), ["\"List\" <list@example.org>"]);
}

#[test]
fn nothing_is_left_of_an_earlier_answer() {
    let mut transaction = Transaction::new().with_attribute(FROM, "old@example.org").with_attribute(REQUEST, "x");
    answers(json!({}));
    transaction.mail(&mut plugin(json!({}))).unwrap();
    assert!(transaction.attributes.is_empty());
}

const KEY: &str = "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n";

fn key(domain: &str) -> Value {
    json!({ "domainName": domain, "keySelector": "s1", "privateKey": KEY })
}

/// The domains of the signatures that a delivery with these attributes gets.
fn signed(plugin: &mut HttpConfig, transaction: &Transaction) -> Result<Vec<String>> {
    let mut delivery = testing::Delivery::new();
    delivery.attributes = transaction.attributes.clone();
    let mut signing = testing::Signing::new(Some("example.com")).with_key("own.example", "s1");
    delivery.sign(plugin, &mut signing)?;
    Ok(signing.signatures.iter().map(|signature| signature.domain.clone()).collect())
}

#[test]
fn keys_sign_and_are_written_nowhere() {
    let own = json!({ "domainName": "own.example", "keySelector": "s1" });
    answers(json!({ "dkim": { "keys": [key("example.com"), own] } }));
    let mut one = plugin(json!({}));
    let mut transaction = Transaction::new();
    transaction.mail(&mut one).unwrap();
    assert!(!format!("{transaction:?}{one:?}").contains("PRIVATE KEY"));
    assert_eq!(signed(&mut one, &transaction).unwrap(), ["example.com", "own.example"]);
    assert_eq!(testing::http::requests().len(), 1);

    // Another instance asks again, in the same words; this one does too when its keys are too old.
    let mut other = plugin(json!({}));
    assert_eq!(signed(&mut other, &transaction).unwrap(), ["example.com", "own.example"]);
    testing::clock::advance(Duration::from_secs(600));
    answers(json!({ "dkim": { "keys": key("example.org") } }));
    assert_eq!(signed(&mut one, &transaction).unwrap(), ["example.org"]);
    assert_eq!(signed(&mut one, &transaction).unwrap(), ["example.org"]);
    let requests = testing::http::requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| request.text() == requests[0].text()));
}

#[test]
fn without_its_keys_a_message_waits() {
    answers(json!({ "dkim": { "keys": key("example.com") } }));
    let mut transaction = Transaction::new();
    transaction.mail(&mut plugin(json!({}))).unwrap();
    testing::http::respond(|_| Response::new(503));
    let error = signed(&mut plugin(json!({})), &transaction).unwrap_err().to_string();
    assert_eq!(error, format!("{URL}: the server answered with status 503"));
    answers(json!({}));
    let error = signed(&mut plugin(json!({})), &transaction).unwrap_err().to_string();
    assert_eq!(error, format!("{URL} has no keys any more for this sender"));
    // A sender that never had any is not asked about.
    let asked = testing::http::requests().len();
    assert_eq!(signed(&mut plugin(json!({})), &Transaction::new()).unwrap(), [""; 0]);
    assert_eq!(testing::http::requests().len(), asked);
}

#[test]
fn failures_are_left_to_on_error() {
    let error = |answer: Response| {
        let answer = std::rc::Rc::new(answer);
        testing::http::respond(move |_| Response::clone(&answer));
        let mut transaction = Transaction::new();
        let error = transaction.mail(&mut plugin(json!({}))).unwrap_err().to_string();
        assert_eq!(transaction, Transaction::new());
        error
    };
    assert!(error(Response::new(500)).ends_with("the server answered with status 500"));
    assert!(error(Response::new(200)).starts_with("https://api.example.com/sender: EOF"));
    assert!(error(Response::json(200, &json!("ok"))).contains("invalid type: string \"ok\""));
    assert!(error(Response::json(200, &json!({ "sendingZone": "a b" }))).starts_with("the answer's sendingZone"));
    assert!(error(Response::json(200, &json!({ "rewriteFrom": "x" }))).starts_with("the answer's rewriteFrom"));
    let attributes = json!({ "attributes": { "a": "x".repeat(5000) } });
    assert!(error(Response::json(200, &attributes)).starts_with("the answer's attributes.a: too-large"));
    let mut plugin = plugin(json!({ "user": "postern" }));
    let error = Transaction::new().mail(&mut plugin).unwrap_err().to_string();
    assert_eq!(error, "there is a user, but no secret `password`");
}

#[test]
fn errors_name_the_key() {
    for (config, expected) in [
        (json!({}), "config: missing field `url`"),
        (json!({ "url": "api.example.com" }), "url: \"api.example.com\" is not like"),
        (json!({ "url": URL, "key_ttl": 600 }), "config: key_ttl: invalid type"),
        (json!({ "url": URL, "session_attributes": ["a", "user"] }), "session_attributes[1]: the request has a field"),
        (json!({ "url": URL, "code": 442 }), "config: code: unknown field"),
    ] {
        let error = init::<HttpConfig>(&config.to_string()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{config}: {error}");
    }
}
