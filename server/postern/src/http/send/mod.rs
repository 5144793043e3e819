//! `POST /send` and `POST /send-raw`: messages come in by HTTP, through the same intake and hooks as by SMTP.
//!
//! A 200 means what 250 means in SMTP: the message is on disk. Once a request is complete it is worked off whether the
//! client waits for the answer or not; one that is cut off before leaves nothing.

mod bulk;
mod idempotency;
mod json;
mod raw;
mod session;
mod value;

pub use json::send;
pub use raw::send_raw;

use super::section::{Http, Limits};
use crate::clients::Clients;
use crate::intake::{Intake, Policy};
use crate::spool::{Facts, Spool};
use idempotency::Reservations;
use postern_core::mail::{Address, QueueId, ReversePath};
use postern_core::time::Timestamp;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What submissions share.
pub struct Submission<S: Spool + Facts> {
    intake: Arc<Intake<S>>,
    facts: S,
    limits: Limits,
    policy: Policy,
    clients: Arc<Clients>,
    reservations: Arc<Reservations>,
    /// KiB of bodies that may be in memory at once.
    bodies: Arc<Semaphore>,
    clock: fn() -> Timestamp,
}

impl<S: Spool + Facts> Submission<S> {
    /// Into this intake.
    #[must_use]
    pub fn new(intake: Arc<Intake<S>>, facts: S, http: &Http, clock: fn() -> Timestamp) -> Self {
        let (limits, policy, clients) = (http.limits, http.policy, Arc::clone(&http.clients));
        let kib = usize::try_from(limits.max_body / 1024).unwrap_or(usize::MAX).saturating_mul(2);
        let bodies = Arc::new(Semaphore::new(kib.clamp(64 << 10, Semaphore::MAX_PERMITS)));
        Self { intake, facts, limits, policy, clients, reservations: Arc::default(), bodies, clock }
    }
}

/// What is said of a message that was queued.
#[derive(Debug, Serialize)]
pub struct Sent {
    id: String,
    /// MAIL FROM, empty for `<>`.
    from: String,
    /// RCPT TO.
    to: Vec<String>,
    response: String,
}

impl Sent {
    fn new(id: QueueId, from: &ReversePath, to: &[Address]) -> Self {
        Self {
            id: id.to_string(),
            from: from.as_str().to_owned(),
            to: to.iter().map(ToString::to_string).collect(),
            response: format!("250 2.0.0 Message queued as {id}"),
        }
    }
}
