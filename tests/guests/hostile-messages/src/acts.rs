//! The misbehaviours, by name. Each ends in the host's hands, or gives back what the host said.

use crate::Config;
use postern_plugin_sdk::prelude::*;
use std::hint::black_box;
use std::mem::forget;
use std::time::Duration;

/// What any hook can do; false if there is nothing of this name.
pub fn anywhere(act: &str, config: &Config) -> Result<bool> {
    match act {
        "panic" => panic!("as told"),
        "loop" => spin(),
        "memory" => hoard(),
        "recurse" => drop(black_box(recurse(1))),
        "error" => return Err(Error::new("as told\r\n250 forged \x1b[31m")),
        "error-large" => return Err(Error::new("large ".repeat(1 << 18))),
        "error-huge" => return Err(Error::new("huge ".repeat(1 << 20))),
        "http-slow" => loop {
            // It has its deadline from the host, and so has the next one.
            let _ = get(config, "/slow");
        },
        _ => return Ok(false),
    }
    Ok(true)
}

/// What a hook of a message can do.
pub fn with_message(act: &str, config: &Config, envelope: &Envelope, message: &Message) -> Result<bool> {
    match act {
        "leak" => forget(black_box(vec![1_u8; 1 << 20])),
        "header-flood" => loop {
            black_box(message.header("Subject"));
        },
        "headers-flood" => loop {
            black_box(message.raw_headers());
        },
        "body-flood" => loop {
            black_box(message.read_body(0, 1)?);
        },
        "log-flood" => loop {
            log::error("flood\r\n\x1b[31mred");
        },
        "metric-flood" => {
            (0..1000).for_each(|n| metrics::count(&format!("flood.{n}"), 1));
            spin();
        }
        "random-flood" => loop {
            black_box(random::bytes(u32::MAX));
        },
        "kv-flood" => (0_u64..).for_each(|n| {
            let _ = kv::set(&n.to_string(), [b'x'; 1000], None);
        }),
        "kv-counters" => (0_u64..).for_each(|n| {
            let _ = kv::increment(&n.to_string(), 1, None);
        }),
        "dns-silent" => loop {
            let _ = dns::lookup(&format!("{}.example", random::number()), "A");
        },
        "recipients" => (0_u64..).try_for_each(|n| envelope.add_recipient(&format!("a{n}@flood.example")))?,
        "attributes" => (0_u64..).try_for_each(|n| envelope.set_attribute(&format!("a{n}"), Some("x")))?,
        "headers" => (0_u64..).try_for_each(|_| message.append_header("X-More", &"more ".repeat(1000)))?,
        "edits-ignored" => loop {
            let _ = message.append_header("X-More", "more");
        },
        "huge-value" => message.set_header("Subject", &"x".repeat(5 << 20))?,
        "huge-name" => drop(message.header(&"x".repeat(5 << 20))),
        "zone-unknown" => envelope.set_zone(Some("nowhere"))?,
        "parts-hoarded" => loop {
            forget(message.parts()?);
        },
        "parts-flood" => loop {
            for part in message.parts()? {
                black_box(part.read(0, 1)?);
            }
        },
        "write-endless" => {
            let parts = message.parts()?;
            loop {
                // What is refused is tried again.
                let _ = parts[0].write(&[b'x'; 1 << 16]);
            }
        }
        "http-drip" => drop(get(config, "/drip")?.body()?),
        "http-endless" => drop(get(config, "/endless")?.body()?),
        "http-header" => drop(get(config, "/header")?),
        "http-cut" => drop(get(config, "/cut")?.body()?),
        "http-redirect" => drop(get(config, &format!("/redirect?{}/echo", config.other))?),
        "http-circle" => drop(get(config, "/redirect?/redirect%3F/redirect%253F/redirect")?),
        "http-away" => drop(http::Request::get(&format!("{}/echo", config.other)).send()?),
        "http-held" => loop {
            forget(get(config, "/echo")?);
        },
        "http-body" => drop(http::Request::post(&config.peer).body(vec![b'x'; (4 << 20) + 1]).send()?),
        "http-forged" => drop(http::Request::get(&config.peer).header("X-A", "a\r\nHost: b").send()?),
        _ => return anywhere(act, config),
    }
    Ok(true)
}

/// What the host refuses with a word while the call goes on.
pub fn refused(act: &str, envelope: &Envelope, message: &Message) -> Result<bool> {
    match act {
        "forged-values" => {
            for value in ["a\r\nX-Forged: yes", "a\nb", "a\rb", "a\0b", "\r\n\r\nbody"] {
                expect("bad-value", message.set_header("Subject", value))?;
                expect("bad-value", message.prepend_header("X-A", value))?;
                expect("bad-value", message.append_header("X-A", value))?;
                expect("bad-value", envelope.set_attribute("a", Some(value)))?;
            }
        }
        "forged-names" => {
            for name in ["", "X A", "X:A", "X-A\r\nX-Forged", "X\0", "\u{e4}"] {
                expect("bad-name", message.append_header(name, "a"))?;
                expect("bad-name", message.set_header(name, "a"))?;
                expect("bad-name", message.remove_header(name))?;
                expect("bad-name", envelope.set_attribute(&format!("{name} "), Some("a")))?;
                expect("bad-name", envelope.set_zone(Some(&format!("{name} "))))?;
            }
        }
        "forged-addresses" => {
            for address in
                ["a@b.example> SIZE=1", "a@b.example\r\nRCPT TO:<c@d.example", "a b@c", "@", "a@", "a\0@b.example"]
            {
                expect("bad-address", envelope.set_reverse_path(address))?;
                expect("bad-address", envelope.add_recipient(address))?;
                expect("bad-address", envelope.replace_recipient(0, address))?;
            }
        }
        "no-recipient" => {
            expect("last-recipient", (0..10).try_for_each(|_| envelope.remove_recipient(0)))?;
            expect("not-found", envelope.remove_recipient(u32::MAX))?;
        }
        "delay" => {
            expect("too-large", envelope.set_delay(Some(Duration::from_secs(10 * 365 * 86_400))))?;
            expect("too-large", envelope.set_delay(Some(Duration::MAX)))?;
        }
        "attribute-large" => expect("too-large", envelope.set_attribute("a", Some(&"x".repeat(5000))))?,
        "kv-large" => {
            expect("too-large", kv::set("a", vec![b'x'; 61 << 10], None))?;
            expect("bad-name", kv::set(&"k".repeat(513), "v", None))?;
            expect("bad-name", kv::set("", "v", None))?;
        }
        "dns-names" => {
            expect("bad-value", dns::lookup("a.example", "AXFR"))?;
            expect("bad-name", dns::lookup(&"a".repeat(64 << 10), "A"))?;
        }
        "urls" => {
            for url in ["file:///etc/passwd", "http://user:password@127.0.0.1/", "", "http://a b/"] {
                expect("bad-value", http::Request::get(url).send())?;
            }
            expect("bad-value", http::Request::new("G\r\nET", "http://127.0.0.1/").send())?;
            expect("denied", http::Request::get("http://169.254.169.254/latest").send())?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Counts a refusal; another answer fails the call.
pub fn expect<T>(word: &str, result: Result<T, HostError>) -> Result<()> {
    match result {
        Err(error) if error.word() == word => {
            metrics::count("refused", 1);
            Ok(())
        }
        Err(error) => Err(Error::new(format!("wanted {word}, not {error}"))),
        Ok(_) => Err(Error::new(format!("wanted {word}, and it was done"))),
    }
}

fn get(config: &Config, path: &str) -> Result<http::Response, HostError> {
    http::Request::get(&format!("{}{path}", config.peer)).send()
}

fn spin() {
    loop {
        black_box(0);
    }
}

fn hoard() {
    let mut all = Vec::new();
    loop {
        all.push(black_box(vec![1_u8; 1 << 20]));
    }
}

fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == 0 { 0 } else { recurse(depth + 1).wrapping_add(frame[7]) }
}
