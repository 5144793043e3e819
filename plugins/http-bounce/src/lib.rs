//! Posts bounces, and other events if asked to, to a web service. The README says how.

mod report;

use postern_plugin_sdk::prelude::*;
use report::Report;
use std::time::Duration;

/// The key of the last event that the service took. Its value is [`Report::key`].
const LAST: &str = "last";

/// The `config` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    url: String,
    #[serde(default = "failures")]
    events: Vec<Kind>,
    #[serde(default)]
    format: Format,
    timeout: Option<Span>,
    user: Option<String>,
    #[serde(default = "senseless")]
    give_up_on: Vec<u16>,
}

fn failures() -> Vec<Kind> {
    vec![Kind::Bounced, Kind::Expired]
}

/// What a service says to a request that makes no sense to it, however often it comes.
fn senseless() -> Vec<u16> {
    vec![400, 413, 422]
}

/// Kinds of events that concern one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Delivered,
    Deferred,
    Bounced,
    Expired,
    Held,
    Released,
    Deleted,
}

impl Kind {
    fn of(kind: &EventKind) -> Option<Self> {
        Some(match kind {
            EventKind::Delivered => Self::Delivered,
            EventKind::Deferred => Self::Deferred,
            EventKind::Bounced => Self::Bounced,
            EventKind::Expired => Self::Expired,
            EventKind::Held => Self::Held,
            EventKind::Released => Self::Released,
            EventKind::Deleted => Self::Deleted,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Form,
    Json,
}

/// The plugin: its config as used.
#[derive(Debug)]
pub struct HttpBounce {
    url: String,
    events: Vec<Kind>,
    format: Format,
    timeout: Option<Duration>,
    user: Option<String>,
    give_up_on: Vec<u16>,
}

impl Plugin for HttpBounce {
    type Config = Config;

    fn init(config: Config) -> Result<Self> {
        if !config.url.starts_with("http://") && !config.url.starts_with("https://") {
            return Err(Error::new(format!("url: {:?} is not like \"https://api.example.com/bounces\"", config.url)));
        }
        if config.events.is_empty() {
            return Err(Error::new("events: name at least one, such as \"bounced\""));
        }
        if let Some(at) = config.give_up_on.iter().position(|status| !(400..=499).contains(status)) {
            return Err(Error::new(format!("give_up_on[{at}]: a status from 400 to 499 says that a request is wrong")));
        }
        Ok(Self {
            url: config.url,
            events: config.events,
            format: config.format,
            timeout: config.timeout.map(|span| span.0),
            user: config.user,
            give_up_on: config.give_up_on,
        })
    }
}

impl Events for HttpBounce {
    fn events(&mut self, batch: &Batch<'_>) -> Result<()> {
        let mut reports = Vec::new();
        for event in batch.iter() {
            let event = event?;
            if Kind::of(&event.kind).is_some_and(|kind| self.events.contains(&kind)) {
                reports.push(Report::of(event));
            }
        }
        if reports.is_empty() {
            return Ok(());
        }
        // A batch that failed in its midst comes again from its beginning.
        let last = kv::get(LAST)?;
        let posted = reports.iter().position(|report| Some(report.key.as_bytes()) == last.as_deref());
        for report in reports.drain(posted.map_or(0, |at| at + 1)..) {
            self.post(&report)?;
            // Each time, since the deadline can end the call at the next request.
            kv::set(LAST, &report.key, None)?;
        }
        Ok(())
    }
}

impl Rewrite for HttpBounce {
    fn rewrite(&mut self, _: &Session, envelope: &Envelope, message: &Message) -> Result<()> {
        if let Some(fbl) = message.header("X-FBL").filter(|fbl| !fbl.is_empty())
            && let Err(error) = envelope.set_attribute(report::FBL, Some(&fbl))
        {
            // No reason to refuse the message.
            log::warn(&format!("X-FBL is not kept: {error}"));
        }
        Ok(())
    }
}

impl HttpBounce {
    fn post(&self, report: &Report) -> Result<()> {
        let mut request = http::Request::post(&self.url).header("Idempotency-Key", &report.key);
        if let Some(user) = &self.user {
            request = request.basic_auth_by_secret(user)?;
        }
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        request = match self.format {
            Format::Form => request.form(&report.fields()),
            Format::Json => request.json(&report.json()),
        };
        let response = request.send().map_err(|e| Error::from(e).context(&self.url))?;
        let status = response.status();
        if response.is_success() {
            metrics::count("posted", 1);
            return Ok(());
        }
        if self.give_up_on.contains(&status) {
            metrics::count("given_up", 1);
            log::error(&format!("{} answered {status} to {}: it is not told of it", self.url, report.key));
            return Ok(());
        }
        metrics::count("failed", 1);
        Err(Error::new(format!("{} answered {status} to {}", self.url, report.key)))
    }
}

export_plugin!(HttpBounce: Rewrite, Events);

#[cfg(test)]
mod tests;
