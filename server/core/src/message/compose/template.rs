//! `{{name}}` in a message that goes to many: each recipient has values of its own.

use super::object::{FieldError, Object, text};
use serde_json::Value;

/// Longest name of a placeholder, in octets.
const MAX_NAME: usize = 64;

/// The values of one recipient. There may be many of them in memory: it takes little.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Substitutions(
    /// By name.
    Box<[(Box<str>, Box<str>)]>,
);

/// Octets after the opening braces within which the closing ones are looked for.
const MAX_INSIDE: usize = 2 * MAX_NAME;
/// Most octets that values may add to a text: a short request must not become a long message.
const MAX_ADDED: usize = 1 << 20;

/// Why placeholders can't be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A placeholder has no value.
    #[error("there is no value for {{{{{0}}}}}")]
    NoValue(String),
    /// The values are too long, or there are too many placeholders.
    #[error("the values would add more than 1 MiB")]
    TooLong,
}

impl Substitutions {
    /// An object of texts and numbers.
    ///
    /// # Errors
    /// It is something else.
    pub fn read(value: Value, path: &str) -> Result<Self, FieldError> {
        let Value::Object(map) = value else {
            return Err(FieldError::new(path, "it must be an object of texts"));
        };
        let one = |(name, value): (String, Value)| {
            let path = format!("{path}.{name}");
            Ok((name.into(), text(value, &path)?.into()))
        };
        let mut values = map.into_iter().map(one).collect::<Result<Box<[(Box<str>, Box<str>)]>, _>>()?;
        values.sort_unstable();
        Ok(Self(values))
    }

    /// As [`Substitutions::read`], of a key that may be missing.
    ///
    /// # Errors
    /// As [`Substitutions::read`].
    pub fn of(object: &mut Object, key: &'static str) -> Result<Self, FieldError> {
        let path = object.path(key);
        object.take(key).map_or_else(|| Ok(Self::default()), |value| Self::read(value, &path))
    }

    /// The values by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&name[..], &value[..]))
    }

    fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// Fills placeholders in. In HTML values are escaped, unless they stand in three braces: `{{{name}}}`.
    ///
    /// # Errors
    /// A placeholder has no value, or there is too much of them. What is between braces and no name (letters, digits, `_`, `-`, `.`) stays as it is.
    pub fn fill(&self, template: &str, is_html: bool) -> Result<String, TemplateError> {
        let mut out = String::with_capacity(template.len());
        let mut rest = template;
        while let Some(at) = rest.find("{{") {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let raw = from.starts_with("{{{");
            let (open, close) = if raw { ("{{{", "}}}") } else { ("{{", "}}") };
            let inside = &from[open.len()..];
            let end = inside[..inside.floor_char_boundary(MAX_INSIDE)].find(close);
            match end.map(|end| (inside[..end].trim(), &inside[end + close.len()..])) {
                Some((name, after)) if is_name(name) => {
                    let value = self.get(name).ok_or_else(|| TemplateError::NoValue(name.to_owned()))?;
                    if is_html && !raw {
                        escape(value, &mut out)
                    } else {
                        out.push_str(value)
                    }
                    rest = after;
                    if out.len() > template.len() + MAX_ADDED {
                        return Err(TemplateError::TooLong);
                    }
                }
                _ => {
                    out.push('{');
                    rest = &from[1..];
                }
            }
        }
        out.push_str(rest);
        Ok(out)
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
}
