//! Lets authenticated users send under their own addresses alone. The README says how.

mod rule;

use postern_plugin_sdk::prelude::*;
use rule::Rule;
use std::collections::BTreeMap;

/// The `config` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    senders: BTreeMap<String, Vec<String>>,
    attribute: Option<String>,
    #[serde(default = "yes")]
    own_name: bool,
    #[serde(default = "yes")]
    from: bool,
}

fn yes() -> bool {
    true
}

/// The plugin.
#[derive(Debug)]
pub struct SenderLogin {
    senders: BTreeMap<String, Vec<Rule>>,
    attribute: Option<String>,
    own_name: bool,
    from: bool,
}

impl Plugin for SenderLogin {
    type Config = Config;

    fn init(config: Config) -> Result<Self> {
        let mut senders = BTreeMap::new();
        for (user, rules) in config.senders {
            let rules = rules.iter().map(|text| Rule::parse(text).map_err(|e| e.context(format!("senders.{user:?}"))));
            senders.insert(user.clone(), rules.collect::<Result<_>>()?);
        }
        let Config { attribute, own_name, from, .. } = config;
        Ok(Self { senders, attribute, own_name, from })
    }
}

impl Mail for SenderLogin {
    fn mail(&mut self, session: &Session, envelope: &Envelope) -> Result<Verdict> {
        let Some(user) = session.user() else { return Ok(Verdict::Pass) };
        let path = envelope.reverse_path();
        if path.is_empty() || self.is_own(&user, &path, envelope)? {
            return Ok(Verdict::Pass);
        }
        metrics::count("refused", 1);
        Ok(Verdict::Reject(Reply::new(553, "5.7.1", "This sender address is not yours")))
    }
}

impl Spam for SenderLogin {
    fn check(&mut self, session: &Session, envelope: &Envelope, message: &Message) -> Result<SpamVerdict> {
        let Some(user) = session.user().filter(|_| self.from) else { return Ok(SpamVerdict::Accept) };
        let fields = message.headers("From").count();
        let mailboxes = message.mailboxes("From");
        // Two fields, or one that can't be read, may show somebody else's address.
        if fields > 1 || (fields == 1 && mailboxes.is_empty()) {
            metrics::count("refused", 1);
            return Ok(SpamVerdict::Reject(Reply::new(550, "5.7.1", "From must be one field with an address")));
        }
        for mailbox in mailboxes {
            if !self.is_own(&user, &mailbox.address, envelope)? {
                metrics::count("refused", 1);
                return Ok(SpamVerdict::Reject(Reply::new(550, "5.7.1", "The address in From is not yours")));
            }
        }
        Ok(SpamVerdict::Accept)
    }
}

impl SenderLogin {
    fn is_own(&self, user: &str, address: &str, envelope: &Envelope) -> Result<bool> {
        if self.own_name && rule::same_address(user, address) {
            return Ok(true);
        }
        if self.senders.get(user).is_some_and(|rules| rules.iter().any(|rule| rule.fits(address))) {
            return Ok(true);
        }
        let Some(attribute) = &self.attribute else { return Ok(false) };
        let listed = envelope.attribute(attribute).unwrap_or_default();
        for text in listed.split([',', ' ']).filter(|text| !text.is_empty()) {
            if Rule::parse(text).map_err(|error| error.context(format!("attribute {attribute}")))?.fits(address) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

export_plugin!(SenderLogin: Mail, Spam);

#[cfg(test)]
mod tests;
