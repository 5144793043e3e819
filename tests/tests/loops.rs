//! Mail loops end, and nothing multiplies on the way: two servers that are each other's smart host, too many Received,
//! automatic mail and mail without a sender that fails.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stderr, reason = "the figures belong into the test's output")]

use postern_tests::{AioSink, Client, HostileSink, Postern, free_port, wait_for};

const CONTENT: &str = "From: Ann <ann@sender.example>\r\nSubject: round and round\r\n\r\nbody\r\n";

/// Two servers, each the other's smart host.
fn pair() -> [Postern; 2] {
    let port = free_port();
    let one = Postern::start(port, "");
    let listener = format!("[listener.loop]\naddress = '127.0.0.1:{port}'");
    // Of another name: a next hop of our own name is taken for ourselves.
    let two = Postern::start_named("two.example.com", one.port, "", "", &listener);
    [one, two]
}

fn count(servers: &[Postern], text: &str) -> usize {
    servers.iter().map(|server| server.log_lines(text).len()).sum()
}

#[test]
fn a_loop_of_two_servers_ends_with_one_dsn() {
    for (sender, header, dsns) in
        [("ann@sender.example", "", 1), ("", "", 0), ("ann@sender.example", "Auto-Submitted: auto-replied\r\n", 0)]
    {
        let servers = pair();
        let mut client = Client::hello(servers[0].port).unwrap();
        let reply = client.mail(sender, &["bob@d.example"], &format!("{header}{CONTENT}")).unwrap();
        assert_eq!(reply.code, 250);
        // The message fails once, and so does the DSN, which goes in the same circle and begets no other.
        wait_for("the loop to end", || (count(&servers, " REJECTED ") == 1 + dsns).then_some(()));
        servers.iter().for_each(Postern::wait_empty);
        assert_eq!(count(&servers, " REJECTED "), 1 + dsns);
        assert_eq!(count(&servers, " dsn_for="), dsns);
        // Both are taken with up to 50 Received; a DSN begins without one.
        let hops = count(&servers, " QUEUED ");
        assert_eq!(hops, 51 * (1 + dsns) + dsns);
        assert!(servers.iter().flat_map(|server| server.log_lines(" REJECTED ")).all(|line| line.contains("5.4.6")));
        eprintln!("from <{sender}>: {hops} hops, {dsns} DSN");
    }
}

#[test]
fn a_server_does_not_deliver_to_itself() {
    let port = free_port();
    let server = Postern::start(port, &format!("[listener.loop]\naddress = '127.0.0.1:{port}'"));
    let mut client = Client::hello(server.port).unwrap();
    assert_eq!(client.mail("ann@sender.example", &["bob@d.example"], CONTENT).unwrap().code, 250);
    // The message, and the DSN that would have gone the same way.
    let rejected = server.wait_log(" REJECTED ", 2);
    server.wait_empty();
    assert!(rejected.iter().all(|line| line.contains("status=5.4.6")), "{rejected:?}");
    assert_eq!(server.log_lines(" QUEUED ").len(), 2, "it took nothing from itself");
}

#[test]
fn fifty_received_fields_are_taken_and_fifty_one_are_not() {
    let sink = AioSink::start();
    let server = Postern::start(sink.port, "");
    let mut client = Client::hello(server.port).unwrap();
    for (hops, code, enhanced) in [(50, 250, "2.0.0"), (51, 554, "5.4.6"), (5000, 554, "5.4.6")] {
        let content = "Received: from a by b\r\n".repeat(hops) + CONTENT;
        let reply = client.mail("ann@sender.example", &["bob@d.example"], &content).unwrap();
        assert_eq!((reply.code, &reply.lines[0][..5]), (code, enhanced), "{hops}");
    }
    wait_for("the message", || (sink.messages().len() == 1).then_some(()));
    server.wait_empty();
}

#[test]
fn failing_mail_begets_a_dsn_only_where_somebody_waits_for_one() {
    let sink = HostileSink::tame();
    let server = Postern::start(sink.port, "");
    let mut client = Client::hello(server.port).unwrap();
    let cases = [
        ("", "", false),
        ("ann@sender.example", "Auto-Submitted: auto-generated\r\n", false),
        ("ann@sender.example", "Auto-Submitted: auto-replied (vacation)\r\n", false),
        ("ann@sender.example", "auto-submitted:\r\n\tAUTO-NOTIFIED; owner-email=\"x@y.example\"\r\n", false),
        ("ann@sender.example", "Auto-Submitted: no\r\n", true),
        ("ann@sender.example", "", true),
    ];
    for (sender, header, _) in cases {
        assert_eq!(client.mail(sender, &["perm@d.example"], &format!("{header}{CONTENT}")).unwrap().code, 250);
    }
    server.wait_log(" REJECTED ", cases.len());
    server.wait_empty();
    let wanted = cases.iter().filter(|(_, _, wanted)| *wanted).count();
    let taken = sink.taken();
    assert_eq!(taken.len(), wanted, "{taken:?}");
    assert!(taken.iter().all(|dsn| dsn.reverse_path.is_empty() && dsn.recipients == ["ann@sender.example"]));
}
