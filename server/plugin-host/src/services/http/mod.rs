//! Requests to HTTP servers: what is behind the WIT's `http-client`.
//!
//! One [`HttpClient`] for the process has the connections; [`Http`] is one plugin's way to it, with its grant and its
//! own limit of requests in progress. A request goes out once for each hop: nothing is tried again.
//!
//! A name that is granted is trusted as it is written: it is looked up by the system, and may lead to a private address.
//!
//! Limits: requests in progress [`MAX_IN_PROGRESS`] a plugin; header of a request 100 fields with 64 KiB; of an answer
//! 64 KiB, and over HTTP/1.1 100 fields; an answer's body [`MAX_ANSWER`]; redirects [`MAX_REDIRECTS`]; time by the
//! caller's deadline. A body that is a message is read 64 KiB at a time, whatever its size.

mod client;
mod grant;
mod incoming;
mod outgoing;
mod redirect;
mod upload;

pub use client::{HttpClient, HttpSetupError};
pub use grant::HttpGrant;
pub use incoming::{Incoming, MAX_ANSWER, MAX_READ};
pub use outgoing::{Outgoing, RequestBody};
pub use redirect::MAX_REDIRECTS;

use super::error::ServiceError;
use grant::Origin;
use redirect::Hop;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// Requests of one plugin from connecting to the answer's end; others wait, within the time that they have.
const MAX_IN_PROGRESS: usize = 32;

/// One plugin's way to HTTP servers.
#[derive(Debug)]
pub struct Http {
    client: Arc<HttpClient>,
    grant: HttpGrant,
    in_progress: Arc<Semaphore>,
}

impl Http {
    /// With what the plugin was granted.
    #[must_use]
    pub fn new(client: Arc<HttpClient>, grant: HttpGrant) -> Self {
        Self { client, grant, in_progress: Arc::new(Semaphore::new(MAX_IN_PROGRESS)) }
    }

    /// Sends a request and gives the answer, of whatever status, once its header is there. Everything, the reading of
    /// the answer included, ends at `deadline`, or earlier by the request's own timeout.
    ///
    /// # Errors
    /// `denied`: an origin is not granted; `unavailable` or `timeout`; `too-large`: the answer's header is.
    pub async fn send(&self, request: Outgoing, deadline: Instant) -> Result<Incoming, ServiceError> {
        let own = request.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let deadline = own.map_or(deadline, |own| own.min(deadline));
        let mut hop = Hop::first(request);
        let mut origin = self.granted(&hop, "")?;
        let permit = match timeout_at(deadline, Arc::clone(&self.in_progress).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            // It is never closed.
            Ok(Err(_)) => return Err(ServiceError::unavailable("requests are no longer taken")),
            Err(_) => {
                let text = format!("{MAX_IN_PROGRESS} requests of the plugin were in progress all the time");
                return Err(ServiceError::timeout(text));
            }
        };
        for _ in 0..=MAX_REDIRECTS {
            let (response, upload) = self.client.once(&hop, &origin, deadline).await?;
            let Some(next) = hop.next(&response, &origin)? else {
                return Incoming::new(response, &origin, deadline, permit, upload);
            };
            hop = next;
            let there = self.granted(&hop, &format!("; {origin} redirects there"))?;
            if there != origin {
                hop.leave_secrets();
            }
            origin = there;
        }
        Err(ServiceError::unavailable(format_args!("more than {MAX_REDIRECTS} redirects, the last one to {origin}")))
    }

    fn granted(&self, hop: &Hop, why: &str) -> Result<Origin, ServiceError> {
        let origin = hop.origin()?;
        if self.grant.covers(&origin) {
            return Ok(origin);
        }
        Err(ServiceError::denied(format_args!("the grant `http` does not have {origin}{why}")))
    }
}
