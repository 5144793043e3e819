//! A line per row of the tables, and the order of rows where it matters.

use super::*;

#[track_caller]
fn check(stage: Stage, reply: &str, expected: &str) {
    let (code, text) = reply.split_once(' ').unwrap_or((reply, ""));
    let (enhanced, text) = match text.split_once(' ').map(|(first, rest)| (EnhancedCode::parse(first), rest)) {
        Some((Some(enhanced), rest)) => (Some(enhanced), rest),
        _ => (None, text),
    };
    let reply = Reply { code: code.parse().unwrap(), enhanced, text: text.to_owned() };
    assert_eq!(show(&judge(&Failure::new(stage, Cause::Reply(reply.clone())), "mx")), expected, "{stage} {reply}");
}

#[track_caller]
fn check_cause(stage: Stage, cause: Cause, expected: &str) {
    assert_eq!(show(&judge(&Failure::new(stage, cause), "mx")), expected, "{stage}");
}

fn show(outcome: &Outcome) -> String {
    let (verb, reason) = match outcome {
        Outcome::Delivered(_) => return "delivered".to_owned(),
        Outcome::Deferred(reason) => ("defer", reason),
        Outcome::Bounced(reason) => ("bounce", reason),
    };
    format!("{verb} {:?} {}", reason.scope, reason.status)
}

#[test]
fn going_away() {
    check(Stage::Greeting, "421 busy", "defer NextHop 4.3.2");
    check(Stage::Ehlo, "421 4.7.0 slow down", "defer NextHop 4.7.0");
    for stage in [Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Content, Stage::Dot] {
        check(stage, "421 bye", "defer Session 4.3.2");
    }
}

#[test]
fn before_mail_nothing_bounces() {
    check(Stage::Greeting, "450 later", "defer NextHop 4.3.0");
    check(Stage::Greeting, "554 no service", "defer NextHop 4.3.2");
    check(Stage::Greeting, "554 5.7.1 you are blocked", "defer NextHop 4.7.1");
    check(Stage::Greeting, "521 takes no mail", "defer NextHop 4.3.2");
    check(Stage::Ehlo, "550 who are you", "defer NextHop 4.3.2");
}

#[test]
fn the_dialogue() {
    check(Stage::Rset, "500 what", "defer Session 4.5.0");
    check(Stage::Mail, "500 what", "defer Session 4.5.2");
    check(Stage::Rcpt, "502 not implemented", "defer Session 4.5.1");
    check(Stage::Data, "503 bad sequence", "defer Session 4.5.1");
    check(Stage::Dot, "503 5.5.1 bad sequence", "defer Session 4.5.1");
}

#[test]
fn our_credentials() {
    check(Stage::Mail, "530 authenticate", "defer NextHop 4.7.0");
    check(Stage::Mail, "530 5.7.0 must issue STARTTLS", "defer NextHop 4.7.0");
    check(Stage::Mail, "535 wrong", "defer NextHop 4.7.8");
    check(Stage::Rcpt, "534 weak", "defer NextHop 4.7.8");
    check(Stage::Mail, "538 encrypt", "defer NextHop 4.7.11");
    check(Stage::Auth, "535 wrong", "defer NextHop 4.7.8");
    check(Stage::Auth, "535 5.7.8 wrong", "defer NextHop 4.7.8");
    check(Stage::Auth, "538 5.7.11 encrypt", "defer NextHop 4.7.11");
    check(Stage::Auth, "454 temporary failure", "defer NextHop 4.7.0");
    check(Stage::Auth, "504 mechanism", "defer NextHop 4.7.0");
    check(Stage::Auth, "421 bye", "defer NextHop 4.3.2");
    check(Stage::StartTls, "454 TLS not available", "defer NextHop 4.7.0");
    check(Stage::StartTls, "502 5.5.1 what", "defer NextHop 4.5.1");
}

#[test]
fn mail() {
    check(Stage::Mail, "451 later", "defer Message 4.3.0");
    check(Stage::Mail, "452 no room", "defer Message 4.3.1");
    check(Stage::Mail, "451 4.7.1 greylisted", "defer Message 4.7.1");
    check(Stage::Mail, "501 bad address", "bounce Message 5.1.7");
    check(Stage::Mail, "504 parameter", "bounce Message 5.5.4");
    check(Stage::Mail, "555 parameter", "bounce Message 5.5.4");
    check(Stage::Mail, "552 too large", "bounce Message 5.3.4");
    check(Stage::Mail, "553 bad sender", "bounce Message 5.1.7");
    check(Stage::Mail, "550 not you", "bounce Message 5.1.8");
    check(Stage::Mail, "550 5.7.1 not you", "bounce Message 5.7.1");
}

#[test]
fn rcpt() {
    check(Stage::Rcpt, "450 busy", "defer Recipient 4.2.0");
    check(Stage::Rcpt, "451 later", "defer Recipient 4.3.0");
    check(Stage::Rcpt, "451 4.7.1 greylisted", "defer Recipient 4.7.1");
    check(Stage::Rcpt, "452 too many recipients", "defer Recipient 4.5.3");
    check(Stage::Rcpt, "452 4.2.2 full", "defer Recipient 4.2.2");
    check(Stage::Rcpt, "552 too many recipients", "defer Recipient 4.5.3");
    check(Stage::Rcpt, "552 5.5.3 too many recipients", "defer Recipient 4.5.3");
    check(Stage::Rcpt, "550 5.5.3 too many recipients", "defer Recipient 4.5.3");
    check(Stage::Rcpt, "552 5.2.2 mailbox full", "bounce Recipient 5.2.2");
    check(Stage::Rcpt, "552 5.3.4 too large for it", "bounce Recipient 5.3.4");
    check(Stage::Rcpt, "501 bad address", "bounce Recipient 5.1.3");
    check(Stage::Rcpt, "504 parameter", "bounce Recipient 5.5.4");
    check(Stage::Rcpt, "555 parameter", "bounce Recipient 5.5.4");
    check(Stage::Rcpt, "551 moved", "bounce Recipient 5.1.6");
    check(Stage::Rcpt, "553 bad mailbox", "bounce Recipient 5.1.3");
    check(Stage::Rcpt, "556 domain takes no mail", "bounce Recipient 5.1.10");
    check(Stage::Rcpt, "550 no", "bounce Recipient 5.1.0");
    check(Stage::Rcpt, "550 5.1.1 no such user", "bounce Recipient 5.1.1");
    check(Stage::Rcpt, "554 5.7.1 relay access denied", "bounce Recipient 5.7.1");
}

#[test]
fn data_and_after() {
    for stage in [Stage::Data, Stage::Content, Stage::Dot] {
        check(stage, "452 no room", "defer Message 4.3.1");
        check(stage, "451 later", "defer Message 4.3.0");
        check(stage, "552 too large", "bounce Message 5.3.4");
        check(stage, "554 refused", "bounce Message 5.0.0");
        check(stage, "550 5.7.1 spam", "bounce Message 5.7.1");
    }
}

#[test]
fn losses_never_bounce() {
    let lost = Cause::Lost;
    check_cause(Stage::Connect, lost(Loss::NoAddress), "defer NextHop 4.4.3");
    check_cause(Stage::Connect, lost(Loss::Unreachable), "defer NextHop 4.4.1");
    check_cause(Stage::Connect, lost(Loss::TimedOut), "defer NextHop 4.4.1");
    check_cause(Stage::Greeting, lost(Loss::Closed), "defer NextHop 4.4.2");
    check_cause(Stage::Greeting, lost(Loss::Malformed), "defer NextHop 4.5.0");
    check_cause(Stage::Mail, lost(Loss::TimedOut), "defer Session 4.4.2");
    check_cause(Stage::Dot, lost(Loss::Closed), "defer Session 4.4.2");
    check_cause(Stage::Dot, lost(Loss::TimedOut), "defer Session 4.4.2");
    check_cause(Stage::Rcpt, lost(Loss::Unexpected), "defer Session 4.5.0");
    for stage in [Stage::StartTls, Stage::Handshake, Stage::Auth] {
        check_cause(stage, lost(Loss::Closed), "defer NextHop 4.4.2");
        check_cause(stage, lost(Loss::Unexpected), "defer NextHop 4.5.0");
    }
}

#[test]
fn no_tls_and_no_auth_never_bounce() {
    check_cause(Stage::StartTls, Cause::Tls(TlsFault::NotOffered), "defer NextHop 4.7.4");
    check_cause(Stage::Handshake, Cause::Tls(TlsFault::Handshake), "defer NextHop 4.7.5");
    check_cause(Stage::Handshake, Cause::Tls(TlsFault::Certificate), "defer NextHop 4.7.5");
    check_cause(Stage::Auth, Cause::Auth(AuthFault::NotOffered), "defer NextHop 4.7.4");
    check_cause(Stage::Auth, Cause::Auth(AuthFault::InClear), "defer NextHop 4.7.11");
}

#[test]
fn without_a_host() {
    for (why, expected) in [
        (Unroutable::NoSuchDomain, "bounce NextHop 5.1.2"),
        (Unroutable::NullMx, "bounce NextHop 5.1.10"),
        (Unroutable::NoAddress, "bounce NextHop 5.4.4"),
        (Unroutable::Loop, "bounce NextHop 5.4.6"),
        (Unroutable::Forbidden, "bounce NextHop 5.4.4"),
        (Unroutable::Temporary, "defer NextHop 4.4.3"),
    ] {
        check_cause(Stage::Connect, Cause::Unroutable(why), expected);
        check_cause(Stage::Ehlo, Cause::Unroutable(why), expected);
    }
}

#[test]
fn needs_and_faults() {
    check_cause(Stage::Mail, Cause::Unsupported(Unsupported::Size(10)), "bounce Message 5.3.4");
    check_cause(Stage::Mail, Cause::Unsupported(Unsupported::SmtpUtf8), "bounce Message 5.6.7");
    check_cause(Stage::Mail, Cause::Unsupported(Unsupported::EightBit), "bounce Message 5.6.3");
    check_cause(Stage::Content, Cause::Fault(Fault::Unreadable), "defer Local 4.3.0");
    check_cause(Stage::Content, Cause::Fault(Fault::Unclean), "bounce Message 5.6.0");
    check_cause(Stage::Connect, Cause::Fault(Fault::Source), "defer Local 4.3.0");
}

/// Every reply at every stage has a row, and none below 500 bounces.
#[test]
fn total() {
    use Stage::{Auth, Content, Data, Dot, Ehlo, Greeting, Mail, Rcpt, Rset, StartTls};
    let stages = [Greeting, Ehlo, StartTls, Auth, Rset, Mail, Rcpt, Data, Content, Dot];
    for stage in stages {
        for code in 400..600 {
            let outcome = judge(&Failure::new(stage, Cause::Reply(Reply::plain(code, "x"))), "mx");
            assert!(code >= 500 || matches!(outcome, Outcome::Deferred(_)), "{stage} {code}");
            let verdict = for_reply(stage, &Reply::plain(code, "x"));
            assert_ne!(verdict, table::UNKNOWN, "{stage} {code}");
        }
    }
}

#[test]
fn public_texts() {
    let text = |stage, cause| match judge(&Failure::new(stage, cause), "mx.example[192.0.2.1:25]") {
        Outcome::Bounced(reason) | Outcome::Deferred(reason) => reason.public,
        Outcome::Delivered(_) => String::new(),
    };
    let reply = Reply::new(550, EnhancedCode(5, 1, 1), "no such\nuser");
    assert_eq!(
        text(Stage::Rcpt, Cause::Reply(reply)),
        "mx.example[192.0.2.1:25] said: 550 5.1.1 no such user (in reply to RCPT TO)"
    );
    assert_eq!(
        text(Stage::Dot, Cause::Lost(Loss::Closed)),
        "mx.example[192.0.2.1:25] closed the connection after the whole message had been sent"
    );
    assert_eq!(
        text(Stage::Mail, Cause::Lost(Loss::TimedOut)),
        "mx.example[192.0.2.1:25] took too long to answer MAIL FROM"
    );
    assert_eq!(
        text(Stage::Handshake, Cause::Lost(Loss::TimedOut)),
        "mx.example[192.0.2.1:25] took too long, in the TLS handshake"
    );
    assert_eq!(
        text(Stage::Connect, Cause::Unroutable(Unroutable::Forbidden)),
        "the mail hosts of mx.example[192.0.2.1:25] have only addresses that are not on the internet"
    );
}
