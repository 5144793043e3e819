//! What a Postern plugin written in Rust depends on: a trait per hook, a typed config, the host's resources and
//! capabilities, and a host of ordinary Rust for unit tests ([`testing`]).
//!
//! A plugin is a type that implements [`Plugin`] and one or more of the hooks, and [`export_plugin!`], which names them:
//!
//! | hook | trait | when |
//! |---|---|---|
//! | `connect` | [`Connect`] | a client has connected |
//! | `auth` | [`Auth`] | a client authenticates |
//! | `mail` | [`Mail`] | MAIL FROM |
//! | `rcpt` | [`Rcpt`] | each RCPT TO |
//! | `spam` | [`Spam`] | a message is there: is it wanted? |
//! | `rewrite` | [`Rewrite`] | a message is edited |
//! | `rewrite-part` | [`RewritePart`] | MIME parts are edited |
//! | `route` | [`Route`] | where each recipient's mail goes |
//! | `sign` | [`Sign`] | which DKIM keys sign |
//! | `delivery-before` | [`DeliveryBefore`] | an attempt is about to begin |
//! | `bounce` | [`Bounce`] | recipients have failed |
//! | `event` | [`Events`] | what happened, after it is durable |
//! | `http` | [`Http`] | a request to the plugin's own address |
//!
//! Each trait's page has a complete plugin with its test. What a plugin keeps in its fields lives as long as its
//! instance, which the host may drop after any call: it is a cache; lasting state is in [`kv`].
//!
//! Not for the host: that binds the same WIT with wasmtime.

mod base64;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
mod capabilities;
mod error;
mod export;
mod form;
mod hooks;
#[cfg(target_arch = "wasm32")]
mod instance;
mod mailbox;
mod resources;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod values;
mod verdict;
mod words;

pub use capabilities::{clock, config, dns, http, kv, log, metrics, random, secrets};
pub use error::{Error, ErrorKind, HostError, Result};
pub use hooks::{
    Auth, Bounce, Connect, DeliveryBefore, Events, Http, Mail, Plugin, Rcpt, Rewrite, RewritePart, Route, Sign, Spam,
};
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use instance::Instance;
/// The types of the exported functions, for `export_plugin!`.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[allow(missing_docs)]
pub mod instance_types {
    pub use crate::backend::{
        Credentials, Delivery, Envelope, Failures, Message, Part, Recipient, Request, Response, Routing, Session,
        Signing,
    };
    pub use crate::bindings::auth::exports::postern::plugin::auth::AuthVerdict;
    pub use crate::bindings::delivery_before::exports::postern::plugin::delivery_before::Decision;
    pub use crate::bindings::imports::postern::plugin::types::Verdict;
    pub use crate::bindings::spam::exports::postern::plugin::spam::SpamVerdict;

    pub type Answer<T> = Result<T, String>;
    pub type Nothing = ();
}
pub use mailbox::Mailbox;
pub use resources::{
    Batch, Credentials, Delivery, Destination, Envelope, Event, Failure, Failures, Message, Part, PartWriter,
    Recipient, Request, Response, Routing, Session, Signing,
};
pub use values::{HeaderName, Size, Span};
pub use verdict::{AuthVerdict, Decision, Reply, SpamVerdict, Verdict};
pub use words::{Action, EventKind, Mechanism, Scope, Tls};

/// What stands behind the wrappers: the host's resources and functions in a component, the mock host's elsewhere.
#[cfg(target_arch = "wasm32")]
mod backend {
    pub use crate::bindings::imports::postern::plugin::{
        clock, config, dns, http_client, kv, log, metrics, random, secrets,
    };
    pub use crate::bindings::imports::postern::plugin::{
        credentials::Credentials,
        delivery::Delivery,
        envelope::{Envelope, Recipient},
        exchange::{Request, Response},
        failures::Failures,
        message::{Message, Part},
        routing::Routing,
        session::Session,
        signing::Signing,
    };
}
#[cfg(not(target_arch = "wasm32"))]
use testing::backend;

/// Compiles the README's plugin.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The config of a plugin that has none: any key is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// What almost every plugin needs.
pub mod prelude {
    pub use crate::{
        Auth, AuthVerdict, Batch, Bounce, Connect, Credentials, Decision, Delivery, DeliveryBefore, Destination,
        Envelope, Error, ErrorKind, Event, EventKind, Events, Failure, Failures, HeaderName, HostError, Http, Mail,
        Mechanism, Message, NoConfig, Part, Plugin, Rcpt, Recipient, Reply, Request, Response, Result, Rewrite,
        RewritePart, Route, Routing, Session, Sign, Signing, Size, Spam, SpamVerdict, Span, Tls, Verdict,
    };
    pub use crate::{clock, config, dns, export_plugin, http, kv, log, metrics, random, secrets};
    pub use serde::Deserialize;
}
