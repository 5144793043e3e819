//! Next hops that drop, reset, lie, flood, stall and half-close, at each stage of a session. Whatever they do, each
//! message ends delivered or in one DSN, exactly once where the next hop's word arrived; no connection slot and no
//! descriptor is lost, and memory stays bounded.
//!
//! One server has a zone for each kind of hostility, so that all of it happens at once.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stderr, reason = "the figures belong into the test's output")]

use postern_tests::{ALWAYS, Act, Client, HostileSink, Postern, STAGES, Stage, Taken, process, wait_for};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// What a message must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Delivered, and taken exactly once.
    Once,
    /// Delivered; taken perhaps more than once, because the reply was lost.
    AtLeastOnce,
    /// Back to its sender in one DSN, never taken.
    Bounced,
}

/// One kind of hostility, with its zone.
struct Case {
    domain: String,
    sink: HostileSink,
    fate: Fate,
}

/// Sessions in which a sink is hostile.
const BUDGET: usize = 2;
/// Messages for each case and round.
const MESSAGES: usize = 3;
/// Octets of a flood.
const FLOOD: usize = 30 << 20;
const SENDER: &str = "ann@back.example";

const EVERYWHERE: [(&str, Act); 10] = [
    ("slowly", Act::Slowly),
    ("drop", Act::Drop),
    ("reset", Act::Reset),
    ("421", Act::SayAndDrop(b"421 4.3.2 going down\r\n")),
    ("half-421", Act::SayAndDrop(b"421-4.3.2 going")),
    ("garbage", Act::Lie(b"\x00\xff\x16\x03 what is this\r\n<html>\r\n")),
    ("no-code", Act::Lie(b"2x0 ok\r\n")),
    ("half-close", Act::HalfClose),
    ("long-line", Act::Flood(b"250 xxxxxxxxxxxx", FLOOD)),
    ("endless", Act::Flood(b"250-more\r\n", FLOOD)),
];

/// Acts that fit one stage.
const SPECIAL: [(&str, Stage, Act, Fate); 20] = [
    ("slow-dot", Stage::Dot, Act::Slowly, Fate::Once),
    ("no-service", Stage::Greeting, Act::SayAndDrop(b"554 5.3.2 no service\r\n"), Fate::Once),
    ("354-greeting", Stage::Greeting, Act::Lie(b"354 go\r\n"), Fate::Once),
    ("early-ehlo", Stage::Greeting, Act::Lie(b"220 hi\r\n250 early\r\n250 early\r\n"), Fate::Once),
    ("no-ehlo", Stage::Ehlo, Act::Reply(b"500 5.5.1 what is EHLO?\r\n"), Fate::Once),
    ("354-mail", Stage::Mail, Act::Lie(b"354 go\r\n"), Fate::Once),
    ("twice-mail", Stage::Mail, Act::Lie(b"250 ok\r\n250 ok\r\n"), Fate::Once),
    // MAIL, RCPT and DATA are under way already; what follows 354 is said before the content.
    ("early-dot", Stage::Mail, Act::Lie(b"250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 taken\r\n"), Fate::Once),
    ("334-rcpt", Stage::Rcpt, Act::Lie(b"334 who are you?\r\n"), Fate::Once),
    ("250-data", Stage::Data, Act::Lie(b"250 ok\r\n"), Fate::Once),
    ("early-taken", Stage::Data, Act::Lie(b"354 go\r\n250 2.0.0 taken\r\n"), Fate::Once),
    ("354-dot", Stage::Dot, Act::Lie(b"354 go on\r\n"), Fate::AtLeastOnce),
    ("mixed-dot", Stage::Dot, Act::Lie(b"250-2.0.0 taken\r\n550 5.0.0 not taken\r\n"), Fate::AtLeastOnce),
    ("450-mail", Stage::Mail, Act::Reply(b"450 4.3.0 later\r\n"), Fate::Once),
    ("451-dot", Stage::Dot, Act::Reply(b"451 4.3.0 later\r\n"), Fate::Once),
    ("503-data", Stage::Data, Act::Reply(b"503 5.5.1 bad sequence\r\n"), Fate::Once),
    ("550-mail", Stage::Mail, Act::Reply(b"550 5.7.1 not you\r\n"), Fate::Bounced),
    // All recipients refused, and 354 all the same: the content must be empty, and is not a message.
    ("550-rcpt", Stage::Rcpt, Act::Reply(b"550 5.1.1 no such user\r\n"), Fate::Bounced),
    ("554-data", Stage::Data, Act::Reply(b"554 5.0.0 no\r\n"), Fate::Bounced),
    ("550-dot", Stage::Dot, Act::Reply(b"550 5.6.0 spam\r\n"), Fate::Bounced),
];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for stage in STAGES {
        let fate = if stage == Stage::Dot { Fate::AtLeastOnce } else { Fate::Once };
        for (name, act) in EVERYWHERE {
            let domain = format!("{name}-{stage:?}.example").to_lowercase();
            cases.push(Case { domain, sink: HostileSink::start(stage, act, BUDGET), fate });
        }
    }
    for (name, stage, act, fate) in SPECIAL {
        // Who refuses for good refuses always.
        let budget = if fate == Fate::Bounced { ALWAYS } else { BUDGET };
        cases.push(Case { domain: format!("{name}.example"), sink: HostileSink::start(stage, act, budget), fate });
    }
    cases
}

/// A server with a zone for each sink, and one that behaves for all the rest: DSNs.
fn serve(cases: &[Case], back: &HostileSink) -> Postern {
    let mut config = "[queue]\nretry = ['1s']\n".to_owned();
    for (number, case) in cases.iter().enumerate() {
        let Case { domain, sink, .. } = case;
        let port = sink.port;
        write!(
            config,
            "[zone.z{number}]\nconnections = 2\nrecipient_domains = ['{domain}']\n\
             smart_host = {{ host = '127.0.0.1', port = {port} }}\n"
        )
        .unwrap();
    }
    Postern::start(back.port, &config)
}

fn submit(server: &Postern, cases: &[Case], round: &str, messages: usize) {
    let mut client = Client::hello(server.port).unwrap();
    for case in cases {
        for number in 0..messages {
            let subject = format!("{}/{round}/{number}", case.domain);
            let to = format!("bob@{}", case.domain);
            let content = format!("Subject: {subject}\r\n\r\nbody\r\n..\r\n");
            assert_eq!(client.mail(SENDER, &[&to], &content).unwrap().code, 250);
        }
    }
    client.command("QUIT", 2).unwrap();
}

fn by_subject(taken: &[Taken]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for message in taken {
        *counts.entry(message.subject.as_str()).or_default() += 1;
    }
    counts
}

/// DSNs, wherever they went: they take the zone of the message that they are about.
fn dsns(cases: &[Case], back: &HostileSink) -> Vec<Taken> {
    let taken = cases.iter().map(|case| &case.sink).chain([back]).flat_map(HostileSink::taken);
    taken.filter(|message| message.reverse_path.is_empty()).collect()
}

/// Each message of these rounds came to what it should.
fn judge(server: &Postern, cases: &[Case], back: &HostileSink, rounds: &[(&str, usize)]) {
    let mut bounced = 0;
    for Case { domain, sink, fate } in cases {
        assert!(sink.acts() > 0, "{domain} was not hostile at all");
        let taken = sink.taken();
        let counts = by_subject(&taken);
        for (round, messages) in rounds {
            for number in 0..*messages {
                let subject = format!("{domain}/{round}/{number}");
                let count = counts.get(subject.as_str()).copied().unwrap_or_default();
                match fate {
                    Fate::Once => assert_eq!(count, 1, "{subject}"),
                    Fate::AtLeastOnce => assert!(count >= 1, "{subject} was lost"),
                    Fate::Bounced => assert_eq!(count, 0, "{subject}"),
                }
                let answered = taken.iter().filter(|message| message.subject == subject && message.answered).count();
                assert_eq!(answered, usize::from(*fate != Fate::Bounced), "{subject}: taken and said so");
                bounced += usize::from(*fate == Fate::Bounced);
            }
        }
    }
    let dsns = dsns(cases, back);
    assert!(dsns.iter().all(|dsn| dsn.reverse_path.is_empty() && dsn.recipients == [SENDER]), "{dsns:?}");
    assert_eq!(dsns.len(), bounced, "one DSN for each message that bounced");
    assert_eq!(server.log_lines(" REJECTED ").len(), bounced);
}

#[test]
fn every_message_ends_whatever_the_next_hop_does() {
    let (cases, back) = (cases(), HostileSink::tame());
    let mut server = serve(&cases, &back);
    let (open, memory) = (process::descriptors(server.pid()), process::peak_kib(server.pid()));
    submit(&server, &cases, "hostile", MESSAGES);
    server.wait_empty();
    judge(&server, &cases, &back, &[("hostile", MESSAGES)]);
    // Each zone still has its slots.
    submit(&server, &cases, "after", MESSAGES);
    server.wait_empty();
    judge(&server, &cases, &back, &[("hostile", MESSAGES), ("after", MESSAGES)]);
    // Idle connections are closed after a while; then nothing is left.
    wait_for("descriptors to be closed", || (process::descriptors(server.pid()) <= open).then_some(()));
    let grown = process::peak_kib(server.pid()) - memory;
    assert!(grown < 64 << 10, "memory grew by {grown} KiB");
    let sessions: usize = cases.iter().map(|case| case.sink.sessions()).sum();
    eprintln!(
        "{} kinds of hostility, {} messages, {sessions} sessions, {} DSNs; memory grew from {memory} KiB by {grown}",
        cases.len(),
        2 * MESSAGES * cases.len(),
        dsns(&cases, &back).len()
    );
    assert!(server.terminate().status.success());
}

#[test]
fn some_recipients_are_taken_some_later_some_never() {
    let (sink, back) = (HostileSink::start(Stage::Greeting, Act::Slowly, BUDGET), HostileSink::tame());
    let cases = [Case { domain: "some.example".into(), sink, fate: Fate::Once }];
    let server = serve(&cases, &back);
    let mut client = Client::hello(server.port).unwrap();
    let to = ["good@some.example", "perm@some.example", "once@some.example", "too@some.example"];
    assert_eq!(client.mail(SENDER, &to, "Subject: some\r\n\r\nbody\r\n").unwrap().code, 250);
    server.wait_empty();
    let taken = cases[0].sink.taken().into_iter().filter(|message| !message.reverse_path.is_empty());
    let mut taken: Vec<String> = taken.flat_map(|message| message.recipients).collect();
    taken.sort();
    assert_eq!(taken, ["good@some.example", "once@some.example", "too@some.example"]);
    assert_eq!(dsns(&cases, &back).len(), 1, "one DSN, for the one that was refused");
}

#[test]
fn a_verdict_amid_the_content_counts_only_if_it_is_a_refusal() {
    let amid = |domain: &str, act, budget, fate| Case {
        domain: domain.into(),
        sink: HostileSink::start(Stage::Content, act, budget),
        fate,
    };
    let cases = [
        amid("praise.example", Act::Lie(b"250 2.0.0 taken\r\n"), BUDGET, Fate::Once),
        amid("later.example", Act::SayAndDrop(b"451 4.3.0 later\r\n"), BUDGET, Fate::Once),
        amid("refusal.example", Act::Lie(b"554 5.6.0 no more of this\r\n"), ALWAYS, Fate::Bounced),
    ];
    let back = HostileSink::tame();
    let server = serve(&cases, &back);
    // Far more than sockets hold, so that the verdict is there before the end has been sent.
    let body = "line after line after line after line after line after line\r\n".repeat(200_000);
    let mut client = Client::hello(server.port).unwrap();
    for Case { domain, .. } in &cases {
        let content = format!("Subject: {domain}/large/0\r\n\r\n{body}");
        assert_eq!(client.mail(SENDER, &[&format!("bob@{domain}")], &content).unwrap().code, 250);
    }
    server.wait_empty();
    judge(&server, &cases, &back, &[("large", 1)]);
}

#[test]
fn who_stalls_takes_only_its_own_slots() {
    let stall = |stage| Case {
        domain: format!("stall-{stage:?}.example").to_lowercase(),
        sink: HostileSink::start(stage, Act::Stall, BUDGET),
        fate: if stage == Stage::Dot { Fate::AtLeastOnce } else { Fate::Once },
    };
    let cases: Vec<Case> = STAGES.into_iter().map(stall).collect();
    let back = HostileSink::tame();
    let mut server = serve(&cases, &back);
    submit(&server, &cases, "stalled", MESSAGES);
    for case in &cases {
        wait_for(&format!("{} to stall twice", case.domain), || (case.sink.stalled() == BUDGET).then_some(()));
    }
    let mut client = Client::hello(server.port).unwrap();
    for number in 0..20 {
        let content = format!("Subject: {number}\r\n\r\nbody\r\n");
        assert_eq!(client.mail("", &["bob@other.example"], &content).unwrap().code, 250);
    }
    wait_for("mail for others", || (back.taken().len() == 20).then_some(()));
    assert!(cases.iter().all(|case| case.sink.sessions() == BUDGET), "two slots each");
    drop(client);
    // The attempts in flight are cut off, and their messages stay.
    let exit = server.terminate();
    assert!(exit.status.success() && exit.took < Duration::from_secs(10), "the promise is 10 s: {exit:?}");
    server.restart();
    server.wait_empty();
    for Case { domain, sink, fate } in &cases {
        let taken = sink.taken();
        let answered = taken.iter().filter(|message| message.answered).count();
        assert_eq!(answered, MESSAGES, "{domain}");
        assert!(taken.len() == MESSAGES || *fate == Fate::AtLeastOnce, "{domain}: {taken:?}");
    }
    assert!(server.log_lines(" REJECTED ").is_empty());
}
