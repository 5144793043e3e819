//! Header fields: those of the user's own, priority, lists, parameters.

use super::super::words;
use super::address::quoted;
use super::object::{FieldError, Object, items, line};
use serde_json::Value;
use std::fmt::Write as _;

/// Fields that say what the content is: they are written here alone.
const STRUCTURE: [&str; 3] = ["content-type", "content-transfer-encoding", "mime-version"];
/// Those that a message's `headers` may not have.
pub(super) const OF_MESSAGE: &[&str] = &["content-disposition", "content-id", "received", "return-path"];
/// Those that a part's `headers` may not have.
pub(super) const OF_PART: &[&str] = &["content-disposition", "content-id"];

/// A field of the user's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Custom {
    pub(super) name: String,
    pub(super) value: String,
    /// As it is to be written: no encoded words are made of it.
    pub(super) prepared: bool,
}

impl Custom {
    /// The value as it is written.
    pub(super) fn written(&self) -> String {
        if self.prepared { self.value.clone() } else { words::encode_words(&self.value) }
    }
}

/// `headers`: an object or a list of `{key, value}`; a value is a text, `{prepared, value}` or a list of these.
pub(super) fn custom(value: Value, path: &str, but: &[&str]) -> Result<Vec<Custom>, FieldError> {
    let mut fields = Vec::new();
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = format!("{path}.{}", shown(&key));
                add(&key, value, &path, but, &mut fields)?;
            }
        }
        value @ Value::Array(_) => {
            for (path, item) in items(value, path) {
                let mut object = Object::new(item, &path)?;
                let key = object.text("key")?.ok_or_else(|| FieldError::new(object.path("key"), "it is missing"))?;
                let (value_path, value) = (object.path("value"), object.take("value"));
                object.finish()?;
                add(&key, value.unwrap_or(Value::Null), &value_path, but, &mut fields)?;
            }
        }
        _ => return Err(FieldError::new(path, "it must be an object or a list")),
    }
    Ok(fields)
}

fn add(key: &str, value: Value, path: &str, but: &[&str], fields: &mut Vec<Custom>) -> Result<(), FieldError> {
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
        return Err(FieldError::new(path, "the name of a header field is printable ASCII without colon and space"));
    }
    let lower = key.to_ascii_lowercase();
    if STRUCTURE.contains(&lower.as_str()) || but.contains(&lower.as_str()) {
        return Err(FieldError::new(path, "this field is written by the server"));
    }
    for (path, item) in items(value, path) {
        match item {
            Value::Null | Value::Bool(false) => {}
            Value::Object(_) => {
                let mut object = Object::new(item, &path)?;
                let prepared = object.take("prepared").is_some();
                let (path, value) = (object.path("value"), object.line("value")?.unwrap_or_default());
                object.take("foldLines");
                object.finish()?;
                if prepared && !value.is_ascii() {
                    return Err(FieldError::new(path, "a prepared value must be ASCII"));
                }
                fields.push(Custom { name: key.to_owned(), value, prepared });
            }
            item => fields.push(Custom { name: key.to_owned(), value: line(item, &path)?, prepared: false }),
        }
    }
    Ok(())
}

fn shown(key: &str) -> String {
    key.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// `priority`: the three fields that clients know.
pub(super) fn priority(text: &str, path: &str) -> Result<&'static [(&'static str, &'static str)], FieldError> {
    match text.to_ascii_lowercase().as_str() {
        "high" => Ok(&[("X-Priority", "1 (Highest)"), ("X-MSMail-Priority", "High"), ("Importance", "High")]),
        "low" => Ok(&[("X-Priority", "5 (Lowest)"), ("X-MSMail-Priority", "Low"), ("Importance", "Low")]),
        "normal" => Ok(&[]),
        _ => Err(FieldError::new(path, "it must be high, normal or low")),
    }
}

/// `list`: List-* fields (RFC 2369, RFC 2919). A list gives several fields, a list within it one field of several URLs.
pub(super) fn list(value: Value, path: &str) -> Result<Vec<(String, String)>, FieldError> {
    let Value::Object(map) = value else { return Err(FieldError::new(path, "it must be an object")) };
    let mut fields = Vec::new();
    for (key, value) in map {
        let path = format!("{path}.{}", shown(&key));
        let key = key.trim().to_ascii_lowercase();
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(FieldError::new(path, "it must be a word such as unsubscribe"));
        }
        for (path, item) in items(value, &path) {
            let urls: Result<Vec<String>, _> =
                items(item, &path).into_iter().map(|(path, url)| list_url(&key, url, &path)).collect();
            fields.push((format!("List-{}", capitalised(&key)), urls?.join(", ")));
        }
    }
    Ok(fields)
}

fn capitalised(key: &str) -> String {
    if key == "id" {
        return "ID".to_owned();
    }
    let word = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    key.split('-').filter(|part| !part.is_empty()).map(word).collect::<Vec<_>>().join("-")
}

fn list_url(key: &str, value: Value, path: &str) -> Result<String, FieldError> {
    let (url, comment) = if value.is_object() {
        let mut object = Object::new(value, path)?;
        let (url, comment) = (object.line("url")?, object.line("comment")?);
        let url = url.ok_or_else(|| FieldError::new(object.path("url"), "it is missing"))?;
        object.finish()?;
        (url, comment.unwrap_or_default())
    } else {
        (line(value, path)?, String::new())
    };
    let url = url.replace([' ', '\t', '<', '>'], "");
    if !url.is_ascii() {
        return Err(FieldError::new(path, "an URL must be ASCII"));
    }
    if key == "id" {
        let id = url.split_once("://").map_or(&url[..], |(_, rest)| rest);
        return Ok(match &comment[..] {
            "" => format!("<{id}>"),
            comment if comment.is_ascii() => format!("{} <{id}>", quoted(comment)),
            comment => format!("{} <{id}>", words::encoded(comment)),
        });
    }
    if key == "unsubscribe-post" {
        return Ok(url);
    }
    let has_scheme = url
        .split_once(':')
        .is_some_and(|(scheme, _)| matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https" | "mailto" | "ftp"));
    let url = match (has_scheme, url.contains('@')) {
        (true, _) => url,
        (false, true) => format!("mailto:{url}"),
        (false, false) => format!("http://{url}"),
    };
    if comment.is_empty() {
        return Ok(format!("<{url}>"));
    }
    let comment = if comment.is_ascii() {
        comment.replace('\\', "\\\\").replace('(', "\\(").replace(')', "\\)")
    } else {
        words::encoded(&comment)
    };
    Ok(format!("<{url}> ({comment})"))
}

/// `<a@b> <c@d>`: message ids, in angle brackets whether they had them or not.
pub(super) fn message_ids(value: Value, path: &str) -> Result<Option<String>, FieldError> {
    let mut ids = Vec::new();
    for (path, item) in items(value, path) {
        let text = line(item, &path)?;
        for id in text.split([' ', '\t', ',']).map(|id| id.trim_matches(['<', '>'])).filter(|id| !id.is_empty()) {
            let ok = id.len() <= 900 && id.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"\\".contains(&b));
            if !ok {
                return Err(FieldError::new(path, "it must be message ids in printable ASCII, such as <a@b.example>"));
            }
            ids.push(format!("<{id}>"));
        }
    }
    Ok((!ids.is_empty()).then(|| ids.join(" ")))
}

/// Appends `; name=value`: as a token, a quoted string, or in RFC 2231's form.
pub(super) fn parameter(out: &mut String, name: &str, value: &str) {
    // Fewer than RFC 2045 has: some readers end a bare value at what RFC 2231 gives a meaning.
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$&+-.^_|~".contains(&b);
    if value.is_ascii() && value.len() <= 500 && !value.is_empty() && value.bytes().all(is_token) {
        let _ = write!(out, "; {name}={value}");
    } else if value.is_ascii() && value.len() <= 500 {
        let _ = write!(out, "; {name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    } else {
        let mut encoded = String::new();
        let mut pieces = Vec::new();
        for b in value.bytes() {
            if encoded.len() >= 54 {
                pieces.push(std::mem::take(&mut encoded));
            }
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                encoded.push(char::from(b));
            } else {
                let _ = write!(encoded, "%{b:02X}");
            }
        }
        pieces.push(encoded);
        if let [one] = &pieces[..] {
            let _ = write!(out, "; {name}*=utf-8''{one}");
            return;
        }
        for (index, piece) in pieces.iter().enumerate() {
            let charset = if index == 0 { "utf-8''" } else { "" };
            let _ = write!(out, "; {name}*{index}*={charset}{piece}");
        }
    }
}
