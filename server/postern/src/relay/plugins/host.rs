//! The plugin host with what the server has for plugins to use, and what it has loaded.

use super::{PluginError, kv_stores, view};
use crate::config::{Config, Secret};
use crate::http::PluginView;
use crate::relay::now;
use crate::relay::section::{OnError, PluginSection};
use crate::resolve::Hickory;
use crate::spool::Facts;
use postern_core::hook::{Hooks, NoHooks};
use postern_plugin_host::services::{HttpClient, KvRegistry, Services};
use postern_plugin_host::{
    BreakerSpec, EngineOptions, Grants, Plugin, PluginHost, PluginSet, PluginSpec, Secrets, SetOptions, When,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Instances that there is room for at least: reloads may bring plugins that the server did not start with.
const LEAST_INSTANCES: u32 = 256;

/// Loads plugins.
pub struct Host {
    services: Services,
    /// Set up with the first plugin: a server without plugins needs no engine.
    engine: OnceLock<Engine>,
}

struct Engine {
    host: PluginHost,
    instances: usize,
}

/// The plugins of one generation.
#[derive(Clone)]
pub struct Loaded {
    plugins: Vec<Arc<Plugin>>,
    hooks: Arc<dyn Hooks>,
}

impl Default for Loaded {
    fn default() -> Self {
        Self { plugins: Vec::new(), hooks: Arc::new(NoHooks) }
    }
}

impl Host {
    /// With the server's store for what plugins keep.
    ///
    /// # Errors
    /// `tls.roots` or `dns` can't be used.
    pub fn new<F: Facts>(config: &Config, facts: F) -> Result<Self, PluginError> {
        let mut host = Self::without_store(config)?;
        host.services.kv = Arc::new(KvRegistry::new(kv_stores(facts), Arc::new(now)));
        Ok(host)
    }

    /// With room in memory for what plugins keep.
    ///
    /// # Errors
    /// `tls.roots` or `dns` can't be used.
    pub fn without_store(config: &Config) -> Result<Self, PluginError> {
        let roots = config.written.tls.extra_roots().map(std::fs::read).transpose();
        let roots = roots.map_err(|error| PluginError(format!("tls.roots: {error}")))?;
        let http = HttpClient::new(roots.as_deref()).map_err(|error| PluginError(format!("tls.roots: {error}")))?;
        let dns = Hickory::new(&config.dns).map_err(|error| PluginError(format!("dns: {error}")))?;
        let services = Services { http: Arc::new(http), dns: Arc::new(dns), ..Services::default() };
        Ok(Self { services, engine: OnceLock::new() })
    }

    /// Loads the plugins of the config, in order; those that `before` has already are kept.
    ///
    /// # Errors
    /// The first plugin that can't be loaded, and why. `before` is as it was.
    pub async fn load(&self, config: &Config, before: &Loaded) -> Result<Loaded, PluginError> {
        let sections = &config.written.plugin;
        if sections.is_empty() {
            return Ok(Loaded::default());
        }
        let host = self.engine(sections)?;
        let cache_dir = is_own(config.data_dir()).then(|| cache_dir(config));
        let mut plugins = Vec::new();
        for section in sections {
            let spec = spec(section, cache_dir.clone())
                .map_err(|error| PluginError(format!("plugin {}: {error}", section.name)))?;
            let same = before.plugins.iter().find(|plugin| plugin.name() == section.name);
            let loaded = host.load_or_keep(spec, same).await;
            plugins.push(loaded.map_err(|error| PluginError(with_causes(&error)))?);
        }
        for plugin in plugins.iter().filter(|plugin| !before.plugins.iter().any(|kept| Arc::ptr_eq(kept, plugin))) {
            let hooks: Vec<_> = plugin.hooks().iter().map(|hook| hook.name()).collect();
            tracing::info!(plugin = plugin.author(), hooks = hooks.join(","), "plugin loaded");
        }
        plugins.iter().for_each(|plugin| plugin.take_over());
        let limits = &config.written.hooks;
        let options = SetOptions { budget: limits.budget.0, concurrency: limits.concurrency };
        let hooks = Arc::new(PluginSet::new(plugins.clone(), options));
        Ok(Loaded { plugins, hooks })
    }

    fn engine(&self, sections: &[PluginSection]) -> Result<&PluginHost, PluginError> {
        // Those too large are refused when their plugin is loaded; the sum must not overflow before that. Twice: a
        // reload has the old generation and the new one.
        let sum = sections.iter().fold(0_usize, |sum, section| sum.saturating_add(section.instances.min(1000)));
        let wanted = u32::try_from(sum.saturating_mul(2)).unwrap_or(u32::MAX);
        if self.engine.get().is_none() {
            let options = EngineOptions { instances: wanted.max(LEAST_INSTANCES) };
            let host = PluginHost::with_services(&options, self.services.clone());
            let host = host.map_err(|error| PluginError(with_causes(&error)))?;
            let _ = self.engine.set(Engine { host, instances: options.instances as usize });
        }
        match self.engine.get() {
            Some(engine) if wanted as usize <= engine.instances => Ok(&engine.host),
            Some(engine) => Err(PluginError(format!(
                "the plugins' instances are {sum} together, and this process has room for {}: restart it",
                engine.instances / 2
            ))),
            None => Err(PluginError("the WebAssembly engine could not be set up".into())),
        }
    }

    /// Writes counters that have changed to the store; to be called each second, and when the server stops.
    pub async fn flush(&self) {
        for (plugin, error) in self.services.kv.flush().await {
            tracing::warn!(plugin = &*plugin, %error, "a plugin's counters could not be written");
        }
    }

    /// Removes compiled code that these plugins don't use. Blocks.
    pub fn sweep_code_cache(&self, config: &Config, loaded: &Loaded) {
        if let Some(engine) = self.engine.get() {
            engine.host.sweep_code_cache(&cache_dir(config), &loaded.plugins);
        }
    }
}

impl Loaded {
    /// The hooks that they implement.
    pub fn hooks(&self) -> Arc<dyn Hooks> {
        Arc::clone(&self.hooks)
    }

    /// What operators are shown of them.
    pub fn views(&self) -> Vec<PluginView> {
        self.plugins.iter().map(|plugin| view::plugin(plugin)).collect()
    }

    /// Their figures in Prometheus' text format.
    pub fn write_figures(&self, out: &mut String) {
        view::write_figures(&self.plugins, out);
    }
}

fn cache_dir(config: &Config) -> PathBuf {
    config.data_dir().join("cache")
}

/// Is the folder this process's user's? What another user kept there, such as root who checks a config, the server
/// would not trust.
fn is_own(dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(dir).is_ok_and(|dir| dir.is_dir() && dir.uid() == rustix::process::geteuid().as_raw())
}

/// What the host is told of a `[[plugin]]` table; `cache_dir` is for compiled code.
///
/// # Errors
/// One line that says which value can't be used.
pub fn spec(section: &PluginSection, cache_dir: Option<PathBuf>) -> Result<PluginSpec, String> {
    let json = |value: &toml::Table| serde_json::to_value(value).map_err(|error| error.to_string());
    let mut grants = Grants::new();
    for (name, value) in &section.grants.others {
        grants.insert(name.clone(), serde_json::to_value(value).map_err(|error| error.to_string())?);
    }
    let read = |(name, secret): (&String, &Secret)| match secret.read() {
        Ok(text) => Ok((name.clone(), text)),
        Err(error) => Err(format!("grants.secrets.{name}: {error}")),
    };
    let secrets = section.grants.secrets.as_ref().map(|secrets| secrets.iter().map(read).collect::<Result<_, _>>());
    let secrets = secrets.transpose()?.map(Secrets);
    let when = &section.when;
    Ok(PluginSpec {
        config: json(&section.config)?,
        grants,
        secrets,
        on_error: match section.on_error {
            OnError::Defer => postern_plugin_host::OnError::Defer,
            OnError::Skip => postern_plugin_host::OnError::Skip,
            OnError::Reject => postern_plugin_host::OnError::Reject,
        },
        cpu: section.cpu.0,
        deadline: section.deadline.0,
        memory: section.memory.0,
        instances: section.instances,
        when: When { listener: when.listener.clone(), zone: when.zone.clone(), user: when.user.clone() },
        shadow: section.shadow,
        breaker: BreakerSpec { failures: section.breaker.failures, rest: section.breaker.rest.0 },
        sha256: (!section.sha256.is_empty()).then(|| section.sha256.clone()),
        cache_dir,
        ..PluginSpec::new(section.name.clone(), section.component.clone())
    })
}

/// An error and its causes on one line, each cause once.
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
