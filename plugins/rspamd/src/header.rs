//! Header fields: those of the config, and those that Rspamd asks for.

use crate::config::Fields;
use crate::reply::{Checked, Milter};
use postern_plugin_sdk::prelude::*;
use serde_json::Value;

/// Takes the fields of the config out.
pub(crate) fn remove(fields: &Fields, message: &Message) -> Result<()> {
    for name in fields.names() {
        message.remove_header(name.as_str()).map_err(|e| failed(name.as_str(), e))?;
    }
    Ok(())
}

/// Adds the fields of the config.
pub(crate) fn add(fields: &Fields, checked: &Checked, message: &Message) -> Result<()> {
    let symbols = checked.symbols_by_weight();
    let is_spam = if checked.is_spam() { "Yes" } else { "No" };
    let status =
        format!("{is_spam}, score={:.2}, required={:.2}, tests={symbols}", checked.score, checked.required_score);
    for (name, value) in [
        (&fields.action, line(&checked.action)),
        (&fields.status, line(&status)),
        (&fields.score, format!("{:.2}", checked.score)),
        (&fields.symbols, line(&symbols)),
    ] {
        if let Some(name) = name {
            message.append_header(name.as_str(), &value).map_err(|e| failed(name.as_str(), e))?;
        }
    }
    Ok(())
}

/// Makes the edits that Rspamd asks for: it removes, then adds.
pub(crate) fn milter(edits: &Milter, message: &Message) -> Result<()> {
    for (name, which) in &edits.remove_headers {
        remove_one(name, which.as_i64().unwrap_or(0), message)?;
    }
    for (name, value) in &edits.add_headers {
        match value {
            Value::Array(values) => values.iter().try_for_each(|value| add_one(name, value, message))?,
            value => add_one(name, value, message)?,
        }
    }
    Ok(())
}

fn remove_one(name: &str, which: i64, message: &Message) -> Result<()> {
    // The host removes all fields of a name or none. One of several is left rather than all taken.
    if which != 0 && message.headers(name).count() > 1 {
        log::warn(&format!("Rspamd asks to remove only one of several fields {name}: none is removed"));
        return Ok(());
    }
    message.remove_header(name).map_err(|e| failed(name, e))?;
    Ok(())
}

fn add_one(name: &str, value: &Value, message: &Message) -> Result<()> {
    let (text, order) = match value {
        Value::Object(object) => (object.get("value"), object.get("order").and_then(Value::as_i64)),
        value => (Some(value), None),
    };
    let text = match text {
        Some(Value::String(text)) => line(text),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        _ => return Err(Error::new(format!("Rspamd's reply: add_headers.{name}: it has no text as its value"))),
    };
    // Positions count from the top; one below 0 counts from the bottom.
    let added = match order {
        Some(0..) => message.prepend_header(name, &text),
        _ => message.append_header(name, &text),
    };
    added.map_err(|e| failed(name, e))
}

/// A value as the host takes it: unfolded.
pub(crate) fn line(value: &str) -> String {
    let lines: Vec<&str> = value.split(char::is_control).map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

pub(crate) fn failed(name: &str, error: HostError) -> Error {
    Error::from(error).context(format!("header field {name}"))
}
