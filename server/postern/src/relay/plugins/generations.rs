//! The generation of plugins in force, and how the next one takes its place: at SIGHUP, by `postern reload`, or when a
//! component's file has changed. The next one is loaded whole first; if anything in it is wrong nothing changes.

use super::watch::Watched;
use super::{Host, Loaded, PluginError};
use crate::config::{Config, ConfigError};
use crate::http::{PluginView, PluginsView, Reloaded};
use crate::observe::metrics::Metrics;
use crate::spool::Facts;
use futures_util::future::BoxFuture;
use postern_core::hook::LiveHooks;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

/// How often components' files are looked at. A change counts once it has lasted from one look to the next: whoever
/// writes a file in place may be half-way.
const LOOK: Duration = Duration::from_secs(1);
/// How often counters of plugins are written, and figures sorted.
const FLUSH: Duration = Duration::from_secs(1);

/// Reads the config from where it was read when the server started.
pub type ConfigReader = Arc<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// The generation in force, and how it is replaced.
pub struct Generations {
    host: Host,
    live: Arc<LiveHooks>,
    read: ConfigReader,
    metrics: Option<Metrics>,
    current: Mutex<Current>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Current {
    number: u64,
    loaded: Loaded,
    /// The config in force: where a reload took only plugins and users of another, these and the rest as it was.
    config: Arc<Config>,
    watched: Watched,
}

impl Generations {
    /// Loads the first generation.
    ///
    /// # Errors
    /// The first plugin that can't be loaded, and why.
    pub async fn start<F: Facts>(
        config: &Config,
        facts: F,
        read: ConfigReader,
        metrics: Option<Metrics>,
    ) -> Result<Arc<Self>, PluginError> {
        let host = Host::new(config, facts)?;
        // Looked at before they are read, as in a reload.
        let watched = watched(config).await?;
        let loaded = host.load(config, &Loaded::default()).await?;
        host.sweep_code_cache(config, &loaded);
        let live = Arc::new(LiveHooks::new(loaded.hooks()));
        let current = Mutex::new(Current { number: 1, loaded, config: Arc::new(config.clone()), watched });
        Ok(Arc::new(Self { host, live, read, metrics, current, reloading: tokio::sync::Mutex::default() }))
    }

    /// The hooks in force.
    pub fn live(&self) -> Arc<LiveHooks> {
        Arc::clone(&self.live)
    }

    fn current(&self) -> Current {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the config again and takes over its plugins and users.
    async fn reload_config(&self) -> Result<Reloaded, String> {
        let _one = self.reloading.lock().await;
        let read = Arc::clone(&self.read);
        let config = spawn_blocking(move || read()).await.map_err(|error| error.to_string())?;
        let config = config.map_err(|error| error.to_string())?;
        let before = self.current();
        let restart = differing(&before.config, &config);
        let mut taken = (*before.config).clone();
        taken.written.plugin.clone_from(&config.written.plugin);
        taken.written.hooks.clone_from(&config.written.hooks);
        taken.written.user.clone_from(&config.written.user);
        // Checked whole, also what is not taken over: zones that plugins are narrowed to are those of the new config.
        let done = self.take(&before, taken, restart).await.map_err(|error| error.to_string())?;
        before.config.users.take_over(&config.users);
        Ok(done)
    }

    /// Loads the plugins of the config in force again: of some the component has changed.
    async fn reload_components(&self) -> Result<Reloaded, String> {
        let _one = self.reloading.lock().await;
        let before = self.current();
        let config = (*before.config).clone();
        self.take(&before, config, Vec::new()).await.map_err(|error| error.to_string())
    }

    async fn take(&self, before: &Current, config: Config, restart: Vec<String>) -> Result<Reloaded, PluginError> {
        // Looked at before they are read: a change that comes in between is seen as one.
        let watched = watched(&config).await?;
        let loaded = self.host.load(&config, &before.loaded).await?;
        let number = before.number + 1;
        let plugins = loaded.views().into_iter().map(|view| view.name).collect();
        self.live.set(loaded.hooks());
        self.host.sweep_code_cache(&config, &loaded);
        let next = Current { number, loaded, config: Arc::new(config), watched };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(Reloaded { generation: number, plugins, needs_restart: restart })
    }

    /// What became of a reload, for the log.
    fn tell(why: &str, done: Result<Reloaded, String>) {
        match done {
            Ok(done) => {
                info!(generation = done.generation, plugins = done.plugins.join(","), why, "RELOADED");
                for section in done.needs_restart {
                    warn!(section, "changed in the config, and taken over only by a restart");
                }
            }
            Err(failed) => error!(why, "not reloaded, nothing has changed: {failed}"),
        }
    }

    /// Watches for SIGHUP (`hangup`) and changed components, and keeps the plugins' counters on disk, until `stop`
    /// turns true. A reload that is under way then comes to nothing.
    pub async fn run(self: Arc<Self>, mut hangup: mpsc::Receiver<()>, mut stop: watch::Receiver<bool>) {
        let keeping = Arc::clone(&self);
        let reloads = async move {
            let mut look = tokio::time::interval(LOOK);
            let mut changing: Option<Watched> = None;
            loop {
                tokio::select! {
                    Some(()) = hangup.recv() => Self::tell("SIGHUP", Box::pin(self.reload_config()).await),
                    _ = look.tick() => changing = Box::pin(self.look(changing)).await,
                }
            }
        };
        // Counters are written while a plugin compiles, too.
        let keep = async move {
            let mut flush = tokio::time::interval(FLUSH);
            loop {
                flush.tick().await;
                keeping.flush().await;
                if let Some(metrics) = &keeping.metrics {
                    metrics.upkeep();
                }
            }
        };
        let stopped = async move {
            // Only fails if the sender is gone, which is a stop too.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        tokio::select! {
            () = reloads => {}
            () = keep => {}
            () = stopped => {}
        }
    }

    /// Writes the plugins' counters to the store: the last word when the server stops, after all that calls plugins.
    pub async fn flush(&self) {
        self.host.flush().await;
    }

    /// Looks at the components; `changing` is what they were at the last look, if that was not what was loaded.
    async fn look(&self, changing: Option<Watched>) -> Option<Watched> {
        let loaded = self.current().watched;
        let again = loaded.clone();
        let now = spawn_blocking(move || again.again()).await.ok()?;
        let changed = loaded.changed(&now);
        if changed.is_empty() {
            return None;
        }
        if changing.as_ref() != Some(&now) {
            return Some(now);
        }
        let done = Box::pin(self.reload_components()).await;
        Self::tell(&format!("changed: {}", changed.join(", ")), done);
        // One that can't be loaded is complained of once, until it changes again.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.watched == loaded {
            current.watched = now;
        }
        None
    }
}

/// The components' files as they are now.
async fn watched(config: &Config) -> Result<Watched, PluginError> {
    let files = config.written.plugin.iter().map(|plugin| plugin.component.clone()).collect();
    spawn_blocking(move || Watched::now(files)).await.map_err(|error| PluginError(error.to_string()))
}

/// The sections that differ, those aside that a reload takes over.
fn differing(old: &Config, new: &Config) -> Vec<String> {
    // Secrets are not in the tables.
    let zones_differ = old.written.zone != new.written.zone;
    let http_differs = old.written.http != new.written.http;
    let table = |config: &Config| toml::Table::try_from(&config.written).unwrap_or_default();
    let (old, new) = (table(old), table(new));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let taken = |name: &str| matches!(name, "plugin" | "hooks" | "user");
    let differs = |name: &str| {
        old.get(name) != new.get(name) || (name == "zone" && zones_differ) || (name == "http" && http_differs)
    };
    names.into_iter().filter(|name| !taken(name) && differs(name)).cloned().collect()
}

impl crate::http::Control for Generations {
    fn plugins(&self) -> PluginsView {
        let current = self.current();
        let plugins: Vec<PluginView> = current.loaded.views();
        PluginsView { generation: current.number, plugins }
    }

    fn reload(self: Arc<Self>) -> BoxFuture<'static, Result<Reloaded, String>> {
        Box::pin(async move {
            let done = self.reload_config().await;
            Self::tell("the API", done.clone());
            done
        })
    }

    fn figures(&self) -> String {
        let mut text = self.metrics.as_ref().map(Metrics::render).unwrap_or_default();
        self.current().loaded.write_figures(&mut text);
        text
    }
}
