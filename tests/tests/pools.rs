//! Source addresses of pools, as the next hop sees them. All of 127.0.0.0/8 is this machine.

use postern_tests::{AioSink, Client, Postern, wait_for};
use std::collections::{BTreeMap, BTreeSet};

const TWO: &str = "[pool.default]\naddresses = [{ ip = '127.0.0.2', helo = 'two.example.com' }, \
                   { ip = '127.0.0.3', helo = 'three.example.com' }]";

const CONTENT: &str = "Subject: x\r\n\r\nHello\r\n";

fn submit(server: &Postern, recipients: &[String]) {
    let mut client = Client::hello(server.port).expect("a session");
    for recipient in recipients {
        let reply = client.mail("ann@example.com", &[recipient], CONTENT).expect("a reply");
        assert_eq!(reply.code, 250, "{reply:?}");
    }
}

/// Peer address and EHLO name by recipient, for each message.
fn seen(sink: &AioSink, messages: usize) -> BTreeMap<String, BTreeSet<(String, String)>> {
    let all = wait_for("the messages", || Some(sink.messages()).filter(|all| all.len() >= messages));
    let mut seen: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for message in all {
        let text = |key: &str| message[key].as_str().expect("text").to_owned();
        for recipient in message["rcpt_tos"].as_array().expect("recipients") {
            let recipient = recipient.as_str().expect("text").to_owned();
            seen.entry(recipient).or_default().insert((text("peer"), text("helo")));
        }
    }
    seen
}

#[test]
fn each_recipient_has_its_source_and_keeps_it() {
    let sink = AioSink::start();
    let mut server = Postern::start(sink.port, TWO);
    let recipients: Vec<String> = (0..40).map(|n| format!("user{n}@example.org")).collect();
    submit(&server, &recipients);
    let first = seen(&sink, 40);
    server.terminate();
    server.restart();
    submit(&server, &recipients);
    let both = seen(&sink, 80);
    assert_eq!(first, both, "the same after a restart");
    let sources: BTreeSet<_> = both.values().map(|of_one| of_one.iter().collect::<Vec<_>>()).collect();
    let (two, three) = (
        ("127.0.0.2".to_owned(), "two.example.com".to_owned()),
        ("127.0.0.3".to_owned(), "three.example.com".to_owned()),
    );
    assert_eq!(sources, BTreeSet::from([vec![&two], vec![&three]]), "both are used, each with its name");
}

#[test]
fn recipients_of_one_message_leave_by_their_own_sources() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, TWO);
    let recipients: Vec<String> = (0..20).map(|n| format!("user{n}@example.org")).collect();
    let all: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let mut client = Client::hello(server.port).expect("a session");
    assert_eq!(client.mail("ann@example.com", &all, CONTENT).expect("a reply").code, 250);
    let seen = seen(&sink, 2);
    assert_eq!(seen.len(), 20);
    server.wait_empty();
    assert_eq!(sink.messages().len(), 2, "one transaction a source");
}

#[test]
fn an_address_that_is_not_ours_is_skipped() {
    let sink = AioSink::start();
    let pool = "[pool.default]\naddresses = [{ ip = '192.0.2.1', weight = 1000 }, { ip = '127.0.0.3', weight = 1 }]";
    let server = Postern::start(sink.port, pool);
    submit(&server, &(0..5).map(|n| format!("user{n}@example.org")).collect::<Vec<_>>());
    for (recipient, sources) in seen(&sink, 5) {
        let source = ("127.0.0.3".to_owned(), "mta.example.com".to_owned());
        assert_eq!(sources, BTreeSet::from([source]), "{recipient}");
    }
    assert_eq!(server.log_lines("192.0.2.1").len(), 1, "said once");
}
