//! From `[[plugin]]` tables to hooks.

use crate::config::Config;
use postern_core::hook::{Hooks, NoHooks};
use std::sync::Arc;

/// A plugin can't be loaded. The text names it and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PluginError(String);

/// Loads the plugins of the config, in order. Compiled code is kept in `data_dir`, if that exists.
///
/// # Errors
/// The first plugin that can't be loaded, and why.
#[cfg(feature = "plugins")]
pub async fn load(config: &Config) -> Result<Arc<dyn Hooks>, PluginError> {
    use postern_plugin_host::{EngineOptions, PluginHost, PluginSet, SetOptions};
    let sections = &config.written.plugin;
    if sections.is_empty() {
        return Ok(Arc::new(NoHooks));
    }
    // Those too large are refused when their plugin is loaded; the sum must not overflow before that.
    let wanted = sections.iter().fold(0_usize, |sum, section| sum.saturating_add(section.instances.min(1000)));
    let options = EngineOptions { instances: u32::try_from(wanted.saturating_mul(2)).unwrap_or(u32::MAX) };
    let host = PluginHost::new(&options).map_err(|error| PluginError(with_causes(&error)))?;
    let mut plugins = Vec::new();
    for section in sections {
        let spec = spec(section, config).map_err(|error| PluginError(format!("plugin {}: {error}", section.name)))?;
        plugins.push(Arc::new(host.load(spec).await.map_err(|error| PluginError(with_causes(&error)))?));
    }
    for plugin in &plugins {
        let hooks: Vec<_> = plugin.hooks().iter().map(|hook| hook.name()).collect();
        tracing::info!(plugin = plugin.author(), hooks = hooks.join(","), "plugin loaded");
    }
    Ok(Arc::new(PluginSet::new(plugins, SetOptions::default())))
}

#[cfg(feature = "plugins")]
fn spec(
    section: &super::section::PluginSection,
    config: &Config,
) -> Result<postern_plugin_host::PluginSpec, serde_json::Error> {
    use super::section::OnError;
    use postern_plugin_host::{Grants, PluginSpec};
    let mut grants = Grants::new();
    for (name, value) in &section.grants {
        grants.insert(name.clone(), serde_json::to_value(value)?);
    }
    let data_dir = config.data_dir();
    Ok(PluginSpec {
        config: serde_json::to_value(&section.config)?,
        grants,
        on_error: match section.on_error {
            OnError::Defer => postern_plugin_host::OnError::Defer,
            OnError::Skip => postern_plugin_host::OnError::Skip,
            OnError::Reject => postern_plugin_host::OnError::Reject,
        },
        cpu: section.cpu.0,
        deadline: section.deadline.0,
        memory: section.memory.0,
        instances: section.instances,
        cache_dir: data_dir.is_dir().then(|| data_dir.join("cache")),
        ..PluginSpec::new(section.name.clone(), section.component.clone())
    })
}

/// An error and its causes on one line, each cause once.
#[cfg(feature = "plugins")]
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// A build without plugins has none to load.
///
/// # Errors
/// The config names one.
#[cfg(not(feature = "plugins"))]
#[allow(clippy::unused_async, reason = "the signature of the other build")]
pub async fn load(config: &Config) -> Result<Arc<dyn Hooks>, PluginError> {
    match config.written.plugin.first() {
        None => Ok(Arc::new(NoHooks)),
        Some(section) => Err(PluginError(format!("plugin {}: this build of postern has no plugins", section.name))),
    }
}
