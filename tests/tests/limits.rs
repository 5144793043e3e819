//! Limits of connections: of a zone, of each recipient domain in it, of one domain over all zones; and that no domain
//! keeps the others waiting for a connection.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{Client, CountingSink, Dnsmasq, Postern, free_port};

const CONTENT: &str = "From: a@d.example\r\nSubject: s\r\n\r\nbody\r\n";

/// dnsmasq by which every name in `test` is this machine.
fn dns() -> Dnsmasq {
    Dnsmasq::start(&["--address=/test/127.0.0.1"])
}

fn submit<'d>(server: &Postern, domains: impl IntoIterator<Item = &'d str>) {
    submit_from("d.example", server, domains);
}

fn submit_from<'d>(from: &str, server: &Postern, domains: impl IntoIterator<Item = &'d str>) {
    let mut client = Client::hello(server.port).unwrap();
    let content = CONTENT.replace("d.example", from);
    for domain in domains {
        assert_eq!(client.mail("", &[&format!("a@{domain}")], &content).unwrap().code, 250);
    }
}

#[test]
fn a_zone_keeps_to_its_connections() {
    let sink = CountingSink::start();
    let server = Postern::start_with(sink.port, "", "connections = 3", "");
    submit(&server, ["d.example"; 60]);
    sink.open();
    server.wait_log(" ACCEPTED ", 60);
    assert_eq!(sink.most(), 3);
}

#[test]
fn a_zone_keeps_to_its_connections_over_many_domains() {
    let (sink, dns) = (CountingSink::start(), dns());
    let zone = "connections = 3";
    let server = Postern::start_mx(free_port(), dns.port, sink.port, zone, "allow_private = true", "");
    let domains: Vec<String> = (0..40).map(|n| format!("d{n}.test")).collect();
    submit(&server, domains.iter().map(String::as_str));
    sink.open();
    server.wait_log(" ACCEPTED ", 40);
    // A connection that makes room says farewell while the next one begins.
    assert!((3..=6).contains(&sink.most()), "{}", sink.most());
}

#[test]
fn domains_keep_to_their_connections() {
    let (sink, dns) = (CountingSink::start(), dns());
    let zone = "per_domain = { connections = 2 }";
    let config = "[domain.'single.test']\nconnections = 1\n[domain.'many.test']\nconnections = 4\n\
                  [zone.other]\nsender_domains = ['other.example']\nport = PORT";
    let config = &config.replace("PORT", &sink.port.to_string());
    let server = Postern::start_mx(free_port(), dns.port, sink.port, zone, "allow_private = true", config);
    submit(&server, ["plain.test", "single.test", "many.test"].into_iter().cycle().take(90));
    submit_from("other.example", &server, ["single.test"; 10]);
    sink.open();
    server.wait_log(" ACCEPTED ", 100);
    assert_eq!(["plain.test", "single.test", "many.test"].map(|domain| sink.most_for(domain)), [2, 1, 4]);
}

#[test]
fn no_domain_keeps_the_others_waiting() {
    let (sink, dns) = (CountingSink::start(), dns());
    let server = Postern::start_mx(free_port(), dns.port, sink.port, "connections = 1", "allow_private = true", "");
    submit(&server, ["big.test"; 100]);
    submit(&server, ["one.test", "two.test", "three.test"]);
    sink.open();
    server.wait_log(" ACCEPTED ", 103);
    let arrived = sink.arrived();
    let first = |domain: &str| arrived.iter().position(|d| d == domain).unwrap();
    for domain in ["one.test", "two.test", "three.test"] {
        // Three queues wait, and each turn is of twenty messages.
        assert!(first(domain) <= 70, "{domain} came after {} others", first(domain));
    }
}
