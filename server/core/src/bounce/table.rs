//! The tables. The first row that fits counts; each row has its line in the tests.

use crate::mail::Scope;
use crate::route::Unroutable;
use crate::smtp::client::Stage::{
    Auth, Connect, Content, Data, Dot, Ehlo, Greeting, Handshake, Mail, Rcpt, Rset, StartTls,
};
use crate::smtp::client::{AuthFault, Fault, Loss, Stage, TlsFault};
use std::ops::RangeInclusive;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Defer,
    Bounce,
}

/// What a row says: what to do, what it is about, and the subject and detail of the status (RFC 3463) if the reply has
/// none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub action: Action,
    pub scope: Scope,
    pub status: (u16, u16),
}

#[derive(Debug)]
pub(super) struct ReplyRow {
    /// Empty: any.
    pub stages: &'static [Stage],
    pub codes: RangeInclusive<u16>,
    /// Subject and detail of the enhanced code, if the row is only about replies that have it.
    pub enhanced: Option<(u16, Option<u16>)>,
    pub verdict: Verdict,
}

#[derive(Debug)]
pub(super) struct LossRow {
    /// Empty: any.
    pub stages: &'static [Stage],
    pub losses: &'static [Loss],
    pub verdict: Verdict,
}

const fn defer(scope: Scope, subject: u16, detail: u16) -> Verdict {
    Verdict { action: Action::Defer, scope, status: (subject, detail) }
}

const fn bounce(scope: Scope, subject: u16, detail: u16) -> Verdict {
    Verdict { action: Action::Bounce, scope, status: (subject, detail) }
}

const fn row(stages: &'static [Stage], codes: RangeInclusive<u16>, verdict: Verdict) -> ReplyRow {
    ReplyRow { stages, codes, enhanced: None, verdict }
}

const fn row_with(
    stages: &'static [Stage],
    codes: RangeInclusive<u16>,
    subject: u16,
    detail: Option<u16>,
    verdict: Verdict,
) -> ReplyRow {
    ReplyRow { stages, codes, enhanced: Some((subject, detail)), verdict }
}

/// What fits no row: never a reason to give mail up.
pub(super) const UNKNOWN: Verdict = defer(Scope::Session, 0, 0);
/// Larger than the SIZE that was offered.
pub(super) const TOO_LARGE: Verdict = bounce(Scope::Message, 3, 4);
/// RFC 6531 section 3.5: "Non-ASCII addresses not permitted for that sender/recipient".
pub(super) const NEEDS_UTF8: Verdict = bounce(Scope::Message, 6, 7);
/// RFC 3463: "Conversion required but not supported".
pub(super) const NEEDS_8BIT: Verdict = bounce(Scope::Message, 6, 3);

const BEFORE_MAIL: &[Stage] = &[Connect, Greeting, Ehlo, StartTls, Handshake, Auth];
const AFTER_RCPT: &[Stage] = &[Data, Content, Dot];

/// What replies of 400 and above mean.
pub(super) const REPLIES: &[ReplyRow] = {
    use Scope::{Message, NextHop, Recipient, Session};
    &[
        // RFC 5321 section 3.8: the server is going away.
        row(BEFORE_MAIL, 421..=421, defer(NextHop, 3, 2)),
        row(&[], 421..=421, defer(Session, 3, 2)),
        // Our credentials or TLS (RFC 4954 section 6, RFC 3207 section 4).
        row(&[], 530..=530, defer(NextHop, 7, 0)),
        row(&[], 534..=535, defer(NextHop, 7, 8)),
        row(&[], 538..=538, defer(NextHop, 7, 11)),
        row(&[StartTls, Auth], 400..=599, defer(NextHop, 7, 0)),
        // About us or the host. RFC 7504's 521 too: whether a host that takes no mail is a dead end is for routing.
        row(BEFORE_MAIL, 400..=499, defer(NextHop, 3, 0)),
        row(BEFORE_MAIL, 500..=599, defer(NextHop, 3, 2)),
        row(&[Rset], 400..=599, defer(Session, 5, 0)),
        // The dialogue went wrong, or was taken so: a fresh session may do better.
        row(&[], 500..=500, defer(Session, 5, 2)),
        row(&[], 502..=503, defer(Session, 5, 1)),
        // Too many recipients in one transaction: the next one takes them (RFC 5321 section 4.5.3.1.10, where an old
        // server's 552 means 452). A 552 that says "mailbox full" or "too large" in its enhanced code is permanent.
        row(&[Rcpt], 452..=452, defer(Recipient, 5, 3)),
        row_with(&[Rcpt], 552..=552, 2, None, bounce(Recipient, 2, 2)),
        row_with(&[Rcpt], 552..=552, 3, Some(4), bounce(Recipient, 3, 4)),
        row(&[Rcpt], 552..=552, defer(Recipient, 5, 3)),
        row_with(&[Rcpt], 500..=599, 5, Some(3), defer(Recipient, 5, 3)),
        // MAIL: the message with this reverse-path and size.
        row(&[Mail], 452..=452, defer(Message, 3, 1)),
        row(&[Mail], 400..=499, defer(Message, 3, 0)),
        row(&[Mail], 501..=501, bounce(Message, 1, 7)),
        row(&[Mail], 504..=504, bounce(Message, 5, 4)),
        row(&[Mail], 555..=555, bounce(Message, 5, 4)),
        row(&[Mail], 552..=552, bounce(Message, 3, 4)),
        row(&[Mail], 553..=553, bounce(Message, 1, 7)),
        row(&[Mail], 500..=599, bounce(Message, 1, 8)),
        // RCPT: this recipient. 550 alone does not say "no such user": it is policy as often, so it is 5.1.0.
        row(&[Rcpt], 450..=450, defer(Recipient, 2, 0)),
        row(&[Rcpt], 400..=499, defer(Recipient, 3, 0)),
        row(&[Rcpt], 501..=501, bounce(Recipient, 1, 3)),
        row(&[Rcpt], 504..=504, bounce(Recipient, 5, 4)),
        row(&[Rcpt], 555..=555, bounce(Recipient, 5, 4)),
        row(&[Rcpt], 551..=551, bounce(Recipient, 1, 6)),
        row(&[Rcpt], 553..=553, bounce(Recipient, 1, 3)),
        row(&[Rcpt], 556..=556, bounce(Recipient, 1, 10)),
        row(&[Rcpt], 500..=599, bounce(Recipient, 1, 0)),
        // DATA, content, final dot: the message.
        row(AFTER_RCPT, 452..=452, defer(Message, 3, 1)),
        row(AFTER_RCPT, 400..=499, defer(Message, 3, 0)),
        row(AFTER_RCPT, 552..=552, bounce(Message, 3, 4)),
        row(AFTER_RCPT, 500..=599, bounce(Message, 0, 0)),
    ]
};

/// What ends without a reply mean: always defer.
pub(super) const LOSSES: &[LossRow] = {
    use Scope::{NextHop, Session};
    const fn row(stages: &'static [Stage], losses: &'static [Loss], verdict: Verdict) -> LossRow {
        LossRow { stages, losses, verdict }
    }
    &[
        row(&[], &[Loss::NoAddress], defer(NextHop, 4, 3)),
        row(&[], &[Loss::Unreachable], defer(NextHop, 4, 1)),
        row(&[Connect], &[Loss::Closed, Loss::TimedOut], defer(NextHop, 4, 1)),
        row(BEFORE_MAIL, &[Loss::Closed, Loss::TimedOut], defer(NextHop, 4, 2)),
        row(BEFORE_MAIL, &[Loss::Malformed, Loss::Unexpected], defer(NextHop, 5, 0)),
        // Lost after the dot: the next hop may have the message. A duplicate is better than a loss.
        row(&[], &[Loss::Closed, Loss::TimedOut], defer(Session, 4, 2)),
        row(&[], &[Loss::Malformed, Loss::Unexpected], defer(Session, 5, 0)),
    ]
};

/// What faults of ours mean. Content that can't be read may be read later. Content that must not leave will never
/// become clean, because stored content is final: the sender is told at once.
pub(super) const FAULTS: &[(Fault, Verdict)] = &[
    (Fault::Unreadable, defer(Scope::Local, 3, 0)),
    (Fault::Unclean, bounce(Scope::Message, 6, 0)),
    (Fault::Source, defer(Scope::Local, 3, 0)),
];

/// No TLS where there has to be: always defer, for whoever stands between could have seen to it.
pub(super) const TLS_FAULTS: &[(TlsFault, Verdict)] = &[
    (TlsFault::NotOffered, defer(Scope::NextHop, 7, 4)),
    (TlsFault::Handshake, defer(Scope::NextHop, 7, 5)),
    (TlsFault::Certificate, defer(Scope::NextHop, 7, 5)),
];

/// No AUTH where there has to be: always defer, the config may be to blame.
pub(super) const AUTH_FAULTS: &[(AuthFault, Verdict)] =
    &[(AuthFault::NotOffered, defer(Scope::NextHop, 7, 4)), (AuthFault::InClear, defer(Scope::NextHop, 7, 11))];

/// What it means that there is no host to connect to (RFC 7505 section 4, RFC 3463 section 3.5).
pub(super) const UNROUTABLE: &[(Unroutable, Verdict)] = &[
    (Unroutable::NoSuchDomain, bounce(Scope::NextHop, 1, 2)),
    (Unroutable::NullMx, bounce(Scope::NextHop, 1, 10)),
    (Unroutable::NoAddress, bounce(Scope::NextHop, 4, 4)),
    (Unroutable::Loop, bounce(Scope::NextHop, 4, 6)),
    (Unroutable::Forbidden, bounce(Scope::NextHop, 4, 4)),
    (Unroutable::Temporary, defer(Scope::NextHop, 4, 3)),
];
