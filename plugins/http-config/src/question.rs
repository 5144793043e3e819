//! What the service is asked, in ZoneMTA's words.

use crate::Config;
use crate::answer::Answer;
use postern_plugin_sdk::prelude::*;
use std::time::Duration;

/// The fields that ZoneMTA sends.
const FIELDS: [&str; 6] = ["from", "origin", "originhost", "transhost", "transtype", "user"];

/// The web service.
#[derive(Debug)]
pub struct Service {
    url: String,
    timeout: Option<Duration>,
    user: Option<String>,
    attributes: Vec<String>,
}

impl Service {
    pub(crate) fn new(config: Config) -> Result<Self> {
        for (index, name) in config.session_attributes.iter().enumerate() {
            if FIELDS.contains(&name.as_str()) {
                let text = format!("session_attributes[{index}]: the request has a field {name} already");
                return Err(Error::new(text));
            }
        }
        if !config.url.starts_with("http://") && !config.url.starts_with("https://") {
            return Err(Error::new(format!("url: {:?} is not like \"https://api.example.com/sender\"", config.url)));
        }
        Ok(Self {
            url: config.url,
            timeout: config.timeout.map(|span| span.0),
            user: config.user,
            attributes: config.session_attributes,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The body of the request: a form. It is kept with the message, to ask again for keys.
    pub(crate) fn request(&self, session: &Session, envelope: &Envelope) -> String {
        // `originhost`, the client's host name, is looked up by nobody.
        let values = [
            envelope.reverse_path(),
            session.peer_address(),
            String::new(),
            session.helo(),
            session.protocol(),
            session.user().unwrap_or_default(),
        ];
        let mut pairs: Vec<(&str, String)> = FIELDS.into_iter().zip(values).collect();
        for name in &self.attributes {
            pairs.push((name, session.attribute(name).unwrap_or_default()));
        }
        http::form(&pairs)
    }

    /// Sends it.
    ///
    /// # Errors
    /// No answer, no status of success, or an answer that is not in JSON.
    pub(crate) fn ask(&self, request: &str) -> Result<Answer> {
        let mut post = http::Request::post(&self.url)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("Accept", "application/json")
            .body(request);
        if let Some(user) = &self.user {
            post = post.basic_auth_by_secret(user)?;
        }
        if let Some(timeout) = self.timeout {
            post = post.timeout(timeout);
        }
        let answer = post.send().map_err(Error::from).and_then(http::Response::success).and_then(|r| r.json());
        answer.map_err(|e| e.context(&self.url))
    }
}
