//! Charsets by label and without one.

use crate::message::mime::{Charset, CharsetError, MAX_TEXT, ToUtf8, charset_of, media_type_of, to_text, with_charset};

#[test]
fn reads_text_by_its_label() {
    let check = |octets: &[u8], label: Option<&str>, text: &str, charset: &str, is_guess: bool, is_lossy: bool| {
        let found = to_text(octets, label).unwrap();
        assert_eq!(
            (found.text.as_str(), found.charset, found.is_guess, found.is_lossy),
            (text, charset, is_guess, is_lossy)
        );
    };
    check(b"caf\xE9", Some("ISO-8859-1"), "café", "windows-1252", false, false);
    check(b"caf\xC3\xA9", Some("\"utf-8\""), "café", "UTF-8", false, false);
    check(b"caf\xE9", Some("utf-8"), "caf\u{FFFD}", "UTF-8", false, true);
    check(b"\x93\xFA\x96{", Some("shift_jis"), "日本", "Shift_JIS", false, false);
    check(b"plain", Some("us-ascii"), "plain", "UTF-8", false, false);
    check(b"caf\xC3\xA9", Some("us-ascii"), "café", "UTF-8", true, false);
    check(b"caf\xE9", Some("x-klingon"), "café", "windows-1252", true, false);
    check(b"caf\xC3\xA9", Some("utf-7"), "café", "UTF-8", true, false);
    check(b"plain", None, "plain", "UTF-8", true, false);
    check(b"caf\xE9", None, "café", "windows-1252", true, false);
    check(b"\xEF\xBB\xBFx", Some("iso-8859-1"), "x", "UTF-8", false, false);
    check(b"", Some(" "), "", "UTF-8", true, false);
    assert_eq!(to_text(&vec![b'x'; MAX_TEXT + 1], None), Err(CharsetError::TooLong));
}

#[test]
fn writes_text_in_a_charset_that_has_it() {
    let check = |text: &str, label: Option<&str>, octets: Option<&[u8]>| {
        assert_eq!(Charset::new(label).encode(text).as_deref(), octets, "{label:?}");
    };
    check("café", Some("ISO-8859-1"), Some(b"caf\xE9"));
    check("日本", Some("iso-8859-1"), None);
    check("日本", Some("shift_jis"), Some(b"\x93\xFA\x96{"));
    check("日本", Some("iso-2022-jp"), Some(b"\x1B$BF|K\\\x1B(B"));
    check("café", Some("UTF-8"), Some("café".as_bytes()));
    check("cafe", None, Some(b"cafe"));
    check("café", Some("us-ascii"), None);
    check("cafe", Some("x-klingon"), Some(b"cafe"));
    check("café", Some("x-klingon"), None);
    check("cafe", Some("utf-16le"), None);
    assert!(Charset::new(Some("utf-16")).is_wide() && !Charset::new(Some("iso-2022-jp")).is_wide());
}

#[test]
fn turns_octets_into_utf_8_piece_by_piece() {
    let check = |octets: &[u8], label: Option<&str>, is_utf8: bool, text: &str, is_lossy: bool| {
        for step in 1..=octets.len() {
            let mut decoder = ToUtf8::new(Charset::new(label), is_utf8).unwrap();
            let mut out = String::new();
            octets.chunks(step).for_each(|piece| decoder.push(piece, false, &mut out));
            decoder.push(b"", true, &mut out);
            assert_eq!((out.as_str(), decoder.is_lossy()), (text, is_lossy), "{label:?} by {step}");
        }
    };
    check("café 日本".as_bytes(), None, true, "café 日本", false);
    check(b"caf\xE9", None, false, "café", false);
    check(b"caf\xE9", Some("utf-8"), false, "caf\u{FFFD}", true);
    check(b"\xFF\xFEa\0\xE5\x65", Some("utf-16"), false, "a\u{65E5}", false);
    check(b"\x1B$BF|K\\\x1B(B!", Some("iso-2022-jp"), false, "日本!", false);
    assert!(ToUtf8::new(Charset::new(Some("x-klingon")), true).is_none());
}

#[test]
fn content_type_gets_another_charset() {
    let check = |before: &str, after: &str| {
        let set = with_charset(before, "utf-8");
        assert_eq!((set.as_str(), charset_of(&set).as_deref()), (after, Some("utf-8")));
    };
    check("", "text/plain; charset=utf-8");
    check("Text/HTML; charset=\"iso-8859-1\"", "text/html; charset=utf-8");
    check("text/plain; format=flowed; delsp=yes; x=\"a \\\"b\"", "text/plain; charset=utf-8; x=\"a \\\"b\"");
    check("text/plain; name*=utf-8''%C3%A9%20x", "text/plain; charset=utf-8; name*=utf-8''%C3%A9%20x");
    assert_eq!(media_type_of("Image/PNG; name=x"), "image/png");
}
