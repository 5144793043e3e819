//! The signatures of one message.

use super::rules::{self, HostResult, error};
use std::cell::RefCell;
use std::time::Duration;

/// What the hook `sign` is given, and the signatures it named. [`Delivery::sign`](super::Delivery::sign) runs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signing {
    /// The domain of the From field.
    pub from_domain: Option<String>,
    /// Keys in the server's own folder: domain and selector.
    pub keys: Vec<(String, String)>,
    /// The signatures, in order.
    pub signatures: Vec<Signature>,
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The domain, `d=`.
    pub domain: String,
    /// The selector, `s=`.
    pub selector: String,
    /// The plugin's private key and how long the host keeps it; none if the key is the server's own.
    pub private_key: Option<(String, Duration)>,
}

impl Signing {
    /// For a message from this domain; the server has no keys.
    #[must_use]
    pub fn new(from_domain: Option<&str>) -> Self {
        Self { from_domain: from_domain.map(str::to_owned), ..Self::default() }
    }

    /// The same with a key in the server's folder.
    #[must_use]
    pub fn with_key(mut self, domain: &str, selector: &str) -> Self {
        self.keys.push((domain.into(), selector.into()));
        self
    }
}

pub(crate) struct Handle(RefCell<Signing>);

impl Handle {
    pub(super) fn new(signing: &Signing) -> Self {
        Self(RefCell::new(signing.clone()))
    }
    pub(super) fn into_inner(self) -> Signing {
        self.0.into_inner()
    }

    fn sign(&self, domain: &str, selector: &str, private_key: Option<(String, Duration)>) -> HostResult {
        let labels = |text: &str| text.split('.').all(|label| rules::name(label).is_ok());
        if !labels(domain) || !labels(selector) {
            return error("bad-name", "domain and selector are labels with dots between them");
        }
        let signature = Signature { domain: domain.into(), selector: selector.into(), private_key };
        self.0.borrow_mut().signatures.push(signature);
        Ok(())
    }

    #[allow(clippy::wrong_self_convention, reason = "the name is the WIT's")]
    pub fn from_domain(&self) -> Option<String> {
        self.0.borrow().from_domain.clone()
    }
    pub fn use_key(&self, domain: &str, selector: &str) -> HostResult {
        if !self.0.borrow().keys.iter().any(|(d, s)| d.eq_ignore_ascii_case(domain) && s == selector) {
            return error("not-found", "the server has no key of this domain and selector");
        }
        self.sign(domain, selector, None)
    }
    pub fn use_private_key(&self, domain: &str, selector: &str, pem: &str, ttl: u64) -> HostResult {
        if !pem.trim_start().starts_with("-----BEGIN ") {
            return error("bad-value", "not a private key in PEM");
        }
        self.sign(domain, selector, Some((pem.into(), Duration::from_millis(ttl))))
    }
}
