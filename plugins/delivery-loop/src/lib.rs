//! Refuses messages that go in circles: too many servers had them, or they were sent from here to the same recipient
//! before. The README says how.

mod marks;

use marks::Marks;
use postern_plugin_sdk::prelude::*;

/// ZoneMTA's field.
const HEADER: &str = "X-Zone-Loop";

/// The `config` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default = "max_hops")]
    max_hops: usize,
    #[serde(default = "max_passes")]
    max_passes: usize,
    header: Option<HeaderName>,
    #[serde(default = "reply")]
    reply: Reply,
}

/// As in ZoneMTA's default config.
fn max_hops() -> usize {
    35
}

fn max_passes() -> usize {
    1
}

fn reply() -> Reply {
    Reply::new(554, "5.4.6", "A mail loop was detected")
}

/// The plugin: its config as used.
#[derive(Debug)]
pub struct DeliveryLoop {
    max_hops: usize,
    max_passes: usize,
    header: String,
    reply: Reply,
    marks: Marks,
}

impl Plugin for DeliveryLoop {
    type Config = Config;

    fn init(config: Config) -> Result<Self> {
        for (key, value) in [("max_hops", config.max_hops), ("max_passes", config.max_passes)] {
            if value == 0 {
                return Err(Error::new(format!("{key}: at least 1")));
            }
        }
        if config.reply.class().is_some_and(|class| class != 5) {
            return Err(Error::new("reply: its code begins with 5, since a loop does not end by waiting"));
        }
        let secret = secrets::get("secret").filter(|secret| !secret.is_empty());
        let secret = secret.ok_or_else(|| Error::new("grants.secrets: `secret` is missing or empty"))?;
        Ok(Self {
            max_hops: config.max_hops,
            max_passes: config.max_passes,
            header: config.header.map_or_else(|| HEADER.to_owned(), |name| name.as_str().to_owned()),
            reply: config.reply,
            marks: Marks::new(secret),
        })
    }
}

impl Spam for DeliveryLoop {
    fn check(&mut self, _: &Session, envelope: &Envelope, message: &Message) -> Result<SpamVerdict> {
        let hops = message.headers("Received").count();
        if hops > self.max_hops {
            return Ok(self.refuse("hops", &format!("{hops} fields Received are more than max_hops")));
        }
        let marks: Vec<String> = message.headers(&self.header).collect();
        if marks.is_empty() {
            return Ok(SpamVerdict::Accept);
        }
        for recipient in envelope.recipients() {
            let mark = self.marks.of(&recipient)?;
            let passes = marks.iter().flat_map(|value| value.split_whitespace()).filter(|other| *other == mark).count();
            if passes >= self.max_passes {
                return Ok(self.refuse("passes", &format!("it was sent to {recipient} before ({passes} times)")));
            }
        }
        Ok(SpamVerdict::Accept)
    }
}

impl DeliveryLoop {
    fn refuse(&self, metric: &str, why: &str) -> SpamVerdict {
        metrics::count(metric, 1);
        log::info(&format!("a loop: {why}"));
        SpamVerdict::Reject(self.reply.clone())
    }
}

impl DeliveryBefore for DeliveryLoop {
    fn before(&mut self, delivery: &Delivery) -> Result<Decision> {
        for line in self.marks.lines(delivery.recipients())? {
            delivery.prepend_header(&self.header, &line).map_err(|e| Error::from(e).context("header"))?;
        }
        Ok(Decision::Go)
    }
}

export_plugin!(DeliveryLoop: Spam, DeliveryBefore);

#[cfg(test)]
mod tests;
