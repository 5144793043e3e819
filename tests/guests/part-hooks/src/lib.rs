//! Edits parts as its config says, and leaves the result of each step of section `S` as attribute `S.0`, `S.1`, …
//!
//! A step is a list of texts: the method's name and its arguments.

use postern_plugin_sdk::prelude::*;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// What is done to the part of a section; `*` is every part that is not named.
    parts: BTreeMap<String, Vec<Vec<String>>>,
    /// In the hook `rewrite`, and not in `rewrite-part`.
    #[serde(default)]
    in_rewrite: bool,
}

struct PartHooks(Config);

impl Plugin for PartHooks {
    type Config = Config;

    fn init(config: Config) -> Result<Self> {
        Ok(Self(config))
    }
}

impl PartHooks {
    fn steps(&self, part: &Part) -> Option<&Vec<Vec<String>>> {
        self.0.parts.get(&part.section()).or_else(|| self.0.parts.get("*"))
    }

    fn edit(&self, envelope: &Envelope, message: &Message, part: &Part) -> Result<()> {
        for (index, step) in self.steps(part).into_iter().flatten().enumerate() {
            let step: Vec<&str> = step.iter().map(String::as_str).collect();
            let name = format!("{}.{index}", part.section());
            envelope.set_attribute(&name, Some(&run(&step, message, part)?))?;
        }
        Ok(())
    }
}

impl Rewrite for PartHooks {
    fn rewrite(&mut self, _: &Session, envelope: &Envelope, message: &Message) -> Result<()> {
        if self.0.in_rewrite {
            for part in message.parts()? {
                self.edit(envelope, message, &part)?;
            }
        }
        Ok(())
    }
}

impl RewritePart for PartHooks {
    fn select(&mut self, _: &Session, _: &Envelope, _: &Message, part: &Part) -> Result<bool> {
        Ok(!self.0.in_rewrite && self.steps(part).is_some())
    }

    fn rewrite_part(&mut self, _: &Session, envelope: &Envelope, message: &Message, part: &Part) -> Result<()> {
        self.edit(envelope, message, part)
    }
}

fn run(step: &[&str], message: &Message, part: &Part) -> Result<String> {
    Ok(match step {
        ["write", text] => edit(part.write(text.as_bytes())),
        ["write-octets", count] => {
            let piece = [b'x'; 50_000];
            let mut left = count.parse::<usize>()?;
            while left > 0 {
                let now = left.min(piece.len());
                part.write(&piece[..now])?;
                left -= now;
            }
            "()".into()
        }
        ["write-times", count] => edit((0..count.parse::<u32>()?).try_for_each(|_| part.write(b"x"))),
        // Each octet in capitals, read and written piece by piece.
        ["upper"] => {
            let (mut reader, mut writer) = (part.reader(), part.writer());
            let mut piece = vec![0; 10_000];
            loop {
                let count = reader.read(&mut piece)?;
                if count == 0 {
                    break "()".into();
                }
                piece[..count].make_ascii_uppercase();
                writer.write_all(&piece[..count])?;
            }
        }
        ["set-text", text] => edit(part.set_text(text)),
        ["append", text] => edit(part.append(text.as_bytes())),
        ["append-text", text] => edit(part.append_text(text)),
        ["remove"] => edit(part.remove()),
        ["remove-all"] => edit(message.parts()?.iter().try_for_each(Part::remove)),
        ["set-header", name, value] => edit(part.set_header(name, value)),
        ["set-long-header", name, count] => edit(part.set_header(name, &"word ".repeat(count.parse()?))),
        ["remove-header", name] => edit(part.remove_header(name)),
        ["set-headers", count] => {
            edit((0..count.parse::<u32>()?).try_for_each(|n| part.set_header("X-N", &n.to_string())))
        }
        ["text"] => edit(part.text()),
        ["read", offset] => edit(part.read(offset.parse()?, 100).map(|bytes| bytes.len())),
        ["type"] => part.content_type(),
        ["parts"] => message.parts()?.iter().map(Part::section).collect::<Vec<_>>().join(","),
        ["message-header", name, value] => edit(message.set_header(name, value)),
        ["fail"] => return Err(Error::new("told to fail")),
        _ => return Err(Error::new(format!("no such step: {step:?}"))),
    })
}

fn edit<T: std::fmt::Debug>(result: Result<T, HostError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => error.word().to_owned(),
    }
}

export_plugin!(PartHooks: Rewrite, RewritePart);
