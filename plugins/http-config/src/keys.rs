//! DKIM keys that the service named, by the request that it named them for. In memory only, and not for long.

use postern_plugin_sdk::prelude::*;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// Requests whose keys are kept.
const MAX_REQUESTS: usize = 1000;

/// One key. Without a private key it is one of the server's own folder.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    domain_name: String,
    key_selector: String,
    private_key: Option<String>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}._domainkey.{}", self.key_selector, self.domain_name)
    }
}

/// The keys.
#[derive(Debug)]
pub struct Keys {
    ttl: Duration,
    /// With the time since 1970 until which they hold.
    known: HashMap<String, (Duration, Vec<Key>)>,
}

impl Keys {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self { ttl, known: HashMap::new() }
    }

    pub(crate) fn remember(&mut self, request: &str, keys: Vec<Key>) {
        let now = clock::now();
        self.known.retain(|_, (until, _)| *until > now);
        if keys.is_empty() {
            self.known.remove(request);
            return;
        }
        if self.known.len() >= MAX_REQUESTS {
            self.known.clear();
        }
        self.known.insert(request.to_owned(), (now.saturating_add(self.ttl), keys));
    }

    pub(crate) fn has(&self, request: &str) -> bool {
        self.known.get(request).is_some_and(|(until, _)| *until > clock::now())
    }

    /// Signs with the keys of this request.
    pub(crate) fn sign(&self, request: &str, signing: &Signing) -> Result<()> {
        let keys = self.known.get(request).map_or(&[][..], |(_, keys)| keys);
        for key in keys {
            let (domain, selector) = (&key.domain_name, &key.key_selector);
            let used = match &key.private_key {
                Some(pem) => signing.use_private_key(domain, selector, pem, self.ttl),
                None => signing.use_key(domain, selector),
            };
            used.map_err(|e| Error::from(e).context(format!("key {key:?}")))?;
        }
        Ok(())
    }
}
