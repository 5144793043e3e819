//! The plugin that a command is about: its component, found by folder or file, and loaded with what a fixture gives it.

use super::fixture::Fixture;
use crate::relay::{PluginSection, plugin_spec};
use anyhow::{Context as _, bail};
use postern_plugin_host::{EngineOptions, Inspection, PluginHost, PluginSet, SetOptions, inspect};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A component, and where its fixtures are.
pub struct Subject {
    /// The component's file.
    pub component: PathBuf,
    /// Folder of its fixtures.
    pub fixtures: PathBuf,
    /// The octets of the file, read.
    pub inspection: Inspection,
}

/// Compiled code of the components that a command loads: each is compiled once, and nothing is left behind.
pub struct CodeCache(TempDir);

impl Subject {
    /// The plugin in a folder, or a component by its file.
    ///
    /// # Errors
    /// There is none, or the file is no component.
    pub fn find(path: &Path) -> anyhow::Result<Self> {
        let component = if path.is_dir() { component_in(path)? } else { path.to_owned() };
        let wasm = fs::read(&component).with_context(|| format!("can't read {}", component.display()))?;
        let inspection = inspect(&wasm).with_context(|| component.display().to_string())?;
        let fixtures = component.parent().unwrap_or(Path::new("")).join("tests");
        Ok(Self { component, fixtures, inspection })
    }

    /// Its name: as it says itself, else as its file is called.
    pub fn name(&self) -> String {
        match &self.inspection.identity {
            Some((name, _)) => name.clone(),
            None => self.component.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
        }
    }

    /// Name and version, and the first digits of the file's hash.
    pub fn title(&self) -> String {
        let version = self.inspection.identity.as_ref().map(|(_, version)| format!("@{version}")).unwrap_or_default();
        format!("{}{version} sha256 {}…", self.name(), &self.inspection.sha256[..12])
    }

    /// Loads it in a host of its own, so that nothing which it keeps comes from another case.
    ///
    /// # Errors
    /// The fixture's table `[plugin]` can't be used, or the plugin does not load.
    pub async fn load(&self, fixture: &Fixture, cache: &CodeCache) -> anyhow::Result<PluginSet> {
        let place = || format!("{}: plugin", fixture.path.display());
        let section = self.section(fixture).with_context(place)?;
        let mut spec = plugin_spec(&section, Some(cache.0.path().join("code"))).map_err(anyhow::Error::msg)?;
        // A fixture is one message: what came before it is not its business.
        spec.breaker.failures = 0;
        let instances = u32::try_from(section.instances.min(1000)).unwrap_or(1000);
        let host = PluginHost::new(&EngineOptions { instances: instances.max(8) })?;
        let plugin = host.load(spec).await?;
        Ok(PluginSet::new(vec![Arc::new(plugin)], SetOptions::default()))
    }

    /// The fixture's `[plugin]` as a whole `[[plugin]]` table.
    fn section(&self, fixture: &Fixture) -> anyhow::Result<PluginSection> {
        let mut table = fixture.plugin.clone();
        for (key, value) in [("name", self.name()), ("component", self.component.display().to_string())] {
            if table.insert(key.to_owned(), toml::Value::String(value)).is_some() {
                bail!("the key `{key}` has no place in a fixture: it goes by what is tested");
            }
        }
        let mut section: PluginSection = toml::Value::Table(table).try_into()?;
        for secret in section.grants.secrets.iter_mut().flat_map(|secrets| secrets.values_mut()) {
            if let crate::config::Secret::File { file } = secret {
                *file = fixture.resolve(file);
            }
        }
        Ok(section)
    }
}

impl CodeCache {
    /// An empty one.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(tempfile::tempdir().context("can't make a folder for compiled code")?))
    }
}

/// What `postern plugin build` has made in this folder.
fn component_in(dir: &Path) -> anyhow::Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| format!("can't read {}", dir.display()))?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|file| file.extension().is_some_and(|ending| ending == "wasm"));
    match &found[..] {
        [one] => Ok(one.clone()),
        [] => bail!("{0} has no component: run `postern plugin build {0}` first", dir.display()),
        _ => bail!("{} has {} files *.wasm: name the one that is meant", dir.display(), found.len()),
    }
}
