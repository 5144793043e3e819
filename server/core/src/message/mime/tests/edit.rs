//! Edits of parts: what changes and, to the octet, what does not.

use super::{BROKEN, NESTED, Sample, now, read_all};
use crate::message::mime::{Edit, EditError, Edited, MAX_PARTS, Replacement, TransferEncoding, edit};
use crate::message::{HeaderError, MemorySource};
use bytes::Bytes;
use std::sync::Arc;

pub(super) fn replace(encoded: &str, encoding: TransferEncoding, content_type: Option<&str>) -> Edit {
    Edit::Replace(Replacement {
        encoded: Arc::new(MemorySource(Bytes::copy_from_slice(encoded.as_bytes()))),
        encoding,
        content_type: content_type.map(str::to_owned),
    })
}

fn seven_bit(encoded: &str) -> Edit {
    replace(encoded, TransferEncoding::SevenBit, None)
}

fn set(name: &str, value: &str) -> Edit {
    Edit::SetHeader { name: name.into(), value: value.into() }
}

fn drop_field(name: &str) -> Edit {
    Edit::RemoveHeader { name: name.into() }
}

impl Sample {
    pub(super) fn edit(&self, edits: Vec<(usize, Edit)>) -> Result<Sample, EditError> {
        let Edited { header, section } = now(edit(&self.scan(), &self.header, &self.source(), edits))?;
        let section = read_all(&section, 1 << 16).into();
        Ok(Sample { header, section })
    }

    fn content(&self) -> String {
        String::from_utf8([&self.header.to_bytes()[..], &self.section].concat()).unwrap()
    }
}

/// `content` after `edits` is `expected`.
fn check(content: &str, edits: Vec<(usize, Edit)>, expected: &str) {
    let edited = Sample::new(content.as_bytes()).edit(edits).unwrap();
    assert_eq!(edited.content(), expected);
}

/// `content` after `edits` is `content` with each `old` as `new`; an `old` stands there exactly once.
fn check_changes(content: &str, edits: Vec<(usize, Edit)>, changes: &[(&str, &str)]) {
    let mut expected = content.to_owned();
    for (old, new) in changes {
        assert_eq!(expected.matches(old).count(), 1, "{old:?}");
        expected = expected.replace(old, new);
    }
    check(content, edits, &expected);
}

fn mixed(section: &str) -> String {
    format!("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{section}")
}

#[test]
fn without_edits_nothing_changes() {
    for content in [NESTED, BROKEN, "A: b\r\n\r\nbody\r\n", "A: b\r\n", "\r\n"] {
        check(content, Vec::new(), content);
    }
}

#[test]
fn replaced_parts() {
    let quoted = TransferEncoding::QuotedPrintable;
    check_changes(NESTED, vec![(3, replace("new", quoted, None))], &[("<b>caf=C3=A9</b>\r\n", "new")]);
    check_changes(
        NESTED,
        vec![(3, replace("AAAA", TransferEncoding::Base64, None)), (4, replace("", quoted, Some("text/x; a=b")))],
        &[
            ("Content-Transfer-Encoding: Quoted-Printable (what else)", "Content-Transfer-Encoding: base64"),
            ("<b>caf=C3=A9</b>\r\n", "AAAA"),
            ("Content-Type: application/pdf; name=\"old.pdf\"", "Content-Type: text/x; a=b"),
            ("Content-Transfer-Encoding: BASE64", "Content-Transfer-Encoding: quoted-printable"),
            ("AAEC\r\nAwQF", ""),
        ],
    );
    // Without a header, without an empty line, without a line end before the delimiter.
    let line = "Content-Transfer-Encoding: quoted-printable\r\n";
    check_changes(
        NESTED,
        vec![(2, replace("p", quoted, None))],
        &[("--inner\r\n\r\nplain\r\n", &format!("--inner\r\n{line}\r\np\r\n"))],
    );
    let last = replace("p", quoted, None);
    let new = format!("--outer b\r\n{line}\r\np\r\n--outer b--");
    check_changes(NESTED, vec![(5, last.clone())], &[("--outer b\r\n\r\n\r\n--outer b--", &new)]);
    check(
        &mixed("--b\r\n--b\r\nX: y\r\n--b--\r\n"),
        vec![(1, last.clone()), (2, seven_bit("z"))],
        &mixed(&format!("--b\r\n{line}\r\np\r\n--b\r\nX: y\r\n\r\nz\r\n--b--\r\n")),
    );
    check(&mixed("--b\r\nX: y"), vec![(1, seven_bit("z"))], &mixed("--b\r\nX: y\r\n\r\nz\r\n"));
    check(&mixed("--b\r\ntext\r\n--b--"), vec![(1, seven_bit("z"))], &mixed("--b\r\n\r\nz\r\n--b--"));
    // What was said of the old content goes.
    check(
        &mixed("--b\r\nContent-MD5: x\r\ncontent-length: 3\r\nX: y\r\n\r\nold\r\n--b--\r\n"),
        vec![(1, seven_bit("z\r\n"))],
        &mixed("--b\r\nX: y\r\n\r\nz\r\n\r\n--b--\r\n"),
    );
    // A whole multipart.
    let whole = replace("all", TransferEncoding::SevenBit, Some("text/plain"));
    check(
        &mixed("--b\r\n\r\nx\r\n--b--\r\n"),
        vec![(0, whole.clone())],
        "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nall\r\n",
    );
    let within =
        mixed("--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\nepilogue\r\n--b--\r\n");
    check(
        &within,
        vec![(1, whole), (2, Edit::Remove)],
        &mixed("--b\r\nContent-Type: text/plain\r\n\r\nall\r\n--b--\r\n"),
    );
}

#[test]
fn a_replaced_root() {
    let quoted = replace("caf=C3=A9\r\n", TransferEncoding::QuotedPrintable, None);
    check(
        "Subject: x\r\nContent-MD5: y\r\n\r\nbody\r\n",
        vec![(0, quoted)],
        "Subject: x\r\nContent-Transfer-Encoding: quoted-printable\r\nMIME-Version: 1.0\r\n\r\ncaf=C3=A9\r\n",
    );
    check("A: b\r\n\r\nbody\r\n", vec![(0, seven_bit("no line end"))], "A: b\r\n\r\nno line end\r\n");
    check("A: b\r\n\r\nbody\r\n", vec![(0, seven_bit(""))], "A: b\r\n\r\n");
    check("A: b\r\n", vec![(0, seven_bit("x"))], "A: b\r\n\r\nx\r\n");
}

#[test]
fn removed_parts() {
    let three = mixed("preamble\r\n--b\r\n\r\n1\r\n--b\r\n\r\n2\r\n--b \r\n\r\n3\r\n--b--\r\nepilogue\r\n");
    let remove = |parts: &[usize]| parts.iter().map(|part| (*part, Edit::Remove)).collect::<Vec<_>>();
    check_changes(&three, remove(&[1]), &[("--b\r\n\r\n1\r\n", "")]);
    check_changes(&three, remove(&[2]), &[("--b\r\n\r\n2\r\n", "")]);
    check_changes(&three, remove(&[3]), &[("--b \r\n\r\n3\r\n", "")]);
    check_changes(&three, remove(&[2, 3, 2]), &[("--b\r\n\r\n2\r\n--b \r\n\r\n3\r\n", "")]);
    let empty = "Content-Type: text/plain\r\n\r\n\r\n";
    check_changes(&three, remove(&[3, 2, 1]), &[("\r\n1\r\n--b\r\n\r\n2\r\n--b \r\n\r\n3\r\n", empty)]);
    check(&mixed("--b\r\n\r\nx\r\n--b--"), remove(&[1]), &mixed(&format!("--b\r\n{empty}--b--")));
    // Multiparts that were never closed.
    check(&mixed("--b\r\n\r\n1\r\n--b\r\n\r\n2\r\n"), remove(&[2]), &mixed("--b\r\n\r\n1\r\n--b--\r\n"));
    check(&mixed("--b\r\n\r\n1\r\n--b\r\n\r\n2\r\n"), remove(&[1]), &mixed("--b\r\n\r\n2\r\n"));
    check(&mixed("--b\r\n\r\nx"), remove(&[1]), &mixed(&format!("--b\r\n{empty}--b--\r\n")));
    let inner = "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\n1\r\n--c\r\n\r\n2\r\n--b--\r\n";
    check_changes(&mixed(inner), remove(&[3]), &[("--c\r\n\r\n2\r\n", "")]);
    check_changes(&mixed(inner), remove(&[2, 3]), &[("\r\n1\r\n--c\r\n\r\n2\r\n", empty)]);
    check(&mixed(inner), remove(&[1, 3]), &mixed(&format!("--b\r\n{empty}--b--\r\n")));
    // Empty parts, whose delimiters share line ends.
    check(
        &mixed("--b\r\n\r\n--b\r\n--b\r\n\r\nx\r\n--b--\r\n"),
        remove(&[1]),
        &mixed("--b\r\n--b\r\n\r\nx\r\n--b--\r\n"),
    );
    check(&mixed("--b\r\n\r\nx\r\n--b\r\n--b--\r\n"), remove(&[2]), &mixed("--b\r\n\r\nx\r\n--b--\r\n"));
    // The root.
    let root = "Subject: x\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n";
    check(root, remove(&[0]), "Subject: x\r\n\r\n");
    check(&three, remove(&[0, 2]), "MIME-Version: 1.0\r\n\r\n");
    check("A: b\r\n", remove(&[0]), "A: b\r\n\r\n");
}

#[test]
fn header_fields() {
    check_changes(
        NESTED,
        vec![(1, set("x-note", "c")), (4, drop_field("content-id")), (4, set("X-New", "d")), (4, drop_field("None"))],
        &[("X-Note: a\r\n b\r\n", "x-note: c\r\n"), ("Content-ID: <id@x>\r\n", "X-New: d\r\n")],
    );
    check(&mixed("--b\r\n--b--\r\n"), vec![(1, set("X", "y"))], &mixed("--b\r\nX: y\r\n\r\n--b--\r\n"));
    check(&mixed("--b\r\ntext\r\n--b--\r\n"), vec![(1, set("X", "y"))], &mixed("--b\r\nX: y\r\n\r\ntext\r\n--b--\r\n"));
    check(&mixed("--b\r\nX: y\r\n\r\nz\r\n--b--\r\n"), vec![(1, drop_field("X"))], &mixed("--b\r\n\r\nz\r\n--b--\r\n"));
    check(
        "A: b\r\n\r\nbody\r\n",
        vec![(0, set("Content-Language", "en"))],
        "A: b\r\nContent-Language: en\r\nMIME-Version: 1.0\r\n\r\nbody\r\n",
    );
    check("A: b\r\n\r\nbody\r\n", vec![(0, drop_field("Content-Type"))], "A: b\r\n\r\nbody\r\n");
}

#[test]
fn edits_of_edits() {
    let once = Sample::new(NESTED.as_bytes()).edit(vec![(2, Edit::Remove), (5, seven_bit("five"))]).unwrap();
    let twice = once.edit(vec![(2, Edit::Remove), (4, seven_bit("4")), (3, set("X", "y"))]).unwrap();
    assert_eq!(
        twice.outline(&twice.scan())[2..],
        [
            r#"1.1 leaf text/plain "Content-Type: text/plain\r\n" """#,
            r#"2   leaf application/pdf "Content-Type: application/pdf; name=\"old.pdf\"\r\nContent-Transfer-Encoding: BASE64\r\nContent-Disposition: attachment; filename*=utf-8''%E2%82%AC.pdf\r\nContent-ID: <id@x>\r\nX: y\r\n" "AAEC\r\nAwQF""#,
            r#"3   leaf text/plain "" "4""#,
        ]
    );
}

#[test]
fn refused_edits() {
    let check = |content: &str, edits: Vec<(usize, Edit)>, expected: &str| {
        let error = Sample::new(content.as_bytes()).edit(edits).map(|_| ()).unwrap_err();
        let found = format!("{error:?}");
        assert!(found.starts_with(expected), "{found}");
    };
    check(NESTED, vec![(6, Edit::Remove)], "NoSuchPart { part: 6 }");
    check(NESTED, vec![(2, seven_bit("x")), (2, seven_bit("x"))], "ReplacedTwice { part: 2 }");
    check(NESTED, vec![(0, set("Subject", "x"))], "NotContentField { part: 0 }");
    for (part, name) in [(4, "content-transfer-encoding"), (1, "Content-Type"), (0, "Content-Type")] {
        check(NESTED, vec![(part, set(name, "x"))], &format!("Structural {{ part: {part} }}"));
        check(NESTED, vec![(part, drop_field(name))], &format!("Structural {{ part: {part} }}"));
    }
    for (name, value) in [("X", "a\r\nB: c"), ("X", "\0"), ("X", "\n")] {
        check(NESTED, vec![(1, set(name, value))], "Header { part: 1, source: Value }");
        let content_type = replace("x", TransferEncoding::SevenBit, Some(value));
        check(NESTED, vec![(4, content_type)], "Header { part: 4, source: Value }");
    }
    check(NESTED, vec![(1, set("X:", "a"))], "Header { part: 1, source: Name }");
    let long = vec!["word"; 5000].join(" ");
    check(NESTED, vec![(1, set("X", &long))], &format!("Header {{ part: 1, source: {:?} }}", HeaderError::TooLarge));
    for kind in ["message/rfc822", "Multipart/mixed; boundary=x"] {
        let composite = replace("AAAA", TransferEncoding::Base64, Some(kind));
        check(NESTED, vec![(4, composite)], "Composite { part: 4 }");
        check(NESTED, vec![(4, set("Content-Type", kind))], "Composite { part: 4 }");
    }
    for content in ["a\0b", "a\rb", "a\nb", "a\r", "\n", "\r\r\n", "caf\u{e9}"] {
        check(NESTED, vec![(3, seven_bit(content))], "NotInEncoding { part: 3 }");
    }
    check(NESTED, vec![(3, replace("x", TransferEncoding::Unknown, None))], "NotInEncoding { part: 3 }");
    for content in ["a\r\n--inner", "--inner-- \r\nb", "--outer b\r\n"] {
        check(NESTED, vec![(3, seven_bit(content))], "Delimiter { part: 3 }");
    }
    let many = mixed(&"--b\r\n\r\nx\r\n".repeat(2000));
    check(&many, vec![(MAX_PARTS - 1, seven_bit("x"))], "Opaque { part: 999 }");
    check(&many, vec![(MAX_PARTS - 1, set("X", "y"))], "Opaque { part: 999 }");
    let sample = Sample::new(many.as_bytes());
    let rest = sample.edit(vec![(MAX_PARTS - 1, Edit::Remove)]).unwrap();
    assert_eq!(rest.content(), mixed(&format!("{}--b--\r\n", "--b\r\n\r\nx\r\n".repeat(MAX_PARTS - 2))));
    let other = now(edit(&sample.scan(), &sample.header, &Sample::new(b"A: b\r\n\r\n").source(), Vec::new()));
    assert!(matches!(other, Err(EditError::OtherMessage)));
}

#[test]
fn the_future_can_be_sent_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let sample = Sample::new(NESTED.as_bytes());
    let (structure, source) = (sample.scan(), sample.source());
    assert!(now(is_send(edit(&structure, &sample.header, &source, Vec::new()))).is_ok());
}
