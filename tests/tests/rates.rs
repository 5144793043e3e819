//! How fast mail leaves: the rates of zones, domains, sources, senders and users, measured at the next hop.
//!
//! The windows are the issue of these tests, so they do look at the clock: that there is never too much holds on a busy
//! machine too. That there is enough is checked in the long form alone.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use postern_tests::{
    Arrival, Client, CountingSink, Dnsmasq, Postern, Setup, check, free_port, process, send, soak, wait_for,
};
use serde_json::json;
use std::time::{Duration, Instant};

const CONTENT: &str = "From: a@d.example\r\nSubject: s\r\n\r\nbody\r\n";

/// How long one is watched.
fn span() -> Duration {
    Duration::from_secs(if soak() { 20 } else { 4 })
}

fn submit(server: &Postern, mail: impl IntoIterator<Item = (String, Vec<String>)>) {
    let mut client = Client::hello(server.port).unwrap();
    for (from, to) in mail {
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        assert_eq!(client.mail(&from, &to, CONTENT).unwrap().code, 250);
    }
}

/// So many messages from one sender to one recipient of each of the domains in turn.
fn to_domains(count: usize, domains: &[&str]) -> Vec<(String, Vec<String>)> {
    let to = |n: usize| vec![format!("b{n}@{}", domains[n % domains.len()])];
    (0..count).map(|n| ("a@d.example".to_owned(), to(n))).collect()
}

/// In no window of two seconds or longer is there over a twentieth more than the rate gives (and two, for what the sink
/// sees late), and on average there is nine tenths of it.
fn keeps_to(rate: f64, what: &str, arrivals: impl IntoIterator<Item = Arrival>, from: Instant) {
    let times: Vec<f64> = arrivals.into_iter().map(|one| (one.at - from).as_secs_f64()).collect();
    let (Some(first), Some(last)) = (times.first(), times.last()) else { panic!("{what}: nothing came") };
    let slack = if soak() { 0.0 } else { 2.0 };
    let mut worst = 0.0_f64;
    for (i, start) in times.iter().enumerate() {
        for (j, end) in times.iter().enumerate().skip(i + 1).filter(|(_, end)| *end - start >= 2.0) {
            let (came, may) = ((j - i) as f64, rate * (end - start));
            assert!(came <= may * 1.05 + slack, "{what}: {came} in {:.2} s at {rate}/s", end - start);
            worst = worst.max(came / may);
        }
    }
    let average = (times.len() - 1) as f64 / (last - first);
    println!("{what}: {rate}/s set, {average:.2}/s came, {worst:.3} of it in the fullest window");
    assert!(average <= rate * 1.05 + slack, "{what}: {average}");
    assert!(!soak() || average >= rate * 0.9, "{what}: {average}");
}

fn those_of(all: &[Arrival], is: impl Fn(&Arrival) -> bool) -> Vec<Arrival> {
    all.iter().filter(|one| is(one)).cloned().collect()
}

fn dns() -> Dnsmasq {
    Dnsmasq::start(&["--address=/test/127.0.0.1"])
}

fn mx(dns: &Dnsmasq, sink: &CountingSink, zone: &str, config: &str) -> Postern {
    Postern::start_mx(free_port(), dns.port, sink.port, zone, "allow_private = true", config)
}

#[test]
fn messages_of_a_zone() {
    for rate in [8, 100] {
        let sink = CountingSink::start();
        sink.open();
        let server = Postern::start_with(sink.port, "", &format!("rate = '{rate}/s'"), "");
        let began = Instant::now();
        submit(&server, to_domains(rate * 30, &["d.example"]));
        std::thread::sleep(span());
        keeps_to(rate as f64, "messages of a zone", sink.times().messages, began);
    }
}

/// Where a burst or a connection is not to be had, the server waits, and does not ask again and again.
#[test]
fn waiting_takes_no_time_of_the_processor() {
    let (sink, dns) = (CountingSink::start(), dns());
    sink.open();
    let zone = "recipient_rate = '60/m'\nburst = 10\nconnection_rate = '30/m'";
    let server = mx(&dns, &sink, zone, "");
    let to = |n: usize| (0..10).map(|r| format!("b{r}@d{n}.test")).collect();
    let began = Instant::now();
    submit(&server, (0..30).map(|n| ("a@d.example".to_owned(), to(n))));
    server.wait_log(" ACCEPTED ", 10);
    let before = process::cpu_ticks(server.pid());
    std::thread::sleep(span());
    // Hundredths of a second.
    let took = process::cpu_ticks(server.pid()) - before;
    assert!(took < 50, "{took}");
    let times = sink.times();
    let most = |rate: f64, burst: f64| burst + rate * began.elapsed().as_secs_f64();
    assert!(times.recipients.len() as f64 <= most(1.0, 10.0), "{} recipients", times.recipients.len());
    assert!(times.sessions.len() as f64 <= most(0.5, 10.0), "{} sessions", times.sessions.len());
}

#[test]
fn recipients_of_a_zone() {
    let sink = CountingSink::start();
    sink.open();
    let server = Postern::start_with(sink.port, "", "recipient_rate = '40/s'", "");
    let began = Instant::now();
    let to = |n: usize| (0..7).map(|r| format!("b{n}.{r}@d.example")).collect();
    submit(&server, (0..150).map(|n| ("a@d.example".to_owned(), to(n))));
    std::thread::sleep(span());
    keeps_to(40.0, "recipients of a zone", sink.times().recipients, began);
}

#[test]
fn connections_of_a_zone() {
    let (sink, dns) = (CountingSink::start(), dns());
    sink.open();
    let server = mx(&dns, &sink, "connection_rate = '6/s'\nconnections = 100", "");
    let began = Instant::now();
    let domains: Vec<String> = (0..200).map(|n| format!("d{n}.test")).collect();
    submit(&server, to_domains(200, &domains.iter().map(String::as_str).collect::<Vec<_>>()));
    std::thread::sleep(span());
    keeps_to(6.0, "connections of a zone", sink.times().sessions, began);
}

/// Each domain has the rate of `per_domain` for itself, and one with a table has that over all zones.
#[test]
fn messages_of_domains() {
    let (sink, dns) = (CountingSink::start(), dns());
    sink.open();
    let config = format!(
        "[domain.'slow.test']\nrate = '3/s'\n\
         [zone.other]\nport = {}\nsender_domains = ['other.example']\nper_domain = {{ rate = '10/s' }}\n",
        sink.port
    );
    let server = mx(&dns, &sink, "per_domain = { rate = '10/s' }", &config);
    let began = Instant::now();
    let mail = to_domains(900, &["one.test", "two.test", "slow.test"]);
    let of_other = mail.iter().filter(|(_, to)| to[0].ends_with("slow.test")).cloned().collect::<Vec<_>>();
    submit(&server, mail);
    let mut client = Client::hello(server.port).unwrap();
    for (_, to) in of_other {
        let content = CONTENT.replace("d.example", "other.example");
        assert_eq!(client.mail("", &[&to[0]], &content).unwrap().code, 250);
    }
    std::thread::sleep(span());
    let all = sink.times().recipients;
    for (domain, rate) in [("one.test", 10.0), ("two.test", 10.0), ("slow.test", 3.0)] {
        keeps_to(rate, domain, those_of(&all, |one| one.domain == domain), began);
    }
    let zones = those_of(&all, |one| one.domain == "slow.test");
    assert!(zones.iter().any(|one| one.from.is_empty()) && zones.iter().any(|one| !one.from.is_empty()));
}

#[test]
fn messages_from_sources() {
    let sink = CountingSink::start();
    sink.open();
    let pool = "[pool.default]\naddresses = [{ ip = '127.0.0.2' }, { ip = '127.0.0.3' }]";
    let server = Postern::start_with(sink.port, "", "per_source = { rate = '10/s' }", pool);
    let began = Instant::now();
    submit(&server, to_domains(600, &["d.example"]));
    std::thread::sleep(span());
    let all = sink.times().messages;
    for source in ["127.0.0.2", "127.0.0.3"] {
        keeps_to(10.0, source, those_of(&all, |one| one.peer.to_string() == source), began);
    }
}

/// One sender's mail waits; another's, which came later to the same destination, does not.
#[test]
fn messages_of_senders() {
    let sink = CountingSink::start();
    sink.open();
    let server = Postern::start_with(sink.port, "", "per_sender = { rate = '5/s' }", "");
    let began = Instant::now();
    submit(&server, (0..300).map(|n| ("Bulk@news.example".to_owned(), vec![format!("b{n}@d.example")])));
    submit(&server, (0..3).map(|n| (format!("ann{n}@d.example"), vec!["b@d.example".to_owned()])));
    let others = || those_of(&sink.times().messages, |one| one.from.starts_with("ann"));
    wait_for("the other senders' mail", || (others().len() == 3).then_some(()));
    assert!(sink.times().messages.len() < 200, "they waited for the bulk");
    std::thread::sleep(span());
    keeps_to(5.0, "a sender", those_of(&sink.times().messages, |one| one.from == "bulk@news.example"), began);
    let held = server.command(&["queue", "list", "-c", "postern.toml", "--json"]);
    let held = String::from_utf8(held.stdout).unwrap();
    assert!(held.contains("limit zone.default.per_sender.rate of <bulk@news.example"), "{held}");
    assert!(!held.contains("\"attempts\":1"), "what waited for a limit was no attempt");
}

#[test]
fn recipients_of_users() {
    let sink = CountingSink::start();
    sink.open();
    let server = Postern::start_with(sink.port, "", "per_user = { recipient_rate = '5/s' }", "");
    let began = Instant::now();
    for user in ["one", "two"] {
        let recipients: Vec<_> = (0..100).map(|n| json!({"to": format!("b{n}@d.example")})).collect();
        let message = json!({"from": format!("{user}@d.example"), "text": "x", "recipients": recipients});
        let (status, answer) = send(&server, &message, &["-H", &format!("X-Authenticated-User: {user}")]);
        assert_eq!(status, 200, "{answer}");
    }
    std::thread::sleep(span());
    for user in ["one", "two"] {
        let of_user = those_of(&sink.times().recipients, |one| one.from.starts_with(user));
        keeps_to(5.0, user, of_user, began);
    }
}

/// A slow rate is kept over a stop and over a kill.
#[test]
fn rates_survive() {
    let sink = CountingSink::start();
    sink.open();
    let zone = "rate = '20/m'".to_owned();
    let mut server = Postern::prepare(sink.port, Setup { zone, ..Setup::default() });
    server.restart();
    let began = Instant::now();
    submit(&server, to_domains(30, &["d.example"]));
    for kill in [false, true, false, true] {
        std::thread::sleep(Duration::from_secs(2));
        if kill {
            server.kill();
        } else {
            server.terminate();
        }
        server.restart();
    }
    std::thread::sleep(Duration::from_secs(2));
    let messages = sink.times().messages;
    let took = began.elapsed().as_secs_f64();
    let most = (took / 3.0).floor() as usize + 1;
    assert!((2..=most).contains(&messages.len()), "{} in {took} s", messages.len());
    keeps_to(20.0 / 60.0, "over restarts", messages, began);
}

/// Mail that a limit holds back for longer than its greatest age expires, and says why.
#[test]
fn what_is_held_back_expires() {
    let sink = CountingSink::start();
    sink.open();
    let config = "[queue]\nmax_age = '3s'\nretry = ['1s']";
    let server = Postern::start_with(sink.port, "", "rate = '1/h'", config);
    submit(&server, to_domains(3, &["d.example"]));
    let expired = server.wait_log("REJECTED", 2);
    assert!(expired.iter().all(|line| line.contains("limits on how fast mail leaves held it back")), "{expired:?}");
}

#[test]
fn mistakes_name_the_key() {
    let zone = "[zone.default]\nsmart_host = { host = '127.0.0.1', port = 1 }\n";
    for (config, said) in [
        ("rate = '0/s'", "`0/s`: a rate is written like"),
        ("burst = 5", "zone.default.burst: there is no rate"),
        ("rate = '1/s'\nburst = 0", "zone.default.burst: must be at least 1"),
        ("per_sender = { connection_rate = '1/s' }", "zone.default.per_sender.connection_rate: a connection"),
        ("per_domain = { rates = '1/s' }", "rates"),
    ] {
        let (taken, text) = check(&format!("{zone}{config}\n"));
        assert!(!taken && text.contains(said), "{config}: {text}");
    }
}
