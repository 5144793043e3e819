//! Has messages checked by Rspamd and does what it says. The README says how.

mod config;
mod header;
mod reply;
mod request;

use config::{Config, Fields, Treatment, Treatments};
use postern_plugin_sdk::prelude::*;
use reply::Checked;

/// The plugin: its config as used.
#[derive(Debug)]
pub struct Rspamd {
    request: request::Settings,
    max_size: u64,
    treatments: Treatments,
    reject: Reply,
    defer: Reply,
    fields: Fields,
    milter_headers: bool,
}

impl Plugin for Rspamd {
    type Config = Config;

    fn init(config: Config) -> Result<Self> {
        let class = |reply: &Reply, key: &str, class: u8| match reply.class() {
            Some(own) if own != class => Err(Error::new(format!("{key}: its code begins with {class}"))),
            _ => Ok(()),
        };
        class(&config.reject_reply, "reject_reply", 5)?;
        class(&config.defer_reply, "defer_reply", 4)?;
        Ok(Self {
            request: request::Settings::new(&config)?,
            max_size: config.max_size.0,
            treatments: Treatments::new(config.actions)?,
            reject: config.reject_reply,
            defer: config.defer_reply,
            fields: config.headers,
            milter_headers: config.milter_headers,
        })
    }
}

impl Spam for Rspamd {
    fn check(&mut self, session: &Session, envelope: &Envelope, message: &Message) -> Result<SpamVerdict> {
        // What a client says of its own message must not pass for ours.
        header::remove(&self.fields, message)?;
        let size = message.size();
        if size > self.max_size {
            metrics::count("too_large", 1);
            log::info(&format!("not checked: {size} octets are more than max_size"));
            return Ok(SpamVerdict::Accept);
        }
        let checked = self.request.send(session, envelope, message)?;
        let treatment = self.treatments.of(&checked.action);
        metrics::count("checked", 1);
        metrics::count(&checked.metric(), 1);
        metrics::observe("score", checked.score);
        log::info(&format!("{} treatment={treatment} symbols={}", checked.summary(), checked.symbols_by_weight()));
        match treatment {
            Treatment::Reject => Ok(SpamVerdict::Reject(worded(&self.reject, &checked, 550, "5.7.1"))),
            Treatment::Defer => Ok(SpamVerdict::Defer(worded(&self.defer, &checked, 451, "4.7.1"))),
            Treatment::Discard => Ok(SpamVerdict::discard(format!("Rspamd: {}", checked.summary()))),
            Treatment::Hold => {
                self.tag(message, &checked)?;
                Ok(SpamVerdict::hold(format!("Rspamd: {}", checked.summary())))
            }
            Treatment::Accept => {
                self.tag(message, &checked)?;
                Ok(SpamVerdict::Accept)
            }
        }
    }
}

impl Rspamd {
    fn tag(&self, message: &Message, checked: &Checked) -> Result<()> {
        if self.milter_headers {
            header::milter(&checked.milter, message)?;
        }
        if checked.action == "rewrite subject"
            && let Some(subject) = &checked.subject
        {
            message.set_header("Subject", &header::line(subject)).map_err(|e| header::failed("Subject", e))?;
        }
        header::add(&self.fields, checked, message)
    }
}

/// The config's reply, or Rspamd's own text if it has one for the client. That may be a whole reply.
fn worded(reply: &Reply, checked: &Checked, code: u16, enhanced: &str) -> Reply {
    let Some(text) = checked.text() else { return reply.clone() };
    let is_ours = |reply: &Reply| reply.class().map(u16::from) == Some(code / 100);
    Reply::parse(text).ok().filter(is_ours).unwrap_or_else(|| Reply::lossy(code, enhanced, text))
}

export_plugin!(Rspamd: Spam);

#[cfg(test)]
mod tests;
