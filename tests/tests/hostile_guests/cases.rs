//! What the guest `hostile-messages` does in the hooks of intake, and how each ends.

/// How a case ends.
#[derive(Clone, Copy, Debug)]
pub enum Ends {
    /// The call fails, with one of these kinds, and the log says this of it.
    Fails(&'static [&'static str], &'static str),
    /// The host refuses what is asked for, so often, and the call goes well.
    Refused(u64),
    /// The call goes well, and the server answers 451 for what the plugin wants.
    Deferred(&'static str),
}

use Ends::{Deferred, Fails, Refused};

const TRAP: &[&str] = &["trap"];
const CPU: &[&str] = &["cpu"];
const VERDICT: &[&str] = &["verdict"];
const REFUSED: &[&str] = &["refused"];
const DEADLINE: &[&str] = &["deadline"];
/// What waits in the host as much as it runs: whichever limit comes first.
const TIME: &[&str] = &["cpu", "deadline"];

/// `HOOK.ACT`, and how it ends.
pub const CASES: &[(&str, Ends)] = &[
    // The dialogue.
    ("mail.panic", Fails(TRAP, "unreachable")),
    ("mail.loop", Fails(CPU, "CPU limit")),
    ("mail.ok", Fails(VERDICT, "the code 250 where the class is 5")),
    ("mail.temporary", Fails(VERDICT, "the code 451 where the class is 5")),
    ("mail.crlf", Fails(VERDICT, "control characters")),
    ("rcpt.panic", Fails(TRAP, "unreachable")),
    ("rcpt.recurse", Fails(TRAP, "recurse")),
    ("rcpt.permanent", Fails(VERDICT, "the code 550 where the class is 4")),
    ("rcpt.odd-code", Fails(VERDICT, "the code 999")),
    ("rcpt.nul", Fails(VERDICT, "control characters")),
    // Verdicts on messages.
    ("spam.panic", Fails(TRAP, "unreachable")),
    ("spam.memory", Fails(&["memory"], "it wanted")),
    ("spam.reject-ok", Fails(VERDICT, "the code 250")),
    ("spam.reject-odd-class", Fails(VERDICT, "the enhanced code 4.7.1")),
    ("spam.reject-long", Fails(VERDICT, "a text of 401 octets")),
    ("spam.defer-permanent", Fails(VERDICT, "the code 550")),
    ("spam.hold-crlf", Fails(VERDICT, "control characters")),
    ("spam.hold-long", Fails(VERDICT, "a text of 401 octets")),
    ("spam.discard-nul", Fails(VERDICT, "control characters")),
    // Limits of a call.
    ("rewrite.panic", Fails(TRAP, "unreachable")),
    ("rewrite.loop", Fails(CPU, "CPU limit")),
    ("rewrite.memory", Fails(&["memory"], "it wanted")),
    ("rewrite.recurse", Fails(TRAP, "recurse")),
    ("rewrite.error", Fails(REFUSED, "as told\\r\\n250 forged \\u{1b}[31m")),
    ("rewrite.error-large", Fails(REFUSED, "large large")),
    ("rewrite.error-huge", Fails(TRAP, "too much data")),
    ("rewrite.huge-value", Fails(TRAP, "too much data")),
    ("rewrite.huge-name", Fails(TRAP, "too much data")),
    // Floods of calls of the host.
    ("rewrite.header-flood", Fails(CPU, "CPU limit")),
    ("rewrite.headers-flood", Fails(CPU, "CPU limit")),
    ("rewrite.body-flood", Fails(TIME, "")),
    ("rewrite.log-flood", Fails(CPU, "CPU limit")),
    ("rewrite.metric-flood", Fails(CPU, "CPU limit")),
    ("rewrite.random-flood", Fails(CPU, "CPU limit")),
    ("rewrite.kv-flood", Fails(TIME, "")),
    ("rewrite.kv-counters", Fails(TIME, "")),
    ("rewrite.dns-silent", Fails(DEADLINE, "the deadline passed")),
    ("rewrite.edits-ignored", Fails(CPU, "CPU limit")),
    ("rewrite.recipients", Fails(&["refused", "cpu"], "")),
    ("rewrite.attributes", Fails(REFUSED, "too-large: there are at most 128 attributes")),
    ("rewrite.headers", Fails(&["refused", "cpu"], "")),
    ("rewrite.parts-hoarded", Fails(&["trap", "memory", "cpu"], "")),
    ("rewrite.parts-flood", Fails(TIME, "")),
    ("rewrite.write-endless", Fails(TIME, "")),
    // Peers.
    ("rewrite.http-slow", Fails(DEADLINE, "the deadline passed")),
    ("rewrite.http-drip", Fails(REFUSED, "timeout: ")),
    ("rewrite.http-endless", Fails(&["refused", "memory"], "")),
    ("rewrite.http-header", Fails(REFUSED, "message head is too large")),
    ("rewrite.http-cut", Fails(REFUSED, "unavailable: ")),
    ("rewrite.http-redirect", Fails(REFUSED, "denied: ")),
    ("rewrite.http-circle", Fails(REFUSED, "more than 5 redirects")),
    ("rewrite.http-away", Fails(REFUSED, "denied: ")),
    ("rewrite.http-held", Fails(&["refused", "deadline"], "")),
    ("rewrite.http-body", Fails(TRAP, "too much data")),
    ("rewrite.http-forged", Fails(REFUSED, "bad-value: ")),
    // Parts and routes.
    ("rewrite-part.select-panic", Fails(TRAP, "unreachable")),
    ("rewrite-part.select-loop", Fails(CPU, "CPU limit")),
    ("rewrite-part.panic", Fails(TRAP, "unreachable")),
    ("rewrite-part.write-removed", Fails(REFUSED, "not-found: the part was removed")),
    ("rewrite-part.write-endless", Fails(TIME, "")),
    ("rewrite-part.parts-flood", Fails(TIME, "")),
    ("route.panic", Fails(TRAP, "unreachable")),
    ("route.loop", Fails(CPU, "CPU limit")),
    ("route.error", Fails(REFUSED, "as told")),
    // What the host refuses with a word, and the call goes on.
    ("rewrite.forged-values", Refused(20)),
    ("rewrite.forged-names", Refused(30)),
    ("rewrite.forged-addresses", Refused(18)),
    ("rewrite.no-recipient", Refused(2)),
    ("rewrite.delay", Refused(2)),
    ("rewrite.attribute-large", Refused(1)),
    ("rewrite.kv-large", Refused(3)),
    ("rewrite.dns-names", Refused(2)),
    ("rewrite.urls", Refused(6)),
    ("rewrite-part.headers", Refused(6)),
    ("route.hops", Refused(9)),
    ("route.holds", Refused(4)),
    ("route.edits", Refused(2)),
    ("rewrite.zone-unknown", Deferred("there is no zone `nowhere`")),
];
