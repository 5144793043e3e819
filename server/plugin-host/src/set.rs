//! The plugins of one generation of the config, in order, behind the trait [`Hooks`]; and what a failed call does.

use crate::engine::Shared;
use crate::instance::CallError;
use crate::load::OnError;
use crate::pool::Pool;
use crate::stats::{Counters, HookStats};
use futures_util::future::BoxFuture;
use postern_core::hook::{HookPoint, Hooks, Refusal, Transaction};
use postern_core::mail::{EnhancedCode, Reply};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

/// What all plugins together may take of one transaction: well under the ten minutes that a client waits for the reply
/// to its content (RFC 5321 section 4.5.3.2.6).
const BUDGET: Duration = Duration::from_secs(60);

/// A plugin, loaded and tried.
pub struct Plugin {
    pub(crate) host: Arc<Shared>,
    pub(crate) pool: Pool,
    pub(crate) counters: Arc<Counters>,
    pub(crate) on_error: OnError,
    pub(crate) deadline: Duration,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plugin({})", self.author())
    }
}

impl Plugin {
    /// Its name, as in `[[plugin]]`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.pool.template().identity.name
    }

    /// Its name and version, as changes name it: `header-rewrite@0.1.0`.
    #[must_use]
    pub fn author(&self) -> &str {
        &self.pool.template().identity.author
    }

    /// The hooks it implements.
    #[must_use]
    pub fn hooks(&self) -> Vec<HookPoint> {
        self.pool.template().hooks.points()
    }

    /// What its failure does to the message.
    #[must_use]
    pub fn on_error(&self) -> OnError {
        self.on_error
    }

    /// The counters of each of its hooks.
    #[must_use]
    pub fn stats(&self) -> Vec<HookStats> {
        let name = &self.pool.template().identity.name;
        self.hooks().into_iter().map(|hook| self.counters.read(name.clone(), hook)).collect()
    }

    /// One call on a copy of the transaction, bounded by the plugin's deadline and by `latest`.
    async fn rewrite(
        &self,
        transaction: Transaction,
        start: Instant,
        latest: Instant,
    ) -> Result<Transaction, CallError> {
        let deadline = latest.min(start + self.deadline);
        let mut checkout = self.pool.checkout(deadline).await?;
        let _ticking = self.host.ticker.during_call();
        let called = timeout_at(deadline.into(), checkout.instance.rewrite(transaction)).await;
        let edited = called.map_err(|_| CallError::Deadline)??;
        checkout.keep();
        Ok(edited)
    }
}

/// Plugins in the order of the config. Reload makes a new set; calls in progress finish on the old one.
#[derive(Debug, Default)]
pub struct PluginSet {
    plugins: Vec<Plugin>,
}

impl PluginSet {
    /// A set that calls the plugins in this order.
    #[must_use]
    pub fn new(plugins: Vec<Plugin>) -> Self {
        Self { plugins }
    }

    /// The plugins, in order.
    #[must_use]
    pub fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    /// The counters of all plugins' hooks.
    #[must_use]
    pub fn stats(&self) -> Vec<HookStats> {
        self.plugins.iter().flat_map(Plugin::stats).collect()
    }

    async fn run_rewrite(&self, transaction: &mut Transaction) -> Result<(), Refusal> {
        let mut start = Instant::now();
        let latest = start + BUDGET;
        for plugin in self.plugins.iter().filter(|plugin| plugin.pool.template().hooks.rewrite.is_some()) {
            let result = plugin.rewrite(transaction.clone(), start, latest).await;
            let end = Instant::now();
            plugin.counters.call_ended(end - start, result.as_ref().err().map(CallError::kind));
            match result {
                Ok(edited) => *transaction = edited,
                Err(error) => on_error(plugin, HookPoint::Rewrite, transaction, &error, end >= latest)?,
            }
            start = end;
        }
        Ok(())
    }
}

/// Logs a failed call and does what the plugin's entry says, unless the server itself is at its limits.
fn on_error(
    plugin: &Plugin,
    hook: HookPoint,
    transaction: &Transaction,
    error: &CallError,
    budget_is_spent: bool,
) -> Result<(), Refusal> {
    tracing::warn!(
        plugin = plugin.author(),
        hook = hook.name(),
        session = &*transaction.session.id,
        queue_id = %transaction.queue_id,
        kind = error.kind().name(),
        on_error = ?plugin.on_error,
        "plugin call failed: {error}"
    );
    let detail = format!("plugin {}, hook {}: {}: {error}", plugin.author(), hook.name(), error.kind().name());
    // The texts name nothing inside: what the client can do about it is the same whatever it was.
    let reply = match plugin.on_error {
        // A server at its limits is no reason to lose a message, or to let one pass unseen.
        _ if budget_is_spent || error.is_of_host() => {
            Reply::new(451, EnhancedCode(4, 3, 2), "Message not accepted: too busy, try again later")
        }
        OnError::Skip => return Ok(()),
        OnError::Defer => Reply::new(451, EnhancedCode(4, 3, 0), "Message not accepted for now, try again later"),
        OnError::Reject => Reply::new(550, EnhancedCode(5, 3, 0), "Message not accepted"),
    };
    Err(Refusal { reply, detail })
}

impl Hooks for PluginSet {
    fn wants(&self, point: HookPoint) -> bool {
        match point {
            HookPoint::Rewrite => self.plugins.iter().any(|plugin| plugin.pool.template().hooks.rewrite.is_some()),
        }
    }

    fn rewrite<'a>(&'a self, transaction: &'a mut Transaction) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(self.run_rewrite(transaction))
    }
}
