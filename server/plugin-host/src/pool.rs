//! The kept instances of one plugin: the one used last is used next, at most so many are in use at once, and one that
//! failed never comes back.

use crate::instance::{CallError, Instance, Template};
use crate::stats::Counters;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

/// After so many calls an instance is replaced, so that what a guest leaks stays bounded.
const MAX_CALLS: u32 = 10_000;

pub(crate) struct Pool {
    template: Template,
    #[allow(clippy::vec_box, reason = "they are moved with each call")]
    free: Mutex<Vec<Box<Instance>>>,
    permits: Semaphore,
    counters: Arc<Counters>,
}

/// An instance in use. Unless it is given back by [`Checkout::keep`], it is thrown away: after a failure, and also when
/// the call's future is dropped half-way.
pub(crate) struct Checkout<'a> {
    pub(crate) instance: Box<Instance>,
    pool: &'a Pool,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(crate) fn new(template: Template, instances: usize, counters: Arc<Counters>) -> Self {
        let permits = Semaphore::new(instances.min(Semaphore::MAX_PERMITS));
        Self { template, free: Mutex::default(), permits, counters }
    }

    pub(crate) fn template(&self) -> &Template {
        &self.template
    }

    /// A kept instance, or a new one; waits while all are in use.
    pub(crate) async fn checkout(&self, deadline: Instant) -> Result<Checkout<'_>, CallError> {
        let permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => match timeout_at(deadline.into(), self.permits.acquire()).await {
                Ok(Ok(permit)) => permit,
                _ => return Err(CallError::Busy),
            },
        };
        let kept = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let instance = match kept {
            Some(instance) => instance,
            // Boxed: rarely needed, and large.
            None => Box::new(Box::pin(self.instantiate(deadline)).await?),
        };
        Ok(Checkout { instance, pool: self, _permit: permit })
    }

    /// Makes the first instance, to see that it can be done.
    pub(crate) async fn try_one(&self, deadline: Instant) -> Result<(), CallError> {
        self.checkout(deadline).await.map(Checkout::keep)
    }

    /// Drops the kept instances.
    pub(crate) fn clear(&self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn instantiate(&self, deadline: Instant) -> Result<Instance, CallError> {
        let _ticking = self.template.host.ticker.during_call();
        let made = timeout_at(deadline.into(), self.template.instantiate()).await.map_err(|_| CallError::Deadline)?;
        self.counters.made_instance();
        made
    }
}

impl Checkout<'_> {
    /// The call went well: others may use the instance.
    pub(crate) fn keep(self) {
        if self.instance.calls < MAX_CALLS && !self.instance.has_swollen() {
            self.pool.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.instance);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EngineOptions, PluginHost, PluginSpec};
    use std::time::Duration;

    #[tokio::test]
    async fn instances_are_bounded_and_the_last_one_used_is_next() {
        let component = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/header-rewrite/header-rewrite.wasm");
        assert!(std::path::Path::new(component).exists(), "{component} is not there: run `make plugins` first");
        let mut spec = PluginSpec::new("header-rewrite", component);
        spec.instances = 2;
        spec.deadline = Duration::from_secs(30);
        let plugin = PluginHost::new(&EngineOptions { instances: 4 }).unwrap().load(spec).await.unwrap();
        let pool = &plugin.pool;
        let soon = || Instant::now() + Duration::from_millis(20);
        let later = Instant::now() + Duration::from_secs(30);

        let (mut first, second) = (pool.checkout(later).await.unwrap(), pool.checkout(later).await.unwrap());
        assert!(matches!(pool.checkout(soon()).await, Err(CallError::Busy)));
        first.instance.calls = 7;
        second.keep();
        first.keep();
        let first = pool.checkout(later).await.unwrap();
        assert_eq!(first.instance.calls, 7);
        // One that is not given back is gone, but its place is free again.
        drop(first);
        let mut second = pool.checkout(later).await.unwrap();
        let third = pool.checkout(later).await.unwrap();
        assert_eq!((second.instance.calls, third.instance.calls), (0, 0));
        second.instance.calls = MAX_CALLS;
        second.keep();
        third.keep();
        assert_eq!(pool.free.lock().unwrap().len(), 1);
    }
}
