//! Runs Postern's plugins: sandboxed WebAssembly components behind the trait [`Hooks`](postern_core::hook::Hooks).
//!
//! The only home of wasmtime, and nothing else of the server. A plugin subscribes to a hook by exporting its interface
//! and uses a capability by importing it; both are read from the component's type when it is loaded. A plugin reaches
//! nothing but what its grants give, and harms only the call it is in: that ends in the plugin's [`OnError`], its edits
//! are dropped, and its instance is thrown away.
//!
//! ```no_run
//! # use postern_plugin_host::*;
//! # async fn example(transaction: &mut postern_core::hook::Transaction) -> Result<(), Box<dyn std::error::Error>> {
//! use postern_core::hook::Hooks as _;
//!
//! let host = PluginHost::new(&EngineOptions::default())?;
//! let mut spec = PluginSpec::new("header-rewrite", "plugins/header-rewrite.wasm");
//! spec.config = serde_json::json!({ "remove": ["X-Mailer"] });
//! let plugins = PluginSet::new(vec![host.load(spec).await?.into()], SetOptions::default());
//! if let Err(refusal) = plugins.rewrite(transaction).await {
//!     println!("{}", refusal.reply);
//! }
//! # Ok(())
//! # }
//! ```

mod bindings;
mod breaker;
mod capabilities;
mod code_cache;
mod engine;
mod enter;
mod error;
mod grants;
mod handles;
mod hooks;
mod inspect;
mod instance;
mod load;
mod log;
mod meters;
mod new_content;
mod part_edits;
mod part_reader;
mod parts;
mod plugin;
mod pool;
mod precompiled;
mod resources;
mod said;
pub mod services;
mod set;
mod state;
mod stats;
mod subject;
mod ticker;

pub use breaker::BreakerSpec;
pub use engine::{EngineError, EngineOptions, PluginHost};
pub use grants::{Grants, Need, Secrets};
pub use inspect::{Import, InspectError, Inspection, inspect};
pub use load::{LoadError, OnError, PluginSpec, When};
pub use plugin::Plugin;
pub use set::{PluginSet, SetOptions};
pub use stats::{ErrorKind, HookStats, LATENCY_BUCKETS, PluginStats};
