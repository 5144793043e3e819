//! One loaded plugin: its pool of instances, its limits, and how it is called.

use crate::breaker::Breaker;
use crate::engine::Shared;
use crate::instance::{CallError, Called};
use crate::load::{OnError, PluginSpec, When};
use crate::pool::Pool;
use crate::said::{self, Said};
use crate::stats::{Counters, HookStats, PluginStats};
use crate::subject::Subject;
use postern_core::hook::{Change, HookPoint};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

/// A plugin, loaded and tried.
pub struct Plugin {
    pub(crate) host: Arc<Shared>,
    pub(crate) pool: Pool,
    pub(crate) counters: Arc<Counters>,
    pub(crate) breakers: [Breaker; HookPoint::ALL.len()],
    pub(crate) spec: PluginSpec,
    /// SHA-256 of the component, in hex.
    pub(crate) sha256: String,
}

/// What narrows the calls of a plugin.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About<'a> {
    pub(crate) listener: Option<&'a str>,
    pub(crate) zone: Option<&'a str>,
    pub(crate) user: Option<&'a str>,
}

/// A call that went well.
pub(crate) struct Done {
    pub(crate) said: Option<Said>,
    pub(crate) changes: Vec<Change>,
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

    /// It is in force from now on, with what it shares with the generation before it.
    pub fn take_over(&self) {
        self.pool.template().identity.reach.take_over();
    }

    /// What it was loaded from.
    #[must_use]
    pub fn spec(&self) -> &PluginSpec {
        &self.spec
    }

    /// SHA-256 of its component, in hex.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What its failure does to the message.
    #[must_use]
    pub fn on_error(&self) -> OnError {
        self.spec.on_error
    }

    /// The counters of each of its hooks.
    #[must_use]
    pub fn hook_stats(&self) -> Vec<HookStats> {
        let name = &self.pool.template().identity.name;
        let stats = |hook| self.counters.hook(name.clone(), hook, self.breakers[hook as usize].is_resting());
        self.hooks().into_iter().map(stats).collect()
    }

    /// What its instances take.
    #[must_use]
    pub fn stats(&self) -> PluginStats {
        self.counters.plugin()
    }

    /// Drops the instances that are kept for the next calls, so that those make new ones: to measure what one costs.
    pub fn drop_instances(&self) {
        self.pool.clear();
    }

    /// Is it called at this hook, for this?
    pub(crate) fn wants(&self, point: HookPoint, about: About<'_>) -> bool {
        self.pool.template().hooks.has(point) && self.spec.when.fits(about)
    }

    /// One call, bounded by the plugin's deadline and by `latest`; also gives the time it ended. `subject` is the plugin's
    /// own copy: edited if the call goes well, of no use otherwise.
    pub(crate) async fn call(
        &self,
        point: HookPoint,
        subject: &mut Subject,
        start: Instant,
        latest: Instant,
    ) -> (Result<Done, CallError>, Instant) {
        let breaker = &self.breakers[point as usize];
        if !breaker.allows(start) {
            self.counters.call_ended(point, Duration::ZERO, Duration::ZERO, Some(CallError::Resting.kind()));
            return (Err(CallError::Resting), start);
        }
        let mut waited = Duration::ZERO;
        let result = self.call_pooled(point, subject, start, latest, &mut waited).await;
        let result =
            result.and_then(|Called { answer, changes }| said::check(point, answer).map(|said| Done { said, changes }));
        let end = Instant::now();
        let time = end - start;
        self.counters.call_ended(point, time, time.saturating_sub(waited), result.as_ref().err().map(CallError::kind));
        match &result {
            Ok(_) => {
                if breaker.succeeded() {
                    tracing::info!(plugin = self.author(), hook = point.name(), "the plugin works again");
                }
            }
            // That the server is busy says nothing of the plugin.
            Err(error) if error.is_of_host() => {}
            Err(_) => {
                if breaker.failed(end) {
                    let rest = self.spec.breaker.rest;
                    tracing::warn!(plugin = self.author(), hook = point.name(), ?rest, "the plugin fails and rests");
                }
            }
        }
        (result, end)
    }

    async fn call_pooled(
        &self,
        point: HookPoint,
        subject: &mut Subject,
        start: Instant,
        latest: Instant,
        waited: &mut Duration,
    ) -> Result<Called, CallError> {
        let deadline = latest.min(start + self.spec.deadline);
        let mut checkout = self.pool.checkout(deadline).await?;
        let _ticking = self.host.ticker.during_call();
        let called = before(deadline, pin!(checkout.instance.call(point, subject, deadline))).await;
        *waited = checkout.instance.waited();
        self.counters.took_memory(checkout.instance.memory());
        let called = called.ok_or(CallError::Deadline)??;
        checkout.keep();
        Ok(called)
    }
}

/// What the work gives if it ends in time. Most calls end at once and need no timer.
async fn before<T>(deadline: Instant, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    if let Poll::Ready(done) = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
        return Some(done);
    }
    timeout_at(deadline.into(), work).await.ok()
}

impl When {
    /// Is this among what the plugin is for?
    fn fits(&self, about: About<'_>) -> bool {
        let fits = |wanted: &[String], value: Option<&str>| {
            wanted.is_empty() || value.is_some_and(|value| wanted.iter().any(|name| name == value))
        };
        fits(&self.listener, about.listener) && fits(&self.zone, about.zone) && fits(&self.user, about.user)
    }
}
