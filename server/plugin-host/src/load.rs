//! From a `[[plugin]]` entry to a plugin that can be called: read, compile, check imports and exports, try one instance.

use crate::breaker::{Breaker, BreakerSpec};
use crate::capabilities::Reach;
use crate::code_cache;
use crate::engine::{PluginHost, Shared};
use crate::grants::{self, Granted, Grants, Secrets};
use crate::hooks::HookIndices;
use crate::instance::{CallError, Template};
use crate::log::LogLimiter;
use crate::plugin::Plugin;
use crate::pool::Pool;
use crate::state::{GuestState, Identity};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::{Component, InstancePre};

/// What a failed call of a plugin does to the message. Calls that the server had no room for always answer 451.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnError {
    /// Answer 451: the client tries again.
    #[default]
    Defer,
    /// Go on as if the plugin were not there.
    Skip,
    /// Answer 550.
    Reject,
}

/// What a plugin is called for: each list that is not empty must have the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// Listeners, by name.
    pub listener: Vec<String>,
    /// Zones: the one that a plugin chose, else the one whose rules claim the message.
    pub zone: Vec<String>,
    /// Authenticated users.
    pub user: Vec<String>,
}

/// One `[[plugin]]` entry.
#[derive(Clone, PartialEq)]
pub struct PluginSpec {
    /// Its name in the log and in the changes it makes.
    pub name: String,
    /// The component's file.
    pub component: PathBuf,
    /// The `config` table; null or an empty object is none.
    pub config: serde_json::Value,
    /// What it may reach, as written: `{ clock = true }`.
    pub grants: Grants,
    /// The grant `secrets`, if it is given.
    pub secrets: Option<Secrets>,
    /// What its failure does to the message.
    pub on_error: OnError,
    /// How long the guest may run in one call, without waiting.
    pub cpu: Duration,
    /// How long one call may take in all, waiting for an instance included.
    pub deadline: Duration,
    /// Bytes of linear memory of one instance.
    pub memory: u64,
    /// How many calls at once; more wait.
    pub instances: usize,
    /// Narrows what it is called for.
    pub when: When,
    /// It is called, and what it says and does is logged and not applied.
    pub shadow: bool,
    /// When it is not called any more.
    pub breaker: BreakerSpec,
    /// SHA-256 of the component, in hex: any other is refused.
    pub sha256: Option<String>,
    /// Folder for compiled code, private to the server's user. Without one each start compiles anew.
    pub cache_dir: Option<PathBuf>,
}

impl PluginSpec {
    /// An entry with all defaults.
    pub fn new(name: impl Into<String>, component: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            component: component.into(),
            config: serde_json::Value::Null,
            grants: Grants::new(),
            secrets: None,
            on_error: OnError::Defer,
            cpu: Duration::from_millis(100),
            deadline: Duration::from_secs(5),
            memory: 16 << 20,
            instances: 8,
            when: When::default(),
            shadow: false,
            breaker: BreakerSpec::default(),
            sha256: None,
            cache_dir: None,
        }
    }
}

/// Why a plugin was not loaded. The text says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file can't be read.
    #[error("plugin {plugin:?}: cannot read its component {}", path.display())]
    Read {
        /// Name of the plugin.
        plugin: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no component, or one that does not fit the interfaces.
    #[error("plugin {plugin:?}: not a component that this server can run: {source:#}")]
    Component {
        /// Name of the plugin.
        plugin: String,
        /// What the engine said.
        source: wasmtime::Error,
    },
    /// The file holds something else.
    #[error("plugin {plugin:?}: {} is not a WebAssembly component; `postern plugin build` makes one", path.display())]
    NotAComponent {
        /// Name of the plugin.
        plugin: String,
        /// The file.
        path: PathBuf,
    },
    /// A limit that cannot be.
    #[error("plugin {plugin:?}: {what}")]
    Limits {
        /// Name of the plugin.
        plugin: String,
        /// Key and what is wrong with it.
        what: &'static str,
    },
    /// A grant that does not exist.
    #[error("plugin {plugin:?}: there is no grant `{grant}`: {hint}")]
    UnknownGrant {
        /// Name of the plugin.
        plugin: String,
        /// The grant as written.
        grant: String,
        /// A near miss, or the grants that exist.
        hint: String,
    },
    /// A grant with a value of the wrong kind.
    #[error("plugin {plugin:?}: {what}")]
    BadGrant {
        /// Name of the plugin.
        plugin: String,
        /// The grant.
        grant: String,
        /// What it has to be, in a sentence that names it.
        what: String,
    },
    /// It imports what this server does not have.
    #[error("plugin {plugin:?} imports {import}: {hint}")]
    UnknownImport {
        /// Name of the plugin.
        plugin: String,
        /// Interface or function.
        import: String,
        /// What may be behind it.
        hint: &'static str,
    },
    /// It imports a capability that it was not granted.
    #[error("plugin {plugin:?} imports {interface}, which needs a grant. Add to its [[plugin]] table: {line}")]
    NotGranted {
        /// Name of the plugin.
        plugin: String,
        /// The interface.
        interface: String,
        /// The line to add.
        line: String,
    },
    /// It exports a hook that this server does not know.
    #[error("plugin {plugin:?} exports {interface}, which this server does not know: is it for another version?")]
    UnknownExport {
        /// Name of the plugin.
        plugin: String,
        /// The interface.
        interface: String,
    },
    /// It exports a hook that is specified, and that this version does not call.
    #[error("plugin {plugin:?} exports the hook {hook}, which this version of the server does not call yet")]
    NotCalled {
        /// Name of the plugin.
        plugin: String,
        /// The hook.
        hook: &'static str,
    },
    /// It is not the component that the config pins.
    #[error("plugin {plugin:?}: sha256 is {found}, and the config wants {wanted}")]
    Pinned {
        /// Name of the plugin.
        plugin: String,
        /// Of the file.
        found: String,
        /// Of the config.
        wanted: String,
    },
    /// It exports a hook, but not with the functions that the hook has.
    #[error("plugin {plugin:?} exports {interface}, but not as this server knows it: {source:#}")]
    HalfExport {
        /// Name of the plugin.
        plugin: String,
        /// The interface.
        interface: String,
        /// What the engine said.
        source: wasmtime::Error,
    },
    /// It would never be called.
    #[error("plugin {plugin:?} exports no hook, such as postern:plugin/rewrite@0.1.0: it would never be called")]
    NoHook {
        /// Name of the plugin.
        plugin: String,
    },
    /// It would never see its config.
    #[error("plugin {plugin:?} has a config, but it reads none (it does not export lifecycle or import config)")]
    UnusedConfig {
        /// Name of the plugin.
        plugin: String,
    },
    /// It refused its config.
    #[error("plugin {plugin:?} refuses its config: {message}")]
    Refused {
        /// Name of the plugin.
        plugin: String,
        /// What the plugin said.
        message: String,
    },
    /// Its first instance failed.
    #[error("plugin {plugin:?} did not start: {detail}")]
    Start {
        /// Name of the plugin.
        plugin: String,
        /// How it ended.
        detail: String,
    },
}

impl PluginHost {
    /// Loads a plugin and tries one instance of it with its config. Must be called in a tokio runtime; compiling happens
    /// on a thread of its own.
    ///
    /// # Errors
    /// Anything that would make the plugin fail later and can be known now; see [`LoadError`].
    pub async fn load(&self, spec: PluginSpec) -> Result<Plugin, LoadError> {
        check_limits(&spec)?;
        let name = spec.name.clone();
        let shared = self.0.clone();
        let prepared = tokio::task::spawn_blocking(move || prepare(&shared, spec)).await;
        let prepared = prepared.map_err(|error| LoadError::Start { plugin: name, detail: error.to_string() })??;
        let Prepared { spec, sha256, author, config, granted, pre, hooks } = prepared;
        let reach = Reach::open(&self.0.services, &spec.name, granted, spec.secrets.clone().unwrap_or_default()).await;
        let reach = reach
            .map_err(|error| LoadError::Start { plugin: spec.name.clone(), detail: format!("its state: {error}") })?;
        let name = spec.name.as_str().into();
        let identity = Identity { name, author: author.into(), config, log: LogLimiter::new(), reach };
        let template = Template {
            host: self.0.clone(),
            pre,
            hooks,
            identity: Arc::new(identity),
            cpu: spec.cpu,
            memory: usize::try_from(spec.memory).unwrap_or(usize::MAX),
        };

        let counters = self.0.counters(&spec.name);
        let pool = Pool::new(template, spec.instances, counters.clone());
        let tried = pool.try_one(Instant::now() + spec.deadline.max(START)).await;
        tried.map_err(|error| match error {
            CallError::Refused(message) => LoadError::Refused { plugin: spec.name.clone(), message },
            error => LoadError::Start { plugin: spec.name.clone(), detail: error.to_string() },
        })?;
        let now = Instant::now();
        let breakers = std::array::from_fn(|_| Breaker::new(spec.breaker, now));
        Ok(Plugin { host: self.0.clone(), pool, counters, breakers, spec, sha256 })
    }
}

impl PluginHost {
    /// The plugin of the generation before, if it is the same in config and component, else the plugin loaded anew. One
    /// that is kept keeps its instances and its breakers.
    ///
    /// # Errors
    /// As [`PluginHost::load`].
    pub async fn load_or_keep(&self, spec: PluginSpec, before: Option<&Arc<Plugin>>) -> Result<Arc<Plugin>, LoadError> {
        if let Some(before) = before.filter(|before| before.spec == spec) {
            let file = spec.component.clone();
            let read = tokio::task::spawn_blocking(move || std::fs::read(file).map(|wasm| code_cache::hash(&wasm)));
            if read.await.is_ok_and(|hash| hash.is_ok_and(|hash| hash == before.sha256)) {
                return Ok(Arc::clone(before));
            }
        }
        self.load(spec).await.map(Arc::new)
    }

    /// Removes compiled code from the cache that none of these plugins was loaded from.
    pub fn sweep_code_cache(&self, dir: &Path, plugins: &[Arc<Plugin>]) {
        let hashes: Vec<&str> = plugins.iter().map(|plugin| plugin.sha256()).collect();
        code_cache::sweep(dir, &hashes);
    }
}

/// Calls of one plugin at once. More than a few per core only wait for each other, and each reserves address space.
const MAX_INSTANCES: usize = 1000;

/// How long the trial may take at least: the deadline is for calls, and a busy machine is no reason to refuse a plugin.
const START: Duration = Duration::from_secs(30);

fn check_limits(spec: &PluginSpec) -> Result<(), LoadError> {
    let what = if spec.instances == 0 {
        "instances = 0 would let no call in"
    } else if spec.instances > MAX_INSTANCES {
        "instances must be at most 1000"
    } else if spec.memory == 0 || spec.memory > 4 << 30 {
        "memory must be more than nothing and at most 4GiB"
    } else if spec.cpu.is_zero() || spec.deadline.is_zero() {
        "cpu and deadline must be more than nothing"
    } else {
        return Ok(());
    };
    Err(LoadError::Limits { plugin: spec.name.clone(), what })
}

/// All that is known of a plugin before it has an instance.
struct Prepared {
    spec: PluginSpec,
    /// Of its component.
    sha256: String,
    /// Name and version.
    author: String,
    config: serde_json::Value,
    granted: Granted,
    pre: InstancePre<GuestState>,
    hooks: HookIndices,
}

/// All that needs no instance. Blocks: it reads and compiles.
fn prepare(shared: &Arc<Shared>, spec: PluginSpec) -> Result<Prepared, LoadError> {
    let plugin = || spec.name.clone();
    let wasm = std::fs::read(&spec.component).map_err(|source| LoadError::Read {
        plugin: plugin(),
        path: spec.component.clone(),
        source,
    })?;
    // Magic, version 13, layer 1: a component. A core module has version 1 and layer 0.
    if !wasm.starts_with(b"\0asm\x0d\0\x01\0") {
        return Err(LoadError::NotAComponent { plugin: plugin(), path: spec.component.clone() });
    }
    let sha256 = code_cache::hash(&wasm);
    if let Some(wanted) = spec.sha256.as_ref().filter(|wanted| !wanted.eq_ignore_ascii_case(&sha256)) {
        return Err(LoadError::Pinned { plugin: plugin(), found: sha256, wanted: wanted.clone() });
    }
    let unfit = |source| LoadError::Component { plugin: plugin(), source };
    let component = compile(shared, &wasm, spec.cache_dir.as_deref()).map_err(unfit)?;
    let granted = grants::check(&shared.engine, &component, &spec.name, &spec.grants, spec.secrets.as_ref())?;
    let linker = grants::linker(&shared.engine, &granted).map_err(unfit)?;
    let pre = linker.instantiate_pre(&component).map_err(unfit)?;
    let hooks = HookIndices::read(&shared.engine, &component, &pre, &spec.name)?;

    let config = if spec.config.is_null() { serde_json::json!({}) } else { spec.config.clone() };
    let imports_config =
        component.component_type().imports(&shared.engine).any(|(name, _)| grants::ours(name) == Some("config"));
    let is_empty = config.as_object().is_some_and(serde_json::Map::is_empty);
    if !is_empty && !hooks.has_lifecycle() && !imports_config {
        return Err(LoadError::UnusedConfig { plugin: plugin() });
    }
    let author = match version(&wasm) {
        Some(version) => format!("{}@{version}", spec.name),
        None => spec.name.clone(),
    };
    Ok(Prepared { spec, sha256, author, config, granted, pre, hooks })
}

fn compile(shared: &Shared, wasm: &[u8], cache_dir: Option<&Path>) -> wasmtime::Result<Component> {
    code_cache::component(&shared.engine, wasm, cache_dir)
}

/// The version that the component's custom section names.
fn version(wasm: &[u8]) -> Option<String> {
    wasmparser::Parser::new(0).parse_all(wasm).map_while(Result::ok).find_map(|payload| match payload {
        wasmparser::Payload::CustomSection(section) if section.name() == grants::SECTION => {
            grants::identity(section.data()).map(|(_, version)| version)
        }
        _ => None,
    })
}
