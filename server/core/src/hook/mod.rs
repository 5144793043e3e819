//! The closed list of hook points, what passes at them, and the trait through which the server calls them.
//!
//! The server knows plugins only as [`Hooks`]; [`NoHooks`] is the server without any.

mod credentials;
mod delivery;
mod exchange;
mod live;
mod routing;
mod scratch;
mod session;
mod transaction;

pub use credentials::{Credentials, Identity, Proof};
pub use delivery::{Decision, Delivery, Failed, FailureAction, Failures};
pub use exchange::{HttpAnswer, HttpRequest, NoAnswer};
pub use live::LiveHooks;
pub use routing::{Places, Routed, Routing};
pub use scratch::{MemoryScratch, Scratch, ScratchWriter};
pub use session::{Attributes, MAX_ATTRIBUTE, MAX_ATTRIBUTES, Protocol, Session, SessionTls};
pub use transaction::{Change, Disposition, Refusal, Transaction};

use crate::mail::Recipient;
use futures_util::future::BoxFuture;
use std::future::ready;
use std::sync::Arc;

/// Where plugins may act. A plugin subscribes by exporting the interface of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookPoint {
    /// A client has connected.
    Connect,
    /// A client authenticates.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// A sealed message: is it wanted?
    Spam,
    /// A sealed message: edits.
    Rewrite,
    /// A sealed message: edits of its parts.
    RewritePart,
    /// Where each recipient goes.
    Route,
    /// DKIM keys before an attempt.
    Sign,
    /// An attempt is about to begin.
    DeliveryBefore,
    /// An attempt failed for recipients.
    Bounce,
    /// Something has happened to messages.
    Event,
    /// An HTTP request.
    Http,
}

impl HookPoint {
    /// Every hook point, in the order in which a message meets them.
    pub const ALL: [Self; 13] = [
        Self::Connect,
        Self::Auth,
        Self::Mail,
        Self::Rcpt,
        Self::Spam,
        Self::Rewrite,
        Self::RewritePart,
        Self::Route,
        Self::Sign,
        Self::DeliveryBefore,
        Self::Bounce,
        Self::Event,
        Self::Http,
    ];

    /// The name of the WIT interface.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Auth => "auth",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Spam => "spam",
            Self::Rewrite => "rewrite",
            Self::RewritePart => "rewrite-part",
            Self::Route => "route",
            Self::Sign => "sign",
            Self::DeliveryBefore => "delivery-before",
            Self::Bounce => "bounce",
            Self::Event => "event",
            Self::Http => "http",
        }
    }

    /// The hook point of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.name() == name)
    }

    /// Does this version of the server call it? The others are frozen, so that plugins can be written for them.
    #[must_use]
    pub fn is_called(self) -> bool {
        !matches!(self, Self::Sign)
    }
}

type Asked<'a, T> = BoxFuture<'a, Result<T, Refusal>>;

/// The hooks of one generation of the config. Cheap to ask, safe to call from any task. A caller that does not ask
/// [`Hooks::wants`] first wastes only work.
pub trait Hooks: Send + Sync + 'static {
    /// Does any plugin subscribe to `point`? If not, the server skips the work of preparing the call.
    fn wants(&self, point: HookPoint) -> bool;

    /// [`HookPoint::Connect`]: plugins may leave attributes in the session.
    fn connect<'a>(&'a self, session: &'a mut Session) -> Asked<'a, ()>;

    /// [`HookPoint::Auth`]: plugins may leave attributes in the session. Whoever asks sets its user.
    fn auth<'a>(&'a self, session: &'a mut Session, credentials: &'a Credentials) -> Asked<'a, Identity>;

    /// [`HookPoint::Mail`]: the transaction has a reverse-path and no recipients.
    fn mail<'a>(&'a self, transaction: &'a mut Transaction) -> Asked<'a, ()>;

    /// [`HookPoint::Rcpt`]: `recipient` is not in the envelope yet.
    fn rcpt<'a>(&'a self, transaction: &'a mut Transaction, recipient: &'a mut Recipient) -> Asked<'a, ()>;

    /// [`HookPoint::Spam`].
    fn spam<'a>(&'a self, transaction: &'a mut Transaction) -> Asked<'a, Disposition>;

    /// [`HookPoint::Rewrite`]. On `Ok` the edits of every plugin that succeeded are in `transaction`.
    fn rewrite<'a>(&'a self, transaction: &'a mut Transaction) -> Asked<'a, ()>;

    /// [`HookPoint::RewritePart`].
    fn rewrite_part<'a>(&'a self, transaction: &'a mut Transaction) -> Asked<'a, ()>;

    /// [`HookPoint::Route`].
    fn route<'a>(&'a self, transaction: &'a mut Transaction, routing: &'a mut Routing) -> Asked<'a, ()>;

    /// [`HookPoint::DeliveryBefore`]. The decision of a failed plugin is never to bounce.
    fn delivery_before<'a>(&'a self, delivery: &'a mut Delivery) -> BoxFuture<'a, Decision>;

    /// [`HookPoint::Bounce`]: what a failed plugin did is not in `failures`.
    fn bounce<'a>(&'a self, failures: &'a mut Failures) -> BoxFuture<'a, ()>;

    /// The plugins that subscribe to [`HookPoint::Event`], by name: each gets every event by itself.
    fn event_consumers(&self) -> Arc<[Arc<str>]>;

    /// [`HookPoint::Event`]: hands a batch to one of them.
    ///
    /// # Errors
    /// It did not take the batch; the text is for the log.
    fn events<'a>(&'a self, consumer: &'a str, batch: Vec<String>) -> BoxFuture<'a, Result<(), String>>;

    /// [`HookPoint::Http`]: the answer of the plugin of this name.
    ///
    /// # Errors
    /// Why there is none.
    fn http<'a>(&'a self, plugin: &'a str, request: HttpRequest) -> BoxFuture<'a, Result<HttpAnswer, NoAnswer>>;
}

/// A server without plugins.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn wants(&self, _point: HookPoint) -> bool {
        false
    }

    fn connect<'a>(&'a self, _session: &'a mut Session) -> Asked<'a, ()> {
        Box::pin(ready(Ok(())))
    }

    fn auth<'a>(&'a self, _session: &'a mut Session, _credentials: &'a Credentials) -> Asked<'a, Identity> {
        Box::pin(ready(Ok(Identity::Unknown)))
    }

    fn mail<'a>(&'a self, _transaction: &'a mut Transaction) -> Asked<'a, ()> {
        Box::pin(ready(Ok(())))
    }

    fn rcpt<'a>(&'a self, _transaction: &'a mut Transaction, _recipient: &'a mut Recipient) -> Asked<'a, ()> {
        Box::pin(ready(Ok(())))
    }

    fn spam<'a>(&'a self, _transaction: &'a mut Transaction) -> Asked<'a, Disposition> {
        Box::pin(ready(Ok(Disposition::Accept)))
    }

    fn rewrite<'a>(&'a self, _transaction: &'a mut Transaction) -> Asked<'a, ()> {
        Box::pin(ready(Ok(())))
    }

    fn rewrite_part<'a>(&'a self, _transaction: &'a mut Transaction) -> Asked<'a, ()> {
        Box::pin(ready(Ok(())))
    }

    fn route<'a>(&'a self, _transaction: &'a mut Transaction, _routing: &'a mut Routing) -> Asked<'a, ()> {
        Box::pin(ready(Ok(())))
    }

    fn delivery_before<'a>(&'a self, _delivery: &'a mut Delivery) -> BoxFuture<'a, Decision> {
        Box::pin(ready(Decision::Go))
    }

    fn bounce<'a>(&'a self, _failures: &'a mut Failures) -> BoxFuture<'a, ()> {
        Box::pin(ready(()))
    }

    fn event_consumers(&self) -> Arc<[Arc<str>]> {
        Arc::new([])
    }

    fn events<'a>(&'a self, _consumer: &'a str, _batch: Vec<String>) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(ready(Ok(())))
    }

    fn http<'a>(&'a self, _plugin: &'a str, _request: HttpRequest) -> BoxFuture<'a, Result<HttpAnswer, NoAnswer>> {
        Box::pin(ready(Err(NoAnswer::Unknown)))
    }
}
