//! The plugins' lasting state in the queue's store: each plugin's as the namespace `plugin/NAME` of [`Facts`].

use crate::spool::{Fact, Facts, SpoolError};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use postern_core::time::Timestamp;
use postern_plugin_host::services::{KvRow, KvStore, KvStores, ServiceError};
use std::sync::Arc;

/// One plugin's namespace.
struct PluginFacts<F> {
    facts: F,
    namespace: String,
}

/// The stores of all plugins.
pub fn kv_stores<F: Facts>(facts: F) -> KvStores {
    Arc::new(move |plugin| {
        Arc::new(PluginFacts { facts: facts.clone(), namespace: format!("plugin/{plugin}") }) as Arc<dyn KvStore>
    })
}

impl<F: Facts> KvStore for PluginFacts<F> {
    fn get<'a>(&'a self, key: &'a str, now: Timestamp) -> BoxFuture<'a, Result<Option<Bytes>, ServiceError>> {
        async move {
            let value = self.facts.get(&self.namespace, key.as_bytes(), now).await;
            value.map_err(|error| self.failed("read", &error))
        }
        .boxed()
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        now: Timestamp,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Bytes)>, ServiceError>> {
        async move {
            let after = after.map(str::as_bytes);
            let rows = self.facts.scan(&self.namespace, prefix.as_bytes(), after, now, limit).await;
            let rows = rows.map_err(|error| self.failed("read", &error))?;
            // Only text is ever written as a key.
            let text = |(key, value)| String::from_utf8(key).map(|key| (key, value));
            let not_text = |_| ServiceError::unavailable("a key in the store is not text");
            rows.into_iter().map(|row| text(row).map_err(not_text)).collect()
        }
        .boxed()
    }

    fn write(&self, rows: Vec<KvRow>) -> BoxFuture<'_, Result<(), ServiceError>> {
        let fact = |row: KvRow| Fact {
            namespace: self.namespace.clone(),
            key: row.key.into_bytes(),
            value: row.value,
            expires: row.expires,
        };
        let facts = rows.into_iter().map(fact).collect();
        async move { self.facts.write(facts).await.map_err(|error| self.failed("write", &error)) }.boxed()
    }
}

impl<F> PluginFacts<F> {
    /// What the plugin is told; the log has the rest.
    fn failed(&self, what: &str, error: &SpoolError) -> ServiceError {
        tracing::debug!(namespace = self.namespace, %error, "the store could not {what}");
        ServiceError::unavailable(match error {
            SpoolError::Busy(_) => format!("the server's store has no room to {what}"),
            _ => format!("the server's store could not {what}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::embedded::{Embedded, Options};
    use postern_plugin_host::services::{Clock, KvRegistry, MAX_KEY, MAX_VALUE};
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::time::Duration;

    const T0: u64 = 1_795_428_000_000;

    fn open(dir: &Path, time: &Arc<AtomicU64>) -> KvRegistry {
        let options = Options { pregrow: 0, min_free: 0, ..Options::new(|| Timestamp(T0)) };
        let spool = Embedded::open(dir, options).unwrap();
        let time = Arc::clone(time);
        let clock: Clock = Arc::new(move || Timestamp(time.load(SeqCst)));
        KvRegistry::new(kv_stores(spool), clock)
    }

    #[tokio::test]
    async fn state_of_plugins_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let time = Arc::new(AtomicU64::new(T0));
        let longest = "k".repeat(MAX_KEY);
        {
            let registry = open(dir.path(), &time);
            let (one, other) =
                (registry.open("one", 1 << 20).await.unwrap(), registry.open("other", 99).await.unwrap());
            one.set(&longest, Bytes::from(vec![1; MAX_VALUE]), None).await.unwrap();
            one.set("\0\u{e4}/", Bytes::new(), Some(Duration::from_secs(60))).await.unwrap();
            for n in 0..200 {
                assert_eq!(one.increment(&format!("n/{n:03}"), n, None).await, Ok(n));
            }
            assert_eq!(other.get(&longest).await, Ok(None));
            assert_eq!(other.increment("lost", 1, None).await, Ok(1));
            one.flush().await.unwrap();
            one.delete("n/100").await.unwrap();
            // The process ends without writing the counters of the other.
        }
        let registry = open(dir.path(), &time);
        let (one, other) = (registry.open("one", 1 << 20).await.unwrap(), registry.open("other", 99).await.unwrap());
        assert_eq!(one.get(&longest).await.unwrap().unwrap(), vec![1; MAX_VALUE]);
        assert_eq!(one.get("\0\u{e4}/").await.unwrap().unwrap(), "");
        assert_eq!(one.counter("n/199").await, Ok(199));
        let keys = one.keys("n/", Some("n/098"), 3).await.unwrap();
        assert_eq!(keys, ["n/099", "n/101", "n/102"]);
        let counters = 199 * ("n/000".len() + 8);
        let values = MAX_KEY + MAX_VALUE + "\0\u{e4}/".len();
        assert_eq!(one.used(), (counters + values) as u64);
        assert_eq!((other.counter("lost").await, other.used()), (Ok(0), 0));
        time.fetch_add(60_000, SeqCst);
        assert_eq!(one.get("\0\u{e4}/").await, Ok(None));
        assert!(registry.flush().await.is_empty());
    }
}
