//! Calls the methods that its config lists, one after the other, and leaves each result as attribute `r0`, `r1`, …
//!
//! A step is a list of texts: the method's name and its arguments; `-` is no value.

use postern_plugin_sdk::prelude::*;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    steps: Vec<Vec<String>>,
}

struct Exercise(Vec<Vec<String>>);

impl Plugin for Exercise {
    type Config = Config;

    fn init(config: Config) -> Result<Self, Error> {
        Ok(Self(config.steps))
    }
}

impl Rewrite for Exercise {
    fn rewrite(&mut self, session: &Session, envelope: &Envelope, message: &Message) -> Result<(), Error> {
        for (index, step) in self.0.iter().enumerate() {
            let step: Vec<&str> = step.iter().map(String::as_str).collect();
            let result = of_session(&step, session)
                .or_else(|| of_envelope(&step, envelope))
                .or_else(|| of_message(&step, message))
                .ok_or_else(|| Error::new(format!("no such step: {step:?}")))?;
            envelope.set_attribute(&format!("r{index}"), Some(&result))?;
        }
        Ok(())
    }
}

fn option(text: &str) -> Option<&str> {
    (text != "-").then_some(text)
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or(u32::MAX)
}

fn edit<T: std::fmt::Debug>(result: Result<T, HostError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => error.word().to_owned(),
    }
}

fn of_session(step: &[&str], session: &Session) -> Option<String> {
    Some(match step {
        ["session"] => format!(
            "{} {} {} {} {:?} {} {} {:?}",
            session.id(),
            session.listener(),
            session.peer_address(),
            session.peer_port(),
            session.peer_name(),
            session.helo(),
            session.protocol(),
            session.user()
        ),
        ["config", pointer] => format!("{:?}", config::get::<Vec<String>>(pointer).map_err(|e| e.to_string())),
        _ => return None,
    })
}

fn of_envelope(step: &[&str], envelope: &Envelope) -> Option<String> {
    Some(match step {
        ["reverse-path"] => envelope.reverse_path(),
        ["set-reverse-path", path] => edit(envelope.set_reverse_path(path)),
        ["recipients"] => envelope.recipients().collect::<Vec<_>>().join(","),
        ["recipient-count"] => envelope.recipient_count().to_string(),
        ["add-recipient", address] => edit(envelope.add_recipient(address)),
        ["add-recipients", count] => {
            edit((0..number(count)).try_for_each(|n| envelope.add_recipient(&format!("r{n}@example.org"))))
        }
        ["remove-recipient", index] => edit(envelope.remove_recipient(number(index))),
        ["replace-recipient", index, address] => edit(envelope.replace_recipient(number(index), address)),
        ["zone"] => format!("{:?}", envelope.zone()),
        ["set-zone", name] => edit(envelope.set_zone(option(name))),
        ["delay"] => format!("{:?}", envelope.delay()),
        ["set-delay", ms] => edit(envelope.set_delay(option(ms).map(|ms| Duration::from_millis(number(ms).into())))),
        ["attribute", name] => format!("{:?}", envelope.attribute(name)),
        ["attribute-names"] => envelope.attribute_names().join(","),
        ["set-attribute", name, value] => edit(envelope.set_attribute(name, option(value))),
        _ => return None,
    })
}

fn of_message(step: &[&str], message: &Message) -> Option<String> {
    Some(match step {
        ["id"] => message.id(),
        ["size"] => message.size().to_string(),
        ["header", name] => format!("{:?}", message.header(name)),
        ["header-all", name] => message.headers(name).collect::<Vec<_>>().join("|"),
        ["header-count"] => message.header_count().to_string(),
        ["header-at", index] => format!("{:?}", message.header_at(number(index))),
        ["raw-headers"] => message
            .raw_headers()
            .into_iter()
            .map(|(name, value)| format!("{name}:{:?}", String::from_utf8_lossy(&value)))
            .collect::<Vec<_>>()
            .join("|"),
        ["add-top", name, value] => edit(message.prepend_header(name, value)),
        ["add-bottom", name, value] => edit(message.append_header(name, value)),
        ["set-header", name, value] => edit(message.set_header(name, value)),
        ["set-long-header", name, length] => edit(message.set_header(name, &"x".repeat(number(length) as usize))),
        ["remove-header", name] => edit(message.remove_header(name)),
        ["body-size"] => message.body_size().to_string(),
        ["read-body", offset, max] => match message.read_body(number(offset).into(), number(max)) {
            Ok(bytes) if bytes.len() > 100 => format!("{} octets", bytes.len()),
            Ok(bytes) => format!("{:?}", String::from_utf8_lossy(&bytes)),
            Err(error) => error.word().to_owned(),
        },
        ["for-body"] => {
            let mut length = 0;
            let read = message.for_body(|piece| {
                length += piece.len();
                Ok(())
            });
            format!("{length} {read:?}")
        }
        _ => return None,
    })
}

export_plugin!(Exercise: Rewrite);
