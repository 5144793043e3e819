//! Reports as they are written, and as mail-parser reads them back.

use super::*;
use crate::mail::{EnhancedCode, Reply, Scope};
use mail_parser::{MessageParser, MimeHeaders, PartType};

fn reason(code: u16, enhanced: EnhancedCode, text: &str) -> Reason {
    let reply = Reply::new(code, enhanced, text);
    Reason {
        scope: Scope::Recipient,
        status: enhanced,
        public: format!("mx.example[192.0.2.1]:25 said: {reply} (in reply to RCPT TO)"),
        remote_reply: Some(reply),
        detail: "secret detail".to_owned(),
    }
}

fn compose(failed: &[(&str, &Reason, bool)], original: &str, to: &str, name: &str) -> (String, Dsn) {
    let addresses: Vec<Address> = failed.iter().map(|(address, ..)| address.parse().unwrap()).collect();
    let failed: Vec<_> = failed
        .iter()
        .zip(&addresses)
        .map(|((_, reason, expired), address)| FailedRecipient {
            address,
            reason,
            expired: *expired,
            remote_mta: Some("mx.example"),
        })
        .collect();
    let dsn = Report {
        hostname: "mta.example",
        from_name: name,
        from: &"mailer-daemon@mta.example".parse().unwrap(),
        to: &to.parse().unwrap(),
        queue_id: QueueId(0x1234),
        arrival: Timestamp(1_795_428_000_000),
        now: Timestamp(1_795_428_060_000),
        failed: &failed,
        original: &HeaderBlock::parse(&Bytes::copy_from_slice(original.as_bytes())),
    }
    .compose();
    let content = [&dsn.header[..], &dsn.body[..]].concat();
    assert!(content.split(|b| *b == b'\n').all(|line| line.len() <= 998));
    let content = String::from_utf8(content).unwrap();
    assert_eq!(content.matches('\n').count(), content.matches("\r\n").count());
    assert_eq!(content.matches('\r').count(), content.matches("\r\n").count());
    (content, dsn)
}

const NAME: &str = "Mail Delivery Subsystem";

#[test]
fn as_written() {
    let no_user = reason(550, EnhancedCode(5, 1, 1), "No such user\nhere");
    let (content, dsn) = compose(&[("c@d.example", &no_user, false)], "Subject: hi\r\nX: =y\r\n", "a@b.example", NAME);
    let expected = "From: \"Mail Delivery Subsystem\" <mailer-daemon@mta.example>\r
To: <a@b.example>\r
Subject: Delivery Status Notification (Failure)\r
Date: Mon, 23 Nov 2026 10:01:00 +0000\r
Message-ID: <000000000000001234.1a207da0b60.321e1a3291c2b406@mta.example>\r
Auto-Submitted: auto-replied\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status;\r
 boundary=\"=_postern_000000000000001234_1a207da0b60_0\"\r
\r
This is a report in MIME format.\r
\r
--=_postern_000000000000001234_1a207da0b60_0\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: 7bit\r
\r
This is the mail system at mta.example.\r
\r
Your message of Mon, 23 Nov 2026 10:00:00 +0000 could not be delivered to this recipient:\r
\r
<c@d.example>\r
    mx.example[192.0.2.1]:25 said: 550 5.1.1 No such user here (in reply to RCPT TO)\r
\r
Nothing more will be tried. The header of your message follows.\r
\r
--=_postern_000000000000001234_1a207da0b60_0\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mta.example\r
X-Postern-Queue-ID: 000000000000001234\r
Arrival-Date: Mon, 23 Nov 2026 10:00:00 +0000\r
\r
Final-Recipient: rfc822; c@d.example\r
Action: failed\r
Status: 5.1.1\r
Remote-MTA: dns; mx.example\r
Diagnostic-Code: smtp; 550 5.1.1 No such user here\r
Last-Attempt-Date: Mon, 23 Nov 2026 10:01:00 +0000\r
\r
--=_postern_000000000000001234_1a207da0b60_0\r
Content-Type: text/rfc822-headers\r
Content-Transfer-Encoding: 7bit\r
\r
Subject: hi\r
X: =y\r
\r
--=_postern_000000000000001234_1a207da0b60_0--\r
";
    assert_eq!(content, expected);
    assert!(dsn.envelope.reverse_path.is_null() && !dsn.envelope.smtputf8);
    assert_eq!(dsn.envelope.recipients, [Recipient::new("a@b.example".parse().unwrap())]);
}

#[test]
fn as_read_back() {
    let no_user = reason(550, EnhancedCode(5, 1, 1), "No");
    let busy = reason(451, EnhancedCode(4, 7, 1), "Grey");
    let original = "Subject: Grüße\r\nFrom: x@y.example\r\n";
    let (content, dsn) =
        compose(&[("c@d.example", &no_user, false), ("jõe@d.example", &busy, true)], original, "jõe@b.example", "Pöst");
    let message = MessageParser::new().parse(content.as_bytes()).unwrap();
    assert_eq!(message.from().unwrap().first().unwrap().name(), Some("Pöst"));
    let kind = message.content_type().unwrap();
    assert_eq!(
        (kind.ctype(), kind.subtype(), kind.attribute("report-type")),
        ("multipart", Some("report"), Some("delivery-status"))
    );
    let parts: Vec<String> = message.parts[1..]
        .iter()
        .map(|part| match &part.body {
            PartType::Text(text) => text.to_string(),
            other => String::from_utf8_lossy(match other {
                PartType::Binary(bytes) | PartType::InlineBinary(bytes) => bytes,
                other => panic!("{other:?}"),
            })
            .into_owned(),
        })
        .collect();
    assert_eq!(parts.len(), 3, "{parts:?}");
    assert!(parts[0].contains("<jõe@d.example>\r\n    It was tried for too long; the last attempt: mx.example"));
    assert!(parts[1].contains("Final-Recipient: utf-8; j\\x{F5}e@d.example\r\nAction: failed\r\nStatus: 5.4.7\r\n"));
    assert_eq!(parts[1].matches("Action: failed").count(), 2);
    assert_eq!(parts[2].trim_end(), original.trim_end());
    assert!(content.contains("Content-Type: text/rfc822-headers; charset=utf-8\r\n"));
    assert!(dsn.envelope.smtputf8);
    assert!(!content.contains("secret"));
}

/// A remote host's text can't begin a line, and neither can an original's header end the report early.
#[test]
fn injection() {
    let evil = reason(550, EnhancedCode(5, 1, 1), "a\r\nFinal-Recipient: rfc822; x@evil\r\n\r\n\0\u{202e}b");
    let boundary = "--=_postern_000000000000001234_1a207da0b60_0";
    let original = format!("Subject: hi\r\n{boundary}: x\r\n");
    let (content, _) = compose(&[("c@d.example", &evil, false)], &original, "a@b.example", "x\r\nBcc: y\"\\");
    assert!(content.starts_with("From: \"xBcc: y\\\"\\\\\" <mailer-daemon@mta.example>\r\nTo: "), "{content}");
    assert_eq!(content.lines().filter(|line| line.starts_with("Final-Recipient")).count(), 1);
    assert!(content.contains("x@evil \\x{202E}b"), "{content}");
    assert!(content.contains("boundary=\"=_postern_000000000000001234_1a207da0b60_1\""), "{content}");
}

#[test]
fn long_texts_are_folded_and_the_original_is_cut() {
    let long = reason(550, EnhancedCode(5, 1, 1), &"x".repeat(2000));
    let original = format!("A: {}\r\nB: {}\r\n", "y ".repeat(20_000), "z".repeat(20_000));
    let (content, _) = compose(&[("c@d.example", &long, false)], &original, "a@b.example", NAME);
    let message = MessageParser::new().parse(content.as_bytes()).unwrap();
    assert!(message.parts.last().unwrap().contents().len() <= MAX_ORIGINAL);
    let many = "X-Field: 0123456789\r\n".repeat(10_000);
    let (content, _) = compose(&[("c@d.example", &long, false)], &many, "a@b.example", NAME);
    assert!(content.len() < MAX_ORIGINAL + 10_000);
    assert!(content.contains("X-Field: 0123456789\r\n\r\n--"));
}

#[test]
fn who_wants_one() {
    let check = |path: &str, header: &str, expected: bool| {
        let path = if path.is_empty() { ReversePath::Null } else { ReversePath::Path(path.parse().unwrap()) };
        let header = HeaderBlock::parse(&Bytes::copy_from_slice(header.as_bytes()));
        assert_eq!(wanted(&Envelope::new(path), &header), expected, "{header:?}");
    };
    check("a@b.example", "Subject: x\r\n", true);
    check("", "Subject: x\r\n", false);
    check("a@b.example", "Auto-Submitted: no\r\n", true);
    check("a@b.example", "Auto-submitted: (c) auto-generated\r\n", false);
    check("a@b.example", "Auto-Submitted: Auto-Replied; owner-email=x\r\n", false);
    check("a@b.example", "X-Auto-Response-Suppress: OOF, All\r\n", false);
    check("a@b.example", "X-Auto-Response-Suppress: OOF\r\n", true);
    check("a@b.example", "Content-Type: multipart/report;\r\n report-type=delivery-status\r\n", false);
}
