//! The traits: [`Plugin`], and one per hook.

mod delivery;
mod dialogue;
mod message;
mod outside;

pub use delivery::{Bounce, DeliveryBefore, Sign};
pub use dialogue::{Auth, Connect, Mail, Rcpt};
pub use message::{Rewrite, RewritePart, Route, Spam};
pub use outside::{Events, Http};

use crate::Error;

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
