//! The From field of a message that is sent as somebody else: the new address, under the name that the field had.

use postern_plugin_sdk::Mailbox;

/// The mailbox as an attribute keeps it.
pub(crate) fn note(mailbox: &Mailbox) -> String {
    format_mailbox(mailbox.name.as_deref().unwrap_or_default(), &mailbox.address)
}

/// Reads `Name <address>`, `"Name" <address>` or an address alone, as services write them.
pub(crate) fn parse(text: &str) -> Option<Mailbox> {
    let text = text.trim();
    let (name, address) = match text.strip_suffix('>') {
        Some(rest) => rest.rsplit_once('<')?,
        None => ("", text),
    };
    let (name, address) = (unquoted(name.trim()), address.trim().to_owned());
    let is_address = address.contains('@') && !address.contains([' ', ',', '<', '>']);
    is_address.then(|| Mailbox { name: Some(name).filter(|name| !name.is_empty()), address })
}

/// What a quoted string says (RFC 5322 section 3.2.4); other text as it is.
fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else { return text.to_owned() };
    let mut said = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        said.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    said
}

/// The field's value. As in ZoneMTA, the name is that of the message's own From if it has exactly one mailbox.
pub(crate) fn value(note: &str, own: &[Mailbox]) -> String {
    let Some(new) = parse(note) else { return note.to_owned() };
    let own = if let [only] = own { only.name.as_deref() } else { None };
    let name = own.filter(|name| !name.is_empty()).or(new.name.as_deref()).unwrap_or_default();
    format_mailbox(name, &new.address)
}

/// `"Name" <address>` (RFC 5322 section 3.4). A name that is not ASCII is not quoted, since the host makes encoded words
/// of it, which must not stand in quotes (RFC 2047 section 5); so it loses the characters that need them.
fn format_mailbox(name: &str, address: &str) -> String {
    let is_control = |c: char| c.is_control();
    if name.is_empty() {
        return address.to_owned();
    }
    if name.is_ascii() {
        let quoted = name.replace(is_control, " ").replace('\\', "\\\\").replace('"', "\\\"");
        return format!("\"{quoted}\" <{address}>");
    }
    let special = |c: char| is_control(c) || "()<>[]:;@\\,.\"".contains(c);
    format!("{} <{address}>", name.replace(special, " ").trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_of_services() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let read = parse(text).map(|mailbox| (mailbox.name.unwrap_or_default(), mailbox.address));
            assert_eq!(read, expected.map(|(name, address)| (name.to_owned(), address.to_owned())), "{text}");
        };
        check("a@example.com", Some(("", "a@example.com")));
        check(" Ann B <a@example.com> ", Some(("Ann B", "a@example.com")));
        check("\"B, \\\"A\\\"\" <a@example.com>", Some(("B, \"A\"", "a@example.com")));
        check("J\u{f5}e <j@example.com>", Some(("J\u{f5}e", "j@example.com")));
        for wrong in ["", "Ann", "Ann <>", "a@b, c@d", "Ann a@example.com"] {
            check(wrong, None);
        }
    }

    #[test]
    fn the_name_stays_and_the_address_changes() {
        let check = |note: &str, own: &[(&str, &str)], expected: &str| {
            let mailbox = |(name, address): &(&str, &str)| Mailbox {
                name: Some((*name).to_owned()).filter(|name| !name.is_empty()),
                address: (*address).to_owned(),
            };
            let own: Vec<Mailbox> = own.iter().map(mailbox).collect();
            assert_eq!(value(note, &own), expected);
        };
        let new = "new@example.com";
        check(new, &[("Ann", "a@example.com")], "\"Ann\" <new@example.com>");
        check(new, &[("A \"x\" B", "a@example.com")], "\"A \\\"x\\\" B\" <new@example.com>");
        check(new, &[("J\u{f5}e, Ann", "a@example.com")], "J\u{f5}e  Ann <new@example.com>");
        check(new, &[("", "a@example.com")], "new@example.com");
        check(new, &[], "new@example.com");
        check("\"List\" <new@example.com>", &[("", "a@x.example"), ("B", "b@x.example")], "\"List\" <new@example.com>");
        check("\"List\" <new@example.com>", &[("Ann", "a@example.com")], "\"Ann\" <new@example.com>");
    }
}
