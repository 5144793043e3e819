//! Connections to next hops: takes messages, returns outcomes. It never touches the spool and decides no policy; what
//! a failure means is `postern_core::bounce`'s.
//!
//! [`attempt`] is the whole of it for most callers: it uses a cached connection if that still lives, opens one along
//! the [`Route`] otherwise, splits recipients into transactions and gives the connection back if it can be used again.
//! Whatever a peer does comes out as an [`Outcome`] for every recipient. Which hosts a destination has is not for here.
//!
//! Memory: one block of content ([`CONTENT_BLOCK`], at most doubled by dots), one read buffer and the buffers of TLS
//! (64 KiB and a record) per connection, however large the message is.

mod connection;
mod content;
mod dial;
mod section;
mod source;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

pub use connection::{Connection, Session};
pub use content::{CONTENT_BLOCK, Topped};
pub use dial::{MAX_ADDRESSES, MAX_DIALLING, MAX_OF_ONE_HOST};
pub use section::TlsSection;
pub use source::Unbound;
pub use stream::Stream;
pub use tls::{TlsClient, TlsError, TlsInfo};

use crate::spool::StoredMessage;
use dial::Dialler;
use postern_core::bounce;
use postern_core::mail::{Outcome, Seq};
use postern_core::message::ContentSource;
use postern_core::route::{Host, Unroutable};
use postern_core::smtp::client::{Cause, Failure, MAX_RECIPIENTS, Stage, TimeLimits};
use postern_core::zone::{Credentials, Source, TlsMode};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Where mail goes, from where, and under which terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Hosts that take the mail, best first.
    pub hosts: Vec<Host>,
    /// TCP port, the same for all hosts.
    pub port: u16,
    /// TLS of the sessions.
    pub tls: TlsMode,
    /// What we authenticate with.
    pub credentials: Option<Credentials>,
    /// Addresses of ours, best first: the first whose IP version is that of the host's address and that can be bound is
    /// used.
    pub sources: Vec<Source>,
    /// Names that a host must not answer EHLO with, because it would be this server. Empty for smart hosts.
    pub own_names: Arc<[String]>,
}

impl fmt::Display for Route {
    /// The best host and the port, `mx.example.com:25`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.hosts.first().map_or("", |host| &host.name), self.port)
    }
}

/// What holds for all attempts.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long to wait for what.
    pub limits: TimeLimits,
    /// Does the handshakes.
    pub tls: Arc<TlsClient>,
    /// Which of our addresses can't be used, so that the log says it once.
    pub unbound: Arc<Unbound>,
}

/// What one attempt did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Exactly one outcome for each recipient, in the order they were given.
    pub outcomes: Vec<(Seq, Outcome)>,
    /// Recipients whose sender asked to be told of success, delivered to a next hop that offers DSN: it tells, not we.
    pub passed_on: Vec<Seq>,
    /// Can the connection take another message?
    pub reusable: bool,
    /// The session ended before it answered MAIL: nothing was handed over, and another connection may do what this one
    /// could not. [`attempt`] sees to that itself.
    pub stale: bool,
    /// The next hop as people read it: `host[ip]:port`, or `host:port` if no connection was tried.
    pub remote: String,
    /// The TLS of the last session; None if it was in clear, or there was none.
    pub tls: Option<TlsInfo>,
    /// The address of ours that the last session was made from; None if there was none.
    pub source: Option<IpAddr>,
}

impl Attempt {
    /// All recipients failed alike.
    fn failed(recipients: &[Seq], failure: &Failure, remote: &str) -> Self {
        let outcomes = recipients.iter().map(|seq| (*seq, bounce::judge(failure, remote))).collect();
        Self { outcomes, remote: remote.to_owned(), ..Self::default() }
    }

    /// What there is to say of recipients that nobody was asked to take.
    #[must_use]
    pub fn unmade(outcomes: Vec<(Seq, Outcome)>) -> Self {
        Self { outcomes, ..Self::default() }
    }
}

/// What becomes of recipients that there is no host for; `detail` is for the log, `destination` what they wait for.
#[must_use]
pub fn unroutable(recipients: &[Seq], why: Unroutable, detail: &str, destination: &str) -> Attempt {
    let failure = Failure::new(Stage::Connect, Cause::Unroutable(why)).with_detail(detail);
    Attempt::failed(recipients, &failure, destination)
}

/// Tries to deliver `message` to `recipients` by `route`, over `cached` if it still lives, else over a fresh connection.
/// Gives the outcomes and the connection, if it can be used again. That `cached` fits the route is the caller's word.
///
/// While a session ends before it has answered MAIL, the next address is tried; after that its outcome stands. A
/// connection that has had a transaction before is replaced from the best host on. When a session or the next hop fails,
/// the recipients of later transactions share the outcome and no further connection is made.
pub async fn attempt(
    cached: Option<Connection>,
    route: &Route,
    options: &Options,
    message: &StoredMessage,
    recipients: &[Seq],
    content: &dyn ContentSource,
) -> (Attempt, Option<Connection>) {
    // A peer that closed or said farewell while the connection was idle must not cost the message an attempt.
    let mut connection = cached.and_then(|mut cached| cached.is_alive().then_some(cached));
    let mut dialler = Dialler::new(route, options);
    let mut whole = Attempt { outcomes: Vec::with_capacity(recipients.len()), ..Attempt::default() };
    let mut chunks = recipients.chunks(MAX_RECIPIENTS);
    while let Some(chunk) = chunks.next() {
        let (mut done, live) = transact(connection.take(), &mut dialler, message, chunk, content).await;
        whole.outcomes.append(&mut done.outcomes);
        whole.passed_on.append(&mut done.passed_on);
        whole = Attempt { outcomes: whole.outcomes, passed_on: whole.passed_on, ..done };
        if whole.reusable {
            connection = live;
            continue;
        }
        // The recipients of transactions that can't begin share what ended the session.
        let ended = live.as_ref().and_then(Connection::failure).map(|failure| bounce::judge(failure, &whole.remote));
        let wide =
            || whole.outcomes.iter().map(|(_, outcome)| outcome).rfind(|outcome| connection::ends_session(outcome));
        let last = || whole.outcomes.last().map(|(_, outcome)| outcome);
        if let Some(shared) = ended.or_else(|| wide().or_else(last).cloned()) {
            whole.outcomes.extend(chunks.flatten().map(|seq| (*seq, shared.clone())));
        }
        break;
    }
    (Attempt { stale: false, ..whole }, connection)
}

/// One transaction, over `connection` or what can be opened, until a session answers MAIL or nothing is left to try.
async fn transact(
    connection: Option<Connection>,
    dialler: &mut Dialler<'_>,
    message: &StoredMessage,
    recipients: &[Seq],
    content: &dyn ContentSource,
) -> (Attempt, Option<Connection>) {
    let mut done = None;
    let mut next = connection;
    loop {
        let mut live = match next.take() {
            Some(live) => live,
            None => match Box::pin(dialler.next()).await {
                Some(Ok(fresh)) => fresh,
                Some(Err(unopened)) => return (Attempt::failed(recipients, &unopened.failure, &unopened.remote), None),
                None => return done.unwrap_or_else(|| (dialler.nothing_left(recipients), None)),
            },
        };
        if live.is_used() {
            dialler.start_again();
        }
        let attempt = live.deliver(message, recipients, content).await;
        if !attempt.stale {
            return (attempt, Some(live));
        }
        done = Some((attempt, Some(live)));
    }
}
