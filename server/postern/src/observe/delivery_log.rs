//! The life of each message in the log: one function an event, one line an event, in ZoneMTA's words.
//!
//! Text that comes from outside is recorded as a string, which both formats quote and escape: it can neither end a line
//! nor hide in it. Addresses are quoted too: a quoted local part may have anything in it.

use postern_core::hook::Change;
use postern_core::mail::{QueueId, Reason, RecipientId, Reply, ReversePath};
use std::fmt;
use tracing::{info, warn};

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
        None => info!(%id, session, from = from.as_str(), to, recipients, size, zone, "QUEUED"),
        Some(about) => {
            info!(%id, session, from = from.as_str(), to, recipients, size, zone, dsn_for = %about, "QUEUED");
        }
    }
}

/// A plugin changed a message that is about to be queued; the changes are all by one author.
pub fn changed(id: QueueId, session: &str, changes: &[Change]) {
    let plugin = changes.first().map_or("", |change| &*change.author);
    let what = changes.iter().map(|change| change.what.as_str()).collect::<Vec<_>>().join("; ");
    info!(%id, session, plugin, what = what.as_str(), "CHANGED");
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
    info!(%id, session, from = from.as_str(), to, mx = next_hop, reply = reply.as_str(), "ACCEPTED");
}

/// A recipient waits for another attempt.
pub fn deferred(about: &About<'_>, reason: &Reason, attempts: u32, due: impl fmt::Display) {
    let About { id, session, to, from, next_hop } = about;
    let why = describe(reason);
    info!(%id, session, from = from.as_str(), to, mx = next_hop, attempts, until = %due, reason = why.as_str(), "DEFERRED");
}

/// A recipient failed for good: the next hop said so, or it was tried for too long (`expired`).
pub fn rejected(about: &About<'_>, reason: &Reason, expired: bool, dsn: bool) {
    let About { id, session, to, from, next_hop } = about;
    let (why, status) = (describe(reason), reason.status);
    info!(%id, session, from = from.as_str(), to, mx = next_hop, %status, expired, dsn, reason = why.as_str(), "REJECTED");
}

/// A recipient left the queue without delivery or DSN. `?` stands for what could not be read.
pub fn dropped(id: RecipientId, session: &str, from: &str, to: &str, reason: &str) {
    info!(%id, session, from, to, reason, "DROP");
}

/// A client was refused; nothing was queued.
pub fn noqueue(session: &str, peer: impl fmt::Display, stage: &str, reply: &Reply, detail: &str) {
    let reply = reply.to_string();
    info!(session, %peer, stage, reply = reply.as_str(), detail, "NOQUEUE");
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
    use crate::observe::{Format, LogSection, subscriber};
    use postern_core::mail::{EnhancedCode, QueueId, Seq};
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(buffer);
            Ok(buffer.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What `log` writes in `format`, without the time.
    fn written(format: Format, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let section = LogSection { format, ..LogSection::default() };
        tracing::subscriber::with_default(subscriber(&section, move || writer.clone()), log);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    fn accepted_with(reply: &str) {
        let about = About {
            id: RecipientId { message: QueueId(1), seq: Seq(1) },
            session: "s",
            to: "b@c.example",
            from: &ReversePath::Null,
            next_hop: "h[192.0.2.1]:25",
        };
        accepted(&about, &Reply::new(250, EnhancedCode(2, 0, 0), reply));
    }

    #[test]
    fn text_is_one_line_of_key_and_value() {
        let line = written(Format::Text, || accepted_with("ok\r\nFORGED id=2 \u{1b}[1m\u{202e}\u{f5}"));
        let (_, event) = line.split_once(" INFO ").unwrap();
        assert_eq!(
            event,
            "ACCEPTED id=000000000000000001.001 session=\"s\" from=\"\" to=\"b@c.example\" mx=\"h[192.0.2.1]:25\" \
             reply=\"250 2.0.0 ok\\r FORGED id=2 \\u{1b}[1m\\u{202e}\u{f5}\"\n"
        );
    }

    #[test]
    fn json_is_one_object_a_line() {
        let line = written(Format::Json, || accepted_with("ok\r\n\"FORGED\""));
        assert_eq!(line.matches('\n').count(), 1);
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((event["level"].as_str(), event["message"].as_str()), (Some("INFO"), Some("ACCEPTED")));
        assert_eq!(event["id"], "000000000000000001.001");
        assert_eq!(event["reply"], "250 2.0.0 ok\r \"FORGED\"");
    }
}
