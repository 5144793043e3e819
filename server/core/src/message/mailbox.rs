//! Mailboxes in the value of a header field: RFC 5322 section 3.4, read leniently.
//!
//! The field is read as it stands in the message: in a value that was decoded first, an encoded word could pass for an
//! address. Not for deciding where mail goes: that is the envelope's.

use super::{HeaderBlock, words};

/// A mailbox of a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The display name, encoded words (RFC 2047) decoded, control characters shown as spaces.
    pub name: Option<String>,
    /// The address without angle brackets.
    pub address: String,
}

/// The mailboxes in all fields called `name`, from the top. Members of groups are among them; what is no mailbox is left
/// out.
#[must_use]
pub fn mailboxes(header: &HeaderBlock, name: &str) -> Vec<Mailbox> {
    let mut all = Vec::new();
    for field in header.all(name) {
        parse_into(&String::from_utf8_lossy(field.raw_value()), &mut all);
    }
    all
}

pub(super) fn parse_into(value: &str, all: &mut Vec<Mailbox>) {
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
            ':' if !item.in_domain => {
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
    /// Is the at sign of an address among them? One in quotes is not.
    in_domain: bool,
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
                || (c == ':' && !self.in_domain && !rest[..at].contains('@'))
        };
        let end = rest.char_indices().find(|&at| is_end(at)).map_or(rest.len(), |(at, _)| at);
        let (atom, rest) = rest.split_at(end);
        match words::word(atom) {
            Some((text, len)) if len == atom.len() => self.word(&text, true),
            _ => self.word(atom, false),
        }
        self.bare(atom);
        self.in_domain |= atom.contains('@');
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
                c if is_line_end(c) => {}
                c => text.push(c),
            }
        }
        self.word(&text, false);
        self.bare(&rest[..end].replace(is_line_end, ""));
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
            if quoted && !is_line_end(c) || !c.is_whitespace() {
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

/// Of a fold: it is not part of the text, in quotes either (RFC 5322 section 3.2.2).
fn is_line_end(c: char) -> bool {
    matches!(c, '\r' | '\n')
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Vec<Mailbox> {
        let field = bytes::Bytes::from(format!("To:{value}\r\n"));
        mailboxes(&HeaderBlock::parse(&field), "to")
    }

    fn check(value: &str, expected: &[(&str, &str)]) {
        let found = parse(value);
        let found: Vec<_> = found.iter().map(|m| (m.name.as_deref().unwrap_or(""), m.address.as_str())).collect();
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn mailboxes_of_a_field() {
        check("", &[]);
        check(" a@example.com\r\n", &[("", "a@example.com")]);
        check("A B <a@b>, c@d", &[("A B", "a@b"), ("", "c@d")]);
        check("\"B, A\" <a@b>,\r\n <c@d>", &[("B, A", "a@b"), ("", "c@d")]);
        check("\"a \\\" b\\\\\" <a@b>", &[("a \" b\\", "a@b")]);
        check("a@b (me, (or not\\)) <x@y>)", &[("", "a@b")]);
        check("\"john doe\"@example.com", &[("", "\"john doe\"@example.com")]);
        check("X <\"a>b\"@c>", &[("X", "\"a>b\"@c")]);
        check("X <\"a b\" @c>", &[("X", "\"a b\"@c")]);
        check("\"a\r\n b\"@c, \"X\r\n Y\" <\"a\r\n b\"@c>", &[("", "\"a b\"@c"), ("X Y", "\"a b\"@c")]);
        check("a . b @ example . com", &[("", "a.b@example.com")]);
        check("<@r1,@r2:a@b>", &[("", "a@b")]);
        check("a@[IPv6:2001:db8::1]", &[("", "a@[IPv6:2001:db8::1]")]);
    }

    #[test]
    fn groups_and_what_is_no_mailbox() {
        check("undisclosed-recipients:;", &[]);
        check("The team: a@b, C <c@d>; e@f", &[("", "a@b"), ("C", "c@d"), ("", "e@f")]);
        check("two words@a.b, a@b c@d, x@y", &[("", "x@y")]);
        check("\"team@x\": a@b, C <c@d>;", &[("", "a@b"), ("C", "c@d")]);
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
        check("=?koi8-r?q?=C1?= <j@d>", &[("а", "j@d")]);
        check("=?x-klingon?x?=C1?= =?half <j@d>", &[("=?x-klingon?x?=C1?= =?half", "j@d")]);
        check("=?utf-8?q?boss=40bank=2Eexample?= (comment)", &[]);
        // An encoded word that looks like an address is none.
        check("=?utf-8?q?boss=40bank=2Eexample=2C?= <x@evil.example>", &[("boss@bank.example,", "x@evil.example")]);
        check("=?utf-8?q?a=0D=0Ab?= <x@y>", &[("a  b", "x@y")]);
    }

    #[test]
    fn all_fields_of_a_name_are_read() {
        let block = bytes::Bytes::from_static(b"To: a@b\r\nCc: c@d\r\nTO: e@f\r\n");
        let found = mailboxes(&HeaderBlock::parse(&block), "To");
        assert_eq!(found.iter().map(|found| found.address.as_str()).collect::<Vec<_>>(), ["a@b", "e@f"]);
    }
}
