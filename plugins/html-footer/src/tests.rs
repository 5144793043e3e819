//! Runs the plugin natively, against the SDK's mock host.

use super::*;
use postern_plugin_sdk::testing::{self, Transaction, init};
use serde_json::{Value, json};

fn plugin(config: Value) -> HtmlFooter {
    init(&config.to_string()).unwrap()
}

fn both() -> Value {
    json!({ "html": "<p>Grüße</p>\n", "text": "Grüße\nExample Inc.\n" })
}

/// The texts of a message's parts after the plugin saw it, twice.
fn texts(config: Value, content: &str) -> Vec<String> {
    let mut transaction = Transaction::from_eml(content.replace('\n', "\r\n").as_bytes());
    for _ in 0..2 {
        transaction.rewrite_parts(&mut plugin(config.clone())).unwrap();
    }
    transaction.parts().iter().map(testing::Part::text).collect()
}

const ALTERNATIVE: &str = "Subject: hi\nContent-Type: multipart/alternative; boundary=b\n\n\
    --b\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nJ=F5e\n\
    --b\nContent-Type: text/html; charset=utf-8\n\n<body>Jõe</body>\n--b--\n";

#[test]
fn text_and_html_get_their_footers_once() {
    let expected = ["Jõe\r\n\r\nGrüße\r\nExample Inc.\r\n", "<body>Jõe\r\n<p>Grüße</p>\r\n</body>"];
    assert_eq!(texts(both(), ALTERNATIVE), expected);
    assert_eq!(testing::metrics::counter("added"), 2);
    assert_eq!(texts(json!({ "html": "<p>x</p>" }), ALTERNATIVE)[0], "Jõe");
    assert_eq!(texts(json!({ "text": "x" }), ALTERNATIVE)[1], "<body>Jõe</body>");
}

#[test]
fn a_message_without_mime_is_text() {
    assert_eq!(texts(json!({ "text": "x" }), "Subject: hi\n\nHello.\n"), ["Hello.\r\n\r\nx\r\n"]);
}

#[test]
fn files_and_later_texts_are_left() {
    let content = "Content-Type: multipart/mixed; boundary=b\n\n\
        --b\nContent-Type: text/plain; name=first.txt\n\n1\n\
        --b\nContent-Type: text/plain\nContent-Disposition: attachment\n\n2\n\
        --b\nContent-Type: text/plain\n\n3\n\
        --b\nContent-Type: text/plain\n\n4\n\
        --b\nContent-Type: text/calendar\n\n5\n--b--\n";
    assert_eq!(texts(json!({ "text": "x" }), content), ["1", "2", "3\r\n\r\nx\r\n", "4", "5"]);
}

#[test]
fn signed_parts_are_left() {
    let content = "Content-Type: multipart/signed; boundary=b; protocol=\"application/pgp-signature\"\n\n\
        --b\nContent-Type: text/plain\n\nsigned\n\
        --b\nContent-Type: application/pgp-signature\n\nx\n--b--\n";
    assert_eq!(texts(json!({ "text": "x" }), content), ["signed", "x"]);
}

#[test]
fn a_header_field_decides() {
    let with = |key: &str, content: &str| texts(json!({ "text": "x", key: "X-Footer" }), content)[0].clone();
    let (plain, marked) = ("Subject: hi\n\na\n", "Subject: hi\nX-Footer: no\n\na\n");
    assert_eq!((with("not_with", plain).as_str(), with("not_with", marked).as_str()), ("a\r\n\r\nx\r\n", "a\r\n"));
    assert_eq!((with("only_with", plain).as_str(), with("only_with", marked).as_str()), ("a\r\n", "a\r\n\r\nx\r\n"));
}

#[test]
fn large_texts_are_left() {
    let content = format!("Subject: hi\n\n{}\n", "x".repeat(2000));
    let config = json!({ "text": "footer", "max_size": "1KiB" });
    assert!(!texts(config, &content)[0].contains("footer"));
    assert_eq!(testing::metrics::counter("too_large"), 2);
    // So are those that the host does not give as a whole.
    let content = format!("Subject: hi\n\n{}\n", "x\n".repeat(600_000));
    assert!(!texts(json!({ "text": "footer" }), &content)[0].contains("footer"));
}

#[test]
fn errors_name_the_key() {
    for (config, expected) in [
        (json!({}), "html, text: at least one of them is needed"),
        (json!({ "html": " ", "text": "\n" }), "html, text: at least one of them is needed"),
        (json!({ "text": "x", "max_size": "2MiB" }), "max_size: \"1MiB\" at most"),
        (json!({ "text": "x", "not_with": "A B" }), "config: not_with: \"A B\" is not a header field name"),
        (json!({ "footer": "x" }), "config: footer: unknown field"),
    ] {
        let error = init::<HtmlFooter>(&config.to_string()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{config}: {error}");
    }
}
