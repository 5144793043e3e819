//! The From field of a message that is sent as somebody else: the new address, under the name that the field had.

use postern_plugin_sdk::{Mailbox, mailbox};

/// The mailbox as an attribute keeps it.
pub(crate) fn note(mailbox: &Mailbox) -> String {
    format_mailbox(mailbox.name.as_deref().unwrap_or_default(), &mailbox.address)
}

/// The field's value. As in ZoneMTA, the name is that of the message's own From if it has exactly one mailbox.
pub(crate) fn value(note: &str, own: &[Mailbox]) -> String {
    let Some(new) = mailbox::parse(note).into_iter().next() else { return note.to_owned() };
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
    fn the_name_stays_and_the_address_changes() {
        let check = |note: &str, from: &str, expected: &str| {
            let value = value(note, &mailbox::parse(from));
            assert_eq!(value, expected);
            assert_eq!(mailbox::parse(&value).len(), 1);
        };
        check("new@example.com", "Ann <a@example.com>", "\"Ann\" <new@example.com>");
        check("new@example.com", "\"A \\\"x\\\" B\" <a@example.com>", "\"A \\\"x\\\" B\" <new@example.com>");
        check("new@example.com", "=?utf-8?Q?J=C3=B5e=2C_Ann?= <a@example.com>", "Jõe  Ann <new@example.com>");
        check("new@example.com", "a@example.com", "new@example.com");
        check("new@example.com", "", "new@example.com");
        check("\"List\" <new@example.com>", "a@example.com, b@example.com", "\"List\" <new@example.com>");
        check("\"List\" <new@example.com>", "Ann <a@example.com>", "\"Ann\" <new@example.com>");
    }
}
