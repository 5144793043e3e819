//! Misbehaves in the way that its config names, on messages that have a header field `X-Trigger`. On others it adds
//! `X-Calls`, which counts the calls of the instance, so that tests see when an instance was replaced.
//!
//! `refuse-init`, `trap-init` and `loop-init` misbehave at once.

use postern_plugin_sdk::prelude::*;

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Do {
    Loop,
    Memory,
    Trap,
    Recurse,
    Error,
    EditThenTrap,
    EditThenLoop,
    EditThenError,
    EditWithoutEnd,
    ReadForever,
    WriteForever,
    FloodLog,
    FloodDebug,
    RefuseInit,
    TrapInit,
    LoopInit,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    r#do: Do,
}

struct Hostile {
    what: Do,
    calls: u32,
}

impl Plugin for Hostile {
    type Config = Config;

    fn init(config: Config) -> Result<Self, Error> {
        match config.r#do {
            Do::RefuseInit => return Err(Error::new("do: it says refuse-init\r\nso I refuse")),
            Do::TrapInit => panic!("as told, at init"),
            Do::LoopInit => spin(),
            _ => {}
        }
        Ok(Self { what: config.r#do, calls: 0 })
    }
}

impl Rewrite for Hostile {
    fn rewrite(&mut self, _: &Session, envelope: &Envelope, message: &Message) -> Result<(), Error> {
        self.calls += 1;
        if message.header("X-Trigger").is_none() {
            message.append_header("X-Calls", &self.calls.to_string())?;
            return Ok(());
        }
        match self.what {
            Do::Loop => spin(),
            Do::Memory => hoard(),
            Do::Trap => panic!("as told"),
            Do::Recurse => drop(std::hint::black_box(recurse(1))),
            Do::Error => return Err(Error::new("as told\r\n250 forged")),
            Do::EditThenTrap => {
                edit(envelope, message)?;
                panic!("as told, after edits");
            }
            Do::EditThenLoop => {
                edit(envelope, message)?;
                spin();
            }
            Do::EditThenError => {
                edit(envelope, message)?;
                return Err(Error::new("as told, after edits"));
            }
            Do::EditWithoutEnd => loop {
                if let Err(error) = message.append_header("X-More", "more and more") {
                    return Err(error.into());
                }
            },
            Do::ReadForever => loop {
                std::hint::black_box(message.read_body(0, 1)?);
            },
            Do::WriteForever => {
                let parts = message.parts()?;
                loop {
                    // What is refused is tried again.
                    let _ = parts[0].write(&[b'x'; 1 << 16]);
                }
            }
            Do::FloodLog => (0..1000).for_each(|_| log::info("flood\r\n\x1b[31mred")),
            Do::FloodDebug => {
                (0..1000).for_each(|_| log::debug("flood"));
                log::error("the one that matters");
            }
            Do::RefuseInit | Do::TrapInit | Do::LoopInit => {}
        }
        Ok(())
    }
}

fn edit(envelope: &Envelope, message: &Message) -> Result<(), Error> {
    message.set_header("Subject", "defaced")?;
    message.prepend_header("X-Trace", "left behind")?;
    envelope.set_reverse_path("defaced@example.org")?;
    envelope.add_recipient("added@example.org")?;
    envelope.set_zone(Some("defaced"))?;
    envelope.set_delay(Some(std::time::Duration::from_secs(1)))?;
    envelope.set_attribute("trace", Some("left behind"))?;
    Ok(())
}

fn spin() {
    loop {
        std::hint::black_box(0);
    }
}

fn hoard() {
    let mut all = Vec::new();
    loop {
        all.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    if depth == 0 { 0 } else { recurse(depth + 1).wrapping_add(frame[7]) }
}

export_plugin!(Hostile: Rewrite);
