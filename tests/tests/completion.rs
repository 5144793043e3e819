//! What the server adds to a submitted header, what it takes away, and what it obeys; and the zones it chooses.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{AioSink, Client, Postern, wait_for};

#[test]
fn a_bare_submission_is_completed() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, "");
    let mut client = Client::hello(server.port).unwrap();
    let content = "Subject: bare\r\nBcc: secret@d.example\r\nX-Sending-Zone: nowhere\r\n\r\nbody\r\n";
    assert_eq!(client.mail("a@b.example", &["c@d.example", "secret@d.example"], content).unwrap().code, 250);
    let messages = wait_for("the message", || Some(sink.messages()).filter(|m| m.len() == 1));
    let content = messages[0]["content"].as_str().unwrap();
    for field in
        ["\r\nDate: ", "\r\nFrom: <a@b.example>\r\n", "\r\nTo: undisclosed-recipients:;\r\n", "@mta.example.com>\r\n"]
    {
        assert!(content.contains(field), "{field:?} is not in\n{content}");
    }
    assert!(!content.contains("secret") && !content.contains("X-Sending-Zone"), "{content}");
}

#[test]
fn a_zone_is_chosen_by_a_trusted_header_alone() {
    let sink = AioSink::start();
    let zone = format!("[zone.bulk]\nsmart_host = {{ host = '127.0.0.1', port = {} }}", sink.port);
    for (trusted, chosen) in [("true", "bulk"), ("false", "default")] {
        let server = Postern::start_with(sink.port, &format!("trust_headers = {trusted}"), "", &zone);
        let mut client = Client::hello(server.port).unwrap();
        assert_eq!(client.mail("a@b.example", &["c@d.example"], "X-Sending-Zone: bulk\r\n\r\n").unwrap().code, 250);
        let queued = server.wait_log(" QUEUED ", 1);
        assert!(queued[0].contains(&format!("zone=\"{chosen}\"")), "{queued:?}");
        server.wait_empty();
    }
}

#[test]
fn a_future_date_delays_where_it_is_asked_for() {
    let sink = AioSink::start();
    for (future_date, waits) in [("true", 1), ("false", 0)] {
        let server = Postern::start_with(sink.port, &format!("future_date = {future_date}"), "", "");
        let mut client = Client::hello(server.port).unwrap();
        let date =
            postern_tests::python("import email.utils, time; print(email.utils.formatdate(time.time() + 3600))", &[]);
        assert_eq!(
            client.mail("a@b.example", &["c@d.example"], &format!("Date: {}\r\n\r\n", date.trim())).unwrap().code,
            250
        );
        if waits == 0 {
            server.wait_log(" ACCEPTED ", 1);
        }
        let queue = server.queue();
        assert_eq!(queue.len(), waits, "{queue:?}");
        assert!(queue.iter().all(|row| row["attempts"] == 0 && row["due"] != row["accepted"]), "{queue:?}");
    }
}

#[test]
fn a_loop_ends() {
    let sink = AioSink::start();
    let server = Postern::start_with(sink.port, "max_hops = 3", "", "");
    let mut client = Client::hello(server.port).unwrap();
    let hops = "Received: from a by b\r\n".repeat(4);
    let reply = client.mail("a@b.example", &["c@d.example"], &format!("{hops}\r\n")).unwrap();
    assert_eq!((reply.code, &reply.lines[0][..5]), (554, "5.4.6"));
}

#[test]
fn zones_claim_their_mail() {
    let sink = AioSink::start();
    let zone = |name: &str, rule: &str| {
        format!("[zone.{name}]\nsmart_host = {{ host = '127.0.0.1', port = {} }}\n{rule}\n", sink.port)
    };
    let zones = zone("header", "routing_headers = { 'x-user-id' = '123' }")
        + &zone("sender", "sender_domains = ['from.example']")
        + &zone("recipient", "recipient_domains = ['to.example']");
    let server = Postern::start(sink.port, &zones);
    let mut client = Client::hello(server.port).unwrap();
    for (number, (header, to, chosen)) in [
        ("X-User-Id: 123\r\nFrom: a@from.example\r\n", "b@to.example", "header"),
        ("From: a@from.example\r\n", "b@to.example", "sender"),
        ("From: a@b.example\r\n", "b@to.example", "recipient"),
        ("From: a@b.example\r\n", "b@c.example", "default"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(client.mail("a@b.example", &[to], &format!("{header}\r\n")).unwrap().code, 250);
        let queued = server.wait_log(" QUEUED ", number + 1);
        assert!(queued[number].contains(&format!("zone=\"{chosen}\"")), "{queued:?}");
    }
    server.wait_empty();
    assert_eq!(sink.messages().len(), 4);
}
