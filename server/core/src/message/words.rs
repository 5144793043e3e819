//! Encoded words (RFC 2047) in header values, read and written.

use super::mime::{Charset, to_text};
use data_encoding::{BASE64, BASE64_NOPAD, Encoding};
use std::sync::LazyLock;

/// Shows a value as a person would read it: encoded words decoded, those in an unknown charset left as they stand, control
/// characters as spaces (an encoded word can hide a line end).
#[must_use]
pub fn decode_words(value: String) -> String {
    if !value.contains("=?") {
        return plain(value);
    }
    let mut out = String::with_capacity(value.len());
    let mut rest = value.as_str();
    let mut after_word = false;
    while let Some(at) = rest.find("=?") {
        let Some((text, length)) = word(&rest[at..]) else {
            out.push_str(&rest[..at + 2]);
            rest = &rest[at + 2..];
            after_word = false;
            continue;
        };
        // White space between two encoded words is not part of the text (section 6.2).
        if !(after_word && rest[..at].trim().is_empty()) {
            out.push_str(&rest[..at]);
        }
        out.push_str(&text);
        rest = &rest[at + length..];
        after_word = true;
    }
    out.push_str(rest);
    plain(out)
}

fn plain(value: String) -> String {
    if value.contains(char::is_control) { value.replace(char::is_control, " ") } else { value }
}

/// The encoded word that `text` starts with: what it says, and its length. None if it is none, or of a charset that is
/// not known.
pub(super) fn word(text: &str) -> Option<(String, usize)> {
    let mut parts = text.strip_prefix("=?")?.splitn(4, '?');
    let (charset, encoding, encoded, after) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if !after.starts_with('=') {
        return None;
    }
    let octets = match encoding {
        "b" | "B" => base64(encoded)?,
        "q" | "Q" => quoted(encoded)?,
        _ => return None,
    };
    // RFC 2231 section 5 allows a language after the charset: `utf-8*en`.
    let charset = charset.split('*').next().filter(|charset| !charset.is_empty())?;
    if Charset::new(Some(charset)) == Charset::Unknown {
        return None;
    }
    let decoded = to_text(&octets, Some(charset)).ok()?.text;
    Some((plain(decoded), text.len() - after.len() + 1))
}

/// The encoding Q (section 4.2).
fn quoted(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'_' => b' ',
            b'=' => {
                let digit = |b: Option<u8>| char::from(b?).to_digit(16);
                u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?
            }
            b => b,
        });
    }
    Some(out)
}

/// Bits behind the last octet may be anything: some senders leave them set.
static LENIENT: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = BASE64_NOPAD.specification();
    specification.check_trailing_bits = false;
    specification.encoding().unwrap_or(BASE64_NOPAD)
});

/// The encoding B (section 4.1), with or without its padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    LENIENT.decode(text.trim_end_matches('=').as_bytes()).ok()
}

/// Octets of text in one encoded word: with its frame and in base64 it stays within 75 characters (section 2).
const WORD: usize = 45;

/// Writes a value that is not ASCII as encoded words from its first to its last word that needs it.
#[must_use]
pub fn encode_words(value: &str) -> String {
    let needs = |word: &str| !word.is_ascii();
    let words: Vec<&str> = value.split(' ').collect();
    let (Some(first), Some(last)) = (words.iter().position(|w| needs(w)), words.iter().rposition(|w| needs(w))) else {
        return value.to_owned();
    };
    let mut out: Vec<String> = words[..first].iter().map(|word| (*word).to_owned()).collect();
    out.push(encoded(&words[first..=last].join(" ")));
    out.extend(words[last + 1..].iter().map(|word| (*word).to_owned()));
    out.join(" ")
}

/// The whole text as encoded words, also what is ASCII in it.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let piece = &rest[..rest.floor_char_boundary(WORD)];
        rest = &rest[piece.len()..];
        if !out.is_empty() {
            out.push(' ');
        }
        out += &format!("=?utf-8?B?{}?=", BASE64.encode(piece.as_bytes()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes() {
        let check = |value: &str, expected: &str| assert_eq!(decode_words(value.to_owned()), expected, "{value}");
        check("plain", "plain");
        check("=?utf-8?Q?J=C3=B5e_x?= y", "Jõe x y");
        check("a =?UTF-8?B?SsO1ZQ==?= =?iso-8859-1?q?=E9?= b", "a Jõeé b");
        check("=?utf-8?B?YQ0KYg==?=", "a  b");
        check("=?utf-8*en?q?a?=", "a");
        check("=?koi8-r?Q?=C1?=", "а");
        for left in
            ["=?", "=?utf-8?Q?", "=?utf-8?X?a?=", "=?x-klingon?Q?=C1?=", "=?utf-8?Q?=Z1?=", "=?utf-8?Q?a?", "a =? b"]
        {
            check(left, left);
        }
    }

    #[test]
    fn encodes_and_decodes_to_the_same() {
        for value in ["plain ascii", "Jõe", "to Jõe and Ülo again", &"õ".repeat(200), "ends in õ", " õ "] {
            let encoded = encode_words(value);
            assert!(encoded.is_ascii(), "{encoded}");
            assert!(encoded.split(' ').all(|word| word.len() <= 75), "{encoded}");
            assert_eq!(decode_words(encoded), value);
        }
    }
}
