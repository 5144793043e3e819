//! Plugins: from `[[plugin]]` tables to hooks, and how one generation of them takes the place of another while mail
//! flows.
//!
//! [`Host`] and [`Loaded`] have two forms, with and without the feature `plugins`; everything else knows only these.

#[cfg(feature = "plugins")]
mod facts;
mod generations;
#[cfg(feature = "plugins")]
mod host;
#[cfg(not(feature = "plugins"))]
mod none;
#[cfg(feature = "plugins")]
mod view;
mod watch;

#[cfg(feature = "plugins")]
pub use facts::kv_stores;
pub use generations::{ConfigReader, Generations};
#[cfg(feature = "plugins")]
pub use host::{Host, Loaded, spec as plugin_spec};
#[cfg(not(feature = "plugins"))]
pub use none::{Host, Loaded};

use crate::config::Config;

/// A plugin can't be loaded. The text names it and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PluginError(String);

/// Loads the plugins of the config as the server would, and drops them again. What they keep is kept in memory, and
/// compiled code in `data_dir`, if that exists.
///
/// # Errors
/// The first plugin that can't be loaded, and why.
pub async fn check(config: &Config) -> Result<(), PluginError> {
    let host = Host::without_store(config)?;
    host.load(config, &Loaded::default()).await.map(drop)
}
