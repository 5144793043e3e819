//! `application/x-www-form-urlencoded`, read and written.

use std::fmt::Write as _;

/// Name and value pairs, decoded.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

/// The pairs as the body of a request.
pub(crate) fn encode<K: AsRef<str>, V: AsRef<str>>(pairs: &[(K, V)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        escape(name.as_ref(), &mut text);
        text.push('=');
        escape(value.as_ref(), &mut text);
    }
    text
}

fn escape(piece: &str, text: &mut String) {
    for byte in piece.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => text.push(char::from(byte)),
            b' ' => text.push('+'),
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
}

fn decode(piece: &str) -> String {
    let hex = |at: usize| {
        let digits = piece.get(at..at + 2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u8::from_str_radix(digits, 16).ok()
    };
    let mut bytes = Vec::with_capacity(piece.len());
    let mut at = 0;
    while let Some(&byte) = piece.as_bytes().get(at) {
        at += 1;
        match (byte, hex(at)) {
            (b'+', _) => bytes.push(b' '),
            (b'%', Some(byte)) => {
                bytes.push(byte);
                at += 2;
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let form = [("a b", "1&2=3"), ("ü", "100 %"), ("", "")];
        let text = encode(&form);
        assert_eq!(text, "a+b=1%262%3D3&%C3%BC=100+%25&=");
        let read: Vec<_> = pairs(&text).collect();
        assert_eq!(read, form.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let odd: Vec<_> = pairs("x&&%zz=%f&y=%").collect();
        let expected = [("x", ""), ("%zz", "%f"), ("y", "%")];
        assert_eq!(odd, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
