//! Adds, replaces and removes header fields by config. The README says how.

mod template;

use postern_plugin_sdk::prelude::*;
use std::collections::BTreeMap;
use template::Template;

/// The `config` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    remove: Vec<String>,
    #[serde(default)]
    replace: BTreeMap<String, String>,
    #[serde(default)]
    add: Vec<Add>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    name: String,
    value: String,
    #[serde(default)]
    position: Place,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    Top,
    #[default]
    Bottom,
}

/// The plugin: the config with its templates read.
#[derive(Debug)]
pub struct HeaderRewrite {
    remove: Vec<String>,
    replace: Vec<(String, Template)>,
    /// Fields for the top come in reverse, so that each goes above the one that stands below it in the config.
    top: Vec<(String, Template)>,
    bottom: Vec<(String, Template)>,
}

impl Plugin for HeaderRewrite {
    type Config = Config;

    fn init(config: Config) -> Result<Self, Error> {
        let mut remove = Vec::new();
        for (index, name) in config.remove.iter().enumerate() {
            remove.push(header_name(name).map_err(|e| e.context(format!("remove[{index}]")))?);
        }
        let mut replace: Vec<(String, Template)> = Vec::new();
        for (name, value) in &config.replace {
            let entry = format!("replace.{name}");
            let name = header_name(name).map_err(|e| e.context(&entry))?;
            if replace.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
                return Err(Error::new(format!("{entry}: it is there twice; names compare without case")));
            }
            replace.push((name, Template::parse(value).map_err(|e| e.context(&entry))?));
        }
        let (mut top, mut bottom) = (Vec::new(), Vec::new());
        for (index, add) in config.add.iter().enumerate() {
            let name = header_name(&add.name).map_err(|e| e.context(format!("add[{index}].name")))?;
            let value = Template::parse(&add.value).map_err(|e| e.context(format!("add[{index}].value")))?;
            let place = if add.position == Place::Top { &mut top } else { &mut bottom };
            place.push((name, value));
        }
        top.reverse();
        Ok(Self { remove, replace, top, bottom })
    }
}

impl Rewrite for HeaderRewrite {
    fn rewrite(&mut self, session: &Session, envelope: &Envelope, message: &Message) -> Result<(), Error> {
        // All values are taken before the first edit, so that a field can be renamed: add it anew, remove the old one.
        let render = |fields: &[(String, Template)]| -> Vec<Option<String>> {
            fields.iter().map(|(_, value)| value.render(session, envelope, message)).collect()
        };
        let (replace, top, bottom) = (render(&self.replace), render(&self.top), render(&self.bottom));

        for name in &self.remove {
            message.remove_header(name).map_err(|e| failed("remove", name, e))?;
        }
        for ((name, _), value) in self.replace.iter().zip(replace) {
            match value {
                Some(value) => message.set_header(name, &value).map_err(|e| failed("replace", name, e))?,
                // Leaving it would let the client write what only we may say.
                None => drop(message.remove_header(name).map_err(|e| failed("replace", name, e))?),
            }
        }
        for ((name, _), value) in self.top.iter().zip(top) {
            if let Some(value) = value {
                message.prepend_header(name, &value).map_err(|e| failed("add", name, e))?;
            }
        }
        for ((name, _), value) in self.bottom.iter().zip(bottom) {
            if let Some(value) = value {
                message.append_header(name, &value).map_err(|e| failed("add", name, e))?;
            }
        }
        Ok(())
    }
}

fn failed(verb: &str, name: &str, error: HostError) -> Error {
    Error::from(error).context(format!("{verb} {name}"))
}

/// RFC 5322 section 2.2: `ftext`.
fn header_name(name: &str) -> Result<String, Error> {
    if !name.is_empty() && name.bytes().all(|b| (33..=126).contains(&b) && b != b':') {
        return Ok(name.to_owned());
    }
    Err(Error::new(format!("{name:?} is not a header field name: printable ASCII without colon or space")))
}

export_plugin!(HeaderRewrite: Rewrite);

#[cfg(test)]
mod tests;
