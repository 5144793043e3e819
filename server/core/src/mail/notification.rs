//! What a client asks of delivery status notifications: the values of RET, ENVID, NOTIFY and ORCPT (RFC 3461
//! section 4, with RFC 6533's addresses), and their encodings.
//!
//! Parsed once, at the edge: what is decoded has no control character, so that nothing that hides in an encoding
//! (`+0D+0A`) reaches a line of SMTP or a field of a DSN.

use super::Address;
use std::fmt;

/// Longest ENVID in characters, as it is written (RFC 3461 section 4.4).
pub const MAX_ENVID: usize = 100;
/// Longest ORCPT in characters, as it is written, type included (RFC 3461 section 4.2).
pub const MAX_ORCPT: usize = 500;

/// MAIL's RET: how much of the message a DSN about a failure returns (RFC 3461 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// `FULL`: all of it.
    Full,
    /// `HDRS`: its header alone.
    Headers,
}

impl Ret {
    /// Reads the parameter's value, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            _ if text.eq_ignore_ascii_case("FULL") => Some(Self::Full),
            _ if text.eq_ignore_ascii_case("HDRS") => Some(Self::Headers),
            _ => None,
        }
    }

    /// The parameter's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        }
    }
}

/// RCPT's NOTIFY: which DSNs are wanted for this recipient (RFC 3461 section 4.1). With none of them it is `NEVER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Notify {
    /// It was delivered.
    pub success: bool,
    /// It can't be delivered.
    pub failure: bool,
    /// It is late.
    pub delay: bool,
}

impl Notify {
    /// `NEVER`.
    pub const NEVER: Self = Self { success: false, failure: false, delay: false };

    /// Reads the parameter's value: `NEVER`, or a list of the others, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut notify = Self::NEVER;
        if text.eq_ignore_ascii_case("NEVER") {
            return Some(notify);
        }
        for word in text.split(',') {
            match word {
                _ if word.eq_ignore_ascii_case("SUCCESS") => notify.success = true,
                _ if word.eq_ignore_ascii_case("FAILURE") => notify.failure = true,
                _ if word.eq_ignore_ascii_case("DELAY") => notify.delay = true,
                _ => return None,
            }
        }
        Some(notify)
    }

    /// As a number below 8, for stores.
    #[must_use]
    pub fn bits(self) -> u8 {
        u8::from(self.success) | u8::from(self.failure) << 1 | u8::from(self.delay) << 2
    }

    /// From [`Notify::bits`].
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        (bits < 8).then_some(Self { success: bits & 1 != 0, failure: bits & 2 != 0, delay: bits & 4 != 0 })
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("NEVER");
        }
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let mut comma = "";
        for (_, word) in words.into_iter().filter(|(wanted, _)| *wanted) {
            write!(f, "{comma}{word}")?;
            comma = ",";
        }
        Ok(())
    }
}

/// MAIL's ENVID: the sender's own name for the transaction (RFC 3461 section 4.4), printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnvelopeId(Box<str>);

impl EnvelopeId {
    /// Reads the parameter's value, an xtext.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_ENVID { None } else { xtext_decode(text).map(|id| Self(id.into())) }
    }

    /// From what [`EnvelopeId::as_str`] gave.
    #[must_use]
    pub fn from_decoded(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= MAX_ENVID && text.bytes().all(is_printable);
        fits.then(|| Self(text.into()))
    }

    /// As the sender meant it: decoded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parameter's value.
    #[must_use]
    pub fn to_parameter(&self) -> String {
        xtext_encode(&self.0)
    }
}

/// RCPT's ORCPT: the recipient as the sender knows it (RFC 3461 section 4.2, RFC 6533 section 3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginalRecipient {
    kind: Box<str>,
    address: Box<str>,
}

/// The type of RFC 6533's addresses.
const UTF8: &str = "utf-8";

impl OriginalRecipient {
    /// Reads the parameter's value, `type;address`. With `smtputf8` an address of type `utf-8` may be in UTF-8.
    #[must_use]
    pub fn parse(text: &str, smtputf8: bool) -> Option<Self> {
        let (kind, encoded) = text.split_once(';')?;
        if text.len() > MAX_ORCPT {
            return None;
        }
        let address = if kind.eq_ignore_ascii_case(UTF8) {
            if !smtputf8 && !encoded.is_ascii() {
                return None;
            }
            utf8_decode(encoded)?
        } else {
            xtext_decode(encoded)?
        };
        Self::from_decoded(kind, &address)
    }

    /// From what [`OriginalRecipient::kind`] and [`OriginalRecipient::address`] gave.
    #[must_use]
    pub fn from_decoded(kind: &str, address: &str) -> Option<Self> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        let kind_fits = !kind.is_empty() && kind.bytes().all(word);
        let fits = match kind.eq_ignore_ascii_case(UTF8) {
            // RFC 6533 section 3: a mailbox of RFC 6531 when it is decoded.
            true => Address::parse(address).is_ok(),
            false => !address.is_empty() && address.bytes().all(is_printable),
        };
        let original = Self { kind: kind.into(), address: address.into() };
        (kind_fits && fits && original.to_parameter().len() <= MAX_ORCPT).then_some(original)
    }

    /// The one that stands for an address that is about to be rewritten (RFC 3461 section 5.2.1). None if it is too
    /// long, which only addresses beyond ASCII can be.
    #[must_use]
    pub fn of(address: &Address) -> Option<Self> {
        Self::from_decoded(if address.is_international() { UTF8 } else { "rfc822" }, address.as_str())
    }

    /// The type of the address: `rfc822`, `utf-8` or another.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The address, decoded.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Does it have characters beyond ASCII?
    #[must_use]
    pub fn is_international(&self) -> bool {
        !self.address.is_ascii()
    }

    /// The parameter's value, in ASCII: it needs no SMTPUTF8.
    #[must_use]
    pub fn to_parameter(&self) -> String {
        let is_utf8 = self.kind.eq_ignore_ascii_case(UTF8);
        let encoded = if is_utf8 { utf8_encode(&self.address) } else { xtext_encode(&self.address) };
        format!("{};{encoded}", self.kind)
    }
}

/// Printable ASCII, space included.
fn is_printable(octet: u8) -> bool {
    matches!(octet, b' '..=b'~')
}

/// RFC 3461 section 4: `+XX` is the octet of that value, anything else itself. Only printable ASCII comes out.
pub(crate) fn xtext_decode(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        let octet = match octet {
            b'+' => hex(octets.next()?)? << 4 | hex(octets.next()?)?,
            b'=' | b' ' => return None,
            octet => octet,
        };
        if !is_printable(octet) {
            return None;
        }
        decoded.push(char::from(octet));
    }
    (!decoded.is_empty()).then_some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn xtext_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'+' | b'=' | ..=b' ' | 127.. => encoded.push_str(&format!("+{octet:02X}")),
            octet => encoded.push(char::from(octet)),
        }
    }
    encoded
}

/// RFC 6533 section 3: `\x{HEX}` is that code point, anything else itself.
fn utf8_decode(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let (digits, after) = rest.strip_prefix("x{")?.split_once('}')?;
                let all_hex = (2..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
                let point = all_hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()?;
                decoded.push(char::from_u32(point).filter(|c| !c.is_control())?);
                rest = after;
            }
            '+' | '=' | ' ' => return None,
            c if c.is_control() => return None,
            c => decoded.push(c),
        }
    }
    (!decoded.is_empty()).then_some(decoded)
}

/// An address in the ASCII form of RFC 6533 section 3 (`utf-8-addr-xtext`).
#[must_use]
pub fn utf8_encode(address: &str) -> String {
    let mut encoded = String::with_capacity(address.len());
    for c in address.chars() {
        match c {
            '+' | '=' | '\\' => encoded.push_str(&format!("\\x{{{:02X}}}", u32::from(c))),
            '!'..='~' => encoded.push(c),
            c => encoded.push_str(&format!("\\x{{{:02X}}}", u32::from(c))),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notify() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(Notify::parse(text).map(|n| n.to_string()).as_deref(), expected, "{text}");
        };
        check("never", Some("NEVER"));
        check("Success,DELAY", Some("SUCCESS,DELAY"));
        check("DELAY,FAILURE,SUCCESS", Some("SUCCESS,FAILURE,DELAY"));
        for wrong in ["", "NEVER,SUCCESS", "SUCCESS,NEVER", "SUCCESS,", ",", "SUCCESS, DELAY", "ALWAYS"] {
            check(wrong, None);
        }
        for bits in 0..8 {
            assert_eq!(Notify::from_bits(bits).unwrap().bits(), bits);
        }
        assert_eq!(Notify::from_bits(8), None);
    }

    #[test]
    fn envelope_ids() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let id = EnvelopeId::parse(text);
            let both = id.as_ref().map(|id| (id.as_str().to_owned(), id.to_parameter()));
            assert_eq!(both.as_ref().map(|(a, b)| (&a[..], &b[..])), expected, "{text}");
            assert_eq!(id.as_ref().and_then(|id| EnvelopeId::from_decoded(id.as_str())), id);
        };
        check("QQ314159", Some(("QQ314159", "QQ314159")));
        check("a+20b+3D+2b", Some(("a b=+", "a+20b+3D+2B")));
        for wrong in ["", "a+0D+0Ab", "a+0", "a+", "a+zz", "a=b", "a+00", "a+7F", "a+80", "\u{f5}", "a b", "a\tb"] {
            check(wrong, None);
        }
        check(&"x".repeat(100), Some((&"x".repeat(100), &"x".repeat(100))));
        check(&"x".repeat(101), None);
    }

    #[test]
    fn original_recipients() {
        let check = |text: &str, smtputf8: bool, expected: Option<(&str, &str)>| {
            let found = OriginalRecipient::parse(text, smtputf8);
            let both = found.as_ref().map(|o| (o.address().to_owned(), o.to_parameter()));
            assert_eq!(both.as_ref().map(|(a, b)| (&a[..], &b[..])), expected, "{text}");
        };
        check("rfc822;a+2Bb@c.example", false, Some(("a+b@c.example", "rfc822;a+2Bb@c.example")));
        check("RFC822;not+20an+20address", false, Some(("not an address", "RFC822;not+20an+20address")));
        check("x400;/C=x", false, None);
        check("x400;/C+3Dx", false, Some(("/C=x", "x400;/C+3Dx")));
        let utf8 = "utf-8;j\\x{F5}e\\x{2B}x@d.example";
        check(utf8, false, Some(("j\u{f5}e+x@d.example", utf8)));
        check("utf-8;j\u{f5}e@d.example", true, Some(("j\u{f5}e@d.example", "utf-8;j\\x{F5}e@d.example")));
        check("utf-8;j\u{f5}e@d.example", false, None);
        for wrong in [
            "",
            "rfc822",
            "rfc822;",
            ";a@b",
            "rf c;a@b",
            "rfc822;a@b+0D+0ARCPT+20TO:<v@w>",
            "rfc822;j\u{f5}e@b",
            "utf-8;a\\x{0D}\\x{0A}@b.example",
            "utf-8;a\\x{D800}@b.example",
            "utf-8;a\\x{202E}@b.example",
            "utf-8;a\\x{F}@b.example",
            "utf-8;a\\x@b.example",
            "utf-8;a+2B@b.example",
            "utf-8;not",
        ] {
            check(wrong, true, None);
        }
        check(&format!("rfc822;{}", "x".repeat(494)), false, None);
        assert!(OriginalRecipient::parse(&format!("rfc822;{}", "x".repeat(493)), false).is_some());
        let of = |text: &str| OriginalRecipient::of(&text.parse().unwrap()).unwrap().to_parameter();
        assert_eq!(of("a=b@c.example"), "rfc822;a+3Db@c.example");
        assert_eq!(of("\u{f5}@c.example"), "utf-8;\\x{F5}@c.example");
    }
}
