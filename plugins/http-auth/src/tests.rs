//! Runs the plugin natively, against the SDK's mock host and a made-up service.

use super::*;
use postern_plugin_sdk::testing::{self, Answer as Response, Credentials as Try, init};
use serde_json::{Value, json};

const URL: &str = "https://api.example.com/auth";

fn plugin(mut config: Value) -> HttpAuth {
    if config["url"].is_null() {
        config["url"] = json!(URL);
    }
    init(&config.to_string()).unwrap()
}

fn no() -> AuthVerdict {
    AuthVerdict::reject("535 5.7.8 Authentication failed")
}

#[test]
fn the_request_is_zonemtas() {
    testing::http::respond(|_| Response::new(204));
    let verdict =
        testing::Session::new().authenticate(&mut plugin(json!({ "timeout": "2s" })), &Try::plain("app", "p"));
    assert_eq!(verdict.unwrap(), AuthVerdict::accept("app"));
    let request = testing::http::requests().remove(0);
    assert_eq!((request.method.as_str(), request.url.as_str()), ("GET", "https://api.example.com/auth?transport=SMTP"));
    assert_eq!(request.header("Authorization"), Some("Basic YXBwOnA="));
    assert_eq!(request.timeout, Some(Duration::from_secs(2)));
    let basic = Try { mechanism: "HTTP-BASIC".into(), ..Try::plain("app", "p") };
    testing::Session::new().authenticate(&mut plugin(json!({ "url": "https://a.test/?k=1" })), &basic).unwrap();
    assert_eq!(testing::http::requests().last().unwrap().url, "https://a.test/?k=1&transport=HTTP");
}

#[test]
fn answers() {
    let verdict = |status| {
        testing::http::respond(move |_| Response::new(status));
        testing::Session::new().authenticate(&mut plugin(json!({})), &Try::plain("app", "p"))
    };
    assert_eq!(verdict(200).unwrap(), AuthVerdict::accept("app"));
    for status in [401, 403, 404] {
        assert_eq!(verdict(status).unwrap(), no());
    }
    for status in [500, 503] {
        assert!(verdict(status).unwrap_err().to_string().contains("answered"), "{status}");
    }
}

#[test]
fn an_answer_may_name_user_and_attributes() {
    let answer = json!({ "user": "account-7", "attributes": { "plan": "free" }, "time": 1 });
    testing::http::respond(move |_| Response::json(200, &answer));
    let mut session = testing::Session::new();
    let verdict = session.authenticate(&mut plugin(json!({})), &Try::plain("app", "p")).unwrap();
    assert_eq!(verdict, AuthVerdict::accept("account-7"));
    assert_eq!(session.attributes["plan"], "free");
    testing::http::respond(|_| Response::json(200, &json!([1])));
    assert!(testing::Session::new().authenticate(&mut plugin(json!({})), &Try::plain("app", "p")).is_err());
}

#[test]
fn who_is_not_asked_about() {
    testing::http::respond(|_| Response::new(200));
    let verdict =
        |credentials: Try| testing::Session::new().authenticate(&mut plugin(json!({})), &credentials).unwrap();
    assert_eq!(verdict(Try { authorization: Some("boss".into()), ..Try::plain("app", "p") }), no());
    assert_eq!(verdict(Try::plain("app:x", "p")), no());
    assert_eq!(verdict(Try::token("XOAUTH2", "app", "t")), AuthVerdict::Pass);
    assert!(testing::http::requests().is_empty());
}

#[test]
fn tokens() {
    let mut plugin = plugin(json!({ "tokens": true }));
    testing::http::respond(|_| Response::new(200));
    let mut verdict =
        |user: &str| testing::Session::new().authenticate(&mut plugin, &Try::token("OAUTHBEARER", user, "t"));
    assert_eq!(verdict("app").unwrap(), AuthVerdict::accept("app"));
    assert_eq!(testing::http::requests()[0].header("Authorization"), Some("Bearer t"));
    assert!(verdict("").unwrap_err().to_string().contains("whose token"));
    testing::http::respond(|_| Response::json(200, &json!({ "user": "app" })));
    assert_eq!(verdict("").unwrap(), AuthVerdict::accept("app"));
}

#[test]
fn mistakes_in_the_config() {
    let error = init::<HttpAuth>(r#"{ "url": "api.example.com" }"#).unwrap_err().to_string();
    assert!(error.contains("url: "), "{error}");
    assert!(init::<HttpAuth>(r#"{ "url": "https://a.test", "token": true }"#).is_err());
}
