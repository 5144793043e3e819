//! Values that configs have, written as the server's own config writes them. An error says what is wrong with the
//! value; the key stands before it.

use crate::{Error, Result};
use serde::{Deserialize, Deserializer, de};
use std::time::Duration;

/// A span of time: `"500ms"`, `"30s"`, `"7m"`, `"4h"`, `"5d"`, `"1h 30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of octets: `"60KiB"`, `"30MiB"`, `"1GB"`, or a bare integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// The name of a header field (RFC 5322 section 2.2): printable ASCII without colon or space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderName(String);

impl Span {
    /// Reads a span of time.
    ///
    /// # Errors
    /// The text is none.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong =
            || Error::new(format!("`{text}` is not a span of time; write it like \"500ms\", \"7m\", \"4h\" or \"5d\""));
        let mut sum = Duration::ZERO;
        let mut is_empty = true;
        for (number, unit) in text.split_whitespace().map(split_unit) {
            let milliseconds = match unit {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(wrong()),
            };
            let number = number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds));
            let sum_of_both = number.and_then(|number| sum.checked_add(Duration::from_millis(number)));
            sum = sum_of_both.ok_or_else(wrong)?;
            is_empty = false;
        }
        if is_empty { Err(wrong()) } else { Ok(Self(sum)) }
    }
}

impl Size {
    /// Reads a size.
    ///
    /// # Errors
    /// The text is none.
    pub fn parse(text: &str) -> Result<Self> {
        let (number, unit) = split_unit(text.trim());
        let octets = match unit.trim_start() {
            "" | "B" => 1,
            "kB" | "KB" => 1000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => 0_u64,
        };
        let size = number.parse::<u64>().ok().filter(|_| octets > 0).and_then(|number| number.checked_mul(octets));
        size.map(Self).ok_or_else(|| {
            Error::new(format!("`{text}` is not a size; write it like \"60KiB\", \"30MiB\" or \"1GiB\""))
        })
    }
}

/// The digits in front, and the rest.
fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

impl HeaderName {
    /// Takes a name.
    ///
    /// # Errors
    /// The text can't be one.
    pub fn parse(text: &str) -> Result<Self> {
        if !text.is_empty() && text.bytes().all(|b| (33..=126).contains(&b) && b != b':') {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::new(format!("{text:?} is not a header field name: printable ASCII without colon or space")))
    }

    /// The name as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        match serde_json::Value::deserialize(from)? {
            serde_json::Value::String(text) => Self::parse(&text).map_err(de::Error::custom),
            value => value
                .as_u64()
                .map(Self)
                .ok_or_else(|| de::Error::custom("a size is an integer or a text like \"30MiB\"")),
        }
    }
}

impl<'de> Deserialize<'de> for HeaderName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let check = |text: &str, milliseconds: Option<u64>| {
            assert_eq!(Span::parse(text).ok(), milliseconds.map(|ms| Span(Duration::from_millis(ms))), "{text}");
        };
        check("500ms", Some(500));
        check("5d", Some(432_000_000));
        check(" 1h  30m ", Some(5_400_000));
        check("0s", Some(0));
        for bad in ["", " ", "5", "s", "5 s", "-5s", "1.5h", "5w", "99999999999999999999s", "18446744073709551615d"] {
            check(bad, None);
        }
    }

    #[test]
    fn sizes() {
        let check = |json: &str, octets: Option<u64>| {
            assert_eq!(serde_json::from_str(json).ok(), octets.map(Size), "{json}");
        };
        check("1000", Some(1000));
        check("\"30MiB\"", Some(30 << 20));
        check("\"1 GB\"", Some(1_000_000_000));
        check("\"60KiB\"", Some(60 << 10));
        for bad in ["\"\"", "\"much\"", "\"5 parsecs\"", "-1", "1.5", "\"-1\"", "[]", "\"99999999999999999GiB\""] {
            check(bad, None);
        }
    }

    #[test]
    fn header_names() {
        for good in ["X-A", "Subject", "a!"] {
            assert_eq!(HeaderName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "A B", "A:", "Ä", "A\r\n"] {
            HeaderName::parse(bad).unwrap_err();
        }
    }

    #[test]
    fn errors_name_the_value() {
        let error = serde_json::from_str::<Span>("\"5 minutes\"").unwrap_err().to_string();
        assert!(error.starts_with("`5 minutes` is not a span of time"), "{error}");
        let error = serde_json::from_str::<HeaderName>("\"A B\"").unwrap_err().to_string();
        assert!(error.starts_with("\"A B\" is not a header field name"), "{error}");
    }
}
