//! What the server has for plugins to use, all of it together.

use super::{Clock, Dns, DnsRecords, HttpClient, KvRegistry, MetricsRegistry, RecordKind, ServiceError, memory_stores};
use futures_util::future::BoxFuture;
use postern_core::time::Timestamp;
use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// What the server has for plugins to use. A plugin reaches of it what its grants give.
#[derive(Clone)]
pub struct Services {
    /// Connections to HTTP servers.
    pub http: Arc<HttpClient>,
    /// Lasting state.
    pub kv: Arc<KvRegistry>,
    /// Questions to the DNS.
    pub dns: Arc<dyn Dns>,
    /// Figures.
    pub metrics: Arc<MetricsRegistry>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("http", &self.http).field("kv", &self.kv).finish_non_exhaustive()
    }
}

impl Default for Services {
    /// For tools and tests: the system's roots, state in memory, no DNS.
    fn default() -> Self {
        let clock: Clock = Arc::new(|| {
            let now = UNIX_EPOCH.elapsed().unwrap_or_default();
            Timestamp(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
        });
        Self {
            http: Arc::new(HttpClient::with_system_roots()),
            kv: Arc::new(KvRegistry::new(memory_stores(), clock)),
            dns: Arc::new(NoDns),
            metrics: Arc::default(),
        }
    }
}

/// Where there are no DNS servers to ask.
struct NoDns;

impl Dns for NoDns {
    fn lookup<'a>(&'a self, _: &'a str, _: RecordKind) -> BoxFuture<'a, DnsRecords> {
        Box::pin(std::future::ready(Err(ServiceError::unavailable("there is no DNS here"))))
    }
}
