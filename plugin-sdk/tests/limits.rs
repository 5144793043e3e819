//! The mock host keeps the host's limits, says its words, and leaves nothing of a call that failed.
#![allow(clippy::unwrap_used, missing_docs)]

use postern_plugin_sdk::prelude::*;
use postern_plugin_sdk::testing::{self, Delivery as Attempt, Session as Client, Signing as Keys, Transaction};
use std::time::Duration;

/// A plugin whose hooks do what the test says.
struct Probe<F>(F);

impl<F: 'static> Plugin for Probe<F> {
    type Config = NoConfig;

    fn init(_: NoConfig) -> Result<Self> {
        Err(Error::new("made by hand"))
    }
}

macro_rules! probe {
    ($hook:ident, $method:ident($($argument:ident: $type:ty),+) -> $answer:ty) => {
        impl<F: FnMut($(&$type),+) -> Result<$answer> + 'static> $hook for Probe<F> {
            fn $method(&mut self, $($argument: &$type),+) -> Result<$answer> {
                (self.0)($($argument),+)
            }
        }
    };
}

probe!(Connect, connect(session: Session) -> Verdict);
probe!(Mail, mail(session: Session, envelope: Envelope) -> Verdict);
probe!(Rcpt, rcpt(session: Session, envelope: Envelope, recipient: Recipient) -> Verdict);
probe!(Spam, check(session: Session, envelope: Envelope, message: Message) -> SpamVerdict);
probe!(Rewrite, rewrite(session: Session, envelope: Envelope, message: Message) -> ());
probe!(Route, route(session: Session, envelope: Envelope, message: Message, routing: Routing) -> ());
probe!(Sign, sign(delivery: Delivery, signing: Signing) -> ());
probe!(DeliveryBefore, before(delivery: Delivery) -> Decision);
probe!(Http, handle(request: Request, response: Response) -> ());

fn word<T>(result: Result<T, HostError>) -> String {
    result.err().map_or_else(|| "ok".into(), |error| error.word().to_owned())
}

/// Runs the edits in the hook `rewrite`.
fn rewrite(transaction: &mut Transaction, edits: impl FnMut(&Session, &Envelope, &Message) -> Result<()> + 'static) {
    transaction.rewrite(&mut Probe(edits)).unwrap();
}

#[test]
fn recipients() {
    let mut transaction = Transaction::new();
    rewrite(&mut transaction, |_, envelope, _| {
        assert_eq!(word(envelope.remove_recipient(0)), "last-recipient");
        assert_eq!(word(envelope.add_recipient("no address")), "bad-address");
        assert_eq!(word(envelope.add_recipient("<a@b>")), "bad-address");
        envelope.add_recipient("Second@example.net")?;
        envelope.add_recipient("Second@EXAMPLE.net")?;
        envelope.add_recipient("second@example.net")?;
        assert_eq!(word(envelope.replace_recipient(3, "a@b")), "not-found");
        envelope.replace_recipient(0, "second@EXAMPLE.net")?;
        Ok(())
    });
    assert_eq!(transaction.recipients, ["Second@example.net", "second@example.net"]);
    transaction.recipients = (0..9_999).map(|n| format!("r{n}@example.org")).collect();
    rewrite(&mut transaction, |_, envelope, _| {
        envelope.add_recipient("the@last.one")?;
        assert_eq!(word(envelope.add_recipient("one@too.many")), "too-large");
        Ok(())
    });
    assert_eq!(transaction.recipients.len(), 10_000);
}

#[test]
fn attributes_zone_and_delay() {
    let mut transaction = Transaction::new();
    rewrite(&mut transaction, |session, envelope, _| {
        assert_eq!(word(session.set_attribute("a", Some("b"))), "not-now");
        assert_eq!(word(envelope.set_attribute("a b", None)), "bad-name");
        assert_eq!(word(envelope.set_attribute("a", Some("x\ny"))), "bad-value");
        assert_eq!(word(envelope.set_attribute("a", Some(&"x".repeat(4097)))), "too-large");
        (0..128).try_for_each(|n| envelope.set_attribute(&format!("n{n}"), Some("")))?;
        assert_eq!(word(envelope.set_attribute("one-more", Some(""))), "too-large");
        assert_eq!(word(envelope.set_zone(Some("no good"))), "bad-name");
        assert_eq!(word(envelope.set_delay(Some(Duration::from_secs(30 * 24 * 3600 + 1)))), "too-large");
        envelope.set_delay(Some(Duration::from_millis(1500)))?;
        assert_eq!(envelope.delay(), Some(Duration::from_millis(1500)));
        Ok(())
    });
    assert_eq!(transaction.attributes.len(), 128);
}

#[test]
fn header_fields() {
    let mut transaction = Transaction::from_eml(b"Subject: =?utf-8?Q?J=C3=B5e?=\r\nA: 1\r\n  more\r\na: 2\r\n\r\n");
    rewrite(&mut transaction, |_, _, message| {
        assert_eq!(message.header("subject").as_deref(), Some("Jõe"));
        assert_eq!(message.headers("A").collect::<Vec<_>>(), ["1  more", "2"]);
        for bad in ["a\r\nBcc: b@example.org", "a\nb", "a\rb", "a\0b"] {
            assert_eq!(word(message.prepend_header("X", bad)), "bad-value");
        }
        for bad in ["X:", "X\r\nY", "", "Ä", "X Y"] {
            assert_eq!(word(message.append_header(bad, "a")), "bad-name");
        }
        assert_eq!(word(message.set_header("X", &"x ".repeat(600_000))), "too-large");
        message.set_header("A", "3")?;
        assert_eq!(message.remove_header("none")?, 0);
        message.prepend_header("Top", "t")?;
        Ok(())
    });
    let names: Vec<_> = transaction.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Top", "Subject", "A"]);
    let mut endless = Probe(|_: &Session, _: &Envelope, message: &Message| {
        loop {
            message.remove_header("X")?;
        }
    });
    let error = transaction.rewrite(&mut endless).unwrap_err();
    assert!(error.text().starts_with("too-large: one call makes 10,000 edits"), "{error}");
}

#[test]
fn a_failed_call_leaves_nothing() {
    let mut transaction = Transaction::new().with_header("Subject", "hi").with_body("Hello.\r\n");
    let before = transaction.clone();
    let mut plugin = Probe(|_: &Session, envelope: &Envelope, message: &Message| -> Result<()> {
        message.set_header("Subject", "defaced")?;
        message.parts()?[0].set_text("defaced")?;
        envelope.set_reverse_path("")?;
        envelope.set_zone(Some("bulk"))?;
        Err(Error::new("after edits"))
    });
    assert_eq!(transaction.rewrite(&mut plugin).unwrap_err().text(), "after edits");
    assert_eq!(transaction, before);
}

#[test]
fn what_each_hook_may_not_do() {
    let mut transaction = Transaction::new();
    let mut plugin = Probe(|_: &Session, envelope: &Envelope| {
        assert_eq!(envelope.recipient_count(), 0);
        assert_eq!(word(envelope.add_recipient("a@b")), "not-now");
        envelope.set_reverse_path("other@example.com")?;
        Ok(Verdict::Pass)
    });
    transaction.mail(&mut plugin).unwrap();
    assert_eq!(transaction.reverse_path, "other@example.com");
    assert_eq!(transaction.recipients, ["recipient@example.net"]);

    let mut plugin = Probe(|_: &Session, envelope: &Envelope, recipient: &Recipient| {
        assert_eq!(word(envelope.set_reverse_path("")), "not-now");
        assert_eq!(word(recipient.set_address("no")), "bad-address");
        recipient.set_address("b@example.net")?;
        Ok(Verdict::Pass)
    });
    transaction.rcpt(&mut plugin, "a@example.net").unwrap();
    assert_eq!(transaction.recipients, ["recipient@example.net", "b@example.net"]);

    let mut plugin = Probe(|_: &Session, _: &Envelope, message: &Message| {
        assert_eq!(word(message.parts()?[0].set_text("x")), "not-now");
        message.append_header("X-Seen", "1")?;
        Ok(SpamVerdict::Accept)
    });
    transaction.spam(&mut plugin).unwrap();

    let mut routing = testing::Routing::of(&transaction);
    routing.zones = vec!["default".into(), "bulk".into()];
    let mut plugin = Probe(|_: &Session, envelope: &Envelope, message: &Message, routing: &Routing| {
        assert_eq!(word(envelope.set_zone(None)), "not-now");
        assert_eq!(word(message.remove_header("X-Seen")), "not-now");
        let first = routing.destination(0).ok_or_else(|| Error::new("nobody"))?;
        assert_eq!((first.zone().as_str(), first.next_hop().as_str()), ("default", "example.net"));
        assert_eq!(word(first.set_zone("other")), "not-found");
        assert_eq!(word(first.set_next_hop("[nonsense]")), "bad-address");
        assert_eq!(word(first.hold("a\nb")), "bad-value");
        first.set_zone("bulk")?;
        first.set_delay(Duration::from_secs(60))?;
        assert!(routing.destination(2).is_none());
        Ok(())
    });
    transaction.route(&mut plugin, &mut routing).unwrap();
    assert_eq!(routing.destinations[0].zone, "bulk");
    assert_eq!(routing.destinations[0].delay, Some(Duration::from_secs(60)));
}

#[test]
fn replies_that_break_the_rules_are_failures() {
    for (verdict, ok) in [
        (Verdict::reject("No"), true),
        (Verdict::reject(Reply::new(554, "5.7.1", "No")), true),
        (Verdict::reject(Reply::new(451, "4.7.1", "No")), false),
        (Verdict::defer("550 No"), false),
        (Verdict::reject("No\r\n250 Ok"), false),
        (Verdict::reject("x".repeat(401)), false),
    ] {
        let mut plugin = Probe({
            let verdict = verdict.clone();
            move |session: &Session| {
                session.set_attribute("a", Some("b"))?;
                Ok(verdict.clone())
            }
        });
        let mut session = Client::new();
        assert_eq!(session.connect(&mut plugin).is_ok(), ok, "{verdict:?}");
        assert_eq!(session.attributes.contains_key("a"), ok, "{verdict:?}");
    }
}

#[test]
fn attempts() {
    let mut attempt = Attempt::new();
    let mut plugin = Probe(|delivery: &Delivery| {
        assert_eq!(delivery.tls(), Tls::Opportunistic);
        assert_eq!(delivery.recipients().collect::<Vec<_>>(), ["recipient@example.net"]);
        assert_eq!(word(delivery.set_tls("never")), "bad-value");
        assert_eq!(word(delivery.set_source("192.0.2.99")), "not-found");
        assert_eq!(word(delivery.set_source("here")), "bad-address");
        assert_eq!(word(delivery.prepend_header("X", &"x ".repeat(40_000))), "too-large");
        delivery.set_source("2001:db8::10")?;
        delivery.set_next_hop("[2001:db8::25]:2525")?;
        Ok(Decision::Go)
    });
    attempt.before(&mut plugin).unwrap();
    assert_eq!(attempt.source.as_deref(), Some("2001:db8::10"));
    let mut keys = Keys::new(Some("example.com"));
    let mut plugin = Probe(|delivery: &Delivery, signing: &Signing| {
        assert_eq!(word(delivery.set_tls("off")), "not-now");
        assert_eq!(word(signing.use_key("example.com", "s1")), "not-found");
        assert_eq!(word(signing.use_private_key("example.com", "s1", "text", Duration::ZERO)), "bad-value");
        Ok(())
    });
    attempt.sign(&mut plugin, &mut keys).unwrap();
    assert!(keys.signatures.is_empty());
}

#[test]
fn answers_to_requests() {
    let mut plugin = Probe(|request: &Request, response: &Response| {
        assert_eq!(word(request.body(3)), "too-large");
        assert_eq!(word(response.set_status(99)), "bad-value");
        assert_eq!(word(response.add_header("X", "a\r\nb")), "bad-value");
        assert_eq!(word(response.write(&vec![0; (1 << 20) + 1])), "too-large");
        response.text("ok")?;
        Ok(())
    });
    let answer = testing::Exchange::post("/").with_body("12345").handle(&mut plugin).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
}
