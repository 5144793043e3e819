//! JSON in, content out.

use super::*;
use crate::time::Timestamp;
use serde_json::{Value, json};

const FRESH: Fresh<'static> = Fresh { unique: "u0", hostname: "mta.example.com", now: Timestamp(1_795_428_000_000) };

fn read(value: Value) -> Result<Message, FieldError> {
    Message::read(Object::new(value, "")?)
}

fn composed(value: Value) -> String {
    let content = read(value).unwrap().compose(&FRESH).unwrap();
    String::from_utf8(content.flat_map(|piece| piece.to_vec()).collect()).unwrap()
}

fn has(value: Value, wanted: &[&str]) {
    let content = composed(value);
    for part in wanted {
        assert!(content.contains(part), "{part:?} is not in\n{content}");
    }
}

fn wrong(mut value: Value, field: &str) {
    if value.get("from").is_none() {
        value["from"] = "a@b.example".into();
    }
    let result = read(value.clone()).and_then(|message| {
        message.compose(&FRESH)?;
        message.envelope()
    });
    match result {
        Err(error) => assert_eq!(error.field, field, "{value}: {error}"),
        Ok(_) => panic!("{value} was taken"),
    }
}

#[test]
fn a_text_is_one_part() {
    let content =
        composed(json!({"from": "A B <a@b.example>", "to": "c@d.example", "subject": "Jõe", "text": "Hi\nyou"}));
    assert_eq!(
        content,
        "From: A B <a@b.example>\r\nTo: c@d.example\r\nSubject: =?utf-8?B?SsO1ZQ==?=\r\nMessage-ID: <u0@b.example>\r\n\
         Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 7bit\r\n\r\nHi\r\nyou\r\n"
    );
}

#[test]
fn the_tree_is_mixed_around_alternative_around_related() {
    let content = composed(json!({
        "from": "a@b.example", "to": "c@d.example", "text": "t", "html": "<img src='cid:x'>",
        "attachments": [
            {"filename": "a.png", "cid": "x", "content": "aGk=", "encoding": "base64"},
            {"filename": "ü.txt", "content": "hi"},
        ],
    }));
    let order = [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png; name=a.png",
        "Content-ID: <x>",
        "inline; filename=a.png",
        "aGk=",
        "filename*=utf-8''%C3%BC.txt",
    ];
    let mut rest = &content[..];
    for part in order {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is not next in\n{content}"));
        rest = &rest[at..];
    }
}

#[test]
fn content_says_whether_it_is_eight_bit() {
    let of = |attachment: Value| {
        let value =
            json!({"from": "Jõe <a@b.example>", "to": "jüri@d.example", "text": "ü", "attachments": [attachment]});
        let content = read(value).unwrap().compose(&FRESH).unwrap();
        content.is_eight_bit()
    };
    assert!(!of(json!({"filename": "ü.png", "content": "ü"})));
    assert!(of(json!({"cid": "ü", "content": "u"})));
    assert!(of(json!({"raw": "X: ü\r\n\r\nu"})));
}

#[test]
fn addresses() {
    let people = json!([
        "\"B, A\" <a@b.example>, c@d.example",
        {"name": "Jõe", "address": "j@näide.ee"},
        [{"name": "Team", "group": ["x@y.example", {"name": "Z", "address": "z@y.example"}]}],
        "Others: o@p.example;",
    ]);
    let message = read(json!({"from": "a@b.example", "to": people, "bcc": "hidden@b.example"})).unwrap();
    let (_, recipients) = message.envelope().unwrap();
    let recipients: Vec<&str> = recipients.iter().map(|address| address.as_str()).collect();
    assert_eq!(
        recipients,
        [
            "a@b.example",
            "c@d.example",
            "j@xn--nide-loa.ee",
            "x@y.example",
            "z@y.example",
            "o@p.example",
            "hidden@b.example"
        ]
    );
    let content = composed(json!({"from": "a@b.example", "to": people, "bcc": "hidden@b.example"}));
    let to = "To: \"B, A\" <a@b.example>, c@d.example, =?utf-8?B?SsO1ZQ==?=\r\n <j@xn--nide-loa.ee>, \
              Team:x@y.example, Z <z@y.example>;, Others:o@p.example;\r\n";
    assert!(content.contains(to) && !content.contains("hidden"), "{content}");
    for text in ["nobody", "a@b c@d", "\"a@evil x\"@good, ,b", "a@b\r\nBcc: v@x", "a\u{0}@b"] {
        wrong(json!({"to": text}), "to");
    }
    wrong(json!({"to": [{"name": "x\r\ny", "address": "a@b"}]}), "to[0].name");
    wrong(json!({"to": [{"address": "a@b\nc"}]}), "to[0].address");
    let mut deep = json!("a@b");
    for _ in 0..100 {
        deep = json!([deep]);
    }
    assert!(read(json!({"to": deep})).is_err());
}

#[test]
fn the_envelope_can_be_given() {
    let given = |envelope: Value| {
        let message = read(json!({"from": "a@b", "to": "c@d", "envelope": envelope})).unwrap();
        let (from, to) = message.envelope().unwrap();
        (from.as_str().to_owned(), to.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(given(json!({"from": "x@y", "to": ["1@z", "1@z"]})), ("x@y".into(), vec!["1@z".into()]));
    assert_eq!(given(json!({"from": "", "to": "1@z"})), (String::new(), vec!["1@z".into()]));
    assert_eq!(
        given(json!({"from": false, "to": "1@z", "cc": "2@z"})),
        (String::new(), vec!["1@z".into(), "2@z".into()])
    );
    wrong(json!({"envelope": {"to": "a@b"}}), "envelope.from");
    wrong(json!({"envelope": {"from": "a@b", "to": "x\r\n"}}), "envelope.to");
    wrong(json!({"envelope": {"from": "a@b", "to": "x@y", "size": "1\r\nRCPT TO:<v>"}}), "envelope.size");
    wrong(json!({"from": [], "to": "a@b"}), "from");
}

#[test]
fn nothing_is_read_from_files_or_urls() {
    for place in ["/etc/passwd", "http://127.0.0.1/", "file:///etc/passwd", "dat:,x"] {
        wrong(json!({"attachments": [{"content": "a"}, {}, {"path": place}]}), "attachments[2].path");
        wrong(json!({"attachments": {"href": place}}), "attachments.href");
        wrong(json!({"text": {"path": place}}), "text.path");
        wrong(json!({"html": {"href": place}}), "html.href");
        wrong(json!({"raw": {"path": place}}), "raw.path");
        wrong(json!({"icalEvent": {"path": place}}), "icalEvent.path");
        wrong(json!({"alternatives": [{"path": place}]}), "alternatives[0].path");
    }
    has(
        json!({"from": "a@b", "to": "c@d", "text": "t", "attachments": [{"path": "data:text/csv;base64,YSxi"}]}),
        &["Content-Type: text/csv; name=attachment-1.csv", "YSxi"],
    );
}

#[test]
fn fields_can_not_be_broken_out_of() {
    for evil in ["x\r\nBcc: v@x", "x\n", "x\r", "x\u{0}"] {
        for field in ["subject", "inReplyTo", "messageId", "references", "priority", "encoding"] {
            wrong(json!({(field): evil}), field);
        }
        wrong(json!({"headers": {"X-A": evil}}), "headers.X-A");
        wrong(json!({"headers": [{"key": "X-A", "value": [evil]}]}), "headers[0].value[0]");
        wrong(json!({"headers": {"X-A": {"prepared": true, "value": evil}}}), "headers.X-A.value");
        wrong(json!({"headers": [{"key": evil, "value": "a"}]}), "headers[0].value");
        wrong(json!({"list": {"help": {"url": "a@b", "comment": evil}}}), "list.help.comment");
        wrong(json!({"attachments": [{"filename": evil}]}), "attachments[0].filename");
        wrong(json!({"attachments": [{"cid": evil}]}), "attachments[0].cid");
        wrong(json!({"attachments": [{"contentType": format!("text/plain{evil}")}]}), "attachments[0].contentType");
        wrong(json!({"attachments": [{"contentDisposition": evil}]}), "attachments[0].contentDisposition");
        wrong(json!({"attachments": [{"headers": {"X": evil}}]}), "attachments[0].headers.X");
        wrong(json!({"icalEvent": {"content": "x", "method": evil}}), "icalEvent.method");
        wrong(json!({"icalEvent": {"content": "x", "filename": evil}}), "icalEvent.filename");
    }
    for unicode in ["x\u{85}Bcc: v@x", "x\u{2028}Bcc: v@x", "=?utf-8?q?=0ABcc:...?="] {
        let content = composed(json!({"from": "a@b", "to": "c@d", "subject": unicode, "headers": {"X-A": unicode}}));
        assert!(content.is_ascii() && !content.contains("\nBcc"), "{content}");
    }
    for separator in ['\u{85}', '\u{2028}', '\u{2029}'] {
        let evil = format!("c@d.example{separator}RCPT TO:<v@x.example>");
        wrong(json!({"to": evil}), "to");
        wrong(json!({"cc": [{"address": evil}]}), "cc[0].address");
        wrong(json!({"envelope": {"from": evil, "to": "c@d.example"}}), "envelope.from");
    }
    for two in
        ["a@x.example <b@y.example>", "b@y.example<a@x.example>", "<b@y.example><a@x.example>", "<<b@y.example>>"]
    {
        wrong(json!({"to": two}), "to");
    }
    for (one, address) in [
        ("\"a@x.example\" <b@y.example>", "b@y.example"),
        ("(a@x.example) <b@y.example>", "b@y.example"),
        ("B@y.example <b@y.example>", "b@y.example"),
        ("Ann B <b@y.example>", "b@y.example"),
        ("<b@y.example>", "b@y.example"),
    ] {
        let (_, to) = read(json!({"from": "a@b", "to": one})).unwrap().envelope().unwrap();
        assert_eq!(to, [address.parse().unwrap()], "{one}");
    }
    // Readers differ on bare values with these.
    has(
        json!({"from": "a@b", "to": "c@d", "attachments": [{"filename": "{{7*7}}", "content": "x"}]}),
        &["filename=\"{{7*7}}\""],
    );
    wrong(json!({"headers": {"Content-Type": "text/html"}}), "headers.Content-Type");
    wrong(json!({"subject": "w".repeat(2000)}), "subject");
}

#[test]
fn mistakes_name_their_field() {
    wrong(json!({"subjct": "x"}), "subjct");
    let error = read(json!({"from": "a@b", "subjct": "x"})).unwrap_err();
    assert!(error.to_string().contains("did you mean `subject`?"), "{error}");
    wrong(json!({"text": 5, "html": []}), "html");
    wrong(json!({"attachments": [{"contnt": "x"}]}), "attachments[0].contnt");
    wrong(json!({"attachments": [{"content": "!", "encoding": "base64"}]}), "attachments[0].content");
    wrong(json!({"attachments": [{"content": "x", "encoding": "rot13"}]}), "attachments[0].encoding");
    wrong(json!({"attachments": ["x"]}), "attachments[0]");
    wrong(json!({"date": "yesterday"}), "date");
    wrong(json!({"priority": "urgent"}), "priority");
    wrong(json!({"raw": "a\rb"}), "raw");
    wrong(json!({"raw": "a", "subject": "b"}), "raw");
    assert!(Object::new(json!([]), "").is_err());
}

#[test]
fn further_fields() {
    let all = json!({
        "from": "a@b.example", "sender": "s@b.example", "to": "c@d", "replyTo": "r@b.example", "inReplyTo": "x@y",
        "references": ["x@y", "<z@y>"], "messageId": "<own@b.example>", "date": "2026-01-02T03:04:05+02:00",
        "priority": "high", "encoding": "base64", "text": "hi",
        "headers": {"X-List": ["1", "2"], "X-Raw": {"prepared": true, "value": "=?utf-8?Q?x?="}, "Subject": "own"},
        "list": {"help": "a@b?subject=help", "unsubscribe": [[{"url": "http://x.example"}, "u@x.example"]], "id": {"url": "l.example", "comment": "A list"}},
    });
    has(
        all,
        &[
            "Sender: s@b.example\r\n",
            "Reply-To: r@b.example",
            "In-Reply-To: <x@y>",
            "References: <x@y> <z@y>",
            "Message-ID: <own@b.example>",
            "Date: Fri, 2 Jan 2026 01:04:05 +0000",
            "X-Priority: 1 (Highest)",
            "X-List: 1\r\nX-List: 2\r\n",
            "X-Raw: =?utf-8?Q?x?=",
            "Subject: own",
            "List-Help: <mailto:a@b?subject=help>",
            "List-Unsubscribe: <http://x.example>, <mailto:u@x.example>",
            "List-ID: \"A list\" <l.example>",
            "Content-Transfer-Encoding: base64\r\n\r\naGk=\r\n",
        ],
    );
    has(
        json!({"from": "a@b", "to": "c@d", "text": "x", "icalEvent": {"method": "request", "content": "BEGIN:VCALENDAR"}}),
        &["text/calendar; charset=utf-8; method=REQUEST", "application/ics; name=invite.ics", "multipart/mixed"],
    );
    has(json!({"from": "a@b", "to": "c@d", "raw": "X: y\n\nbody"}), &["X: y\r\n\r\nbody"]);
    has(
        json!({"from": "a@b", "to": "c@d", "attachments": [{"content": {"type": "Buffer", "data": [104, 105]}}]}),
        &["attachment-1.bin", "aGk="],
    );
}

#[test]
fn placeholders_are_filled_in() {
    let template = json!({
        "from": "a@b.example", "subject": "Hi {{name}}", "text": "{{ name }} {{7*7}} {{{name}}} {{", "html": "<b>{{name}}</b>{{{name}}}",
        "headers": {"X-Name": "{{name}}"},
    });
    let template = read(template).unwrap();
    let to = |name: &str| vec![Entry::Person(Person { name: name.into(), address: "c@d.example".parse().unwrap() })];
    let values = |value: Value| Substitutions::read(value, "substitutions").unwrap();
    let filled = template.filled(to("C"), &values(json!({"name": "<X>"}))).unwrap();
    let content: Vec<u8> = filled.compose(&FRESH).unwrap().flat_map(|piece| piece.to_vec()).collect();
    let content = String::from_utf8(content).unwrap();
    for part in ["To: C <c@d.example>", "Subject: Hi <X>", "<X> {{7*7}} <X> {{", "<b>&lt;X&gt;</b><X>", "X-Name: <X>"] {
        assert!(content.contains(part), "{part:?} is not in\n{content}");
    }
    let missing = template.filled(to(""), &Substitutions::default()).unwrap_err();
    assert_eq!(missing.to_string(), "subject: there is no value for {{name}}");
    let evil = template.filled(to(""), &values(json!({"name": "x\r\nBcc: v@x"}))).unwrap_err();
    assert_eq!(evil.field, "subject");
    // A short request must not become a long message, nor be long in the making.
    let much = read(json!({"from": "a@b.example", "text": "{{a}}".repeat(100_000)})).unwrap();
    let error = much.filled(to(""), &values(json!({"a": "x".repeat(1_000_000)}))).unwrap_err();
    assert_eq!(error.to_string(), "text: the values would add more than 1 MiB");
    let open = read(json!({"from": "a@b.example", "text": "{{".repeat(1_000_000)})).unwrap();
    assert!(open.filled(to(""), &Substitutions::default()).is_ok());
}
