//! What one plugin may use of the server.

use crate::grants::{Granted, Secrets};
use crate::services::{CustomMetrics, Dns, Http, Kv, ServiceError, Services};
use std::sync::Arc;

/// What one plugin may use of the server, shared by its instances. Whether it may use it was decided when it was linked:
/// a guest can't call what is not there.
pub(crate) struct Reach {
    pub(crate) http: Option<Http>,
    pub(crate) kv: Option<Arc<Kv>>,
    /// What it may keep there, in octets.
    quota: Option<u64>,
    pub(crate) dns: Arc<dyn Dns>,
    pub(crate) metrics: Arc<CustomMetrics>,
    pub(crate) secrets: Secrets,
}

impl Reach {
    /// Makes what was granted ready.
    pub(crate) async fn open(
        services: &Services,
        plugin: &str,
        granted: Granted,
        secrets: Secrets,
    ) -> Result<Self, ServiceError> {
        let kv = match granted.kv {
            Some(quota) => Some(services.kv.open(plugin, quota).await?),
            None => None,
        };
        Ok(Self {
            http: granted.http.map(|grant| Http::new(Arc::clone(&services.http), grant)),
            kv,
            quota: granted.kv,
            dns: Arc::clone(&services.dns),
            metrics: services.metrics.of(plugin),
            secrets,
        })
    }

    /// The quota is in force from now on: it is of the state that all generations of the plugin share.
    pub(crate) fn take_over(&self) {
        if let (Some(kv), Some(quota)) = (&self.kv, self.quota) {
            kv.set_quota(quota);
        }
    }
}
