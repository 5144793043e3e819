//! Asks a web service for each sender: may it send, in which zone, as whom, signed with which keys? The README says how.

mod answer;
mod from_field;
mod keys;
mod question;

use answer::Answer;
use keys::Keys;
use postern_plugin_sdk::prelude::*;
use question::Service;

/// The address that the From field gets.
const FROM: &str = "http-config.from";
/// The request whose answer had keys, so that it can be asked again. Keys themselves are no attributes: those are
/// written to disk and stand in events.
const REQUEST: &str = "http-config.request";

/// The `config` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    url: String,
    timeout: Option<Span>,
    user: Option<String>,
    #[serde(default)]
    session_attributes: Vec<String>,
    #[serde(default = "key_ttl")]
    key_ttl: Span,
}

fn key_ttl() -> Span {
    Span(std::time::Duration::from_secs(600))
}

/// The plugin: the service, and the keys that it named lately.
#[derive(Debug)]
pub struct HttpConfig {
    service: Service,
    keys: Keys,
}

impl Plugin for HttpConfig {
    type Config = Config;

    fn init(config: Config) -> Result<Self> {
        let keys = Keys::new(config.key_ttl.0);
        Ok(Self { service: Service::new(config)?, keys })
    }
}

impl Mail for HttpConfig {
    fn mail(&mut self, session: &Session, envelope: &Envelope) -> Result<Verdict> {
        let request = self.service.request(session, envelope);
        let answer = self.service.ask(&request)?;
        if let Some(verdict) = answer.refusal() {
            return Ok(verdict);
        }
        self.apply(&request, answer, envelope)?;
        Ok(Verdict::Pass)
    }
}

impl HttpConfig {
    fn apply(&mut self, request: &str, answer: Answer, envelope: &Envelope) -> Result<()> {
        let refused = |key: &str, error: HostError| Error::from(error).context(format!("the answer's {key}"));
        if let Some(zone) = answer.zone() {
            envelope.set_zone(Some(zone)).map_err(|e| refused("sendingZone", e))?;
        }
        let from = answer.from()?;
        if let Some(from) = &from {
            // What has no sender must not get one: it could bounce.
            if !envelope.reverse_path().is_empty() {
                envelope.set_reverse_path(&from.address).map_err(|e| refused("rewriteFrom", e))?;
            }
        }
        envelope.set_attribute(FROM, from.as_ref().map(from_field::note).as_deref())?;
        for (name, value) in answer.attributes() {
            envelope.set_attribute(name, Some(value)).map_err(|e| refused(&format!("attributes.{name}"), e))?;
        }
        let keys = answer.into_keys();
        envelope.set_attribute(REQUEST, (!keys.is_empty()).then_some(request))?;
        self.keys.remember(request, keys);
        Ok(())
    }
}

impl Rewrite for HttpConfig {
    fn rewrite(&mut self, _: &Session, envelope: &Envelope, message: &Message) -> Result<()> {
        if let Some(note) = envelope.attribute(FROM) {
            let value = from_field::value(&note, &message.mailboxes("From"));
            message.set_header("From", &value).map_err(|e| Error::from(e).context("From"))?;
        }
        Ok(())
    }
}

impl Sign for HttpConfig {
    fn sign(&mut self, delivery: &Delivery, signing: &Signing) -> Result<()> {
        let Some(request) = delivery.attribute(REQUEST) else { return Ok(()) };
        if !self.keys.has(&request) {
            let keys = self.service.ask(&request)?.into_keys();
            if keys.is_empty() {
                return Err(Error::new(format!("{} has no keys any more for this sender", self.service.url())));
            }
            self.keys.remember(&request, keys);
        }
        self.keys.sign(&request, signing)
    }
}

#[cfg(feature = "sign")]
export_plugin!(HttpConfig: Mail, Rewrite, Sign);
#[cfg(not(feature = "sign"))]
export_plugin!(HttpConfig: Mail, Rewrite);

#[cfg(test)]
mod tests;
