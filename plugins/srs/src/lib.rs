//! Rewrites reverse-paths of forwarded mail by the Sender Rewriting Scheme, so that SPF holds for it, and turns the
//! addresses back when bounces come. The README says how.

mod scheme;

use postern_plugin_sdk::prelude::*;
use scheme::{Scheme, Style, Unusable};

/// Longest local part in octets (RFC 5321 section 4.5.3.1.1).
const MAX_LOCAL: usize = 64;

/// The `config` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    rewrite_domain: String,
    #[serde(default)]
    exclude_domains: Vec<String>,
    #[serde(default)]
    hash: Style,
    #[serde(default = "hash_length")]
    hash_length: usize,
    #[serde(default = "max_age")]
    max_age: Span,
    #[serde(default = "yes")]
    reverse: bool,
}

fn hash_length() -> usize {
    4
}

fn max_age() -> Span {
    Span(DAY * 21)
}

fn yes() -> bool {
    true
}

/// What timestamps count.
const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// The plugin: its config as used.
#[derive(Debug)]
pub struct Srs {
    scheme: Scheme,
    /// In lower case, as the next ones.
    domain: String,
    excluded: Vec<String>,
    reverse: bool,
}

impl Plugin for Srs {
    type Config = Config;

    fn init(config: Config) -> Result<Self> {
        let domain = domain_name(&config.rewrite_domain).map_err(|e| e.context("rewrite_domain"))?;
        let mut excluded = Vec::new();
        for (index, name) in config.exclude_domains.iter().enumerate() {
            excluded.push(domain_name(name).map_err(|e| e.context(format!("exclude_domains[{index}]")))?);
        }
        if !(4..=20).contains(&config.hash_length) {
            return Err(Error::new("hash_length: from 4 to 20 characters"));
        }
        let days = config.max_age.0.as_secs() / DAY.as_secs();
        if !(1..=365).contains(&days) {
            return Err(Error::new(
                "max_age: from \"1d\" to \"365d\": timestamps count days, and begin anew after 1024",
            ));
        }
        let secrets: Vec<String> = ["secret", "previous"].into_iter().filter_map(secrets::get).collect();
        if secrets::get("secret").is_none_or(|secret| secret.is_empty()) {
            return Err(Error::new("grants.secrets: `secret` is missing or empty"));
        }
        let scheme = Scheme { secrets, style: config.hash, hash_length: config.hash_length, max_age: days };
        Ok(Self { scheme, domain, excluded, reverse: config.reverse })
    }
}

fn domain_name(text: &str) -> Result<String> {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b) || b >= 0x80;
    if text.is_empty() || !text.bytes().all(is_name) || text.starts_with('.') || text.ends_with('.') {
        return Err(Error::new(format!("{text:?} is not a domain, such as \"example.com\"")));
    }
    Ok(text.to_lowercase())
}

fn today() -> u64 {
    clock::now().as_secs() / DAY.as_secs()
}

impl Rewrite for Srs {
    fn rewrite(&mut self, _: &Session, envelope: &Envelope, _: &Message) -> Result<()> {
        let path = envelope.reverse_path();
        let Some((local, domain)) = path.rsplit_once('@') else { return Ok(()) };
        let domain = domain.to_lowercase();
        if domain == self.domain || self.excluded.contains(&domain) {
            return Ok(());
        }
        let rewritten = self.scheme.forward(local, &domain, today())?;
        let set = if rewritten.len() > MAX_LOCAL {
            Err(HostError::new("bad-address", "its local part would have more than 64 octets"))
        } else {
            envelope.set_reverse_path(&format!("{rewritten}@{}", self.domain))
        };
        match set {
            Ok(()) => metrics::count("rewritten", 1),
            // Better a message whose SPF may fail than none.
            Err(error) if error.kind() == ErrorKind::BadAddress => {
                metrics::count("left", 1);
                log::warn(&format!("<{path}> is left as it is: {}", error.text()));
            }
            Err(error) => return Err(Error::from(error).context("reverse-path")),
        }
        Ok(())
    }
}

impl Rcpt for Srs {
    fn rcpt(&mut self, _: &Session, _: &Envelope, recipient: &Recipient) -> Result<Verdict> {
        if !self.reverse {
            return Ok(Verdict::Pass);
        }
        let address = recipient.address();
        let Some((local, domain)) = address.rsplit_once('@') else { return Ok(Verdict::Pass) };
        if domain.to_lowercase() != self.domain || !scheme::is_ours(local) {
            return Ok(Verdict::Pass);
        }
        let reason = match self.scheme.reverse(local, today())? {
            Ok(original) => match recipient.set_address(&original) {
                Ok(()) => {
                    metrics::count("reversed", 1);
                    return Ok(Verdict::Pass);
                }
                Err(_) => Unusable::Malformed,
            },
            Err(reason) => reason,
        };
        metrics::count("refused", 1);
        Ok(Verdict::reject(match reason {
            Unusable::Malformed => "550 5.1.1 This is not an SRS address of this server",
            Unusable::Expired => "550 5.1.1 This SRS address has expired",
        }))
    }
}

export_plugin!(Srs: Rewrite, Rcpt);

#[cfg(test)]
mod tests;
