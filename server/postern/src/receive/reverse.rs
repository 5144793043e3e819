//! The name of a client's address, looked up while the client goes on.

use crate::resolve::{Resolver, confirmed_name};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A lookup under way, until it is dropped.
#[derive(Default)]
pub struct Lookup(Option<JoinHandle<Option<String>>>);

impl Lookup {
    /// Begins, unless the address is of this machine or `limit` is zero; `limit` counts from now on.
    pub fn start(resolver: &Arc<dyn Resolver>, address: IpAddr, limit: Duration) -> Self {
        if limit.is_zero() || address.is_loopback() || address.is_unspecified() {
            return Self::default();
        }
        let resolver = Arc::clone(resolver);
        Self(Some(tokio::spawn(async move {
            tokio::time::timeout(limit, confirmed_name(&*resolver, address)).await.ok().flatten()
        })))
    }

    /// Its result, once; None if there is no name, or none in time.
    pub async fn result(&mut self) -> Option<Arc<str>> {
        let name = self.0.as_mut()?.await.ok().flatten();
        self.0 = None;
        name.map(Arc::from)
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
