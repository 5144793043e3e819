//! Every capability, driven by the message: each of its X-Do fields is a command, whose result is added as X-Done, in
//! the same order.

use postern_plugin_sdk::prelude::*;
use postern_plugin_sdk::{clock, config, dns, http, kv, metrics, random, secrets};
use std::time::Duration;

struct Capabilities;

impl Plugin for Capabilities {
    type Config = serde_json::Value;

    fn init(_: Self::Config) -> Result<Self> {
        Ok(Self)
    }
}

impl Rewrite for Capabilities {
    fn rewrite(&mut self, _: &Session, _: &Envelope, message: &Message) -> Result<()> {
        let commands: Vec<String> = message.headers("X-Do").collect();
        for command in commands {
            let words: Vec<&str> = command.split(' ').collect();
            let done = run(message, &words).unwrap_or_else(|error| format!("error {error}"));
            message.append_header("X-Done", &done)?;
        }
        Ok(())
    }
}

fn run(message: &Message, words: &[&str]) -> Result<String> {
    let ttl = |text: &str| text.parse().ok().map(Duration::from_millis);
    Ok(match words {
        ["get", url] => answer(http::Request::get(url))?,
        ["get", url, header] => {
            let response = http::Request::get(url).send()?;
            format!("{} {}", response.status(), response.header(header).unwrap_or_default())
        }
        ["get-in", url, milliseconds] => {
            answer(http::Request::get(url).timeout(Duration::from_millis(milliseconds.parse()?)))?
        }
        ["post-message", url] => answer(http::Request::post(url).body_message(message))?,
        ["post-part", url, at] => {
            let parts = message.parts()?;
            let part = parts.get(at.parse::<usize>()?).ok_or_else(|| Error::new("no such part"))?;
            answer(http::Request::post(url).body_part(part))?
        }
        ["post", url, text] => answer(http::Request::post(url).header("X-From", "a plugin").body(text))?,
        ["kv-set", key, value] => kv::set(key, value, None).map(|()| "set".to_owned())?,
        ["kv-set", key, value, after] => kv::set(key, value, ttl(after)).map(|()| "set".to_owned())?,
        ["kv-set-large", key, octets] => kv::set(key, vec![b'x'; octets.parse()?], None).map(|()| "set".to_owned())?,
        ["kv-set-new", key, value] => kv::set_new(key, value, None)?.to_string(),
        ["kv-get", key] => match kv::get(key)? {
            Some(value) => String::from_utf8_lossy(&value).into_owned(),
            None => "none".to_owned(),
        },
        ["kv-delete", key] => kv::delete(key).map(|()| "deleted".to_owned())?,
        ["kv-count", key, by] => kv::increment(key, by.parse()?, None)?.to_string(),
        ["kv-counter", key] => kv::counter(key)?.to_string(),
        ["kv-keys", prefix] => kv::keys(prefix).collect::<Result<Vec<_>, _>>()?.join(","),
        ["dns", name, kind] => dns::lookup(name, kind)?.join(" | "),
        ["secret", name] => secrets::get(name).unwrap_or_else(|| "none".to_owned()),
        ["config", pointer] => {
            config::get::<serde_json::Value>(pointer)?.map_or("none".into(), |value| value.to_string())
        }
        ["random"] => format!("{} {}", random::bytes(16).len(), random::number() != random::number()),
        ["clock"] => format!("{} {}", clock::now().as_secs() > 1_700_000_000, clock::monotonic() <= clock::monotonic()),
        ["metric", name, by] => {
            metrics::count(name, by.parse()?);
            "counted".to_owned()
        }
        other => return Err(Error::new(format!("no such command: {other:?}"))),
    })
}

fn answer(request: http::Request) -> Result<String> {
    let response = request.send()?;
    let status = response.status();
    let text = response.text()?;
    let shown: String = text.chars().take(100).map(|c| if c.is_control() { ' ' } else { c }).collect();
    Ok(format!("{status} {} {shown}", text.len()))
}

export_plugin!(Capabilities: Rewrite);
