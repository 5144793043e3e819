//! The hooks of intake, each with every verdict: what it says goes by the addresses and the Subject of the message.

use postern_plugin_sdk::prelude::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Where mail for `via.example` goes.
    next_hop: String,
}

struct IntakeHooks(Config);

impl Plugin for IntakeHooks {
    type Config = Config;

    fn init(config: Config) -> Result<Self> {
        Ok(Self(config))
    }
}

impl Connect for IntakeHooks {
    fn connect(&mut self, session: &Session) -> Result<Verdict> {
        session.set_attribute("peer", Some(&session.peer_address()))?;
        Ok(Verdict::Pass)
    }
}

impl Mail for IntakeHooks {
    fn mail(&mut self, _: &Session, envelope: &Envelope) -> Result<Verdict> {
        let from = envelope.reverse_path();
        envelope.set_attribute("sender", Some(&from))?;
        Ok(match from.as_str() {
            "bad@b.example" => Verdict::reject("553 5.1.8 Not this sender"),
            "wrong@b.example" => Verdict::reject("250 2.0.0 Everything is fine"),
            _ => Verdict::Pass,
        })
    }
}

impl Rcpt for IntakeHooks {
    fn rcpt(&mut self, _: &Session, _: &Envelope, recipient: &Recipient) -> Result<Verdict> {
        let address = recipient.address();
        if let Some((local, domain)) = address.rsplit_once("+tag@") {
            recipient.set_address(&format!("{local}@{domain}"))?;
        }
        Ok(match address.split('@').next() {
            Some("nobody") => Verdict::reject("5.1.1 Nobody here"),
            Some("later") => Verdict::defer("Come back"),
            _ => Verdict::Pass,
        })
    }
}

impl Spam for IntakeHooks {
    fn check(&mut self, _: &Session, _: &Envelope, message: &Message) -> Result<SpamVerdict> {
        Ok(match message.header("Subject").as_deref() {
            Some("spam") => SpamVerdict::reject("554 5.7.1 Looks like spam"),
            Some("hold") => SpamVerdict::hold("an operator decides"),
            Some("drop") => SpamVerdict::discard("nobody wants it"),
            _ => SpamVerdict::Accept,
        })
    }
}

impl Rewrite for IntakeHooks {
    fn rewrite(&mut self, _: &Session, envelope: &Envelope, message: &Message) -> Result<()> {
        let note = |name| envelope.attribute(name).unwrap_or_default();
        message.append_header("X-Seen", &format!("{} {}", note("peer"), note("sender")))?;
        Ok(())
    }
}

impl Route for IntakeHooks {
    fn route(&mut self, _: &Session, _: &Envelope, _: &Message, routing: &Routing) -> Result<()> {
        for (index, destination) in (0..).zip(routing.destinations()) {
            match destination.recipient().rsplit('@').next() {
                Some("via.example") => destination.set_next_hop(&self.0.next_hop)?,
                Some("held.example") => destination.hold(&format!("recipient {index}"))?,
                Some("slow.example") => destination.set_delay(std::time::Duration::from_secs(3600))?,
                _ => {}
            }
        }
        Ok(())
    }
}

export_plugin!(IntakeHooks: Connect, Mail, Rcpt, Spam, Rewrite, Route);
