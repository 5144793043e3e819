//! Spans of time, sizes and rates as the config writes them: `"5d"`, `"1h 30m"`, `"30MiB"`, `"100/m"`.

use postern_core::schedule::Rate;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// A span of time, written with its units: `500ms`, `5s`, `7m`, `4h`, `5d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of octets, written with its unit: `60KiB`, `30MiB`, `1GB`, or a bare integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// So many in a time: `100/s`, `60/m`, `1000/h`, `5000/d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(pub Rate);

impl<'de> Deserialize<'de> for Pace {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map(Self).map_err(|error| D::Error::custom(format!("`{text}`: {error}")))
    }
}

impl Serialize for Pace {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl Span {
    /// This many seconds.
    #[must_use]
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map(Self).map_err(|_| {
            D::Error::custom(format!(
                "`{text}` is not a span of time; write it like \"500ms\", \"7m\", \"4h\" or \"5d\""
            ))
        })
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&humantime::format_duration(self.0).to_string().replace("days", "d").replace("day", "d"))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(from) {
            Ok(Written::Number(octets)) => Ok(Self(octets)),
            Ok(Written::Text(text)) => text.parse::<bytesize::ByteSize>().map(|size| Self(size.0)).map_err(|_| {
                D::Error::custom(format!("`{text}` is not a size; write it like \"60KiB\", \"30MiB\" or \"1GiB\""))
            }),
            Err(_) => Err(D::Error::custom("a size is an integer or a text like \"30MiB\"")),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let whole = UNITS.iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        match whole {
            Some((unit, name)) => to.serialize_str(&format!("{}{name}", self.0 / unit)),
            None => to.serialize_u64(self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Serialize, PartialEq)]
    struct Both {
        span: Span,
        size: Size,
    }

    #[test]
    fn reads_and_writes() {
        let check = |written: &str, span: u64, size: u64| {
            let both: Both = toml::from_str(written).unwrap();
            assert_eq!(both, Both { span: Span::secs(span), size: Size(size) }, "{written}");
            assert_eq!(toml::from_str::<Both>(&toml::to_string(&both).unwrap()).unwrap(), both);
        };
        check("span = '5d'\nsize = '30MiB'", 432_000, 30 << 20);
        check("span = '1h 30m'\nsize = 1000", 5400, 1000);
        check("span = '90s'\nsize = '1GB'", 90, 1_000_000_000);
        for bad in
            ["span = '5'\nsize = 1", "span = 5\nsize = 1", "span = '5d'\nsize = 'much'", "span = '5d'\nsize = -1"]
        {
            assert!(toml::from_str::<Both>(bad).is_err(), "{bad}");
        }
    }
}
