//! Asks a web service whether credentials are valid, with ZoneMTA's request. The README says how.

use postern_plugin_sdk::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// The `config` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    url: String,
    timeout: Option<Span>,
    #[serde(default)]
    tokens: bool,
}

/// The plugin.
#[derive(Debug)]
pub struct HttpAuth {
    url: String,
    timeout: Option<Duration>,
    tokens: bool,
}

/// What an answer may say besides its status.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

impl Plugin for HttpAuth {
    type Config = Config;

    fn init(config: Config) -> Result<Self> {
        if !config.url.starts_with("http://") && !config.url.starts_with("https://") {
            return Err(Error::new(format!("url: {:?} is not like \"https://api.example.com/auth\"", config.url)));
        }
        Ok(Self { url: config.url, timeout: config.timeout.map(|span| span.0), tokens: config.tokens })
    }
}

impl Auth for HttpAuth {
    fn authenticate(&mut self, session: &Session, credentials: &Credentials) -> Result<AuthVerdict> {
        let user = credentials.user();
        // Nobody acts as somebody else. With a colon the service would read another user and another password (RFC 7617).
        if credentials.authorization().is_some() || user.contains(':') {
            return Ok(refused());
        }
        let mut request = http::Request::get(&self.url(credentials.mechanism())).header("Accept", "application/json");
        request = match (credentials.password(), credentials.token()) {
            (Some(password), _) => request.basic_auth(&user, &password),
            (None, Some(token)) if self.tokens => request.header("Authorization", &format!("Bearer {token}")),
            _ => return Ok(AuthVerdict::Pass),
        };
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        let response = request.send().map_err(|error| Error::from(error).context(&self.url))?;
        match response.status() {
            200..300 => self.accepted(session, user, response),
            400..500 => Ok(refused()),
            status => Err(Error::new(format!("{} answered {status}", self.url))),
        }
    }
}

impl HttpAuth {
    /// As ZoneMTA asks: with the transport in the query.
    fn url(&self, mechanism: Mechanism) -> String {
        let transport = if matches!(mechanism, Mechanism::HttpBasic | Mechanism::HttpBearer) { "HTTP" } else { "SMTP" };
        let and = if self.url.contains('?') { '&' } else { '?' };
        format!("{}{and}transport={transport}", self.url)
    }

    fn accepted(&self, session: &Session, user: String, response: http::Response) -> Result<AuthVerdict> {
        let is_json = response.header("Content-Type").is_some_and(|kind| kind.starts_with("application/json"));
        let answer: Answer = match is_json {
            true => response.json().map_err(|error| error.context(&self.url))?,
            false => Answer::default(),
        };
        let user = answer.user.filter(|user| !user.is_empty()).unwrap_or(user);
        if user.is_empty() {
            return Err(Error::new(format!("{} does not say whose token it is", self.url)));
        }
        for (name, value) in &answer.attributes {
            let refused = |error| Error::from(error).context(format!("the answer's attributes.{name}"));
            session.set_attribute(name, Some(value)).map_err(refused)?;
        }
        Ok(AuthVerdict::accept(user))
    }
}

fn refused() -> AuthVerdict {
    AuthVerdict::reject("535 5.7.8 Authentication failed")
}

export_plugin!(HttpAuth: Auth);

#[cfg(test)]
mod tests;
