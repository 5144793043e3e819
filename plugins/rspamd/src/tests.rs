//! Runs the plugin natively, against the SDK's mock host and a made-up Rspamd.

use super::*;
use postern_plugin_sdk::testing::{self, Answer, Transaction, init};
use serde_json::{Value, json};

const URL: &str = "http://127.0.0.1:11333";

fn plugin(mut config: Value) -> Rspamd {
    config["url"] = json!(URL);
    init(&config.to_string()).unwrap()
}

/// Checks a message with this config and this reply of Rspamd's.
fn check(config: Value, reply: Value) -> (Result<SpamVerdict>, Transaction) {
    let mut transaction = Transaction::from_eml(b"Subject: hi\r\nX-Zone-Spam-Status: No, really\r\n\r\nHello.\r\n");
    testing::http::respond(move |_| Answer::json(200, &reply));
    let verdict = transaction.spam(&mut plugin(config));
    (verdict, transaction)
}

#[test]
fn rspamd_is_told_what_is_known() {
    let config = json!({ "settings_id": "outbound", "mta_name": "mx.example.com", "timeout": "3s" });
    testing::http::respond(|_| Answer::json(200, &json!({ "action": "no action" })));
    let mut transaction = Transaction::from_eml(b"Subject: hi\r\n\r\nHello.\r\n").with_user("app1");
    transaction.session.peer_name = Some("mail.client.example".into());
    transaction.spam(&mut plugin(config)).unwrap();
    let request = testing::http::requests().remove(0);
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "http://127.0.0.1:11333/checkv2"));
    assert_eq!(request.text(), "Subject: hi\r\n\r\nHello.\r\n");
    assert_eq!(request.timeout, Some(std::time::Duration::from_secs(3)));
    for (name, value) in [
        ("From", "sender@example.com"),
        ("Rcpt", "recipient@example.net"),
        ("Deliver-To", "recipient@example.net"),
        ("IP", "192.0.2.1"),
        ("Hostname", "mail.client.example"),
        ("Helo", "client.example"),
        ("User", "app1"),
        ("Queue-Id", "00123456789abcdef0"),
        ("Settings-ID", "outbound"),
        ("MTA-Name", "mx.example.com"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    assert_eq!(request.header("Password"), None);
}

#[test]
fn several_recipients_the_null_path_and_a_password() {
    testing::secrets::set("password", "q1");
    testing::http::respond(|_| Answer::json(200, &json!({ "action": "no action" })));
    let mut transaction = Transaction::new().with_recipients(&["a@example.net", "b@example.org"]);
    transaction.reverse_path = String::new();
    transaction.spam(&mut plugin(json!({}))).unwrap();
    let request = testing::http::requests().remove(0);
    let recipients: Vec<_> = request.headers.iter().filter(|(name, _)| name == "Rcpt").map(|(_, to)| to).collect();
    assert_eq!(recipients, ["a@example.net", "b@example.org"]);
    assert_eq!((request.header("From"), request.header("Deliver-To")), (Some("<>"), None));
    assert_eq!((request.header("User"), request.header("Password")), (None, Some("q1")));
}

#[test]
fn a_request_names_the_first_recipients_of_many() {
    testing::http::respond(|_| Answer::json(200, &json!({ "action": "no action" })));
    let mut transaction = Transaction::new().with_user("app1");
    transaction.recipients =
        (0..5000).map(|at| format!("{}{at}@{}.example", "x".repeat(60), "y".repeat(180))).collect();
    transaction.spam(&mut plugin(json!({ "settings_id": "a", "mta_name": "b" }))).unwrap();
    let headers = testing::http::requests().remove(0).headers;
    assert_eq!(headers.iter().filter(|(name, _)| name == "Rcpt").count(), 80);
}

#[test]
fn actions_are_treated_as_the_config_says() {
    let treated = |config: Value, action: &str| check(config, json!({ "action": action, "score": 7.5 })).0.unwrap();
    let reject = SpamVerdict::reject("550 5.7.1 This message was classified as SPAM and may not be delivered");
    let defer = SpamVerdict::defer("451 4.7.1 Try again later");
    for (action, verdict) in [
        ("no action", SpamVerdict::Accept),
        ("add header", SpamVerdict::Accept),
        ("rewrite subject", SpamVerdict::Accept),
        ("a later one", SpamVerdict::Accept),
        ("greylist", defer.clone()),
        ("soft reject", defer),
        ("reject", reject),
        ("quarantine", SpamVerdict::hold("Rspamd: score=7.50 required=0.00 action=\"quarantine\"")),
        ("discard", SpamVerdict::discard("Rspamd: score=7.50 required=0.00 action=\"discard\"")),
    ] {
        assert_eq!(treated(json!({}), action), verdict, "{action}");
    }
    let own = json!({
        "actions": { "reject": "accept", "greylist": "accept", "add header": "hold", "our own": "reject" },
        "reject_reply": "554 5.7.0 No",
    });
    assert_eq!(treated(own.clone(), "reject"), SpamVerdict::Accept);
    assert_eq!(treated(own.clone(), "greylist"), SpamVerdict::Accept);
    assert!(matches!(treated(own.clone(), "add header"), SpamVerdict::Hold(_)));
    assert_eq!(treated(own, "our own"), SpamVerdict::reject("554 5.7.0 No"));
    assert_eq!(testing::metrics::counter("action_add_header"), 2);
    assert_eq!(testing::metrics::counter("checked"), 13);
}

#[test]
fn rspamds_text_goes_to_the_client() {
    let reply = |action: &str, text: &str| json!({ "action": action, "messages": { "smtp_message": text } });
    let verdict = check(json!({}), reply("soft reject", "Too fast,\r\nslow down")).0.unwrap();
    assert_eq!(verdict, SpamVerdict::defer("451 4.7.1 Too fast,  slow down"));
    let verdict = check(json!({}), reply("reject", "554 5.7.0 Found")).0.unwrap();
    assert_eq!(verdict, SpamVerdict::reject("554 5.7.0 Found"));
    // A reply of another class is only a text.
    let verdict = check(json!({}), reply("reject", "250 fine")).0.unwrap();
    assert_eq!(verdict, SpamVerdict::reject("550 5.7.1 250 fine"));
    let verdict = check(json!({ "defer_reply": "450 4.2.0 Later" }), reply("greylist", " ")).0.unwrap();
    assert_eq!(verdict, SpamVerdict::defer("450 4.2.0 Later"));
}

#[test]
fn messages_get_zonemtas_fields_and_lose_forged_ones() {
    let symbols = json!({ "A": { "score": -0.1 }, "B": { "score": 5.0 }, "C": {} });
    let reply = json!({ "action": "add header", "score": 4.9, "required_score": 15.0, "symbols": symbols });
    let (_, transaction) = check(json!({}), reply.clone());
    assert_eq!(transaction.header_all("X-Zone-Spam-Resolution"), ["add header"]);
    let status = "Yes, score=4.90, required=15.00, tests=[B=5.00, A=-0.10, C=0.00]";
    assert_eq!(transaction.header_all("X-Zone-Spam-Status"), [status]);
    let line = "score=4.90 required=15.00 action=\"add header\" treatment=accept symbols=[B=5.00, A=-0.10, C=0.00]";
    assert_eq!(testing::log::lines(), [(testing::log::Level::Info, line.to_owned())]);

    let headers = json!({ "action": "", "status": "", "score": "X-Spam-Score", "symbols": "X-Spam-Symbols" });
    let (_, transaction) = check(json!({ "headers": headers }), reply);
    assert_eq!(transaction.header_all("X-Zone-Spam-Resolution"), [""; 0]);
    assert_eq!(transaction.header_all("X-Spam-Score"), ["4.90"]);
    assert_eq!(transaction.header_all("X-Spam-Symbols"), ["[B=5.00, A=-0.10, C=0.00]"]);
}

#[test]
fn the_subject_is_rewritten_by_that_action_alone() {
    let subject = |action: &str, text: Value| {
        let (_, transaction) = check(json!({}), json!({ "action": action, "subject": text }));
        transaction.header_all("Subject").join("|")
    };
    assert_eq!(subject("rewrite subject", json!("*** SPAM *** hi")), "*** SPAM *** hi");
    assert_eq!(subject("add header", json!("*** SPAM *** hi")), "hi");
    assert_eq!(subject("rewrite subject", Value::Null), "hi");
}

#[test]
fn rspamds_header_edits_are_made() {
    let milter = json!({
        "remove_headers": { "subject": 0, "X-None": 1, "X-Zone-Spam-Status": -1 },
        "add_headers": {
            "X-Plain": "a\r\n\tb",
            "X-Top": { "value": "1", "order": 0 },
            "X-Low": { "value": 2, "order": -1 },
            "X-Many": [{ "value": "x", "order": 1 }, "y"],
        },
    });
    let reply = json!({ "action": "no action", "milter": milter });
    let (verdict, transaction) = check(json!({}), reply.clone());
    verdict.unwrap();
    let names: Vec<_> = transaction.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let added = ["X-Top: 1", "X-Many: x", "X-Low: 2", "X-Many: y", "X-Plain: a b"];
    assert!(added.iter().all(|field| names.contains(&(*field).to_owned())), "{names:?}");
    assert!(names.iter().position(|n| n == "X-Top: 1") < names.iter().position(|n| n == "X-Low: 2"));
    assert_eq!(transaction.header_all("Subject"), [""; 0]);

    let (_, transaction) = check(json!({ "milter_headers": false }), reply);
    assert_eq!((transaction.header_all("X-Top").len(), transaction.header_all("Subject").len()), (0, 1));
}

#[test]
fn one_of_several_fields_is_not_taken_for_all() {
    let milter = json!({ "remove_headers": { "X-Two": 1 } });
    testing::http::respond(move |_| Answer::json(200, &json!({ "action": "no action", "milter": milter })));
    let mut transaction = Transaction::new().with_header("X-Two", "1").with_header("X-Two", "2");
    transaction.spam(&mut plugin(json!({}))).unwrap();
    assert_eq!(transaction.header_all("X-Two"), ["1", "2"]);
    assert!(testing::log::lines().iter().any(|(_, line)| line.contains("only one of several fields X-Two")));
}

#[test]
fn large_messages_are_not_sent() {
    let mut transaction = Transaction::new().with_header("X-Zone-Spam-Status", "No").with_body([b'x'; 2000]);
    let verdict = transaction.spam(&mut plugin(json!({ "max_size": "1KiB" }))).unwrap();
    assert_eq!(verdict, SpamVerdict::Accept);
    assert_eq!((testing::http::requests().len(), testing::metrics::counter("too_large")), (0, 1));
    assert_eq!(transaction.header_all("X-Zone-Spam-Status"), [""; 0]);
}

#[test]
fn failures_are_left_to_on_error() {
    let error = |answer: fn() -> Answer| {
        testing::http::respond(move |_| answer());
        let before = Transaction::new().with_header("X-Zone-Spam-Status", "No");
        let mut transaction = before.clone();
        let error = transaction.spam(&mut plugin(json!({}))).unwrap_err().to_string();
        assert_eq!(transaction, before);
        error
    };
    let unauthorized = || Answer::json(401, &json!({ "error": "Unauthorized" }));
    assert_eq!(error(unauthorized), "Rspamd answered with status 401 Unauthorized");
    assert_eq!(error(|| Answer::new(502)), "Rspamd answered with status 502");
    assert!(error(|| Answer::json(200, &json!({}))).starts_with("Rspamd's reply: missing field `action`"));
    assert!(error(|| Answer::new(200)).starts_with("Rspamd's reply: EOF"));
    let bad = || Answer::json(200, &json!({ "action": "x", "milter": { "add_headers": { "X": [[]] } } }));
    assert_eq!(error(bad), "Rspamd's reply: add_headers.X: it has no text as its value");
    let bad = || Answer::json(200, &json!({ "action": "x", "milter": { "add_headers": { "A B": "1" } } }));
    assert!(error(bad).starts_with("header field A B: bad-name"));
}

#[test]
fn errors_name_the_key() {
    for (config, expected) in [
        (json!({}), "config: missing field `url`"),
        (json!({ "url": "127.0.0.1:11333" }), "url: \"127.0.0.1:11333\" is not like"),
        (json!({ "url": "http://127.0.0.1:11333/checkv2" }), "url: \"http://127.0.0.1:11333/checkv2\" is not like"),
        (json!({ "url": URL, "max_size": "big" }), "config: max_size: `big` is not a size"),
        (json!({ "url": URL, "timeout": 5 }), "config: timeout: invalid type"),
        (json!({ "url": URL, "actions": { "reject": "bounce" } }), "config: actions.reject: unknown variant `bounce`"),
        (json!({ "url": URL, "actions": { "add_header": "hold" } }), "actions.add_header: Rspamd writes"),
        (json!({ "url": URL, "headers": { "score": "A B" } }), "config: headers.score: \"A B\" is not a header"),
        (json!({ "url": URL, "headers": { "tests": "A" } }), "config: headers.tests: unknown field `tests`"),
        (json!({ "url": URL, "reject_reply": "451 No" }), "reject_reply: its code begins with 5"),
        (json!({ "url": URL, "defer_reply": "550 No" }), "defer_reply: its code begins with 4"),
        (json!({ "url": URL, "rejectSpam": true }), "config: rejectSpam: unknown field"),
    ] {
        let error = init::<Rspamd>(&config.to_string()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{config}: {error}");
    }
}
