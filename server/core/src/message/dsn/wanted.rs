//! Whether there may be a DSN at all: never for what would make a loop or answer a machine.

use crate::mail::{Address, Envelope, ReversePath};
use crate::message::HeaderBlock;

/// May anything be reported to the sender of this message? Not for a null reverse-path (RFC 5321 section 4.5.5), for
/// what was sent automatically (RFC 3834), for what asks not to be answered, for a report, or for what comes
/// from a mail system (`own` is the address that our DSNs are from). An explicit NOTIFY changes nothing of this: a robot
/// that asks for DSNs is a robot still. The sender of a message in a loop is told once, by whoever ends it.
#[must_use]
pub fn wanted(envelope: &Envelope, header: &HeaderBlock, own: &Address) -> bool {
    let has =
        |name, unwanted: fn(&str) -> bool| header.all(name).any(|field| unwanted(&field.value().to_ascii_lowercase()));
    let ReversePath::Path(sender) = &envelope.reverse_path else { return false };
    !is_mail_system(sender, own)
        && !has("Auto-Submitted", |value| {
            value.split([';', '(', ' ']).find(|word| !word.is_empty()).is_some_and(|word| word != "no")
        })
        && !has("X-Auto-Response-Suppress", |value| {
            // Not `DR`: that is about reports of success, and stands in much mail whose sender waits for failures.
            value.split(',').any(|word| matches!(word.trim(), "all" | "ndr"))
        })
        && !has("Content-Type", |value| value.starts_with("multipart/report"))
}

/// Our own DSNs' sender, or another system's.
fn is_mail_system(sender: &Address, own: &Address) -> bool {
    let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
    sender.local().eq_ignore_ascii_case("mailer-daemon")
        || (same(sender.local(), own.local()) && same(sender.domain(), own.domain()))
}
