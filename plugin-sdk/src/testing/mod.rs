//! A host of ordinary Rust, for unit tests of plugins: the same traits, no WebAssembly.
//!
//! A test makes a plugin of its config ([`init`]), then calls hooks on what they are about: a [`Session`], a
//! [`Transaction`], a [`Delivery`], [`Failures`], an [`Exchange`], or [`events`]. Each runs one hook and keeps the edits
//! if the plugin succeeded, as the server does; then the test looks at the fields.
//!
//! Capabilities are prepared and looked at through the modules here: [`http`], [`kv`], [`clock`], [`dns`] … All of them
//! count as granted. Their state belongs to the thread, and Rust runs each test in a thread of its own; where it does
//! not (`--test-threads=1`), [`reset`] comes first.
//!
//! It keeps the host's limits and the words of its errors. It does not fold or encode header fields, its addresses are
//! checked less strictly, and after edits of parts a message's body is still the one that came: look at
//! [`Transaction::parts`].

pub mod clock;
pub mod config;
mod content;
mod delivery;
pub mod dns;
mod envelope;
mod exchange;
mod failures;
pub mod http;
pub mod kv;
pub mod log;
pub mod metrics;
mod mime;
pub mod random;
mod routing;
mod rules;
pub mod secrets;
mod session;
mod signing;
mod transaction;

pub use delivery::Delivery;
pub use exchange::{Answer, Exchange};
pub use failures::{Failure, Failures};
pub use mime::Part;
pub use routing::{Destination, Routing};
pub use session::{Credentials, Session};
pub use signing::{Signature, Signing};
pub use transaction::Transaction;

use crate::{Error, Plugin, Result};

/// What stands behind the SDK's wrappers and capabilities.
#[allow(unreachable_pub)]
pub(crate) mod backend {
    pub(crate) use super::clock::host as clock;
    pub(crate) use super::config::host as config;
    pub(crate) use super::content::{Message, Part};
    pub(crate) use super::delivery::Handle as Delivery;
    pub(crate) use super::dns::host as dns;
    pub(crate) use super::envelope::{Envelope, Recipient};
    pub(crate) use super::exchange::{Request, Response};
    pub(crate) use super::failures::Handle as Failures;
    pub(crate) use super::http::host as http_client;
    pub(crate) use super::kv::host as kv;
    pub(crate) use super::log::host as log;
    pub(crate) use super::metrics::host as metrics;
    pub(crate) use super::random::host as random;
    pub(crate) use super::routing::Handle as Routing;
    pub(crate) use super::secrets::host as secrets;
    pub(crate) use super::session::{CredentialsHandle as Credentials, SessionHandle as Session};
    pub(crate) use super::signing::Handle as Signing;
}

/// Makes a plugin of a config (a JSON object), as the host does. [`config::get`](crate::config::get) gives pieces of it.
///
/// # Errors
/// What refuses the config, named by key.
pub fn init<P: Plugin>(config_json: &str) -> Result<P> {
    let value = serde_json::from_str(config_json).map_err(|error| Error::from(error).context("the test's config"))?;
    config::set(value);
    crate::config::parse(config_json).map_err(|e| e.context("config")).and_then(P::init)
}

/// Runs the hook `event` on these events.
///
/// # Errors
/// What the plugin returned.
pub fn events<P: crate::Events>(plugin: &mut P, events: &[serde_json::Value]) -> Result<()> {
    let events: Vec<String> = events.iter().map(ToString::to_string).collect();
    plugin.events(&crate::Batch::new(&events))
}

/// Takes all capabilities of this thread back to their beginning.
pub fn reset() {
    clock::reset();
    config::set(serde_json::Value::Null);
    dns::reset();
    http::reset();
    kv::reset();
    log::reset();
    metrics::reset();
    random::seed(0);
    secrets::reset();
}
