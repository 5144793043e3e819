//! Limits messages and recipients per sender and time. The README says how.

mod key;
mod limit;

use limit::{Count, Limit, LimitConfig};
use postern_plugin_sdk::prelude::*;

/// The `config` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    limits: Vec<LimitConfig>,
}

/// The plugin: its limits in the order of the config.
#[derive(Debug)]
pub struct RateGuard {
    messages: Vec<Limit>,
    recipients: Vec<Limit>,
}

impl Plugin for RateGuard {
    type Config = Config;

    fn init(config: Config) -> Result<Self> {
        if config.limits.is_empty() {
            return Err(Error::new("limits: there is none"));
        }
        let (mut messages, mut recipients) = (Vec::new(), Vec::new());
        for (index, limit) in config.limits.into_iter().enumerate() {
            let count = limit.count;
            let limit = Limit::new(limit).map_err(|e| Error::new(format!("limits[{index}].{e}")))?;
            match count {
                Count::Messages => messages.push(limit),
                Count::Recipients => recipients.push(limit),
            }
        }
        Ok(Self { messages, recipients })
    }
}

impl Mail for RateGuard {
    fn mail(&mut self, session: &Session, envelope: &Envelope) -> Result<Verdict> {
        take(&self.messages, session, envelope, None, "refused_messages")
    }
}

impl Rcpt for RateGuard {
    fn rcpt(&mut self, session: &Session, envelope: &Envelope, recipient: &Recipient) -> Result<Verdict> {
        take(&self.recipients, session, envelope, Some(&recipient.address()), "refused_recipients")
    }
}

/// Counts one of each limit that applies. What is refused counts nowhere.
fn take(
    limits: &[Limit],
    session: &Session,
    envelope: &Envelope,
    recipient: Option<&str>,
    metric: &str,
) -> Result<Verdict> {
    let mut taken: Vec<(&Limit, String)> = Vec::new();
    for limit in limits {
        let Some(key) = limit.key(session, envelope, recipient) else { continue };
        let sum = match limit.add(&key, 1) {
            Ok(sum) => sum,
            Err(error) => {
                give_back(&taken);
                return Err(error);
            }
        };
        taken.push((limit, key));
        if sum > limit.max() {
            give_back(&taken);
            metrics::count(metric, 1);
            log::info(&format!("more than {limit}: {}", taken.last().map_or("", |(_, key)| key)));
            return Ok(limit.verdict());
        }
    }
    Ok(Verdict::Pass)
}

/// A counter that stays one too high until its window ends is no reason to fail.
fn give_back(taken: &[(&Limit, String)]) {
    for (limit, key) in taken {
        if let Err(error) = limit.add(key, -1) {
            log::warn(&format!("one too many is counted: {error}"));
        }
    }
}

export_plugin!(RateGuard: Mail, Rcpt);

#[cfg(test)]
mod tests;
