//! What is found in messages well and badly formed.

use super::{BROKEN, NESTED, Sample};
use crate::message::mime::{Kind, MAX_DEPTH, MAX_PART_HEADERS, MAX_PARTS, TransferEncoding};

/// The outline of `content` is `expected`, in pieces of any size.
fn check(content: &str, expected: &[&str]) {
    let sample = Sample::new(content.as_bytes());
    for chunk in 1..=content.len().max(1) {
        let structure = sample.scan_by(chunk);
        assert_eq!(sample.outline(&structure), expected, "{content:?} by {chunk}");
    }
}

#[test]
fn a_message_of_one_part() {
    check("Subject: x\r\n\r\nbody\r\n", &[r#"1   leaf text/plain "" "body\r\n""#]);
    check("Content-Type: Text/HTML; charset=x\r\n\r\n", &[r#"1   leaf text/html "" """#]);
    check("Subject: no body section\r\n", &[r#"1   leaf text/plain "" """#]);
    check("\r\n", &[r#"1   leaf text/plain "" """#]);
    check("Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\n", &[r#"1   leaf message/rfc822 "" "A: b\r\n\r\n""#]);
    check("Content-Type: nonsense\r\n\r\nx\r\n", &[r#"1   leaf text/plain "" "x\r\n""#]);
    check("Content-Type: ;;\r\n\r\nx\r\n", &[r#"1   leaf text/plain "" "x\r\n""#]);
    check("Content-Type: application\r\n\r\nx\r\n", &[r#"1   leaf application/octet-stream "" "x\r\n""#]);
}

#[test]
fn nested_multiparts() {
    check(
        NESTED,
        &[
            r#"    parts multipart/mixed """#,
            r#"1   parts multipart/alternative "Content-Type: multipart/alternative;\r\n\tboundary=inner\r\nX-Note: a\r\n b\r\n""#,
            r#"1.1 leaf text/plain "" "plain""#,
            r#"1.2 leaf text/html "Content-Type: TEXT/HTML; charset=\"utf-8\"\r\nContent-Transfer-Encoding: Quoted-Printable (what else)\r\n" "<b>caf=C3=A9</b>\r\n""#,
            r#"2   leaf application/pdf "Content-Type: application/pdf; name=\"old.pdf\"\r\nContent-Transfer-Encoding: BASE64\r\nContent-Disposition: attachment; filename*=utf-8''%E2%82%AC.pdf\r\nContent-ID: <id@x>\r\n" "AAEC\r\nAwQF""#,
            r#"3   leaf text/plain "" """#,
        ],
    );
    let structure = Sample::new(NESTED.as_bytes()).scan();
    let [html, pdf] = [3, 4].map(|index| structure.get(index).unwrap());
    assert_eq!(
        (html.encoding, html.parameter("charset"), html.parent),
        (TransferEncoding::QuotedPrintable, Some("utf-8"), Some(1))
    );
    assert_eq!((pdf.encoding, pdf.content_id.as_deref()), (TransferEncoding::Base64, Some("id@x")));
    assert_eq!((pdf.disposition.as_deref(), pdf.file_name.as_deref()), (Some("attachment"), Some("€.pdf")));
    assert_eq!(pdf.parameter("name"), Some("old.pdf"));
    assert_eq!(structure.children(0).collect::<Vec<_>>(), [1, 4, 5]);
    assert_eq!(structure.children(1).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(structure.get(1).unwrap().header_block().first("x-note").unwrap().value(), "a b");
}

#[test]
fn malformed_multiparts() {
    check(
        BROKEN,
        &[
            r#"    parts multipart/mixed """#,
            r#"1   parts multipart/related "Content-Type: multipart/related; boundary=c\r\n""#,
            r#"1.1 leaf text/plain "Content-Type: text/plain\r\n" "no empty line""#,
            r#"1.2 leaf text/plain "" """#,
            r#"2   leaf text/plain "" """#,
            r#"3   leaf text/plain "X: y\r\n" """#,
            r#"4   leaf text/plain "" """#,
            r#"5   leaf text/plain "Content-Type: x\r\n" "last""#,
        ],
    );
    let mixed = |section: &str| format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{section}");
    let one = |section: &str, part: &str| check(&mixed(section), &[r#"    parts multipart/mixed """#, part]);
    one("--b\r\n\r\nx\r\n--b--\r\n--b\r\n\r\ny\r\n", r#"1   leaf text/plain "" "x""#);
    one(
        "--b\r\n\r\nx\r\n--bb\r\n --b\r\n--b x\r\n-- b",
        r#"1   leaf text/plain "" "x\r\n--bb\r\n --b\r\n--b x\r\n-- b""#,
    );
    one("--b\r\n\r\nx\r\n\r\n--b--", r#"1   leaf text/plain "" "x\r\n""#);
    one("--b", r#"1   leaf text/plain "" """#);
    one("--b\r\nX: unfinished", r#"1   leaf text/plain "X: unfinished" """#);
    one("--b\r\n folded first\r\n--b--", r#"1   leaf text/plain "" " folded first""#);
    one("--b\r\n\r\nx\n--b--\r\n", r#"1   leaf text/plain "" "x""#);
    // A multipart without any part, or without a boundary, is what it is.
    let opaque = r#"1   opaque multipart/mixed "" "x\r\n""#;
    check(&mixed("x\r\n"), &[opaque]);
    check("Content-Type: multipart/mixed\r\n\r\nx\r\n", &[opaque]);
    check("Content-Type: multipart/mixed; boundary=\"\"\r\n\r\nx\r\n", &[opaque]);
    check("Content-Type: multipart; boundary=b\r\n\r\nx\r\n", &[opaque]);
    check(&mixed("--b--\r\n"), &[r#"1   opaque multipart/mixed "" "--b--\r\n""#]);
    // The same boundary twice: the inner one's until it is closed.
    check(
        &mixed("--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--b--\r\n"),
        &[
            r#"    parts multipart/mixed """#,
            r#"1   parts multipart/mixed "Content-Type: multipart/mixed; boundary=b\r\n""#,
            r#"1.1 leaf text/plain "" "x""#,
        ],
    );
}

#[test]
fn digests_and_seals() {
    let check_sealed = |kind: &str, part: &str| {
        let content = format!("Content-Type: {kind}; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n");
        let sample = Sample::new(content.as_bytes());
        assert_eq!(sample.outline(&sample.scan())[1], part);
    };
    check_sealed("multipart/digest", r#"1   leaf message/rfc822 "" "x""#);
    check_sealed("multipart/signed", r#"1   leaf text/plain sealed "" "x""#);
    check_sealed("multipart/encrypted", r#"1   leaf text/plain sealed "" "x""#);
    check("Content-Type: application/pkcs7-mime\r\n\r\n", &[r#"1   leaf application/pkcs7-mime sealed "" """#]);
}

#[test]
fn fields() {
    let check = |field: &str, parameters: &[(&str, &str)], file_name: Option<&str>, encoding: TransferEncoding| {
        let structure = Sample::new(format!("{field}\r\n\r\n").as_bytes()).scan();
        let part = &structure.parts()[0];
        let found: Vec<_> = part.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            (&found[..], part.file_name.as_deref(), part.encoding),
            (parameters, file_name, encoding),
            "{field}"
        );
    };
    let seven = TransferEncoding::SevenBit;
    check(
        "Content-Type: text/plain; Charset = UTF-8 (c); x=\"a;\\\"b\"",
        &[("charset", "UTF-8"), ("x", "a;\"b")],
        None,
        seven,
    );
    check("Content-Type: a/b; name*0=\"x\";\r\n name*1*=%20y; name*2=z", &[("name", "x yz")], Some("x yz"), seven);
    check("Content-Type: a/b; name=\"=?utf-8?Q?caf=C3=A9?=\"", &[("name", "café")], Some("café"), seven);
    check("Content-Disposition: attachment; filename*=iso-8859-1'fr'caf%E9", &[], Some("café"), seven);
    check(
        "Content-Disposition: attachment; filename=\"a b.txt\"\r\nContent-Type: a/b; name=c",
        &[("name", "c")],
        Some("a b.txt"),
        seven,
    );
    check("Content-Transfer-Encoding:\r\n\tBase64;", &[], None, TransferEncoding::Base64);
    check("Content-Transfer-Encoding: \"8bit\"", &[], None, TransferEncoding::EightBit);
    check("Content-Transfer-Encoding: x-uuencode", &[], None, TransferEncoding::Unknown);
    check("Content-Transfer-Encoding: ", &[], None, seven);
    check(
        "Content-Transfer-Encoding: binary\r\nContent-Transfer-Encoding: base64",
        &[],
        None,
        TransferEncoding::Binary,
    );
}

#[test]
fn long_delimiters() {
    let check_long = |boundary: usize, blanks: usize, parts: usize| {
        let boundary = "b".repeat(boundary);
        let content = format!(
            "Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n--{boundary}{}\r\n\r\nx\r\n--{boundary}--\r\n",
            " ".repeat(blanks)
        );
        for chunk in [1000, 16 << 10, 64 << 10] {
            assert_eq!(Sample::new(content.as_bytes()).scan_by(chunk).parts().len(), parts);
        }
    };
    check_long(70, 0, 2);
    check_long(256, 100_000, 2);
    check_long(257, 0, 1);
}

#[test]
fn past_the_limits_parts_are_opaque() {
    // Deeper than MAX_DEPTH.
    let mut content = String::from("Content-Type: multipart/mixed; boundary=b0\r\n\r\n");
    for depth in 1..40 {
        content += &format!("--b{}\r\nContent-Type: multipart/mixed; boundary=b{depth}\r\n\r\n", depth - 1);
    }
    let sample = Sample::new(content.as_bytes());
    let structure = sample.scan();
    let kinds: Vec<_> = structure.parts().iter().map(|part| part.kind).collect();
    assert_eq!(kinds, [vec![Kind::Multipart; MAX_DEPTH], vec![Kind::Opaque]].concat());
    assert!(sample.text(&structure.parts()[MAX_DEPTH].body).ends_with("boundary=b39\r\n\r\n"));

    // More than MAX_PARTS: the last takes the rest.
    let parts = "--b\r\n\r\nx\r\n".repeat(2000);
    let sample = Sample::new(format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{parts}").as_bytes());
    let structure = sample.scan();
    assert_eq!(structure.parts().len(), MAX_PARTS);
    let last = structure.parts().last().unwrap();
    assert_eq!((last.kind, last.body.end), (Kind::Opaque, sample.section.len() as u64));
    assert_eq!(sample.text(&last.body), format!("\r\nx\r\n{}", "--b\r\n\r\nx\r\n".repeat(2000 - (MAX_PARTS - 1))));

    // A header longer than is kept; its part ends where it should.
    for field in ["X: y\r\n".repeat(4000), format!("X: {}\r\n", "y".repeat(40_000))] {
        let content = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n{field}\r\nx\r\n--b--\r\n");
        let sample = Sample::new(content.as_bytes());
        for chunk in [1, 1000, 64 << 10] {
            let structure = sample.scan_by(chunk);
            let part = &structure.parts()[1];
            assert_eq!((part.kind, sample.text(&part.body), part.raw_header.len()), (Kind::Opaque, "x".into(), 0));
        }
    }
    // Headers longer together than are kept: 15 KiB each.
    let part = format!("--b\r\n{}\r\nx\r\n", format!("X: {}\r\n", "y".repeat(1019)).repeat(15));
    let content = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", part.repeat(50));
    let structure = Sample::new(content.as_bytes()).scan();
    assert_eq!(structure.parts().iter().filter(|part| part.kind == Kind::Leaf).count(), MAX_PART_HEADERS / (15 << 10));
    assert_eq!(structure.parts().len(), 51);
    // The message's own.
    let sample = Sample::new(format!("Content-Type: text/plain; x={}\r\n\r\n", "y".repeat(20_000)).as_bytes());
    assert_eq!(sample.scan().parts()[0].kind, Kind::Opaque);
}
