//! Notes at each hook of a message which generation of it was called.

use postern_plugin_sdk::prelude::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    generation: String,
    #[serde(default)]
    refuse: bool,
}

struct Generations(Config);

impl Plugin for Generations {
    type Config = Config;

    fn init(config: Config) -> Result<Self> {
        if config.generation == "bad" { Err(Error::new("generation: a bad one")) } else { Ok(Self(config)) }
    }
}

impl Generations {
    fn note(&self, envelope: &Envelope) -> Result<String> {
        let mut notes = envelope.attribute("generations").unwrap_or_default();
        notes.push(' ');
        notes.push_str(&self.0.generation);
        envelope.set_attribute("generations", Some(&notes))?;
        Ok(notes)
    }
}

impl Mail for Generations {
    fn mail(&mut self, _: &Session, envelope: &Envelope) -> Result<Verdict> {
        self.note(envelope)?;
        Ok(if self.0.refuse { Verdict::reject("5.7.1 Refused by config") } else { Verdict::Pass })
    }
}

impl Rcpt for Generations {
    fn rcpt(&mut self, _: &Session, envelope: &Envelope, _: &Recipient) -> Result<Verdict> {
        self.note(envelope)?;
        Ok(Verdict::Pass)
    }
}

impl Spam for Generations {
    fn check(&mut self, _: &Session, envelope: &Envelope, _: &Message) -> Result<SpamVerdict> {
        self.note(envelope)?;
        Ok(SpamVerdict::Accept)
    }
}

impl Rewrite for Generations {
    fn rewrite(&mut self, _: &Session, envelope: &Envelope, message: &Message) -> Result<()> {
        let notes = self.note(envelope)?;
        message.set_header("X-Generations", notes.trim())?;
        Ok(())
    }
}

export_plugin!(Generations: Mail, Rcpt, Spam, Rewrite);
