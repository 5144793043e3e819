//! Misbehaves in each hook as the reverse-path says: `HOOK.ACT@hostile.example`. In the hook `connect` the listener's
//! name says it: `connect-ACT`. Other mail passes, with `X-Seen` added.
//!
//! Before it misbehaves it edits what it can, so that tests see that none of it stays.

mod acts;

use acts::expect;
use postern_plugin_sdk::prelude::*;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Origin of a peer that it may reach.
    peer: String,
    /// Origin of one that it may not.
    other: String,
}

struct Hostile(Config);

/// The act of this hook, if the reverse-path names one.
fn act(path: &str, hook: &str) -> Option<String> {
    path.strip_suffix("@hostile.example")?.strip_prefix(hook)?.strip_prefix('.').map(str::to_owned)
}

/// An act that there is not must not look as if the host had dealt with it.
fn known(is_known: bool, act: &str) -> Result<()> {
    if is_known { Ok(()) } else { Err(Error::new(format!("no such act: {act}"))) }
}

fn deface(envelope: &Envelope, message: &Message) -> Result<()> {
    message.set_header("Subject", "defaced")?;
    message.prepend_header("X-Trace", "left behind")?;
    envelope.set_reverse_path("defaced@example.org")?;
    envelope.add_recipient("defaced@example.org")?;
    envelope.set_delay(Some(Duration::from_secs(3600)))?;
    envelope.set_attribute("trace", Some("left behind"))?;
    Ok(())
}

/// A reply or a text that is not allowed, by name.
fn text(act: &str) -> Option<String> {
    Some(match act {
        "crlf" => "no\r\n250 2.0.0 forged".into(),
        "nul" => "no\0".into(),
        "long" => "x".repeat(401),
        "ok" => "250 2.0.0 Everything is fine".into(),
        "temporary" => "451 4.7.1 later".into(),
        "permanent" => "550 5.7.1 no".into(),
        "odd-code" => "999 5.7.1 no".into(),
        "odd-class" => "550 4.7.1 no".into(),
        _ => return None,
    })
}

impl Plugin for Hostile {
    type Config = Config;

    fn init(config: Config) -> Result<Self> {
        // The first of its names, so that a flood of them does not keep it out.
        metrics::count("refused", 0);
        Ok(Self(config))
    }
}

impl Connect for Hostile {
    fn connect(&mut self, session: &Session) -> Result<Verdict> {
        let listener = session.listener();
        let Some(act) = listener.strip_prefix("connect-") else { return Ok(Verdict::Pass) };
        session.set_attribute("trace", Some("left behind"))?;
        if let Some(text) = text(act) {
            return Ok(Verdict::reject(text));
        }
        known(acts::anywhere(act, &self.0)?, act)?;
        Ok(Verdict::Pass)
    }
}

impl Mail for Hostile {
    fn mail(&mut self, _: &Session, envelope: &Envelope) -> Result<Verdict> {
        let Some(act) = act(&envelope.reverse_path(), "mail") else { return Ok(Verdict::Pass) };
        envelope.set_reverse_path("defaced@example.org")?;
        envelope.set_attribute("trace", Some("left behind"))?;
        if let Some(text) = text(&act) {
            return Ok(Verdict::reject(text));
        }
        known(acts::anywhere(&act, &self.0)?, &act)?;
        Ok(Verdict::Pass)
    }
}

impl Rcpt for Hostile {
    fn rcpt(&mut self, _: &Session, envelope: &Envelope, recipient: &Recipient) -> Result<Verdict> {
        let Some(act) = act(&envelope.reverse_path(), "rcpt") else { return Ok(Verdict::Pass) };
        recipient.set_address("defaced@example.org")?;
        envelope.set_attribute("trace", Some("left behind"))?;
        if let Some(text) = text(&act) {
            return Ok(Verdict::defer(text));
        }
        known(acts::anywhere(&act, &self.0)?, &act)?;
        Ok(Verdict::Pass)
    }
}

impl Spam for Hostile {
    fn check(&mut self, _: &Session, envelope: &Envelope, message: &Message) -> Result<SpamVerdict> {
        let Some(act) = act(&envelope.reverse_path(), "spam") else { return Ok(SpamVerdict::Accept) };
        deface(envelope, message)?;
        let (verdict, what) = act.split_once('-').unwrap_or_default();
        match (verdict, text(what)) {
            ("reject", Some(text)) => return Ok(SpamVerdict::reject(text)),
            ("defer", Some(text)) => return Ok(SpamVerdict::defer(text)),
            ("hold", Some(text)) => return Ok(SpamVerdict::hold(text)),
            ("discard", Some(text)) => return Ok(SpamVerdict::discard(text)),
            _ => known(acts::with_message(&act, &self.0, envelope, message)?, &act)?,
        }
        Ok(SpamVerdict::Accept)
    }
}

impl Rewrite for Hostile {
    fn rewrite(&mut self, _: &Session, envelope: &Envelope, message: &Message) -> Result<()> {
        let Some(act) = act(&envelope.reverse_path(), "rewrite") else {
            return Ok(message.append_header("X-Seen", "yes")?);
        };
        if !acts::refused(&act, envelope, message)? {
            if !["leak", "zone-unknown"].contains(&act.as_str()) {
                deface(envelope, message)?;
            }
            known(acts::with_message(&act, &self.0, envelope, message)?, &act)?;
        }
        Ok(message.append_header("X-Seen", "yes")?)
    }
}

impl RewritePart for Hostile {
    fn select(&mut self, _: &Session, envelope: &Envelope, _: &Message, _: &Part) -> Result<bool> {
        match act(&envelope.reverse_path(), "rewrite-part").as_deref() {
            Some("select-panic") => panic!("as told"),
            Some("select-loop") => acts::anywhere("loop", &self.0),
            other => Ok(other.is_some()),
        }
    }

    fn rewrite_part(&mut self, _: &Session, envelope: &Envelope, message: &Message, part: &Part) -> Result<()> {
        let Some(act) = act(&envelope.reverse_path(), "rewrite-part") else { return Ok(()) };
        match act.as_str() {
            "headers" => {
                expect("bad-value", part.set_header("X-A", "a\r\nX-Forged: yes"))?;
                expect("bad-name", part.set_header("X A", "a"))?;
                return expect("bad-name", part.set_header("Content-Transfer-Encoding", "8bit"));
            }
            "write-removed" => {
                part.remove()?;
                return Ok(part.set_text("again")?);
            }
            _ => {}
        }
        part.set_text("defaced")?;
        deface(envelope, message)?;
        known(acts::with_message(&act, &self.0, envelope, message)?, &act)
    }
}

impl Route for Hostile {
    fn route(&mut self, _: &Session, envelope: &Envelope, _: &Message, routing: &Routing) -> Result<()> {
        let Some(act) = act(&envelope.reverse_path(), "route") else { return Ok(()) };
        let Some(to) = routing.destination(0) else { return Err(Error::new("no recipient")) };
        match act.as_str() {
            "hops" => {
                for hop in ["", "::::", "a b", "a:99999", "a.example:25\r\nX", "[127.0.0.1", "a@b.example", "\0"] {
                    expect("bad-address", to.set_next_hop(hop))?;
                }
                return expect("not-found", to.set_zone("nowhere"));
            }
            "holds" => {
                expect("bad-value", to.hold("a\r\nb"))?;
                expect("bad-value", to.hold(&"x".repeat(401)))?;
                expect("not-found", to.set_pool("nowhere"))?;
                return expect("too-large", to.set_delay(Duration::from_secs(10 * 365 * 86_400)));
            }
            "edits" => {
                expect("not-now", envelope.add_recipient("defaced@example.org"))?;
                return expect("not-now", envelope.set_reverse_path("defaced@example.org"));
            }
            _ => {}
        }
        to.hold("left behind")?;
        known(acts::anywhere(&act, &self.0)?, &act)
    }
}

impl DeliveryBefore for Hostile {
    fn before(&mut self, delivery: &Delivery) -> Result<Decision> {
        let Some(act) = act(&delivery.reverse_path(), "delivery-before") else { return Ok(Decision::Go) };
        delivery.prepend_header("X-Trace", "left behind")?;
        delivery.set_next_hop("127.0.0.1:1")?;
        let (decision, what) = act.split_once('-').unwrap_or_default();
        match (decision, text(what)) {
            ("bounce", Some(text)) => return Ok(Decision::bounce(text)),
            ("defer", Some(text)) => return Ok(Decision::defer(text)),
            _ => known(acts::anywhere(&act, &self.0)?, &act)?,
        }
        Ok(Decision::Go)
    }
}

impl Bounce for Hostile {
    fn bounce(&mut self, failures: &Failures) -> Result<()> {
        let Some(act) = act(&failures.reverse_path(), "bounce") else { return Ok(()) };
        for failure in failures.iter() {
            failure.suppress_dsn()?;
            failure.defer()?;
        }
        known(acts::anywhere(&act, &self.0)?, &act)
    }
}

impl Events for Hostile {
    fn events(&mut self, batch: &Batch<'_>) -> Result<()> {
        for event in batch.iter() {
            let event = event?;
            if let Some(act) = act(&event.from, "event") {
                // Once: the instance that misbehaved is gone, and the same events come again.
                if kv::set_new(&format!("done.{act}"), "", None)? {
                    known(acts::anywhere(&act, &self.0)?, &act)?;
                }
            }
        }
        for event in batch.iter() {
            let event = event?;
            log::info(&format!("TAKEN {} {}", event.kind.as_str(), event.from));
        }
        Ok(())
    }
}

export_plugin!(Hostile: Connect, Mail, Rcpt, Spam, Rewrite, RewritePart, Route, DeliveryBefore, Bounce, Events);
