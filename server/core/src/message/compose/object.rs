//! JSON objects read key by key: each error names the field, unknown keys are refused with a near miss.

use serde_json::{Map, Value};

/// What is wrong with a field of the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct FieldError {
    /// Its path, as `attachments[2].path`.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl FieldError {
    /// At this field.
    #[must_use]
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }
}

/// An object whose keys are taken one by one.
#[derive(Debug)]
pub struct Object {
    path: String,
    map: Map<String, Value>,
    asked: Vec<&'static str>,
}

impl Object {
    /// The object at `path` (empty at the top).
    ///
    /// # Errors
    /// It is no object.
    pub fn new(value: Value, path: &str) -> Result<Self, FieldError> {
        match value {
            Value::Object(map) => Ok(Self { path: path.to_owned(), map, asked: Vec::new() }),
            _ => Err(FieldError::new(path, "it must be an object")),
        }
    }

    /// The path of a key.
    #[must_use]
    pub fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value, unless it is missing, null or false: Nodemailer's users switch keys off by these.
    pub fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.map.remove(key).filter(|value| !matches!(value, Value::Null | Value::Bool(false)))
    }

    /// Is the key there, and false?
    #[must_use]
    pub fn is_false(&self, key: &str) -> bool {
        self.map.get(key) == Some(&Value::Bool(false))
    }

    /// A text, or a number as text.
    ///
    /// # Errors
    /// It is something else.
    pub fn text(&mut self, key: &'static str) -> Result<Option<String>, FieldError> {
        let path = self.path(key);
        self.take(key).map(|value| text(value, &path)).transpose()
    }

    /// A text for a header field.
    ///
    /// # Errors
    /// It is something else, or has control characters.
    pub fn line(&mut self, key: &'static str) -> Result<Option<String>, FieldError> {
        let path = self.path(key);
        self.take(key).map(|value| line(value, &path)).transpose()
    }

    /// Nothing else may be there.
    ///
    /// # Errors
    /// Names a key that nobody took, with the known one that it resembles.
    pub fn finish(self) -> Result<(), FieldError> {
        let Some(unknown) = self.map.keys().find(|key| !self.asked.contains(&key.as_str())) else { return Ok(()) };
        let distances = self.asked.iter().map(|known| (strsim::damerau_levenshtein(unknown, known), known));
        let near = distances.min().filter(|(distance, _)| *distance <= 3);
        let hint = near.map_or_else(String::new, |(_, known)| format!("; did you mean `{known}`?"));
        // The name is the client's: it is cut and shown without control characters.
        let shown: String = unknown.chars().filter(|c| !c.is_control()).take(64).collect();
        Err(FieldError::new(self.path(&shown), format!("there is no such field{hint}")))
    }
}

/// A text, or a number as text.
pub(super) fn text(value: Value, path: &str) -> Result<String, FieldError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(FieldError::new(path, "it must be a text")),
    }
}

/// A text that can stand in a header field.
pub(super) fn line(value: Value, path: &str) -> Result<String, FieldError> {
    let text = text(value, path)?;
    one_line(&text, path)?;
    Ok(text)
}

/// CR, LF and NUL could make another field of it (CWE-93); other control characters have no business there.
pub(super) fn one_line(text: &str, path: &str) -> Result<(), FieldError> {
    if text.bytes().any(|b| b != b'\t' && b.is_ascii_control()) {
        return Err(FieldError::new(path, "it must not contain line ends or other control characters"));
    }
    Ok(())
}

/// The items of a list; a single value is a list of one.
pub(super) fn items(value: Value, path: &str) -> Vec<(String, Value)> {
    match value {
        Value::Array(items) => {
            items.into_iter().enumerate().map(|(index, item)| (format!("{path}[{index}]"), item)).collect()
        }
        item => vec![(path.to_owned(), item)],
    }
}
