//! The life of each message in the log: one function an event, one line an event, in ZoneMTA's words.
//!
//! Text that comes from outside is escaped, so that it can neither end a line nor hide in it.

use postern_core::mail::{QueueId, Reason, RecipientId, Reply, ReversePath};
use std::fmt;
use tracing::{info, warn};

/// A text from outside: control characters and characters that turn the direction of writing are escaped.
#[derive(Clone, Copy)]
pub struct Safe<'a>(pub &'a str);

impl fmt::Display for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.0.chars().try_for_each(|c| match c {
            c if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                write!(f, "{}", c.escape_unicode())
            }
            c => f.write_char(c),
        })
    }
}

/// A message is in the queue, durably.
#[derive(Clone, Copy)]
pub struct Queued<'a> {
    /// Its id.
    pub id: QueueId,
    /// The session it came in by, `-` for DSNs.
    pub session: &'a str,
    /// MAIL FROM.
    pub from: &'a ReversePath,
    /// The first recipient.
    pub to: &'a str,
    /// How many recipients it has.
    pub recipients: usize,
    /// Octets of its content.
    pub size: u64,
    /// Its zone (that of the first recipient).
    pub zone: &'a str,
    /// The message that it is a DSN for.
    pub dsn_for: Option<QueueId>,
}

/// A message was queued.
pub fn queued(event: &Queued<'_>) {
    let Queued { id, session, from, to, recipients, size, zone, dsn_for } = event;
    match dsn_for {
        None => info!(%id, session, %from, to = %format_args!("<{to}>"), recipients, size, zone, "QUEUED"),
        Some(about) => {
            info!(%id, session, %from, to = %format_args!("<{to}>"), recipients, size, zone, dsn_for = %about, "QUEUED");
        }
    }
}

/// A plugin changed a message that is about to be queued.
pub fn changed(id: QueueId, session: &str, plugin: &str, what: &str) {
    info!(%id, session, plugin, what = %Safe(what), "CHANGED");
}

/// Which recipient of which message an event is about.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// Message and place in it.
    pub id: RecipientId,
    /// Session it came in by.
    pub session: &'a str,
    /// Recipient.
    pub to: &'a str,
    /// MAIL FROM.
    pub from: &'a ReversePath,
    /// The next hop, `host[ip]:port`; empty if none was reached.
    pub next_hop: &'a str,
}

/// The next hop took the message for a recipient.
pub fn accepted(about: &About<'_>, reply: &Reply) {
    let About { id, session, to, from, next_hop } = about;
    let reply = reply.to_string();
    info!(%id, session, %from, to = %format_args!("<{to}>"), mx = next_hop, reply = %Safe(&reply), "ACCEPTED");
}

/// A recipient waits for another attempt.
pub fn deferred(about: &About<'_>, reason: &Reason, attempts: u32, due: impl fmt::Display) {
    let About { id, session, to, from, next_hop } = about;
    let why = describe(reason);
    info!(%id, session, %from, to = %format_args!("<{to}>"), mx = next_hop, attempts, until = %due, reason = %Safe(&why), "DEFERRED");
}

/// A recipient failed for good: the next hop said so, or it was tried for too long (`expired`).
pub fn rejected(about: &About<'_>, reason: &Reason, expired: bool, dsn: bool) {
    let About { id, session, to, from, next_hop } = about;
    let (why, status) = (describe(reason), reason.status);
    let to = format_args!("<{to}>");
    info!(%id, session, %from, %to, mx = next_hop, %status, expired, dsn, reason = %Safe(&why), "REJECTED");
}

/// A client was refused; nothing was queued.
pub fn noqueue(session: &str, peer: impl fmt::Display, stage: &str, reply: &Reply, detail: &str) {
    let reply = reply.to_string();
    info!(session, %peer, stage, reply = %Safe(&reply), detail = %Safe(detail), "NOQUEUE");
}

/// An attempt was made and its outcome could not be recorded: it may be repeated.
pub fn unsettled(id: QueueId, error: impl fmt::Display) {
    warn!(%id, %error, "the outcome of an attempt was not recorded; the attempt may be repeated");
}

/// A reason on one line: the remote reply if there is one, else the public text, and the detail.
#[must_use]
pub fn describe(reason: &Reason) -> String {
    let said = reason.remote_reply.as_ref().map_or_else(|| reason.public.clone(), ToString::to_string);
    if reason.detail.is_empty() || reason.detail == said { said } else { format!("{said} ({})", reason.detail) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(Safe("a\r\nb\u{1b}[1m\u{202e}ä").to_string(), "a\\u{d}\\u{a}b\\u{1b}[1m\\u{202e}ä");
    }
}
