//! Edits of MIME parts through the real boundary: what becomes of the message, to the octet.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use postern_core::hook::{Hooks as _, MemoryScratch, Transaction};
use postern_core::message::mime::{self, Decoder};
use postern_core::message::{ContentSource, HeaderBlock, HeaderSplitter, MemorySource};
use serde_json::Value;
use std::sync::Arc;

const GUEST: &str = "tests/guests/part-hooks";

const HEADER: &str = "Subject: hi\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=o\r\n";
const NESTED: &str = "\r\npreamble\r\n\
    --o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n\
    --i\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\nX-A: 1\r\n\r\n\
    caf=E9\r\n\
    --i\r\nContent-Type: text/html\r\n\r\n<p>caf</p>\r\n\
    --i--\r\n\
    --o\r\nContent-Type: image/png; name=\"a.png\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAwQF\r\n\
    --o--\r\nepilogue\r\n";

fn message(header: &str, section: &str) -> Transaction {
    Transaction {
        header: HeaderBlock::parse(&Bytes::copy_from_slice(header.as_bytes())),
        body: Arc::new(MemorySource(Bytes::copy_from_slice(section.as_bytes()))),
        scratch: Arc::new(MemoryScratch(200 << 20)),
        ..transaction(&[])
    }
}

fn nested() -> Transaction {
    message(HEADER, NESTED)
}

async fn plugin(parts: Value) -> Plugin {
    load(spec(GUEST, json!({ "parts": parts }))).await
}

async fn all(source: &dyn ContentSource) -> Vec<u8> {
    let mut all = Vec::new();
    while (all.len() as u64) < source.len() {
        let piece = source.read(all.len() as u64, 1 << 20).await.unwrap();
        assert!(!piece.is_empty());
        all.extend_from_slice(&piece);
    }
    all
}

async fn section(transaction: &Transaction) -> String {
    String::from_utf8(all(&*transaction.body).await).unwrap()
}

/// Runs the steps on the nested message and gives its body section and the results of a section's steps.
async fn edited(parts: Value, of: &str) -> (String, Vec<String>) {
    let mut transaction = nested();
    set_of(vec![plugin(parts).await]).rewrite_part(&mut transaction).await.unwrap();
    let results = (0..).map_while(|n| transaction.attributes.get(&format!("{of}.{n}")).cloned()).collect();
    (section(&transaction).await, results)
}

/// The nested message with one stretch of it replaced.
fn with(before: &str, after: &str) -> String {
    assert_eq!(NESTED.matches(before).count(), 1, "{before}");
    NESTED.replace(before, after)
}

#[tokio::test]
async fn content_is_replaced_and_encoded() {
    let (body, said) = edited(json!({ "1.2": [["write", "<b>\n"], ["write", "ü=</b>"]] }), "1.2").await;
    let html = "Content-Type: text/html\r\n\r\n<p>caf</p>\r\n";
    let encoding = "Content-Transfer-Encoding: quoted-printable\r\n";
    let expected = with(html, &format!("Content-Type: text/html\r\n{encoding}\r\n<b>\r\n=C3=BC=3D</b>\r\n"));
    assert_eq!((body, said.as_slice()), (expected, &["()".to_owned(), "()".into()][..]));

    let (body, _) = edited(json!({ "2": [["write", "now a text"]] }), "2").await;
    assert_eq!(body, with("AAECAwQF", "bm93IGEgdGV4dA=="));

    let (body, _) =
        edited(json!({ "2": [["set-header", "Content-Type", "text/plain"], ["set-text", "é"]] }), "2").await;
    let before = "Content-Type: image/png; name=\"a.png\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAwQF";
    let after = format!("Content-Type: text/plain; charset=utf-8\r\n{encoding}\r\n=C3=A9");
    assert_eq!(body, with(before, &after));

    // Nothing is content, too.
    let (body, _) = edited(json!({ "2": [["write", ""]] }), "2").await;
    assert_eq!(body, with("AAECAwQF\r\n", "\r\n"));
}

#[tokio::test]
async fn a_text_replaces_text_and_its_charset() {
    let (body, said) = edited(
        json!({ "1.1": [["set-text", "first"], ["set-text", "日本"], ["text"], ["type"]], "2": [["set-text", "no"]] }),
        "1.1",
    )
    .await;
    assert_eq!(body, with("caf=E9", "=E6=97=A5=E6=9C=AC").replace("charset=iso-8859-1", "charset=utf-8"));
    // What is read is as it was.
    assert_eq!(said, ["()", "()", "\"café\"", "text/plain"]);
}

#[tokio::test]
async fn content_is_added_at_the_end() {
    let (body, said) = edited(json!({ "1.1": [["append-text", " naïve"], ["append", "!"]] }), "1.1").await;
    assert_eq!((body, said.len()), (with("caf=E9", "caf=E9 na=EFve!"), 2));
    // The charset does not have it: all of the part becomes UTF-8.
    let (body, _) = edited(json!({ "1.1": [["append-text", " 日"], ["append-text", "本"]] }), "1.1").await;
    let expected = with("caf=E9", "caf=C3=A9 =E6=97=A5=E6=9C=AC").replace("charset=iso-8859-1", "charset=utf-8");
    assert_eq!(body, expected);
    // One byte in the charset was begun with.
    let (_, said) = edited(json!({ "1.1": [["append-text", " ö"], ["append-text", "日"], ["text"]] }), "1.1").await;
    assert_eq!(said, ["()", "bad-value", "\"café\""]);
    let (body, said) = edited(json!({ "2": [["append", "\u{6}"], ["append-text", "x"]] }), "2").await;
    assert_eq!((body, said[1].as_str()), (with("AAECAwQF", "AAECAwQFBg=="), "bad-value"));
}

#[tokio::test]
async fn eight_bit_text_without_a_charset_becomes_utf_8() {
    let mut transaction = message("Subject: x\r\n", "\r\nHello.\r\n");
    let footer = json!({ "1": [["append-text", "Grüße\r\n"]] });
    let set = set_of(vec![plugin(footer).await]);
    set.rewrite_part(&mut transaction).await.unwrap();
    assert_eq!(section(&transaction).await, "\r\nHello.\r\nGr=C3=BC=C3=9Fe\r\n");
    let expected = "Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Transfer-Encoding: quoted-printable\r\nMIME-Version: 1.0\r\n";
    assert_eq!(header(&transaction), expected);
    assert!(transaction.body_is_edited);
    // The same as windows-1252.
    let mut transaction = message("Content-Type: text/plain\r\n", "");
    transaction.body = Arc::new(MemorySource(Bytes::from_static(b"\r\ncaf\xE9\r\n")));
    set.rewrite_part(&mut transaction).await.unwrap();
    assert_eq!(section(&transaction).await, "\r\ncaf=C3=A9\r\nGr=C3=BC=C3=9Fe\r\n");
    // And what is UTF-16 is UTF-8 afterwards.
    let mut transaction = message(
        "Content-Type: text/plain; charset=utf-16le\r\nContent-Transfer-Encoding: base64\r\n",
        "\r\naADpAA==\r\n",
    );
    set.rewrite_part(&mut transaction).await.unwrap();
    assert_eq!(section(&transaction).await, "\r\nh=C3=A9Gr=C3=BC=C3=9Fe\r\n");
    assert!(header(&transaction).contains("charset=utf-8"), "{}", header(&transaction));
}

#[tokio::test]
async fn parts_are_removed() {
    let (body, said) = edited(json!({ "1.1": [["remove"], ["remove"], ["append", "x"], ["parts"]] }), "1.1").await;
    let plain = "--i\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
        Content-Transfer-Encoding: quoted-printable\r\nX-A: 1\r\n\r\ncaf=E9\r\n";
    assert_eq!(body, with(plain, ""));
    assert_eq!(said, ["()", "not-found", "not-found", "1.2,2"]);
    // The last one of a multipart becomes an empty text, and the plugin is not asked for what it has removed.
    let (body, said) = edited(json!({ "1.1": [["remove-all"]], "2": [["fail"]] }), "1.1").await;
    let empty = |boundary| format!("--{boundary}\r\nContent-Type: text/plain\r\n\r\n\r\n--{boundary}--\r\n");
    assert_eq!(said, ["()"]);
    assert!(body.contains(&empty("i")) && !body.contains("image/png"), "{body}");
    let mut whole = message("Subject: x\r\nContent-Type: text/html\r\n", "\r\n<p>\r\n");
    set_of(vec![plugin(json!({ "1": [["remove"]] })).await]).rewrite_part(&mut whole).await.unwrap();
    assert_eq!((header(&whole), section(&whole).await), ("Subject: x\r\n".into(), "\r\n".into()));
}

#[tokio::test]
async fn header_fields_of_parts_are_edited() {
    let steps = json!([
        ["set-header", "X-A", "Grüße"],
        ["set-header", "X-B", "2"],
        ["remove-header", "x-b"],
        ["set-header", "Content-Transfer-Encoding", "8bit"],
        ["remove-header", "content-transfer-encoding"],
        ["set-header", "X C", "1"],
        ["set-header", "X-C", "a\r\nb"],
        ["set-long-header", "X-C", "4000"]
    ]);
    let (body, said) = edited(json!({ "1.1": steps }), "1.1").await;
    assert_eq!(body, with("X-A: 1\r\n", "X-A: =?utf-8?B?R3LDvMOfZQ==?=\r\n"));
    let bad = ["bad-name", "bad-name", "bad-name", "bad-value", "too-large"];
    assert_eq!(said[..3], ["()", "()", "()"]);
    assert_eq!(said[3..], bad);
    // The header of the one part is the message's.
    let mut whole = message("Subject: x\r\nContent-Type: text/html\r\n", "\r\n<p>\r\n");
    let steps = json!({ "1": [
        ["set-header", "Subject", "y"], ["set-header", "Content-Language", "de"], ["message-header", "Subject", "z"]
    ] });
    set_of(vec![plugin(steps).await]).rewrite_part(&mut whole).await.unwrap();
    let expected = "Subject: z\r\nContent-Type: text/html\r\nContent-Language: de\r\nMIME-Version: 1.0\r\n";
    assert_eq!((header(&whole).as_str(), whole.attributes["1.0"].as_str()), (expected, "bad-name"));
    assert!(!whole.body_is_edited, "there is nothing to be copied");
}

#[tokio::test]
async fn the_next_plugin_sees_the_edits_of_the_one_before() {
    let mut transaction = nested();
    let first = plugin(json!({ "1.1": [["append-text", " one"]], "1.2": [["set-text", "<i>"]], "2": [["remove"]] }));
    let second = plugin(json!({ "1.1": [["text"], ["append-text", " two"]], "1.2": [["text"]], "2": [["fail"]] }));
    set_of(vec![first.await, second.await]).rewrite_part(&mut transaction).await.unwrap();
    assert_eq!((&*transaction.attributes["1.1.0"], &*transaction.attributes["1.2.0"]), ("\"café one\"", "\"<i>\""));
    assert!(section(&transaction).await.contains("\r\n\r\ncaf=E9 one two\r\n--i\r\n"));
    let expected = [
        "part-hooks@0.1.0: append to part 1.1",
        "part-hooks@0.1.0: write part 1.2",
        "part-hooks@0.1.0: remove part 2",
        "part-hooks@0.1.0: append to part 1.1",
    ];
    let made: Vec<_> = changes(&transaction).into_iter().filter(|change| change.contains("part ")).collect();
    assert_eq!(made, expected);
}

#[tokio::test]
async fn a_failure_drops_the_edits_of_all_parts() {
    let mut transaction = nested();
    let failing = json!({ "1.1": [["set-text", "defaced"]], "1.2": [["remove"]], "2": [["fail"]] });
    let mut skipped = spec(GUEST, json!({ "parts": failing }));
    skipped.on_error = OnError::Skip;
    let other = plugin(json!({ "1.2": [["append-text", "<br>"]] })).await;
    set_of(vec![load(skipped).await, other]).rewrite_part(&mut transaction).await.unwrap();
    let html = "Content-Type: text/html\r\n\r\n<p>caf</p>";
    let encoded = "Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>caf</p><br>";
    assert_eq!(section(&transaction).await, with(html, encoded));
    // There is no room for what it writes, whether it minds or not.
    let mut transaction = nested();
    transaction.scratch = Arc::new(MemoryScratch(1000));
    let writing = plugin(json!({ "1.1": [["write-times", "2000"], ["text"]] })).await;
    let refused = set_of(vec![writing]).rewrite_part(&mut transaction).await.unwrap_err();
    assert!(refused.reply.code == 451 && !transaction.body_is_edited, "{refused:?}");
}

#[tokio::test]
async fn parts_are_edited_in_rewrite_as_well() {
    let mut transaction = nested();
    let steps = json!({ "parts": { "1.1": [["set-text", "cafe"]] }, "in_rewrite": true });
    let set = set_of(vec![load(spec(GUEST, steps)).await]);
    set.rewrite(&mut transaction).await.unwrap();
    set.rewrite_part(&mut transaction).await.unwrap();
    assert_eq!(section(&transaction).await, with("caf=E9", "cafe").replace("charset=iso-8859-1", "charset=utf-8"));
}

#[tokio::test]
async fn edits_are_counted_and_pieces_are_not() {
    let (_, said) = edited(json!({ "1.1": [["write-times", "12000"], ["set-headers", "9990"]] }), "1.1").await;
    assert_eq!(said, ["()", "()"]);
    let set = set_of(vec![plugin(json!({ "1.1": [["set-headers", "10001"]] })).await]);
    let refused = set.rewrite_part(&mut nested()).await.unwrap_err();
    assert!(refused.detail.contains("at most 10,000 edits"), "{refused:?}");
}

#[tokio::test]
async fn what_can_not_be_encoded_or_was_not_read_is_refused() {
    let mut forwarded = message("Content-Type: message/rfc822\r\n", "\r\nSubject: inner\r\n\r\nx\r\n");
    let steps = json!({ "*": [["write", "x"], ["append", "x"], ["set-text", "x"]] });
    set_of(vec![plugin(steps).await]).rewrite_part(&mut forwarded).await.unwrap();
    let said = ["1.0", "1.1", "1.2"].map(|name| forwarded.attributes[name].clone());
    assert_eq!(said, ["bad-value"; 3]);
    let mut unknown = message("Content-Transfer-Encoding: x-uuencode\r\n", "\r\nbegin 644 a\r\n");
    let steps = json!({ "*": [["append", "x"], ["append-text", "x"], ["set-text", "x"]] });
    set_of(vec![plugin(steps).await]).rewrite_part(&mut unknown).await.unwrap();
    let said = ["1.0", "1.1", "1.2"].map(|name| unknown.attributes[name].clone());
    assert_eq!(said, ["bad-value", "bad-value", "()"]);
    let long = format!("\r\n--o\r\nX-Long: {}\r\n\r\ntext\r\n--o--\r\n", "w ".repeat(10_000));
    let mut unread = message(HEADER, &long);
    let steps = json!({ "1": [["write", "x"], ["set-header", "X-A", "x"], ["remove"]] });
    set_of(vec![plugin(steps).await]).rewrite_part(&mut unread).await.unwrap();
    let said = ["1.0", "1.1", "1.2"].map(|name| unread.attributes[name].clone());
    assert_eq!(said, ["too-large", "too-large", "()"]);
    assert_eq!(section(&unread).await, "\r\n--o\r\nContent-Type: text/plain\r\n\r\n\r\n--o--\r\n");
}

/// An octet that differs by its place.
fn octet(at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 7) as u8
}

#[tokio::test]
async fn fifty_mebibytes_go_through_a_guest_of_sixteen() {
    const SIZE: usize = 50 << 20;
    let content: Vec<u8> = (0..SIZE).map(octet).collect();
    let mut encoded = Vec::new();
    let mut encoder = mime::Encoder::new(mime::Coding::Base64);
    encoder.push(&content, &mut encoded);
    encoder.finish(&mut encoded);
    let before = b"\r\n--o\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    let after = b"\r\n--o\r\n\r\nsmall\r\n--o--\r\n";
    let body = Bytes::from([&before[..], &encoded, after].concat());
    let unchanged = MemorySource(body.clone());
    let check = async |steps: Value, expected: &dyn Fn(usize) -> u8, len: usize| {
        let mut limited = spec(GUEST, json!({ "parts": { "1": steps } }));
        limited.memory = 16 << 20;
        limited.cpu = std::time::Duration::from_secs(30);
        let set = set_of(vec![load(limited).await]);
        let mut transaction = message(HEADER, "");
        transaction.body = Arc::new(unchanged.clone());
        set.rewrite_part(&mut transaction).await.unwrap();
        let edited = all(&*transaction.body).await;
        let from = before.len();
        assert!(edited.starts_with(&before[..]) && edited.ends_with(after));
        let mut decoded = Vec::new();
        let mut decoder = Decoder::new(mime::TransferEncoding::Base64);
        decoder.push(&edited[from..edited.len() - after.len()], &mut decoded);
        decoder.finish(&mut decoded);
        assert_eq!(decoded.len(), len);
        assert!(decoded.iter().enumerate().all(|(at, b)| *b == expected(at)));
    };
    check(json!([["upper"]]), &|at| octet(at).to_ascii_uppercase(), SIZE).await;
    check(json!([["append", "end"]]), &|at| if at < SIZE { octet(at) } else { b"end"[at - SIZE] }, SIZE + 3).await;
    check(json!([["write-octets", "60000000"]]), &|_| b'x', 60_000_000).await;
}

/// Messages of the kinds that are met: nothing changes but what is meant to.
#[tokio::test]
async fn only_what_is_edited_changes() {
    let set = set_of(vec![plugin(json!({ "*": [["set-header", "Content-Description", "seen"]] })).await]);
    for content in [
        &b"Subject: x\r\n\r\nno MIME\r\n"[..],
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\nno part at all\r\n",
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nnever closed\r\n",
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n--a\r\n\r\n--a--",
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nno header\r\n--a--\r\n",
    ] {
        let mut splitter = HeaderSplitter::new(10_000);
        let (header, section) = splitter.push(content).unwrap().unwrap();
        let (header, section) = (std::str::from_utf8(&header).unwrap(), std::str::from_utf8(&section).unwrap());
        let mut transaction = message(header, section);
        set.rewrite_part(&mut transaction).await.unwrap();
        let edited = [transaction.header.to_bytes().to_vec(), all(&*transaction.body).await].concat();
        let edited = String::from_utf8(edited).unwrap();
        let taken_out = edited.replace("Content-Description: seen\r\n", "").replace("MIME-Version: 1.0\r\n", "");
        let own = std::str::from_utf8(content).unwrap();
        // A part without the empty line after its header gets it.
        let with_lines =
            own.replace("--a\r\n--a", "--a\r\n\r\n--a").replace("--a\r\nno header", "--a\r\n\r\nno header");
        assert!(taken_out == own || taken_out == with_lines, "{edited}");
        assert!(edited.contains("Content-Description: seen"), "{edited}");
    }
}
