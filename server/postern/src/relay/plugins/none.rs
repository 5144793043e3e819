//! A build without plugins has none to load.

use super::PluginError;
use crate::config::Config;
use crate::http::PluginView;
use crate::spool::Facts;
use postern_core::hook::{Hooks, NoHooks};
use std::sync::Arc;

/// Loads nothing.
pub struct Host;

/// Nothing is loaded.
#[derive(Clone, Default)]
pub struct Loaded(());

impl Host {
    pub fn new<F: Facts>(_: &Config, _: F) -> Result<Self, PluginError> {
        Ok(Self)
    }

    pub fn without_store(_: &Config) -> Result<Self, PluginError> {
        Ok(Self)
    }

    /// # Errors
    /// The config names a plugin.
    #[allow(clippy::unused_async, reason = "the signature of the other build")]
    pub async fn load(&self, config: &Config, _: &Loaded) -> Result<Loaded, PluginError> {
        match config.written.plugin.first() {
            None => Ok(Loaded::default()),
            Some(section) => Err(PluginError(format!("plugin {}: this build of postern has no plugins", section.name))),
        }
    }

    #[allow(clippy::unused_async, reason = "the signature of the other build")]
    pub async fn flush(&self) {}

    pub fn sweep_code_cache(&self, _: &Config, _: &Loaded) {}
}

impl Loaded {
    pub fn hooks(&self) -> Arc<dyn Hooks> {
        Arc::new(NoHooks)
    }

    pub fn views(&self) -> Vec<PluginView> {
        Vec::new()
    }

    pub fn write_figures(&self, _: &mut String) {}
}
