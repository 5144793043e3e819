//! What plugins see and may change, through the real boundary: methods of session, envelope and message.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use postern_core::hook::{Hooks as _, Transaction};
use postern_core::mail::{Notify, OriginalRecipient};
use postern_core::message::MemorySource;
use std::sync::Arc;
use std::time::Duration;

/// Runs the steps and checks the result of each; `None` is not compared.
async fn check(transaction: &mut Transaction, steps: &[(&[&str], &str)]) {
    let list: Vec<_> = steps.iter().map(|(step, _)| step.to_vec()).collect();
    let set = set_of(vec![load(spec("tests/guests/exercise", json!({ "steps": list }))).await]);
    set.rewrite(transaction).await.unwrap();
    for (index, (step, expected)) in steps.iter().enumerate() {
        assert_eq!(transaction.attributes[&format!("r{index}")], *expected, "{step:?}");
    }
}

#[tokio::test]
async fn the_session_is_told_as_it_is() {
    check(
        &mut transaction(&[]),
        &[
            (
                &["session"],
                "s1 feeder 192.0.2.1 49152 Some(\"mail.client.example\") client.example ESMTPA Some(\"app1\")",
            ),
            (&["config", "/steps/0"], "Ok(Some([\"session\"]))"),
            (&["config", "/nothing"], "Ok(None)"),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_envelope_can_be_edited_but_not_broken() {
    let mut transaction = transaction(&[]);
    check(
        &mut transaction,
        &[
            (&["reverse-path"], "sender@example.com"),
            (&["set-reverse-path", "no address"], "bad-address"),
            (&["set-reverse-path", "a@b\r\nRCPT TO:<x@y>"], "bad-address"),
            (&["set-reverse-path", ""], "()"),
            (&["reverse-path"], ""),
            (&["set-reverse-path", "new@example.org"], "()"),
            (&["remove-recipient", "0"], "last-recipient"),
            (&["add-recipient", "Second@example.net"], "()"),
            (&["add-recipient", "Second@EXAMPLE.net"], "()"),
            (&["add-recipient", "second@example.net"], "()"),
            (&["add-recipient", "<third@example.net>"], "bad-address"),
            (&["recipients"], "recipient@example.net,Second@example.net,second@example.net"),
            (&["replace-recipient", "1", "other@example.net"], "()"),
            (&["replace-recipient", "3", "other@example.net"], "not-found"),
            (&["replace-recipient", "0", "bad"], "bad-address"),
            (&["remove-recipient", "3"], "not-found"),
            (&["remove-recipient", "0"], "()"),
            (&["recipient-count"], "2"),
        ],
    )
    .await;
    assert_eq!(transaction.envelope.reverse_path.as_str(), "new@example.org");
    let recipients: Vec<_> = transaction.envelope.recipients.iter().map(|r| r.address.as_str()).collect();
    assert_eq!(recipients, ["other@example.net", "second@example.net"]);
    let changes = changes(&transaction);
    assert!(changes.contains(&"exercise@0.1.0: replace recipient Second@example.net by other@example.net".into()));
    assert!(changes.contains(&"exercise@0.1.0: reverse-path <new@example.org>".into()), "{changes:?}");
}

#[tokio::test]
async fn zone_delay_and_attributes() {
    let mut transaction = transaction(&[]);
    transaction.attributes.insert("from-before".into(), "kept".into());
    check(
        &mut transaction,
        &[
            (&["zone"], "None"),
            (&["set-zone", "no good"], "bad-name"),
            (&["set-zone", "bulk"], "()"),
            (&["zone"], "Some(\"bulk\")"),
            (&["set-delay", "4294967295"], "too-large"),
            (&["set-delay", "1500"], "()"),
            (&["delay"], "Some(1.5s)"),
            (&["set-attribute", "a b", "x"], "bad-name"),
            (&["set-attribute", "a", "x\ny"], "bad-value"),
            (&["set-attribute", "a", "x"], "()"),
            (&["attribute", "a"], "Some(\"x\")"),
            (&["set-attribute", "from-before", "-"], "()"),
            (&["attribute-names"], "a,r0,r1,r10,r11,r2,r3,r4,r5,r6,r7,r8,r9"),
        ],
    )
    .await;
    assert_eq!(transaction.zone.as_deref(), Some("bulk"));
    assert_eq!(transaction.delay, Some(Duration::from_millis(1500)));
}

#[tokio::test]
async fn header_fields_are_read_lazily_and_edited_by_name() {
    let mut transaction = transaction(&["Subject: =?utf-8?Q?J=C3=B5e?=", "A: 1\r\n  more", "a: 2", "B: 3"]);
    check(
        &mut transaction,
        &[
            (&["header", "subject"], "Some(\"Jõe\")"),
            (&["header", "None"], "None"),
            (&["header-all", "A"], "1  more|2"),
            (&["header-count"], "4"),
            (&["header-at", "3"], "Some((\"B\", \"3\"))"),
            (&["header-at", "4"], "None"),
            (&["add-top", "Top", "t"], "()"),
            (&["add-bottom", "Bottom", "Jõe"], "()"),
            (&["set-header", "A", "4"], "()"),
            (&["remove-header", "b"], "1"),
            (&["remove-header", "b"], "0"),
            (
                &["raw-headers"],
                "Top:\" t\\r\\n\"|Subject:\" =?utf-8?Q?J=C3=B5e?=\\r\\n\"|A:\" 4\\r\\n\"|Bottom:\" =?utf-8?B?SsO1ZQ==?=\\r\\n\"",
            ),
        ],
    )
    .await;
    let expected = "Top: t\r\nSubject: =?utf-8?Q?J=C3=B5e?=\r\nA: 4\r\nBottom: =?utf-8?B?SsO1ZQ==?=\r\n";
    assert_eq!(header(&transaction), expected);
    let headers: Vec<_> = changes(&transaction).into_iter().filter(|change| !change.contains("attribute")).collect();
    let expected = ["add Top", "add Bottom", "set A", "remove b"].map(|what| format!("exercise@0.1.0: {what}"));
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn injection_is_refused_to_the_guest() {
    let mut transaction = transaction(&["Subject: hi"]);
    check(
        &mut transaction,
        &[
            (&["add-top", "X", "a\r\nBcc: b@example.org"], "bad-value"),
            (&["add-top", "X", "a\nb"], "bad-value"),
            (&["add-top", "X", "a\rb"], "bad-value"),
            (&["add-top", "X", "a\0b"], "bad-value"),
            (&["add-top", "X", "Jõe\r\nBcc: b@example.org"], "bad-value"),
            (&["set-header", "Subject", "a\r\n\r\nbody"], "bad-value"),
            (&["add-top", "X:", "a"], "bad-name"),
            (&["add-top", "X\r\nY", "a"], "bad-name"),
            (&["add-top", "", "a"], "bad-name"),
            (&["add-top", "Ä", "a"], "bad-name"),
            (&["remove-header", "X Y"], "bad-name"),
            (&["set-long-header", "X", "1100000"], "too-large"),
            (&["set-long-header", "X", "1000"], "bad-value"),
        ],
    )
    .await;
    assert_eq!(header(&transaction), "Subject: hi\r\n");
}

#[tokio::test]
async fn recipients_are_bounded() {
    let mut transaction = transaction(&[]);
    let many = (0..9_999).map(|n| postern_core::mail::Recipient::new(address(&format!("x{n}@example.org"))));
    transaction.envelope_mut().recipients = many.collect();
    check(&mut transaction, &[(&["add-recipients", "2"], "too-large"), (&["recipient-count"], "10000")]).await;
}

#[tokio::test]
async fn the_first_changes_of_a_call_are_told_and_the_others_counted() {
    let mut transaction = transaction(&[]);
    check(&mut transaction, &[(&["add-recipients", "9000"], "()")]).await;
    let changes = changes(&transaction);
    assert_eq!(changes.len(), 51);
    assert_eq!(changes[49], "exercise@0.1.0: add recipient r49@example.org");
    // The last edit is the attribute with the result.
    assert_eq!(changes[50], "exercise@0.1.0: and 8,951 more");
}

#[tokio::test]
async fn with_smtputf8_values_stay_as_they_are() {
    let mut transaction = transaction(&[]);
    transaction.envelope_mut().smtputf8 = true;
    check(&mut transaction, &[(&["add-top", "X", "Jõe"], "()")]).await;
    assert_eq!(header(&transaction), "X: Jõe\r\n");
}

#[tokio::test]
async fn a_recipient_is_never_there_twice() {
    let mut transaction = transaction(&[]);
    check(
        &mut transaction,
        &[
            (&["add-recipient", "second@example.net"], "()"),
            (&["add-recipient", "third@example.net"], "()"),
            (&["replace-recipient", "1", "second@EXAMPLE.net"], "()"),
            (&["recipients"], "recipient@example.net,second@EXAMPLE.net,third@example.net"),
            (&["replace-recipient", "0", "third@EXAMPLE.net"], "()"),
            (&["recipients"], "second@EXAMPLE.net,third@example.net"),
        ],
    )
    .await;
    assert!(!transaction.envelope.smtputf8);
}

/// RFC 3461 section 5.2.1: what the sender asked stands, and DSNs name the recipient as the sender knows it.
#[tokio::test]
async fn a_replaced_recipient_keeps_what_was_asked_of_dsns() {
    let mut transaction = transaction(&[]);
    transaction.envelope_mut().recipients[0].notify = Notify::parse("NEVER");
    check(&mut transaction, &[(&["replace-recipient", "0", "other@example.net"], "()")]).await;
    check(&mut transaction, &[(&["replace-recipient", "0", "third@example.net"], "()")]).await;
    let recipient = &transaction.envelope.recipients[0];
    assert_eq!((recipient.address.as_str(), recipient.notify), ("third@example.net", Some(Notify::NEVER)));
    assert_eq!(recipient.orcpt, OriginalRecipient::parse("rfc822;recipient@example.net", false));
}

#[tokio::test]
async fn an_international_address_needs_smtputf8() {
    for step in [
        ["set-reverse-path", "jõe@example.org", "-"],
        ["add-recipient", "jõe@example.org", "-"],
        ["replace-recipient", "0", "jõe@example.org"],
    ] {
        let step = if step[2] == "-" { &step[..2] } else { &step[..] };
        let mut transaction = transaction(&[]);
        check(&mut transaction, &[(step, "()")]).await;
        assert!(transaction.envelope.smtputf8, "{step:?}");
    }
}

#[tokio::test]
async fn the_body_is_read_by_range() {
    let mut message = transaction(&["A: b"]);
    check(
        &mut message,
        &[
            (&["id"], "00123456789abcdef0"),
            (&["size"], "16"),
            (&["body-size"], "8"),
            (&["read-body", "0", "100"], "\"Hello.\\r\\n\""),
            (&["read-body", "2", "3"], "\"llo\""),
            (&["read-body", "8", "10"], "\"\""),
            (&["read-body", "4294967295", "10"], "\"\""),
            (&["for-body"], "8 Ok(())"),
        ],
    )
    .await;
    let mut large = transaction(&[]);
    large.body = Arc::new(MemorySource(Bytes::from(vec![b'x'; 50 << 20])));
    // More than the guest's memory, in pieces; no piece is larger than the host allows.
    check(&mut large, &[(&["read-body", "0", "1000000"], "262144 octets"), (&["for-body"], "52428798 Ok(())")]).await;
    let mut empty = transaction(&[]);
    empty.body = Arc::new(MemorySource(Bytes::new()));
    check(&mut empty, &[(&["body-size"], "0"), (&["read-body", "0", "10"], "\"\"")]).await;
}

#[tokio::test]
async fn plugins_see_the_edits_of_those_before_them() {
    let host = host();
    let first = header_rewrite(json!({ "add": [{ "name": "X-A", "value": "{queue-id}" }] }));
    let second = header_rewrite(json!({ "remove": ["X-A"], "add": [{ "name": "X-B", "value": "<{header:X-A}>" }] }));
    let set = set_of(vec![host.load(first).await.unwrap(), host.load(second).await.unwrap()]);
    let mut transaction = transaction(&["Subject: hi"]);
    set.rewrite(&mut transaction).await.unwrap();
    assert_eq!(header(&transaction), "Subject: hi\r\nX-B: <00123456789abcdef0>\r\n");
}
