//! Charsets by label and without one.

use crate::message::mime::{CharsetError, MAX_TEXT, to_text};

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
