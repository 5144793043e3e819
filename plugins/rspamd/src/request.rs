//! What Rspamd is asked: the message, streamed by the host, under what is known of its envelope and session.
//!
//! Rspamd protocol: <https://rspamd.com/doc/developers/protocol.html>.

use crate::config::Config;
use crate::reply::Checked;
use postern_plugin_sdk::prelude::*;
use std::time::Duration;

/// Recipients that a request names: it has 100 header fields at most.
const MAX_RECIPIENTS: usize = 80;

/// What all requests have in common.
#[derive(Debug)]
pub struct Settings {
    url: String,
    timeout: Option<Duration>,
    settings_id: Option<String>,
    mta_name: Option<String>,
}

impl Settings {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let base = config.url.trim_end_matches('/');
        let host = base.strip_prefix("http://").or_else(|| base.strip_prefix("https://"));
        if host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '@'])) {
            return Err(Error::new(format!(
                "url: {:?} is not like \"http://127.0.0.1:11333\", without path, user or password",
                config.url
            )));
        }
        Ok(Self {
            url: format!("{base}/checkv2"),
            timeout: config.timeout.map(|span| span.0),
            settings_id: config.settings_id.clone(),
            mta_name: config.mta_name.clone(),
        })
    }

    pub(crate) fn send(&self, session: &Session, envelope: &Envelope, message: &Message) -> Result<Checked> {
        let from = envelope.reverse_path();
        let mut request = http::Request::post(&self.url)
            .header("Content-Type", "message/rfc822")
            .header("Queue-Id", &message.id())
            .header("From", if from.is_empty() { "<>" } else { &from });
        for recipient in envelope.recipients().take(MAX_RECIPIENTS) {
            request = request.header("Rcpt", &recipient);
        }
        if let (1, Some(only)) = (envelope.recipient_count(), envelope.recipient(0)) {
            request = request.header("Deliver-To", &only);
        }
        let optional = [
            ("IP", Some(session.peer_address())),
            ("Hostname", session.peer_name()),
            ("Helo", Some(session.helo())),
            ("User", session.user()),
            ("Settings-ID", self.settings_id.clone()),
            ("MTA-Name", self.mta_name.clone()),
            ("Password", secrets::get("password")),
        ];
        for (name, value) in optional {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                request = request.header(name, &value);
            }
        }
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        let response = request.body_message(message).send().map_err(|e| Error::from(e).context("asking Rspamd"))?;
        Checked::read(response.status(), &response.body().map_err(|e| Error::from(e).context("Rspamd's reply"))?)
    }
}
