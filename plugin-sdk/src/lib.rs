//! What a Postern plugin written in Rust depends on: a trait per hook, a typed config, the host's resources and
//! capabilities, and a host of ordinary Rust for unit tests. See the README for a whole plugin.
//!
//! Not for the host: that binds the same WIT with wasmtime.

#[doc(hidden)]
pub mod bindings;
pub mod clock;
pub mod config;
mod error;
mod export;
#[cfg(target_arch = "wasm32")]
mod instance;
pub mod log;
mod mail;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::imports::postern::plugin::message::{Position, ReadError};
pub use bindings::imports::postern::plugin::types::EditError;
pub use error::Error;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use instance::Instance;
pub use mail::{Envelope, Message, Session};

/// The objects behind the wrappers: the host's resources in a component, the mock host's elsewhere.
#[cfg(target_arch = "wasm32")]
mod backend {
    pub use crate::bindings::imports::postern::plugin::{envelope::Envelope, message::Message, session::Session};
}
#[cfg(not(target_arch = "wasm32"))]
use testing as backend;

/// A plugin: made from its config, once per instance.
pub trait Plugin: Sized + 'static {
    /// The shape of the `config` table. Derive `serde::Deserialize` with `deny_unknown_fields`, so that a misspelt key
    /// is an error and not a surprise.
    type Config: serde::de::DeserializeOwned;

    /// Takes the config, or refuses it with a text that names the key and says what is wrong.
    ///
    /// # Errors
    /// The config makes no sense. When the server loads the plugin, this refuses the whole new config.
    fn init(config: Self::Config) -> Result<Self, Error>;
}

/// The hook `rewrite`: edits sealed messages before they are queued.
pub trait Rewrite: Plugin {
    /// Called for each message. Edits are kept only if it returns `Ok`.
    ///
    /// # Errors
    /// Any error drops the edits of this call and leads to the plugin's `on_error`.
    fn rewrite(&mut self, session: &Session<'_>, envelope: &Envelope<'_>, message: &Message<'_>) -> Result<(), Error>;
}

/// The config of a plugin that has none: any key is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// What almost every plugin needs.
pub mod prelude {
    pub use crate::{
        EditError, Envelope, Error, Message, NoConfig, Plugin, Position, ReadError, Rewrite, Session, clock, config,
        export_plugin, log,
    };
    pub use serde::Deserialize;
}
