//! Mail addresses as RFC 5321 section 4.1.2 writes them (`Mailbox`), with RFC 6531's UTF-8.
//!
//! Not for header fields: those have display names, comments and groups (RFC 5322).

use std::fmt;
use std::str::FromStr;

/// Longest local part in octets (RFC 5321 section 4.5.3.1.1).
pub const MAX_LOCAL: usize = 64;
/// Longest domain in octets (RFC 5321 section 4.5.3.1.2).
pub const MAX_DOMAIN: usize = 255;
/// Longest address in octets: a path of 256 less its angle brackets (RFC 5321 section 4.5.3.1.3).
pub const MAX_ADDRESS: usize = 254;

/// A valid mailbox: `local-part@domain`, kept exactly as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    text: Box<str>,
    at: u16,
}

/// Why a text is not a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@` outside quotes.
    #[error("it has no @domain")]
    NoDomain,
    /// The local part is empty, too long or has characters that need quoting.
    #[error("its local part is not valid")]
    Local,
    /// The domain is empty, too long or not a host name or address literal.
    #[error("its domain is not valid")]
    Domain,
    /// Longer than [`MAX_ADDRESS`] octets.
    #[error("it is longer than 254 octets")]
    TooLong,
}

impl Address {
    /// Parses `local-part@domain` without angle brackets or source route.
    ///
    /// # Errors
    /// Says which part is not valid; see [`AddressError`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > MAX_ADDRESS {
            return Err(AddressError::TooLong);
        }
        let at = split(text)?;
        let (local, domain) = (&text[..at], &text[at + 1..]);
        if local.len() > MAX_LOCAL || !valid_local(local) {
            return Err(AddressError::Local);
        }
        if !valid_domain(domain) {
            return Err(AddressError::Domain);
        }
        Ok(Self { text: text.into(), at: u16::try_from(at).map_err(|_| AddressError::TooLong)? })
    }

    /// The whole address as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands before the `@`, quotes included.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.text[..usize::from(self.at)]
    }

    /// What stands after the `@`, as it was given.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.text[usize::from(self.at) + 1..]
    }

    /// Does it need SMTPUTF8 (RFC 6531)?
    #[must_use]
    pub fn is_international(&self) -> bool {
        !self.text.is_ascii()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// Index of the `@` between local part and domain: the first one after the quoted string, if there is one.
fn split(text: &str) -> Result<usize, AddressError> {
    let bytes = text.as_bytes();
    let mut start = 0;
    if bytes.first() == Some(&b'"') {
        let mut i = 1;
        loop {
            match bytes.get(i) {
                Some(b'\\') => i += 2,
                Some(b'"') => break,
                Some(_) => i += 1,
                None => return Err(AddressError::Local),
            }
        }
        start = i + 1;
    }
    match memchr::memchr(b'@', bytes.get(start..).unwrap_or_default()) {
        Some(offset) => Ok(start + offset),
        None => Err(AddressError::NoDomain),
    }
}

fn valid_local(local: &str) -> bool {
    if let Some(quoted) = local.strip_prefix('"') {
        return quoted.strip_suffix('"').is_some_and(valid_quoted);
    }
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// The inside of a quoted string: `qtextSMTP` and `quoted-pairSMTP`.
fn valid_quoted(inside: &str) -> bool {
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        let ok = match c {
            '\\' => matches!(chars.next(), Some(' '..='~')),
            '"' => false,
            ' '..='~' => true,
            c => !c.is_ascii() && !c.is_control() && !is_invisible(c),
        };
        if !ok {
            return false;
        }
    }
    true
}

fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && !c.is_control() && !c.is_whitespace() && !is_invisible(c))
}

/// Characters that change how text around them is shown: no host or person has one in an address.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Is this a host name or an address literal, as may follow the `@` or EHLO?
#[must_use]
pub fn valid_domain(domain: &str) -> bool {
    if domain.is_empty() || domain.len() > MAX_DOMAIN {
        return false;
    }
    if let Some(literal) = domain.strip_prefix('[') {
        return literal.strip_suffix(']').is_some_and(valid_literal);
    }
    domain.split('.').all(|label| {
        let edge = |c: Option<char>| c.is_some_and(|c| c != '-');
        !label.is_empty()
            && label.len() <= 63
            && edge(label.chars().next())
            && edge(label.chars().next_back())
            && label.chars().all(|c| {
                c.is_ascii_alphanumeric()
                    || c == '-'
                    || c == '_'
                    || (!c.is_ascii() && !c.is_control() && !c.is_whitespace() && !is_invisible(c))
            })
    })
}

fn valid_literal(literal: &str) -> bool {
    match literal.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => literal[5..].parse::<std::net::Ipv6Addr>().is_ok(),
        _ => literal.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(&str, &str), AddressError>) {
        let parsed = Address::parse(text);
        let parts = parsed.as_ref().map(|a| (a.local(), a.domain())).map_err(|e| *e);
        assert_eq!(parts, expected, "{text}");
    }

    #[test]
    fn mailboxes() {
        check("a@b.example", Ok(("a", "b.example")));
        check("a.b+c@b", Ok(("a.b+c", "b")));
        check("\"a b@c\"@d.example", Ok(("\"a b@c\"", "d.example")));
        check("\"a\\\"b\"@d.example", Ok(("\"a\\\"b\"", "d.example")));
        check("a@[127.0.0.1]", Ok(("a", "[127.0.0.1]")));
        check("a@[IPv6:::1]", Ok(("a", "[IPv6:::1]")));
        check("jõe@näide.ee", Ok(("jõe", "näide.ee")));
        check("`x${y}`@a_b.example", Ok(("`x${y}`", "a_b.example")));
    }

    #[test]
    fn not_mailboxes() {
        for text in ["", "a", "\"a@b\"", "\"a", "\"a\\"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        check("@b", Err(AddressError::Local));
        check("a..b@c", Err(AddressError::Local));
        check(".a@c", Err(AddressError::Local));
        check("a b@c", Err(AddressError::Local));
        check("a\rb@c", Err(AddressError::Local));
        check("\"a\nb\"@c", Err(AddressError::Local));
        check("a@", Err(AddressError::Domain));
        check("a@b@c", Err(AddressError::Domain));
        check("a@-b", Err(AddressError::Domain));
        check("a@b..c", Err(AddressError::Domain));
        check("a@b.", Err(AddressError::Domain));
        check("a@[1.2.3]", Err(AddressError::Domain));
        check("a@b\u{202e}c", Err(AddressError::Domain));
        check("\"a\u{202e}\"@b", Err(AddressError::Local));
        check(&format!("{}@b", "a".repeat(65)), Err(AddressError::Local));
        check(&format!("a@{}", "b".repeat(300)), Err(AddressError::TooLong));
    }
}
