//! The scheme: <http://www.libsrs2.org/srs/srs.pdf>, its "guarded" form.
//!
//! `ann@a.example` becomes `SRS0=HASH=TIME=a.example=ann` of the server that forwards it. One that forwards it on makes
//! `SRS1=HASH=FIRST==…` of that, where FIRST is the first server and the rest is what stood behind its `SRS0`; so bounces
//! skip the servers between.

use hmac::{Hmac, Mac};
use postern_plugin_sdk::prelude::*;
use sha1::Sha1;

/// Digits of a timestamp, which counts days; libsrs2's, which are RFC 4648's in lower or upper case.
const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Timestamps of two digits begin anew after as many days.
const CYCLE: u64 = 1024;

/// How a hash is made and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// Of the text in lower case, in base64: libsrs2, PostSRSd, Mail::SRS.
    #[default]
    Base64,
    /// Of the text as it is, in hexadecimal: srs.js, which ZoneMTA uses.
    Hex,
}

/// Secrets and parameters.
pub struct Scheme {
    /// The first one hashes; all of them are good for turning addresses back.
    pub(crate) secrets: Vec<String>,
    pub(crate) style: Style,
    pub(crate) hash_length: usize,
    /// In days.
    pub(crate) max_age: u64,
}

impl std::fmt::Debug for Scheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.style)
    }
}

/// Why an address can't be turned back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is not made by the scheme, or its hash is not ours.
    Malformed,
    /// It is too old.
    Expired,
}

/// What stands behind `SRS0` or `SRS1`, with the separator.
fn tagged<'a>(local: &'a str, tag: &str) -> Option<&'a str> {
    let (head, rest) = local.split_at_checked(tag.len())?;
    (head.eq_ignore_ascii_case(tag) && rest.starts_with(['=', '+', '-'])).then_some(rest)
}

/// Does the local part look like one that the scheme made?
pub(crate) fn is_ours(local: &str) -> bool {
    tagged(local, "SRS0").is_some() || tagged(local, "SRS1").is_some()
}

/// Hash, first server, and what stood behind its `SRS0`.
fn srs1(local: &str) -> Option<(&str, &str, &str)> {
    let (hash, rest) = tagged(local, "SRS1")?[1..].split_once('=')?;
    let (first, opaque) = rest.split_once('=')?;
    (!first.is_empty() && opaque.starts_with(['=', '+', '-'])).then_some((hash, first, opaque))
}

/// Hash, timestamp, domain, local part.
fn srs0(local: &str) -> Option<(&str, &str, &str, &str)> {
    let (hash, rest) = tagged(local, "SRS0")?[1..].split_once('=')?;
    let (time, rest) = rest.split_once('=')?;
    let (domain, local) = rest.split_once('=')?;
    (!domain.is_empty() && !local.is_empty()).then_some((hash, time, domain, local))
}

impl Scheme {
    /// The local part for our domain. `today` is in days since 1970.
    pub(crate) fn forward(&self, local: &str, domain: &str, today: u64) -> Result<String> {
        let secret = self.secrets.first().map_or("", String::as_str);
        if let Some((_, first, opaque)) = srs1(local) {
            return Ok(format!("SRS1={}={first}={opaque}", self.hash(secret, &[first, opaque], self.hash_length)?));
        }
        if let Some(opaque) = tagged(local, "SRS0") {
            return Ok(format!("SRS1={}={domain}={opaque}", self.hash(secret, &[domain, opaque], self.hash_length)?));
        }
        let time = timestamp(today);
        let hash = self.hash(secret, &[&time, domain, local], self.hash_length)?;
        Ok(format!("SRS0={hash}={time}={domain}={local}"))
    }

    /// The address that a local part of our domain stands for.
    pub(crate) fn reverse(&self, local: &str, today: u64) -> Result<Result<String, Unusable>> {
        if let Some((hash, first, opaque)) = srs1(local) {
            let good = self.is_hash_of(hash, &[first, opaque])?;
            return Ok(if good { Ok(format!("SRS0{opaque}@{first}")) } else { Err(Unusable::Malformed) });
        }
        let Some((hash, time, domain, original)) = srs0(local) else { return Ok(Err(Unusable::Malformed)) };
        if !self.is_hash_of(hash, &[time, domain, original])? {
            return Ok(Err(Unusable::Malformed));
        }
        Ok(match age(time, today) {
            None => Err(Unusable::Malformed),
            Some(days) if days > self.max_age => Err(Unusable::Expired),
            Some(_) => Ok(format!("{original}@{domain}")),
        })
    }

    /// Is it one of ours? Without case, as libsrs2: some servers change that of local parts.
    fn is_hash_of(&self, hash: &str, texts: &[&str]) -> Result<bool> {
        if hash.len() < self.hash_length {
            return Ok(false);
        }
        for secret in &self.secrets {
            if self.hash(secret, texts, hash.len())?.eq_ignore_ascii_case(hash) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn hash(&self, secret: &str, texts: &[&str], length: usize) -> Result<String> {
        let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes())
            .map_err(|_| Error::new("the secret can't be a key of HMAC"))?;
        for text in texts {
            match self.style {
                Style::Base64 => mac.update(text.to_lowercase().as_bytes()),
                Style::Hex => mac.update(text.as_bytes()),
            }
        }
        let digest = mac.finalize().into_bytes();
        Ok(match self.style {
            Style::Base64 => {
                digits(&digest, 6, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", length)
            }
            Style::Hex => digits(&digest, 4, b"0123456789abcdef", length),
        })
    }
}

/// The first `length` digits of `bits` bits each, or as many as there are.
fn digits(bytes: &[u8], bits: usize, alphabet: &[u8], length: usize) -> String {
    let bit = |at: usize| usize::from(bytes[at / 8] >> (7 - at % 8) & 1);
    let digit = |index: usize| (0..bits).fold(0, |digit, at| digit << 1 | bit(index * bits + at));
    (0..length.min(bytes.len() * 8 / bits)).map(|index| char::from(alphabet[digit(index)])).collect()
}

fn timestamp(day: u64) -> String {
    [day >> 5, day].into_iter().map(|digit| char::from(DIGITS[digit as usize & 31])).collect()
}

/// Days since the timestamp. srs.js rounds up after noon: a timestamp of tomorrow is one of today.
fn age(time: &str, today: u64) -> Option<u64> {
    let [high, low] = time.as_bytes() else { return None };
    let value = |digit: &u8| DIGITS.iter().position(|d| d.eq_ignore_ascii_case(digit)).map(|value| value as u64);
    let then = value(high)? << 5 | value(low)?;
    let days = (today % CYCLE + CYCLE - then) % CYCLE;
    Some(if days == CYCLE - 1 { 0 } else { days })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01.
    const TODAY: u64 = 20_454;

    fn scheme(secret: &str, style: Style) -> Scheme {
        Scheme { secrets: vec![secret.to_owned()], style, hash_length: 4, max_age: 21 }
    }

    fn forward(scheme: &Scheme, address: &str) -> String {
        let (local, domain) = address.rsplit_once('@').unwrap();
        scheme.forward(local, domain, TODAY).unwrap()
    }

    /// Recorded from srslib 0.1.5 (Python), which follows libsrs2.
    #[test]
    fn hashes_in_base64_are_libsrs2s() {
        for (secret, address, expected) in [
            ("s3cret", "ann@example.com", "SRS0=jSNk=7G=example.com=ann"),
            ("s3cret", "Ann.Lee+x@example.com", "SRS0=Z2jR=7G=example.com=Ann.Lee+x"),
            ("s3cret", "o'neil=a@sub.example.org", "SRS0=UVzk=7G=sub.example.org=o'neil=a"),
            ("s3cret", "SRS0=AbCd=IQ=o.example=bob@first.example", "SRS1=9SYt=first.example==AbCd=IQ=o.example=bob"),
            ("s3cret", "SRS0+opaque-thing@first.example", "SRS1=wq8M=first.example=+opaque-thing"),
            ("s3cret", "srs0-x=y@first.example", "SRS1=7K5s=first.example=-x=y"),
            ("s3cret", "SRS1=zz=first.example=+opaque@second.example", "SRS1=+k3Q=first.example=+opaque"),
            ("s3cret", "jõe@example.com", "SRS0=+9iJ=7G=example.com=jõe"),
            ("another one", "ann@example.com", "SRS0=yHXO=7G=example.com=ann"),
            ("another one", "SRS0+opaque-thing@first.example", "SRS1=YwwW=first.example=+opaque-thing"),
            ("another one", "jõe@example.com", "SRS0=TnE0=7G=example.com=jõe"),
        ] {
            let scheme = scheme(secret, Style::Base64);
            assert_eq!(forward(&scheme, address), expected);
            scheme.reverse(expected, TODAY).unwrap().unwrap();
        }
    }

    /// Recorded from srs.js 0.1.0.
    #[test]
    fn hashes_in_hexadecimal_are_zonemtas() {
        for (secret, address, expected, reversed) in [
            ("s3cret", "ann@example.com", "SRS0=10ef=7G=example.com=ann", "ann@example.com"),
            ("s3cret", "Ann.Lee+x@example.com", "SRS0=b2bd=7G=example.com=Ann.Lee+x", "Ann.Lee+x@example.com"),
            (
                "another one",
                "SRS0=abcd=IQ=origin.example=bob@first.example",
                "SRS1=9f8e=first.example==abcd=IQ=origin.example=bob",
                "SRS0=abcd=IQ=origin.example=bob@first.example",
            ),
            (
                "another one",
                "SRS1=aaaa=first.example==abcd=IQ=origin.example=bob@second.example",
                "SRS1=9f8e=first.example==abcd=IQ=origin.example=bob",
                "SRS0=abcd=IQ=origin.example=bob@first.example",
            ),
        ] {
            let scheme = scheme(secret, Style::Hex);
            assert_eq!(forward(&scheme, address), expected);
            assert_eq!(scheme.reverse(expected, TODAY).unwrap().as_deref(), Ok(reversed));
        }
    }

    #[test]
    fn what_is_turned_back() {
        let scheme = scheme("s3cret", Style::Base64);
        let check = |local: &str, expected: Result<&str, Unusable>| {
            assert_eq!(scheme.reverse(local, TODAY).unwrap().as_deref(), expected.as_deref(), "{local}");
        };
        check("SRS0=jSNk=7G=example.com=ann", Ok("ann@example.com"));
        check("srs0=jsnk=7g=EXAMPLE.com=ann", Ok("ann@EXAMPLE.com"));
        check("SRS0+jSNk=7G=example.com=ann", Ok("ann@example.com"));
        check("SRS0=UVzk=7G=sub.example.org=o'neil=a", Ok("o'neil=a@sub.example.org"));
        for bad in [
            "SRS0=jSNk=7G=example.com=bob",
            "SRS0=jSNk=7H=example.com=ann",
            "SRS0=jSN=7G=example.com=ann",
            "SRS0==7G=example.com=ann",
            "SRS0=jSNk=7G=example.com=",
            "SRS0=jSNk=7G=example.com",
            "SRS0=",
            "SRS1=jSNk=7G=example.com=ann",
            "SRS1====",
            "SRS0",
            "SRS0ann",
            "é",
            "",
        ] {
            check(bad, Err(Unusable::Malformed));
        }
    }

    #[test]
    fn addresses_grow_old() {
        let scheme = scheme("s3cret", Style::Base64);
        for made in [TODAY, 1023, 1024, 1030, 40_000] {
            let local = scheme.forward("ann", "example.com", made).unwrap();
            let days = |days: u64| scheme.reverse(&local, made + days).unwrap().map(drop);
            assert_eq!(
                (days(0), days(21), days(22), days(1000)),
                (Ok(()), Ok(()), Err(Unusable::Expired), Err(Unusable::Expired))
            );
        }
        let tomorrow = scheme.forward("ann", "example.com", TODAY + 1).unwrap();
        assert_eq!(scheme.reverse(&tomorrow, TODAY).unwrap().map(drop), Ok(()));
    }

    #[test]
    fn secrets_change_and_hashes_grow() {
        let old = scheme("old", Style::Base64).forward("ann", "example.com", TODAY).unwrap();
        let mut both = scheme("new", Style::Base64);
        assert_eq!(both.reverse(&old, TODAY).unwrap(), Err(Unusable::Malformed));
        both.secrets.push("old".into());
        both.hash_length = 8;
        assert_eq!(both.reverse(&old, TODAY).unwrap(), Err(Unusable::Malformed));
        both.hash_length = 4;
        assert_eq!(both.reverse(&old, TODAY).unwrap().as_deref(), Ok("ann@example.com"));
        both.hash_length = 20;
        let long = both.forward("ann", "example.com", TODAY).unwrap();
        assert_eq!(long.split('=').nth(1).map(str::len), Some(20));
        both.hash_length = 4;
        assert_eq!(both.reverse(&long, TODAY).unwrap().as_deref(), Ok("ann@example.com"));
    }
}
