//! Addresses as Nodemailer takes them: texts (`Name <a@b>, c@d`), objects, lists and groups.

use super::super::{mailbox, words};
use super::object::{FieldError, Object, items, line, one_line};
use crate::mail::Address;
use serde_json::Value;

/// Groups within lists within lists: more is nobody's wish.
const MAX_DEPTH: usize = 8;

/// A mailbox of a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Display name; empty if there is none.
    pub name: String,
    /// Its address, the domain in ASCII.
    pub address: Address,
}

/// An item of a list of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// One mailbox.
    Person(Person),
    /// `name: a@b, c@d;`
    Group(String, Vec<Person>),
}

/// The addresses of a value.
///
/// # Errors
/// Names the field that has no address where one is expected.
pub fn read(value: Value, path: &str) -> Result<Vec<Entry>, FieldError> {
    let mut entries = Vec::new();
    collect(value, path, 0, &mut entries)?;
    Ok(entries)
}

fn collect(value: Value, path: &str, depth: usize, entries: &mut Vec<Entry>) -> Result<(), FieldError> {
    if depth > MAX_DEPTH {
        return Err(FieldError::new(path, "lists are nested too deep"));
    }
    match value {
        Value::Null | Value::Bool(false) => Ok(()),
        Value::String(text) => of_text(&text, path, entries),
        Value::Array(_) => {
            for (path, item) in items(value, path) {
                collect(item, &path, depth + 1, entries)?;
            }
            Ok(())
        }
        Value::Object(_) => {
            let mut object = Object::new(value, path)?;
            let name = object.line("name")?.unwrap_or_default();
            let (address_path, group_path) = (object.path("address"), object.path("group"));
            let (address, group) = (object.take("address"), object.take("group"));
            object.finish()?;
            match (address, group) {
                (Some(address), None) => {
                    let address = parse(&line(address, &address_path)?, &address_path)?;
                    entries.push(Entry::Person(Person { name, address }));
                }
                (None, Some(group)) => {
                    let mut members = Vec::new();
                    collect(group, &group_path, depth + 1, &mut members)?;
                    entries.push(Entry::Group(name, persons(&members).cloned().collect()));
                }
                _ => return Err(FieldError::new(path, "it must have either an address or a group")),
            }
            Ok(())
        }
        _ => Err(FieldError::new(path, "it must be a text, an object with name and address, or a list of these")),
    }
}

/// All mailboxes, those of groups too.
pub(super) fn persons(entries: &[Entry]) -> impl Iterator<Item = &Person> {
    entries.iter().flat_map(|entry| match entry {
        Entry::Person(person) => std::slice::from_ref(person),
        Entry::Group(_, members) => members,
    })
}

/// An address by itself, its domain in ASCII (as it is looked up).
pub(super) fn parse(text: &str, path: &str) -> Result<Address, FieldError> {
    let wrong = |why: String| FieldError::new(path, format!("`{}` is not an address: {why}", shown(text)));
    no_separator(text, path)?;
    let address = Address::parse(text.trim()).map_err(|error| wrong(error.to_string()))?;
    if address.domain().is_ascii() {
        return Ok(address);
    }
    let domain = idna::domain_to_ascii(address.domain()).map_err(|_| wrong("its domain is not valid".to_owned()))?;
    Address::parse(&format!("{}@{domain}", address.local())).map_err(|error| wrong(error.to_string()))
}

/// Unicode's separators of lines and paragraphs end a line for some readers: two of them would see other addresses.
fn no_separator(text: &str, path: &str) -> Result<(), FieldError> {
    if text.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
        return Err(FieldError::new(path, "it has a line separator (U+0085, U+2028 or U+2029)"));
    }
    Ok(())
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// `Name <a@b>, Team: c@d, e@f;`
fn of_text(text: &str, path: &str, entries: &mut Vec<Entry>) -> Result<(), FieldError> {
    one_line(text, path)?;
    no_separator(text, path)?;
    let mut group: Option<(String, Vec<Person>)> = None;
    for (item, end) in split(text) {
        let mut item = item.trim();
        if group.is_none()
            && let Some((name, rest)) = group_start(item)
        {
            group = Some((name, Vec::new()));
            item = rest.trim();
        }
        if !item.is_empty() {
            let person = person(item, path)?;
            match &mut group {
                Some((_, members)) => members.push(person),
                None => entries.push(Entry::Person(person)),
            }
        }
        if end == ';'
            && let Some((name, members)) = group.take()
        {
            entries.push(Entry::Group(name, members));
        }
    }
    entries.extend(group.map(|(name, members)| Entry::Group(name, members)));
    Ok(())
}

fn person(item: &str, path: &str) -> Result<Person, FieldError> {
    let mut found = Vec::new();
    mailbox::parse_into(item, &mut found);
    let [one] = &found[..] else {
        return Err(FieldError::new(path, format!("`{}` is not an address", shown(item))));
    };
    let name = one.name.clone().unwrap_or_default();
    if has_other_address(item, &one.address) {
        let why = format!("`{}` could be read as two addresses: put the name in quotes", shown(item));
        return Err(FieldError::new(path, why));
    }
    Ok(Person { name, address: parse(&one.address, path)? })
}

/// Is there, outside quotes and comments, an `@` before the angle brackets that is not of the address in them? Some readers
/// take what stands there for the address.
fn has_other_address(item: &str, address: &str) -> bool {
    let (mut quoted, mut comment, mut escaped, mut at) = (false, 0_u32, false, false);
    for (index, c) in item.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted || comment > 0 => escaped = true,
            '"' if comment == 0 => quoted = !quoted,
            _ if quoted => {}
            '(' => comment += 1,
            ')' => comment = comment.saturating_sub(1),
            _ if comment > 0 => {}
            '@' => at = true,
            '<' => {
                let before = item[..index].trim().trim_start_matches('<');
                return item[index + 1..].contains('<') || (at && !before.eq_ignore_ascii_case(address));
            }
            _ => {}
        }
    }
    false
}

/// The items between commas and semicolons outside quotes, angle brackets and comments, each with what ends it.
fn split(text: &str) -> Vec<(&str, char)> {
    let (mut items, mut start) = (Vec::new(), 0);
    let (mut quoted, mut angle, mut comment, mut escaped) = (false, false, 0_u32, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted || comment > 0 => escaped = true,
            '"' if comment == 0 => quoted = !quoted,
            _ if quoted => {}
            '(' => comment += 1,
            ')' => comment = comment.saturating_sub(1),
            '<' if comment == 0 => angle = true,
            '>' if comment == 0 => angle = false,
            ',' | ';' if comment == 0 && !angle => {
                items.push((&text[start..at], c));
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push((&text[start..], ','));
    items
}

/// The name of a group and what follows it: a colon outside quotes, before anything that makes an address.
fn group_start(item: &str) -> Option<(String, &str)> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in item.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '@' | '<' | '[' => return None,
            ':' => {
                let name = item[..at].trim().trim_matches('"').replace("\\\"", "\"");
                return Some((words::decode_words(name), &item[at + 1..]));
            }
            _ => {}
        }
    }
    None
}

/// The value of an address field.
pub(super) fn write(entries: &[Entry]) -> String {
    let one = |entry: &Entry| match entry {
        Entry::Person(person) => mailbox_text(person),
        Entry::Group(name, members) => {
            let members: Vec<String> = members.iter().map(mailbox_text).collect();
            format!("{}:{};", phrase(name), members.join(", "))
        }
    };
    entries.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn mailbox_text(Person { name, address }: &Person) -> String {
    if name.is_empty() { address.to_string() } else { format!("{} <{address}>", phrase(name)) }
}

/// A display name as atoms, a quoted string or encoded words.
fn phrase(name: &str) -> String {
    let is_atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~ ".contains(c);
    if !name.is_ascii() || name.contains("=?") {
        words::encoded(name)
    } else if name.chars().all(is_atom) && name.trim() == name && !name.is_empty() {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// ASCII as a quoted string.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
