//! Runs the plugin natively, against the SDK's mock host and a made-up service.

use super::*;
use postern_plugin_sdk::testing::{self, Answer, Transaction, init};
use serde_json::{Value, json};

const URL: &str = "https://api.example.com/bounces";

fn plugin(mut config: Value) -> HttpBounce {
    config["url"] = json!(URL);
    init(&config.to_string()).unwrap()
}

fn event(kind: &str, seq: &str) -> Value {
    json!({
        "event": kind, "time": 1_767_225_600_123_u64, "id": "00123456789abcdef0", "from": "a@example.com",
        "zone": "default", "session": "s1", "seq": seq, "to": "b@example.net",
    })
}

/// The events that the service was told of, by seq.
fn told() -> Vec<String> {
    let seq = |text: String| text.split('&').find_map(|pair| pair.strip_prefix("seq=").map(str::to_owned)).unwrap();
    testing::http::requests().iter().map(|request| seq(request.text())).collect()
}

/// Answers with this status to the event of this seq, and with 200 to others.
fn answer(seq: &'static str, status: u16) {
    testing::http::respond(move |request| {
        Answer::new(if request.text().contains(&format!("seq={seq}&")) { status } else { 200 })
    });
}

#[test]
fn bounces_are_posted_as_zonemta_did() {
    answer("", 200);
    let mut bounced = event("bounced", "001");
    bounced["response"] = json!("550 5.1.1 No such user");
    bounced["category"] = json!("recipient");
    bounced["status"] = json!("5.1.1");
    bounced["attributes"] = json!({ "fbl": "campaign 7", "other": "x" });
    let mut expired = event("expired", "002");
    expired["reason"] = json!("too old");
    let events = [event("accepted", ""), event("delivered", "003"), bounced, expired, event("a-later-kind", "004")];
    testing::events(&mut plugin(json!({})), &events).unwrap();
    let requests = testing::http::requests();
    assert_eq!(requests.len(), 2);
    assert_eq!((requests[0].method.as_str(), requests[0].url.as_str()), ("POST", URL));
    assert_eq!(
        requests[0].text(),
        "id=00123456789abcdef0&to=b%40example.net&seq=001&returnPath=a%40example.com&category=recipient\
         &time=1767225600123&response=550+5.1.1+No+such+user&fbl=campaign+7&event=bounced&status=5.1.1"
    );
    assert_eq!(requests[0].header("Idempotency-Key"), Some("00123456789abcdef0.001-bounced-1767225600123"));
    assert!(requests[1].text().ends_with("&category=&time=1767225600123&response=too+old&event=expired"));
    assert_eq!(testing::metrics::counter("posted"), 2);
}

#[test]
fn json_chosen_events_and_a_password() {
    answer("", 200);
    testing::secrets::set("password", "secret");
    let config = json!({ "format": "json", "events": ["delivered"], "user": "postern", "timeout": "2s" });
    testing::events(&mut plugin(config), &[event("bounced", "001"), event("delivered", "002")]).unwrap();
    let requests = testing::http::requests();
    assert_eq!(requests.len(), 1);
    let expected = json!({
        "id": "00123456789abcdef0", "to": "b@example.net", "seq": "002", "returnPath": "a@example.com", "category": "",
        "time": 1_767_225_600_123_u64, "response": "", "event": "delivered",
    });
    assert_eq!(requests[0].json::<Value>(), expected);
    assert_eq!(requests[0].header("Content-Type"), Some("application/json"));
    assert_eq!(requests[0].header("Authorization"), Some("Basic cG9zdGVybjpzZWNyZXQ="));
    assert_eq!(requests[0].timeout, Some(Duration::from_secs(2)));
}

#[test]
fn a_batch_that_comes_again_goes_on_where_it_failed() {
    let events = ["001", "002", "003"].map(|seq| event("bounced", seq));
    answer("002", 503);
    let error = testing::events(&mut plugin(json!({})), &events).unwrap_err().to_string();
    assert_eq!(error, format!("{URL} answered 503 to 00123456789abcdef0.002-bounced-1767225600123"));
    // In another instance, as after a restart.
    testing::events(&mut plugin(json!({})), &events).unwrap_err();
    answer("", 200);
    testing::events(&mut plugin(json!({})), &events).unwrap();
    assert_eq!(told(), ["001", "002", "002", "002", "003"]);
    // The batch was done, and the server did not learn of it.
    testing::events(&mut plugin(json!({})), &events).unwrap();
    assert_eq!(told().len(), 5);
    testing::events(&mut plugin(json!({})), &[event("bounced", "004"), event("bounced", "005")]).unwrap();
    assert_eq!(told()[5..], ["004", "005"]);
}

#[test]
fn an_unreachable_service_and_a_failing_store_bring_the_batch_again() {
    let unreachable = |_: &testing::http::Sent| Answer::failed("unavailable", "connection refused");
    testing::http::respond(unreachable);
    let error = testing::events(&mut plugin(json!({})), &[event("bounced", "001")]).unwrap_err().to_string();
    assert_eq!(error, format!("{URL}: unavailable: connection refused"));
    testing::kv::fail(true);
    testing::events(&mut plugin(json!({})), &[event("bounced", "001")]).unwrap_err();
    // Nothing to post needs no store.
    testing::events(&mut plugin(json!({})), &[event("delivered", "001")]).unwrap();
}

#[test]
fn what_the_service_can_never_take_is_given_up() {
    let events = ["001", "002"].map(|seq| event("bounced", seq));
    answer("001", 422);
    testing::events(&mut plugin(json!({})), &events).unwrap();
    assert_eq!(told(), ["001", "002"]);
    assert_eq!((testing::metrics::counter("given_up"), testing::metrics::counter("posted")), (1, 1));
    assert!(testing::log::lines()[0].1.contains("answered 422 to 00123456789abcdef0.001-bounced"));
    testing::reset();
    answer("001", 422);
    testing::events(&mut plugin(json!({ "give_up_on": [] })), &events).unwrap_err();
    answer("001", 401);
    testing::events(&mut plugin(json!({})), &events).unwrap_err();
}

#[test]
fn x_fbl_travels_with_the_message() {
    let mut transaction = Transaction::new().with_header("X-FBL", "campaign 7").with_header("X-FBL", "8");
    transaction.rewrite(&mut plugin(json!({}))).unwrap();
    assert_eq!(transaction.attributes["fbl"], "campaign 7");
    let mut transaction = Transaction::new().with_header("X-FBL", &"x".repeat(5000));
    transaction.rewrite(&mut plugin(json!({}))).unwrap();
    assert!(transaction.attributes.is_empty());
    assert!(testing::log::lines()[0].1.starts_with("X-FBL is not kept: too-large"));
}

#[test]
fn a_user_needs_a_password() {
    let error = testing::events(&mut plugin(json!({ "user": "a" })), &[event("bounced", "1")]).unwrap_err();
    assert_eq!(error.to_string(), "there is a user, but no secret `password`");
}

#[test]
fn errors_name_the_key() {
    for (config, expected) in [
        (json!({}), "config: missing field `url`"),
        (json!({ "url": "api" }), "url: \"api\" is not like"),
        (json!({ "url": URL, "events": [] }), "events: name at least one"),
        (json!({ "url": URL, "events": ["bounce"] }), "config: events[0]: unknown variant `bounce`"),
        (json!({ "url": URL, "format": "xml" }), "config: format: unknown variant `xml`"),
        (json!({ "url": URL, "give_up_on": [400, 503] }), "give_up_on[1]: a status from 400 to 499"),
        (json!({ "url": URL, "retries": 6 }), "config: retries: unknown field"),
    ] {
        let error = init::<HttpBounce>(&config.to_string()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{config}: {error}");
    }
}
