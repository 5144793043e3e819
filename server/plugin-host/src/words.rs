//! Encoded words (RFC 2047) in header values that plugins read and write.

use std::fmt::Write as _;

/// Shows a value as a person would read it: encoded words in UTF-8, ISO-8859-1 and US-ASCII decoded, the others left as
/// they stand, control characters as spaces (an encoded word can hide a line end).
pub(crate) fn decode(value: String) -> String {
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

/// The encoded word that `text` starts with: what it says, and its length.
fn word(text: &str) -> Option<(String, usize)> {
    let mut parts = text[2..].splitn(4, '?');
    let (charset, encoding, encoded, after) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if !after.starts_with('=') {
        return None;
    }
    let bytes = match encoding {
        "b" | "B" => from_base64(encoded)?,
        "q" | "Q" => from_q(encoded)?,
        _ => return None,
    };
    // RFC 2231 allows a language after the charset: `utf-8*en`.
    let charset = charset.split('*').next().unwrap_or_default().to_ascii_lowercase();
    let decoded = match charset.as_str() {
        "utf-8" | "utf8" | "us-ascii" => String::from_utf8_lossy(&bytes).into_owned(),
        "iso-8859-1" | "latin1" => bytes.iter().map(|b| char::from(*b)).collect(),
        _ => return None,
    };
    Some((decoded, text.len() - after.len() + 1))
}

fn from_q(text: &str) -> Option<Vec<u8>> {
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

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for b in text.trim_end_matches('=').bytes() {
        let digit = BASE64.iter().position(|c| *c == b)?;
        bits = (bits << 6 | u32::try_from(digit).ok()?) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(out)
}

fn to_base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(*chunk.get(at).unwrap_or(&0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * digit) & 63).unwrap_or(0);
            out.push(if digit <= chunk.len() { char::from(BASE64[index]) } else { '=' });
        }
    }
    out
}

/// Octets of text in one encoded word: with its frame and in base64 it stays within 75 characters (section 2).
const WORD: usize = 45;

/// Writes a value that is not ASCII as encoded words from its first to its last word that needs it.
pub(crate) fn encode(value: &str) -> String {
    let needs = |word: &str| !word.is_ascii();
    let words: Vec<&str> = value.split(' ').collect();
    let (Some(first), Some(last)) = (words.iter().position(|w| needs(w)), words.iter().rposition(|w| needs(w))) else {
        return value.to_owned();
    };
    let mut out: Vec<String> = words[..first].iter().map(|word| (*word).to_owned()).collect();
    let middle = words[first..=last].join(" ");
    let mut rest = middle.as_str();
    while !rest.is_empty() {
        let piece = &rest[..rest.floor_char_boundary(WORD)];
        rest = &rest[piece.len()..];
        let mut word = String::new();
        let _ = write!(word, "=?utf-8?B?{}?=", to_base64(piece.as_bytes()));
        out.push(word);
    }
    out.extend(words[last + 1..].iter().map(|word| (*word).to_owned()));
    out.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes() {
        let check = |value: &str, expected: &str| assert_eq!(decode(value.to_owned()), expected, "{value}");
        check("plain", "plain");
        check("=?utf-8?Q?J=C3=B5e_x?= y", "Jõe x y");
        check("a =?UTF-8?B?SsO1ZQ==?= =?iso-8859-1?q?=E9?= b", "a Jõeé b");
        check("=?utf-8?B?YQ0KYg==?=", "a  b");
        check("=?utf-8*en?q?a?=", "a");
        for left in
            ["=?", "=?utf-8?Q?", "=?utf-8?X?a?=", "=?koi8-r?Q?=C1?=", "=?utf-8?Q?=Z1?=", "=?utf-8?Q?a?", "a =? b"]
        {
            check(left, left);
        }
    }

    #[test]
    fn encodes_and_decodes_to_the_same() {
        for value in ["plain ascii", "Jõe", "to Jõe and Ülo again", &"õ".repeat(200), "ends in õ", " õ "] {
            let encoded = encode(value);
            assert!(encoded.is_ascii(), "{encoded}");
            assert!(encoded.split(' ').all(|word| word.len() <= 75), "{encoded}");
            assert_eq!(decode(encoded), value);
        }
    }
}
