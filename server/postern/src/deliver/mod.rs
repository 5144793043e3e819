//! Connections to next hops: takes messages, returns outcomes. It never touches the spool and decides no policy; what
//! a failure means is `postern_core::bounce`'s.
//!
//! [`attempt`] is the whole of it for most callers: it uses a cached connection if that still lives, opens one
//! otherwise, splits recipients into transactions and gives the connection back if it can be used again. Whatever a
//! peer does comes out as an [`Outcome`] for every recipient.
//!
//! Memory: one block of content ([`CONTENT_BLOCK`], at most doubled by dots) and one read buffer per connection,
//! however large the message is.

mod connection;
mod content;
mod dial;
#[cfg(test)]
mod tests;

pub use connection::Connection;
pub use content::CONTENT_BLOCK;
pub use dial::{MAX_ADDRESSES, Unopened, open};

use crate::spool::StoredMessage;
use postern_core::bounce;
use postern_core::mail::{Outcome, Seq};
use postern_core::message::ContentSource;
use postern_core::smtp::client::{Cause, Failure, Loss, MAX_RECIPIENTS, Stage, TimeLimits};
use postern_core::zone::SmartHost;
use std::fmt;

/// Whom to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Host name or IP address (IPv6 without brackets).
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl From<&SmartHost> for NextHop {
    fn from(host: &SmartHost) -> Self {
        Self { host: host.host.clone(), port: host.port }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How to connect. Source address and TLS policy will join it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The name given in EHLO: a domain or an address literal.
    pub helo: String,
    /// How long to wait for what.
    pub limits: TimeLimits,
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
    /// A connection that had been used before ended before it answered this transaction: nothing was handed over, and
    /// a fresh connection may do what this one could not. [`attempt`] does that itself.
    pub stale: bool,
    /// The next hop as people read it: `host[ip]:port`, or `host:port` if there never was a connection.
    pub remote: String,
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

/// Tries to deliver `message` to `recipients` at `hop`, over `cached` if it still lives, else over a fresh connection.
/// Gives the outcomes and the connection, if it can be used again.
///
/// A cached connection that ends before it has answered is replaced once. When a session or the next hop fails, the
/// recipients of later transactions share the outcome and no further connection is made.
pub async fn attempt(
    cached: Option<Connection>,
    hop: &NextHop,
    options: &Options,
    message: &StoredMessage,
    recipients: &[Seq],
    content: &dyn ContentSource,
) -> (Attempt, Option<Connection>) {
    // A peer that closed or said farewell while the connection was idle must not cost the message an attempt.
    let mut connection = cached.and_then(|mut cached| cached.is_alive().then_some(cached));
    let (mut outcomes, mut passed_on) = (Vec::with_capacity(recipients.len()), Vec::new());
    let mut remote = hop.to_string();
    let mut chunks = recipients.chunks(MAX_RECIPIENTS);
    while let Some(chunk) = chunks.next() {
        let mut live = match connection.take() {
            Some(live) => live,
            None => match Box::pin(open(hop, options)).await {
                Ok(live) => live,
                Err(unopened) => {
                    let rest: Vec<Seq> = chunk.iter().chain(chunks.flatten()).copied().collect();
                    outcomes.extend(Attempt::failed(&rest, &unopened.failure, &unopened.remote).outcomes);
                    remote = unopened.remote;
                    break;
                }
            },
        };
        let mut done = live.deliver(message, chunk, content).await;
        if done.stale {
            match Box::pin(open(hop, options)).await {
                Ok(fresh) => {
                    live = fresh;
                    done = live.deliver(message, chunk, content).await;
                }
                Err(unopened) => done = Attempt::failed(chunk, &unopened.failure, &unopened.remote),
            }
        }
        outcomes.append(&mut done.outcomes);
        passed_on.append(&mut done.passed_on);
        remote = done.remote;
        if done.reusable {
            connection = Some(live);
            continue;
        }
        // The recipients of transactions that can't begin share what ended the session.
        let unknown = || Failure::new(Stage::Mail, Cause::Lost(Loss::Unexpected));
        let ended = live.failure().map(|failure| bounce::judge(failure, &remote));
        let wide = outcomes.iter().map(|(_, outcome)| outcome).rfind(|outcome| connection::ends_session(outcome));
        let shared = ended.or_else(|| wide.cloned()).unwrap_or_else(|| bounce::judge(&unknown(), &remote));
        outcomes.extend(chunks.flatten().map(|seq| (*seq, shared.clone())));
        break;
    }
    (Attempt { outcomes, passed_on, reusable: connection.is_some(), stale: false, remote }, connection)
}
