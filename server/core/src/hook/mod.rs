//! The closed list of hook points, what passes at them, and the trait through which the server calls them.
//!
//! The server knows plugins only as [`Hooks`]; [`NoHooks`] is the server without any.

use crate::mail::{Envelope, QueueId, Reply};
use crate::message::{ContentSource, HeaderBlock};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Where plugins may act. A plugin subscribes by exporting the interface of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookPoint {
    /// A sealed message, before it is queued.
    Rewrite,
}

impl HookPoint {
    /// Every hook point, in the order in which a message meets them.
    pub const ALL: [Self; 1] = [Self::Rewrite];

    /// The name of the WIT interface.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rewrite => "rewrite",
        }
    }
}

/// How a session spoke when it handed a message in: the `with` clause of Received (RFC 5321 section 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HELO.
    Smtp,
    /// EHLO.
    Esmtp,
}

impl Protocol {
    /// As in Received and the log: `SMTP`, `ESMTP`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "SMTP",
            Self::Esmtp => "ESMTP",
        }
    }
}

/// The session in which a message came in.
#[derive(Clone, Debug)]
pub struct Session {
    /// Printed in each log line of the session.
    pub id: Arc<str>,
    /// Name of the listener, as in `[listener.NAME]`.
    pub listener: Arc<str>,
    /// The client's end of the connection.
    pub peer_addr: SocketAddr,
    /// What the client called itself in EHLO or HELO.
    pub helo: Arc<str>,
    /// EHLO or HELO.
    pub protocol: Protocol,
    /// The authenticated user.
    pub user: Option<Arc<str>>,
}

/// A message on its way into the queue: what hooks see and may change.
///
/// A clone is cheap (its large parts are shared); the plugin host runs each plugin on a clone and keeps it only if the
/// call succeeds, so that a failed plugin leaves no edits.
#[derive(Clone)]
pub struct Transaction {
    /// The session it came in by.
    pub session: Arc<Session>,
    /// The id it will be queued under.
    pub queue_id: QueueId,
    /// Reverse-path and recipients.
    pub envelope: Envelope,
    /// The header block, ready for edits.
    pub header: HeaderBlock,
    /// The sealed content after the header block: empty line and body, as received.
    pub body: Arc<dyn ContentSource>,
    /// The zone a plugin chose; it overrides every rule of the config.
    pub zone: Option<Arc<str>>,
    /// Hold the first attempt back this long.
    pub delay: Option<Duration>,
    /// Notes from plugin to plugin and into the log.
    pub attributes: BTreeMap<String, String>,
    /// What plugins changed, in order.
    pub changes: Vec<Change>,
}

/// One change of a message, with its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Plugin name and version, `header-rewrite@0.1.0`.
    pub author: Arc<str>,
    /// What it did, one line without control characters: `add X-Tag`.
    pub what: String,
}

/// A hook, or a failed plugin's `on_error`, refuses the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is told.
    pub reply: Reply,
    /// Who refused and why, for the log.
    pub detail: String,
}

/// The hooks of one generation of the config. Cheap to ask, safe to call from any task.
pub trait Hooks: Send + Sync + 'static {
    /// Does any plugin subscribe to `point`? If not, the server skips the work of preparing the call.
    fn wants(&self, point: HookPoint) -> bool;

    /// Runs the plugins of [`HookPoint::Rewrite`] in the order of the config. On `Ok` the edits of every plugin that
    /// succeeded are in `transaction`.
    fn rewrite<'a>(&'a self, transaction: &'a mut Transaction) -> BoxFuture<'a, Result<(), Refusal>>;
}

/// A server without plugins.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn wants(&self, _point: HookPoint) -> bool {
        false
    }

    fn rewrite<'a>(&'a self, _transaction: &'a mut Transaction) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
