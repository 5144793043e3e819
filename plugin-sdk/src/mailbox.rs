//! Mailboxes in the value of a header field: RFC 5322 section 3.4, read leniently.
//!
//! Not for deciding where mail goes: that is the envelope's. Display names are decoded from UTF-8, US-ASCII and
//! ISO-8859-1; words in other charsets stay as they are.

/// A mailbox of a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The display name, decoded.
    pub name: Option<String>,
    /// The address without angle brackets.
    pub address: String,
}

impl Mailbox {
    /// What follows the last `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.address.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// The mailboxes in a field's value as it stands in the message, folds included; [`Message::mailboxes`] takes them from
/// there. Members of groups are among them; what is no mailbox is left out.
///
/// [`Message::mailboxes`]: crate::Message::mailboxes
#[must_use]
pub fn parse(value: &str) -> Vec<Mailbox> {
    let mut all = Vec::new();
    parse_into(value, &mut all);
    all
}

pub(crate) fn parse_into(value: &str, all: &mut Vec<Mailbox>) {
    let mut item = Item::default();
    let mut rest = value;
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '"' => item.quoted(rest),
            '(' => skip_comment(rest),
            '<' => item.angle(&rest[1..]),
            ',' | ';' => {
                all.extend(std::mem::take(&mut item).finish());
                &rest[1..]
            }
            // The name of a group, unless it is an address as in `[IPv6:::1]`.
            ':' if !item.bare.contains('@') => {
                item = Item::default();
                &rest[1..]
            }
            c if c.is_whitespace() => &rest[c.len_utf8()..],
            _ => item.atom(rest),
        };
    }
    all.extend(item.finish());
}

/// What was read since the last comma.
#[derive(Default)]
struct Item {
    name: String,
    /// Was the last word of the name an encoded one? No space stands between two of them.
    encoded: bool,
    /// The same words as they are: an address without angle brackets, unless it is `broken`.
    bare: String,
    broken: bool,
    address: Option<String>,
}

impl Item {
    fn word(&mut self, word: &str, encoded: bool) {
        if !(self.name.is_empty() || self.encoded && encoded) {
            self.name.push(' ');
        }
        self.name.push_str(word);
        self.encoded = encoded;
    }

    /// A piece of an address: two of them have a dot or an at sign between them.
    fn bare(&mut self, piece: &str) {
        self.broken |= !self.bare.is_empty() && !self.bare.ends_with(['.', '@']) && !piece.starts_with(['.', '@']);
        self.bare.push_str(piece);
    }

    fn atom<'a>(&mut self, rest: &'a str) -> &'a str {
        let is_end = |(at, c): (usize, char)| {
            at > 0 && (c.is_whitespace() || matches!(c, '"' | '(' | '<' | ',' | ';'))
                || (c == ':' && !self.bare.contains('@') && !rest[..at].contains('@'))
        };
        let end = rest.char_indices().find(|&at| is_end(at)).map_or(rest.len(), |(at, _)| at);
        let (atom, rest) = rest.split_at(end);
        match decode_word(atom) {
            Some(text) => self.word(&text, true),
            None => self.word(atom, false),
        }
        self.bare(atom);
        rest
    }

    fn quoted<'a>(&mut self, rest: &'a str) -> &'a str {
        let mut text = String::new();
        let (mut end, mut closed) = (rest.len(), false);
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    (end, closed) = (at + 1, true);
                    break;
                }
                '\\' => text.extend(chars.next().map(|(_, c)| c)),
                '\r' | '\n' => {}
                c => text.push(c),
            }
        }
        self.word(&text, false);
        self.bare(&rest[..end]);
        self.broken |= !closed;
        &rest[end..]
    }

    fn angle<'a>(&mut self, rest: &'a str) -> &'a str {
        let (mut quoted, mut escaped) = (false, false);
        let (mut inside, mut end) = (String::new(), rest.len());
        for (at, c) in rest.char_indices() {
            if c == '>' && !quoted {
                end = at;
                break;
            }
            quoted ^= c == '"' && !escaped;
            escaped = quoted && c == '\\' && !escaped;
            if quoted || !c.is_whitespace() {
                inside.push(c);
            }
        }
        // RFC 5322 section 4.4: a route, `<@a,@b:user@example.com>`.
        let address = match inside.split_once(':') {
            Some((route, address)) if route.starts_with('@') => address,
            _ => &inside,
        };
        self.address = Some(address.to_owned());
        rest.get(end + 1..).unwrap_or_default()
    }

    fn finish(self) -> Option<Mailbox> {
        let (name, address) = match self.address {
            Some(address) => (Some(self.name).filter(|name| !name.is_empty()), address),
            None if self.broken => return None,
            None => (None, self.bare),
        };
        address.contains('@').then_some(Mailbox { name, address })
    }
}

fn skip_comment(rest: &str) -> &str {
    let (mut depth, mut escaped) = (0_u32, false);
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => {}
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if depth == 0 {
            return &rest[at + 1..];
        }
    }
    ""
}

/// RFC 2047: `=?utf-8?Q?J=C3=B5e?=`.
fn decode_word(word: &str) -> Option<String> {
    let mut pieces = word.strip_prefix("=?")?.strip_suffix("?=")?.split('?');
    let (charset, encoding, text) = (pieces.next()?, pieces.next()?, pieces.next()?);
    if pieces.next().is_some() {
        return None;
    }
    let bytes = match encoding {
        "B" | "b" => base64(text)?,
        "Q" | "q" => q_encoding(text),
        _ => return None,
    };
    // RFC 2231 section 5: a language may follow the charset.
    let charset = charset.split('*').next().unwrap_or_default();
    let is = |name: &str| charset.eq_ignore_ascii_case(name);
    let text = if is("utf-8") || is("us-ascii") {
        String::from_utf8_lossy(&bytes).into_owned()
    } else if is("iso-8859-1") {
        bytes.into_iter().map(char::from).collect()
    } else {
        return None;
    };
    Some(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

fn q_encoding(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, digit(after.first()), digit(after.get(1))) {
            (b'_', ..) => bytes.push(b' '),
            (b'=', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            _ => bytes.push(*byte),
        }
    }
    bytes
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes().filter(|&byte| byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: &[(&str, &str)]) {
        let found = parse(value);
        let found: Vec<_> = found.iter().map(|m| (m.name.as_deref().unwrap_or(""), m.address.as_str())).collect();
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn mailboxes() {
        check("", &[]);
        check(" a@example.com\r\n", &[("", "a@example.com")]);
        check("A B <a@b>, c@d", &[("A B", "a@b"), ("", "c@d")]);
        check("\"B, A\" <a@b>,\r\n <c@d>", &[("B, A", "a@b"), ("", "c@d")]);
        check("\"a \\\" b\\\\\" <a@b>", &[("a \" b\\", "a@b")]);
        check("a@b (me, (or not\\)) <x@y>)", &[("", "a@b")]);
        check("\"john doe\"@example.com", &[("", "\"john doe\"@example.com")]);
        check("X <\"a>b\"@c>", &[("X", "\"a>b\"@c")]);
        check("X <\"a b\" @c>", &[("X", "\"a b\"@c")]);
        check("a . b @ example . com", &[("", "a.b@example.com")]);
        check("<@r1,@r2:a@b>", &[("", "a@b")]);
        check("a@[IPv6:2001:db8::1]", &[("", "a@[IPv6:2001:db8::1]")]);
    }

    #[test]
    fn groups_and_what_is_no_mailbox() {
        check("undisclosed-recipients:;", &[]);
        check("The team: a@b, C <c@d>; e@f", &[("", "a@b"), ("C", "c@d"), ("", "e@f")]);
        check("two words@a.b, a@b c@d, x@y", &[("", "x@y")]);
        check("nobody, , <>, a@b", &[("", "a@b")]);
        check("A <a@b", &[("A", "a@b")]);
        check("\"never ends <a@b>", &[]);
        check("(never ends a@b", &[]);
    }

    #[test]
    fn names_are_decoded_after_the_field_is_read() {
        check("=?utf-8?Q?J=C3=B5e_D?= <j@d>", &[("Jõe D", "j@d")]);
        check("=?UTF-8?B?SsO1?= =?utf-8*et?b?ZQ==?= Doe <j@d>", &[("Jõe Doe", "j@d")]);
        check("=?iso-8859-1?q?J=F5e?= <j@d>", &[("Jõe", "j@d")]);
        check("=?koi8-r?q?=C1?= <j@d>", &[("=?koi8-r?q?=C1?=", "j@d")]);
        // An encoded word that looks like an address is none.
        check("=?utf-8?q?boss=40bank=2Eexample=2C?= <x@evil.example>", &[("boss@bank.example,", "x@evil.example")]);
        check("=?utf-8?q?a=0D=0Ab?= <x@y>", &[("a  b", "x@y")]);
    }

    #[test]
    fn the_domain_follows_the_last_at() {
        assert_eq!(parse("\"a@b\"@c")[0].domain(), "c");
    }
}
