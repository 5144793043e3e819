//! Reports as they are written, and as mail-parser reads them back.

use super::*;
use crate::mail::{EnvelopeId, OriginalRecipient, Scope};
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

/// A message from `to` in whose DSNs `header` stands.
struct Original<'a> {
    envelope: Envelope,
    header: &'a str,
    content: Option<&'a str>,
}

fn original<'a>(from: &str, header: &'a str) -> Original<'a> {
    let envelope = Envelope::new(ReversePath::Path(from.parse().unwrap()));
    Original { envelope, header, content: None }
}

fn report(original: &Original<'_>, recipients: &[Reported<'_>], name: &str) -> (String, Dsn) {
    let ReversePath::Path(to) = &original.envelope.reverse_path else { panic!("nobody to tell") };
    let content = original.content.map(|content| Bytes::copy_from_slice(content.as_bytes()));
    let dsn = Report {
        hostname: "mta.example",
        from_name: name,
        from: &"mailer-daemon@mta.example".parse().unwrap(),
        to,
        queue_id: QueueId(0x1234),
        envelope: &original.envelope,
        arrival: Timestamp(1_795_428_000_000),
        now: Timestamp(1_795_428_060_000),
        recipients,
        header: &HeaderBlock::parse(&Bytes::copy_from_slice(original.header.as_bytes())),
        content: content.as_ref(),
    }
    .compose();
    let content = [&dsn.header[..], &dsn.body[..]].concat();
    assert!(content.split(|b| *b == b'\n').all(|line| line.len() <= 998));
    let content = String::from_utf8(content).unwrap();
    assert_eq!(content.matches('\n').count(), content.matches("\r\n").count());
    assert_eq!(content.matches('\r').count(), content.matches("\r\n").count());
    assert!(dsn.body.is_ascii() || dsn.envelope.body == BodyType::EightBit);
    (content, dsn)
}

/// A recipient in a report.
fn reported<'a>(recipient: &'a Recipient, action: Action<'a>) -> Reported<'a> {
    Reported { recipient, action, remote_mta: Some("mx.example") }
}

fn to(address: &str) -> Recipient {
    Recipient::new(address.parse().unwrap())
}

fn compose(failed: &[(&str, &Reason, bool)], header: &str, from: &str, name: &str) -> (String, Dsn) {
    let recipients: Vec<Recipient> = failed.iter().map(|(address, ..)| to(address)).collect();
    let failed: Vec<_> = failed
        .iter()
        .zip(&recipients)
        .map(|((_, reason, expired), recipient)| reported(recipient, Action::Failed { reason, expired: *expired }))
        .collect();
    report(&original(from, header), &failed, name)
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
Nothing more will be tried.\r
\r
The header of your message follows.\r
\r
--=_postern_000000000000001234_1a207da0b60_0\r
Content-Type: message/delivery-status\r
Content-Transfer-Encoding: 7bit\r
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

/// One report tells of all that a settlement did: what failed first in subject and returned content.
#[test]
fn failed_delayed_and_relayed_in_one() {
    let (no_user, busy) = (reason(550, EnhancedCode(5, 1, 1), "No"), reason(451, EnhancedCode(4, 7, 1), "Grey"));
    let taken = Reply::new(250, EnhancedCode(2, 1, 5), "taken");
    let (mut lost, late, handed_on) = (to("c@d.example"), to("e@d.example"), to("g@h.example"));
    lost.orcpt = OriginalRecipient::parse("rfc822;old@d.example", false);
    let until = Timestamp(1_795_428_000_000 + 86_400_000);
    let all = [
        reported(&lost, Action::Failed { reason: &no_user, expired: false }),
        reported(&late, Action::Delayed { reason: &busy, until }),
        Reported { remote_mta: Some("192.0.2.7"), ..reported(&handed_on, Action::Relayed { reply: &taken }) },
    ];
    let mut about = original("a@b.example", "Subject: hi\r\n");
    about.envelope.envid = EnvelopeId::parse("QQ+20314159");
    let (content, _) = report(&about, &all, NAME);
    assert!(content.contains("Subject: Delivery Status Notification (Failure)\r\n"));
    let text = "10:00:00 +0000 could not be delivered to this recipient:\r\n\r\n\
                <c@d.example> (you wrote to old@d.example)\r\n    mx.example[192.0.2.1]:25 said: 550 5.1.1 No (in reply to RCPT TO)\r\n\r\n\
                Nothing more will be tried.\r\n\r\n\
                Your message of Mon, 23 Nov 2026 10:00:00 +0000 has not been delivered yet to this recipient:\r\n\r\n\
                <e@d.example>\r\n    mx.example[192.0.2.1]:25 said: 451 4.7.1 Grey (in reply to RCPT TO)\r\n\r\n\
                It will be tried until Tue, 24 Nov 2026 10:00:00 +0000. You need not send it again.\r\n\r\n\
                Your message of Mon, 23 Nov 2026 10:00:00 +0000 was handed on for this recipient:\r\n\r\n\
                <g@h.example>\r\n    192.0.2.7 said: 250 2.1.5 taken\r\n\r\n\
                The mail system that took it does not tell what becomes of it,";
    assert!(content.contains(text), "{content}");
    let groups = "\r\n\r\nOriginal-Envelope-Id: QQ 314159\r\nReporting-MTA: dns; mta.example\r\n\
                  X-Postern-Queue-ID: 000000000000001234\r\nArrival-Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\n\
                  Original-Recipient: rfc822; old@d.example\r\nFinal-Recipient: rfc822; c@d.example\r\n\
                  Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.example\r\n\
                  Diagnostic-Code: smtp; 550 5.1.1 No\r\nLast-Attempt-Date: Mon, 23 Nov 2026 10:01:00 +0000\r\n\r\n\
                  Final-Recipient: rfc822; e@d.example\r\nAction: delayed\r\nStatus: 4.7.1\r\n\
                  Remote-MTA: dns; mx.example\r\nDiagnostic-Code: smtp; 451 4.7.1 Grey\r\n\
                  Last-Attempt-Date: Mon, 23 Nov 2026 10:01:00 +0000\r\n\
                  Will-Retry-Until: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\n\
                  Final-Recipient: rfc822; g@h.example\r\nAction: relayed\r\nStatus: 2.1.5\r\n\
                  Remote-MTA: dns; [192.0.2.7]\r\nDiagnostic-Code: smtp; 250 2.1.5 taken\r\n\
                  Last-Attempt-Date: Mon, 23 Nov 2026 10:01:00 +0000\r\n\r\n--";
    assert!(content.contains(groups), "{content}");
    let subject = |one: &Reported<'_>| report(&about, &[*one], NAME).0;
    assert!(subject(&all[1]).contains("Notification (Delay)\r\n"));
    assert!(subject(&all[2]).contains("Notification (Relayed)\r\n"));
}

#[test]
fn what_is_returned() {
    let no_user = reason(550, EnhancedCode(5, 1, 1), "No");
    let (recipient, taken) = (to("c@d.example"), Reply::new(250, EnhancedCode(2, 0, 0), "ok"));
    let failed = Action::Failed { reason: &no_user, expired: false };
    let check = |ret: Option<Ret>, body: BodyType, content: Option<&str>, action, kind: &str, note: &str| {
        let mut about = original("a@b.example", "Subject: hi\r\n");
        (about.envelope.ret, about.envelope.body, about.content) = (ret, body, content);
        let (written, dsn) = report(&about, &[reported(&recipient, action)], NAME);
        assert!(written.contains(&format!("Content-Type: {kind}\r\n")), "{kind}: {written}");
        assert!(written.contains(note), "{note}: {written}");
        assert!(!dsn.envelope.smtputf8);
        assert_eq!(written.contains("\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject"), !written.is_ascii());
        assert!(written.contains("MIME-Version: 1.0\r\nContent-Type: multipart/report"));
        written.contains("\r\n\r\nb")
    };
    let (ascii, text8) = (Some("Subject: hi\r\n\r\nbody\r\n"), Some("Subject: hi\r\n\r\nb\u{f6}dy\r\n"));
    let seven = BodyType::SevenBit;
    let header = "The header of your";
    assert!(check(Some(Ret::Full), seven, ascii, failed, "message/rfc822", "\r\nYour message follows."));
    let long = format!("Subject: hi\r\n\r\nb{}\r\n", "x".repeat(999));
    for (body, content) in [(BodyType::EightBit, text8), (seven, text8), (seven, Some(&*long))] {
        assert!(!check(Some(Ret::Full), body, content, failed, "text/rfc822-headers", "as it has 8-bit text or very"));
    }
    assert!(!check(Some(Ret::Full), seven, None, failed, "text/rfc822-headers", "as it is too large"));
    assert!(!check(Some(Ret::Headers), seven, ascii, failed, "text/rfc822-headers", header));
    assert!(!check(None, seven, ascii, failed, "text/rfc822-headers", header));
    let relayed = Action::Relayed { reply: &taken };
    assert!(!check(Some(Ret::Full), seven, ascii, relayed, "text/rfc822-headers", header));
    let mut full = Envelope::new(ReversePath::Null);
    full.ret = Some(Ret::Full);
    assert!(returns_whole(&full, true, 50 << 10) && !returns_whole(&full, true, 51 << 10));
    assert!(!returns_whole(&full, false, 1) && !returns_whole(&Envelope::new(ReversePath::Null), true, 1));
}

/// RFC 6533: the form of what came with SMTPUTF8. 8-bit only where the report needs SMTPUTF8 itself.
#[test]
fn international() {
    let no_user = reason(550, EnhancedCode(5, 1, 1), "No");
    let mut recipient = to("j\u{f5}e+x@d.example");
    recipient.orcpt = OriginalRecipient::parse("utf-8;j\u{f6}e@d.example", true);
    let lost = [reported(&recipient, Action::Failed { reason: &no_user, expired: false })];
    let mut about = original("a@b.example", "Subject: Gr\u{fc}\u{df}e\r\n");
    let (content, dsn) = report(&about, &lost, NAME);
    assert!(content.is_ascii() && !dsn.envelope.smtputf8, "{content}");
    assert!(content.contains("Final-Recipient: utf-8; j\\x{F5}e\\x{2B}x@d.example\r\n"), "{content}");
    assert!(content.contains("Content-Type: message/delivery-status\r\n"));

    about.envelope.smtputf8 = true;
    let (content, dsn) = report(&about, &lost, NAME);
    assert!(content.is_ascii() && !dsn.envelope.smtputf8, "{content}");
    let encoded = "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: quoted-printable\r\n";
    assert!(content.contains(encoded), "{content}");
    assert!(content.contains("Final-Recipient: utf-8; j=C3=B5e+x@d.example\r\n"), "{content}");
    assert!(content.contains("Content-Type: message/global-headers\r\n"), "{content}");

    about.envelope.reverse_path = ReversePath::Path("\u{e5}@b.example".parse().unwrap());
    let (content, dsn) = report(&about, &lost, NAME);
    assert!(dsn.envelope.smtputf8 && dsn.envelope.body == BodyType::EightBit);
    assert!(content.contains("To: <\u{e5}@b.example>\r\n"));
    assert!(content.contains("Original-Recipient: utf-8; j\u{f6}e@d.example\r\n"), "{content}");
    assert!(content.contains("Final-Recipient: utf-8; j\u{f5}e+x@d.example\r\n"), "{content}");
    about.envelope.ret = Some(Ret::Full);
    about.content = Some("Subject: Gr\u{fc}\u{df}e\r\n\r\nbody\r\n");
    let (content, _) = report(&about, &lost, NAME);
    assert!(content.contains("Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n"), "{content}");

    // Nothing but ASCII in it: the plain form, though it came with SMTPUTF8.
    let plain = to("c@d.example");
    let lost = [reported(&plain, Action::Failed { reason: &no_user, expired: false })];
    let mut about = original("a@b.example", "Subject: hi\r\n");
    about.envelope.smtputf8 = true;
    assert!(report(&about, &lost, NAME).0.contains("Content-Type: message/delivery-status\r\n"));
}

#[test]
fn who_wants_one() {
    let check = |path: &str, header: &str, expected: bool| {
        let path = if path.is_empty() { ReversePath::Null } else { ReversePath::Path(path.parse().unwrap()) };
        let header = HeaderBlock::parse(&Bytes::copy_from_slice(header.as_bytes()));
        let own = "bounce@MTA.example".parse().unwrap();
        assert_eq!(wanted(&Envelope::new(path), &header, &own), expected, "{header:?}");
    };
    check("a@b.example", "Subject: x\r\n", true);
    check("", "Subject: x\r\n", false);
    check("a@b.example", "Auto-Submitted: no\r\n", true);
    check("a@b.example", "Auto-submitted: (c) auto-generated\r\n", false);
    check("a@b.example", "Auto-Submitted: Auto-Replied; owner-email=x\r\n", false);
    check("a@b.example", "X-Auto-Response-Suppress: OOF, All\r\n", false);
    check("a@b.example", "X-Auto-Response-Suppress: OOF\r\n", true);
    check("a@b.example", "X-Auto-Response-Suppress: DR, RN, OOF\r\n", true);
    check("a@b.example", "X-Auto-Response-Suppress: NDR\r\n", false);
    check("a@b.example", "Content-Type: multipart/report;\r\n report-type=delivery-status\r\n", false);
    check("bounce@mta.example", "Subject: x\r\n", false);
    check("Mailer-Daemon@other.example", "Subject: x\r\n", false);
    check("a@b.example", &"Received: x\r\n".repeat(51), true);
}

/// No such original is taken in; should one be there nevertheless, its report can be sent.
#[test]
fn octets_that_smtp_has_not_are_encoded() {
    use super::encode::clear_or_encoded;
    assert_eq!(clear_or_encoded("ä\r\n".as_bytes(), true).0, "8bit");
    for bare in ["ä\n", "ä\rb\r\n", "ä\0\r\n", "a\n", "a\0"] {
        let (encoding, text) = clear_or_encoded(bare.as_bytes(), true);
        assert_eq!(encoding, "quoted-printable", "{bare:?}");
        assert!(text.is_ascii() && !text.contains(&0), "{bare:?}");
    }
}
