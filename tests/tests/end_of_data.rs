//! Nobody smuggles a message past us (CVE-2023-51764 and its kin): each malformed end of data, followed by a whole
//! second transaction of an evil sender, whole and cut at each octet around the sequence, goes in by DATA and by BDAT. Next hops
//! are Postfix with `smtpd_forbid_bare_newline = no`, known to be a victim, and aiosmtpd. Their messages are counted,
//! and every octet that leaves the server is scanned.
//!
//! The control sends the same octets straight to the next hop. If Postfix does not fall for them, the test proves
//! nothing and fails. (aiosmtpd was a victim too; Debian's is mended.)

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stderr, reason = "the figures belong into the test's output")]

use postern_tests::{AioSink, Client, Postern, Postfix, Tap, send_apart};
use std::collections::{BTreeMap, BTreeSet};

/// Sequences that some server somewhere has taken for the end, or might.
const FALSE_ENDS: &[&str] = &[
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r",
    "\r.\n",
    "\n.\r",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\0\r\n.\n",
    "\r\n.\r\r\n",
    "\r\r\n.\r\r\n",
    "\r\r\n.\0\r\n",
    "\n\n.\n\n",
    "\n\r.\n\r",
    "\r\n\n.\r\n\r",
    "\n..\n",
];

/// Text that looks like an end and is none: the message goes through, in one piece.
const TEXT: &[&str] =
    &["\r\n..\r\n", "\r\n.x\r\n", "\r\n. \r\n", "\r\n.\t\r\n", "\r\n...\r\n", "\r\n .\r\n", "\r\n\r\n..\r\n\r\n"];

const EVIL: &str = "evil@evil.example";

/// How the octets are cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    /// In two, before this octet of the sequence (one before its start to one after its end).
    At(usize),
    /// Each octet of the sequence, and one on both sides, by itself.
    Each,
}

/// One attempt.
#[derive(Clone, Debug)]
struct Attack {
    sequence: &'static str,
    cut: Cut,
    /// In the Subject of the first message.
    label: String,
}

fn attacks(sequences: &[&'static str]) -> Vec<Attack> {
    let mut attacks = Vec::new();
    for (number, sequence) in sequences.iter().enumerate() {
        let cuts = (0..=sequence.len() + 2).map(Cut::At).chain([Cut::Whole, Cut::Each]);
        attacks.extend(cuts.map(|cut| {
            let kind = if FALSE_ENDS.contains(sequence) { "false" } else { "text" };
            Attack { sequence, cut, label: format!("{kind}-{number}-{cut:?}").replace(['(', ')'], "") }
        }));
    }
    attacks
}

impl Attack {
    /// The content of the first message with all that is hidden in it, and its true end; QUIT comes in the same breath
    /// only for the control, which may end anywhere.
    fn content(&self) -> (String, String) {
        let first = format!("Subject: {}\r\n\r\nfirst part", self.label);
        let second = format!(
            "MAIL FROM:<{EVIL}>\r\nRCPT TO:<victim@d.example>\r\nDATA\r\nSubject: evil-{}\r\n\r\nsecond part\r\n.\r\n",
            self.label
        );
        (first, second)
    }

    fn send(&self, client: &mut Client, port: u16) {
        let (first, second) = self.content();
        let all = [&first, self.sequence, &second].concat();
        let cuts: Vec<usize> = match self.cut {
            Cut::Whole => Vec::new(),
            Cut::At(at) => vec![first.len() + at - 1],
            Cut::Each => (first.len() - 1..=first.len() + self.sequence.len() + 1).collect(),
        };
        let (mut pieces, mut start) = (Vec::new(), 0);
        for end in cuts.into_iter().chain([all.len()]) {
            pieces.push(&all.as_bytes()[start..end]);
            start = end;
        }
        send_apart(client, port, &pieces).unwrap();
    }
}

/// What arrived: how often, by Subject. All from the evil sender are under its address, whatever their Subject.
type Arrived = BTreeMap<String, usize>;

fn count(messages: impl Iterator<Item = (String, Option<String>)>) -> Arrived {
    let mut arrived = Arrived::new();
    for (reverse_path, subject) in messages {
        let key = if reverse_path == EVIL {
            format!("{EVIL} {}", subject.unwrap_or_default())
        } else {
            subject.unwrap_or_default()
        };
        *arrived.entry(key).or_default() += 1;
    }
    arrived
}

fn arrived_at_postfix(postfix: &Postfix) -> Arrived {
    postfix.wait_empty();
    count(postfix.mail().messages().into_iter().map(|message| (message.reverse_path.clone(), message.field("Subject"))))
}

fn arrived_at_aio(sink: &AioSink) -> Arrived {
    let subject = |content: &str| content.lines().find_map(|line| line.strip_prefix("Subject: ")).map(str::to_owned);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    count(sink.messages().iter().map(|m| (text(&m["mail_from"]), subject(m["content"].as_str().unwrap()))))
}

/// Sends each sequence straight to the victim; those that it fell for.
fn control(port: u16, arrived: impl Fn() -> Arrived) -> BTreeSet<&'static str> {
    let whole: Vec<Attack> = attacks(FALSE_ENDS).into_iter().filter(|a| matches!(a.cut, Cut::Whole)).collect();
    for attack in &whole {
        let mut client = Client::hello(port).unwrap();
        client.open("ann@sender.example", &["first@d.example"]).unwrap();
        attack.send(&mut client, port);
        // It answers to what it took for commands, or closes; either way nothing is left to come after the end.
        let _ = client.send(b"QUIT\r\n");
        while matches!(client.line(), Ok(Some(_))) {}
    }
    let arrived = arrived();
    let fell = |attack: &&Attack| arrived.contains_key(&format!("{EVIL} evil-{}", attack.label));
    whole.iter().filter(fell).map(|attack| attack.sequence).collect()
}

/// Sends each attack to Postern; the reply to the content is the only one that it gives besides QUIT's.
fn through_postern(server: &Postern, attacks: &[Attack]) {
    for attack in attacks {
        let mut client = Client::hello(server.port).unwrap();
        client.open("ann@sender.example", &["first@d.example"]).unwrap();
        attack.send(&mut client, server.port);
        let reply = client.reply().unwrap();
        let expected = if TEXT.contains(&attack.sequence) { 250 } else { 550 };
        assert_eq!(reply.code, expected, "{attack:?}: {reply:?}");
        client.command("QUIT", 2).unwrap();
        assert_eq!(client.line().unwrap(), None, "{attack:?}: replies to what was content");
    }
    server.wait_empty();
}

/// The matrix against one victim, those of its attacks that are in `cuts`; what the victim falls for without us.
fn matrix(victim: &str, port: u16, cuts: fn(Cut) -> bool, arrived: impl Fn() -> Arrived) -> BTreeSet<&'static str> {
    let fell_for = control(port, &arrived);
    eprintln!("control: {victim} fell for {} of {}: {fell_for:?}", fell_for.len(), FALSE_ENDS.len());
    let before = arrived();
    let tap = Tap::start(port);
    // What is encrypted could not be scanned.
    let zone = format!(
        "[zone.clear]\nrecipient_domains = ['d.example']\n\
         smart_host = {{ host = '127.0.0.1', port = {}, tls = 'off' }}",
        tap.port
    );
    let server = Postern::start(tap.port, &zone);
    let mut attacks = [attacks(FALSE_ENDS), attacks(TEXT)].concat();
    attacks.retain(|attack| cuts(attack.cut));
    through_postern(&server, &attacks);
    let octets = tap.assert_clean();
    let after = arrived();
    let (mut none, mut one) = (0, 0);
    for attack in &attacks {
        let gained = |key: &str| after.get(key).unwrap_or(&0) - before.get(key).unwrap_or(&0);
        let label = &attack.label;
        assert_eq!(gained(&format!("{EVIL} evil-{label}")), 0, "{victim} was smuggled to: {attack:?}");
        assert_eq!(gained(label), usize::from(TEXT.contains(&attack.sequence)), "{victim}: {attack:?}");
        *(if TEXT.contains(&attack.sequence) { &mut one } else { &mut none }) += 1;
    }
    assert_eq!(after.values().sum::<usize>() - before.values().sum::<usize>(), one, "{victim} got others too");
    eprintln!("{victim}: {none} refused, {one} arrived once, 0 smuggled; {octets} octets left, all clean");
    fell_for
}

#[test]
fn nothing_is_smuggled_to_postfix() {
    let Some(postfix) = Postfix::start() else {
        eprintln!("not run: Postfix needs root");
        return;
    };
    let fell_for = matrix("Postfix", postfix.port, |_| true, || arrived_at_postfix(&postfix));
    for sequence in ["\n.\n", "\n.\r\n", "\r\n.\n"] {
        assert!(fell_for.contains(sequence), "the control is void for {sequence:?}: {fell_for:?}");
    }
}

#[test]
fn nothing_is_smuggled_to_aiosmtpd() {
    let sink = AioSink::start();
    // How a client cuts its octets is not seen behind us: Postfix's share is enough.
    matrix("aiosmtpd", sink.port, |cut| matches!(cut, Cut::Whole), || arrived_at_aio(&sink));
}

/// Sends the octets by BDAT in two chunks, the second of them the last; the reply to the content.
fn by_bdat(server: &Postern, octets: &[u8], cut: usize) -> u16 {
    let mut client = Client::hello(server.port).unwrap();
    client.command("MAIL FROM:<ann@sender.example>", 2).unwrap();
    client.command("RCPT TO:<first@d.example>", 2).unwrap();
    let (one, two) = octets.split_at(cut);
    let chunk = |octets: &[u8], last| [format!("BDAT {}{last}\r\n", octets.len()).as_bytes(), octets].concat();
    client.send(&[chunk(one, ""), chunk(two, " LAST")].concat()).unwrap();
    let first = client.reply().unwrap().code;
    let second = client.reply().unwrap().code;
    client.command("QUIT", 2).unwrap();
    assert_eq!(client.line().unwrap(), None, "replies to what was content");
    match (first, second) {
        (250, code) => code,
        // The transaction is over; the rest of it was read and refused.
        (code, 503) => code,
        other => panic!("{other:?}"),
    }
}

/// What ends DATA is text in BDAT, and goes out as text; what DATA could not have is refused there too.
#[test]
fn nothing_is_smuggled_by_bdat() {
    let Some(postfix) = Postfix::start() else {
        eprintln!("not run: Postfix needs root");
        return;
    };
    let tap = Tap::start(postfix.port);
    let zone = format!(
        "[zone.clear]\nrecipient_domains = ['d.example']\n\
         smart_host = {{ host = '127.0.0.1', port = {}, tls = 'off' }}",
        tap.port
    );
    let server = Postern::start(tap.port, &zone);
    let mut expected = Arrived::new();
    for (number, sequence) in FALSE_ENDS.iter().chain(TEXT).chain(&["\r\n.\r\n"]).enumerate() {
        for cut in 0..=sequence.len() {
            let attack = Attack { sequence, cut: Cut::At(cut), label: format!("bdat-{number}-{cut}") };
            let (first, second) = attack.content();
            let octets = [&first, *sequence, &second].concat();
            let code = by_bdat(&server, octets.as_bytes(), first.len() + cut);
            assert_eq!(code, if FALSE_ENDS.contains(sequence) { 550 } else { 250 }, "{attack:?}");
            if code == 250 {
                expected.insert(attack.label, 1);
            }
        }
    }
    server.wait_empty();
    tap.assert_clean();
    assert_eq!(arrived_at_postfix(&postfix), expected);
}
