//! From `[[plugin]]` tables to hooks.

use super::section::PluginSection;
use crate::config::Config;
use postern_core::hook::{Hooks, NoHooks};
use std::sync::Arc;

/// A plugin can't be loaded.
#[derive(Debug, thiserror::Error)]
#[error("plugin {name}: {message}")]
pub struct PluginError {
    /// Its name.
    pub name: String,
    /// What is wrong, for the operator.
    pub message: String,
}

/// Loads the plugins of the config, in order.
///
/// # Errors
/// The first plugin that can't be loaded, and why.
pub fn load(config: &Config) -> Result<Arc<dyn Hooks>, PluginError> {
    match config.written.plugin.first() {
        None => Ok(Arc::new(NoHooks)),
        Some(PluginSection { name, .. }) => {
            Err(PluginError { name: name.clone(), message: "built without plugins".into() })
        }
    }
}
