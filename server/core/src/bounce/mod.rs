//! Reading failures: what a reply, a lost connection or a fault of ours means for the message. The whole failure
//! policy is one table per kind of failure in [`table`]; nothing else decides between defer and bounce.
//!
//! # Principles
//! * A bounce needs the next hop's own word (5yz) about the message or the recipient, or a need of the message that
//!   the next hop says it does not meet. Everything else is deferred: a lost connection, above all one lost after the
//!   final dot, says nothing about the message.
//! * 5yz before MAIL is about us or the host, not about anybody's mail: deferred. So is TLS or AUTH that does not come
//!   about.
//! * DNS may bounce too, where it says for certain that nobody takes the domain's mail. No answer is no answer.
//! * 5yz that says "I did not understand you" or "not now in this session" (500, 502, 503) is about the dialogue: the
//!   session is given up, the mail is deferred. 5yz about authentication (530, 534, 535, 538) is about our
//!   configuration: a whole queue must not bounce because a password has changed.
//! * The status is the reply's enhanced code, its class made that of the decision; without one it is the table's.

mod table;

use crate::mail::{EnhancedCode, Outcome, Reason, Reply};
use crate::route::Unroutable;
use crate::smtp::client::{AuthFault, Cause, Failure, Fault, Loss, Stage, TlsFault, Unsupported};
use table::{AUTH_FAULTS, Action, FAULTS, LOSSES, REPLIES, TLS_FAULTS, UNROUTABLE, Verdict};

/// What the failure means for the recipient it struck. `remote` is the next hop as people read it:
/// `host[ip:port]`.
#[must_use]
pub fn judge(failure: &Failure, remote: &str) -> Outcome {
    let (verdict, reply) = match &failure.cause {
        Cause::Reply(reply) => (for_reply(failure.stage, reply), Some(reply)),
        Cause::Lost(loss) => (for_loss(failure.stage, *loss), None),
        Cause::Unsupported(what) => (for_unsupported(*what), None),
        Cause::Fault(fault) => (find(FAULTS, *fault), None),
        Cause::Tls(fault) => (find(TLS_FAULTS, *fault), None),
        Cause::Auth(fault) => (find(AUTH_FAULTS, *fault), None),
        Cause::Unroutable(why) => (find(UNROUTABLE, *why), None),
    };
    let reason = Reason {
        scope: verdict.scope,
        status: status(&verdict, reply),
        remote_reply: reply.cloned(),
        public: public(failure, remote),
        detail: failure.detail.clone(),
    };
    match verdict.action {
        Action::Defer => Outcome::Deferred(reason),
        Action::Bounce => Outcome::Bounced(reason),
    }
}

fn for_reply(stage: Stage, reply: &Reply) -> Verdict {
    let fits = |row: &&table::ReplyRow| {
        (row.stages.is_empty() || row.stages.contains(&stage))
            && row.codes.contains(&reply.code)
            && row.enhanced.is_none_or(|(subject, detail)| {
                reply.enhanced.is_some_and(|e| e.1 == subject && detail.is_none_or(|detail| e.2 == detail))
            })
    };
    REPLIES.iter().find(fits).map_or(table::UNKNOWN, |row| row.verdict)
}

fn for_loss(stage: Stage, loss: Loss) -> Verdict {
    let fits =
        |row: &&table::LossRow| (row.stages.is_empty() || row.stages.contains(&stage)) && row.losses.contains(&loss);
    LOSSES.iter().find(fits).map_or(table::UNKNOWN, |row| row.verdict)
}

fn for_unsupported(what: Unsupported) -> Verdict {
    match what {
        Unsupported::Size(_) => table::TOO_LARGE,
        Unsupported::SmtpUtf8 => table::NEEDS_UTF8,
        Unsupported::EightBit => table::NEEDS_8BIT,
    }
}

/// The row of a table that has one for each value.
fn find<T: PartialEq + Copy>(table: &[(T, Verdict)], wanted: T) -> Verdict {
    table.iter().find(|(known, _)| *known == wanted).map_or(table::UNKNOWN, |(_, verdict)| *verdict)
}

fn status(verdict: &Verdict, reply: Option<&Reply>) -> EnhancedCode {
    let class = match verdict.action {
        Action::Defer => 4,
        Action::Bounce => 5,
    };
    let (subject, detail) = match reply.and_then(|reply| reply.enhanced.filter(|e| u16::from(e.0) == reply.code / 100))
    {
        Some(given) => (given.1, given.2),
        None => verdict.status,
    };
    EnhancedCode(class, subject, detail)
}

/// One line for the sender.
fn public(failure: &Failure, remote: &str) -> String {
    let stage = failure.stage;
    match &failure.cause {
        Cause::Reply(reply) if stage == Stage::Greeting => format!("{remote} greeted with: {reply}"),
        Cause::Reply(reply) => format!("{remote} said: {reply} (in reply to {stage})"),
        Cause::Lost(loss) => lost(*loss, stage, remote),
        Cause::Unsupported(Unsupported::Size(limit)) => {
            format!("the message is larger than the {limit} octets that {remote} takes")
        }
        Cause::Unsupported(Unsupported::SmtpUtf8) => {
            format!("{remote} does not take internationalized addresses or headers (SMTPUTF8)")
        }
        Cause::Unsupported(Unsupported::EightBit) => format!("{remote} does not take 8-bit content (8BITMIME)"),
        Cause::Fault(Fault::Unreadable) => "the message could not be read from the queue".to_owned(),
        Cause::Fault(Fault::Unclean) => "the message has bare line ends or NUL and can't be sent".to_owned(),
        Cause::Fault(Fault::Source) => format!("this server has no address to reach {remote} from"),
        Cause::Tls(TlsFault::NotOffered) => format!("{remote} does not offer TLS, which is required"),
        Cause::Tls(TlsFault::Handshake) => format!("the TLS handshake with {remote} failed"),
        Cause::Tls(TlsFault::Certificate) => format!("{remote} has no certificate that is valid for its name"),
        Cause::Auth(AuthFault::NotOffered) => format!("{remote} offers no way to authenticate that is known here"),
        Cause::Auth(AuthFault::InClear) => format!("{remote} has no TLS for us, and a password is not sent in clear"),
        Cause::Unroutable(why) => unroutable(*why, remote),
    }
}

/// `destination` is a domain or a next hop.
fn unroutable(why: Unroutable, destination: &str) -> String {
    match why {
        Unroutable::NoSuchDomain => format!("the domain {destination} does not exist"),
        Unroutable::NullMx => format!("the domain {destination} takes no mail (null MX)"),
        Unroutable::NoAddress => format!("no host that takes mail for {destination} has an address"),
        Unroutable::Loop => format!("mail for {destination} would come back to this server"),
        Unroutable::Forbidden => {
            format!("the mail hosts of {destination} have only addresses that are not on the internet")
        }
        Unroutable::Temporary => format!("the DNS says nothing about {destination} at present"),
    }
}

fn lost(loss: Loss, stage: Stage, remote: &str) -> String {
    let at = match stage {
        Stage::Connect => "while connecting to it",
        Stage::Content => "while the message was being sent",
        Stage::Dot => "after the whole message had been sent",
        Stage::Greeting => "before its greeting",
        Stage::Handshake => "in the TLS handshake",
        stage => return lost_in_reply(loss, stage, remote),
    };
    match loss {
        Loss::NoAddress => format!("no address is known for {remote}"),
        Loss::Unreachable => format!("{remote} can't be reached"),
        Loss::Closed => format!("{remote} closed the connection {at}"),
        Loss::TimedOut => format!("{remote} took too long, {at}"),
        Loss::Malformed => format!("{remote} did not speak SMTP, {at}"),
        Loss::Unexpected => format!("{remote} broke the protocol {at}"),
    }
}

fn lost_in_reply(loss: Loss, stage: Stage, remote: &str) -> String {
    match loss {
        Loss::NoAddress | Loss::Unreachable => format!("{remote} can't be reached"),
        Loss::Closed => format!("{remote} closed the connection instead of answering {stage}"),
        Loss::TimedOut => format!("{remote} took too long to answer {stage}"),
        Loss::Malformed => format!("{remote} answered {stage} with something that is not a reply"),
        Loss::Unexpected => format!("{remote} broke the protocol when it answered {stage}"),
    }
}

#[cfg(test)]
mod tests;
