//! Rules and lookups tied together, over a table.

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn table() -> Table {
    let broken = || Missing::Temporary("SERVFAIL".to_owned());
    Table::default()
        .with_mx("two.example", &[(20, "second.example"), (10, "first.example")])
        .with_mx("null.example", &[(0, "")])
        .with_mx("us.example", &[(10, "mta.example"), (20, "second.example")])
        .with_mx("halfus.example", &[(10, "first.example"), (20, "MTA.example"), (30, "second.example")])
        .with_mx("inside.example", &[(10, "inside.example")])
        .with_mx("local.example", &[(10, "localhost")])
        .with_mx("ghost.example", &[(10, "nobody.example")])
        .with_mx("unknown.example", &[(10, "broken.example"), (20, "nobody.example")])
        .with_mx("half.example", &[(10, "broken.example"), (20, "second.example")])
        .with_mx("xn--bcher-kva.example", &[(10, "first.example")])
        .with_mx_answer("servfail.example", Err(broken()))
        .with_mx_answer("empty.example", Ok(vec![]))
        .with_host("first.example", &[ip("8.8.8.1"), ip("2600::1")])
        .with_host("second.example", &[ip("8.8.8.2")])
        .with_host("bare.example", &[ip("8.8.8.3")])
        .with_host("inside.example", &[ip("10.0.0.1")])
        .with_host("localhost", &[ip("127.0.0.1"), ip("::1")])
        .with_host_answer("broken.example", Err(broken()))
}

async fn ask(destination: &str, port: u16, allow_private: bool) -> Result<Vec<Host>, NoRoute> {
    let own = OwnIdentity { names: vec!["mta.example".into()], listeners: vec!["127.0.0.1:2525".parse().unwrap()] };
    let question = Question { ip: IpVersion::Any, port, own: &own, allow_private };
    mx_hosts(&table(), destination, &question).await
}

#[tokio::test]
async fn destinations() {
    let rows: &[(&str, bool, Result<&str, Unroutable>)] = &[
        ("two.example", false, Ok("first.example second.example")),
        ("TWO.Example", false, Ok("first.example second.example")),
        ("bücher.example", false, Ok("first.example")),
        ("bare.example", false, Ok("bare.example")),
        ("half.example", false, Ok("second.example")),
        ("halfus.example", false, Ok("first.example")),
        ("[8.8.8.9]", false, Ok("8.8.8.9")),
        ("[IPv6:2600::9]", false, Ok("2600::9")),
        ("[10.0.0.9]", true, Ok("10.0.0.9")),
        ("inside.example", true, Ok("inside.example")),
        ("null.example", false, Err(Unroutable::NullMx)),
        ("us.example", false, Err(Unroutable::Loop)),
        ("inside.example", false, Err(Unroutable::Forbidden)),
        ("local.example", false, Err(Unroutable::Forbidden)),
        ("localhost", false, Err(Unroutable::Forbidden)),
        ("[10.0.0.9]", false, Err(Unroutable::Forbidden)),
        ("[::1]", true, Err(Unroutable::NoSuchDomain)),
        ("ghost.example", false, Err(Unroutable::NoAddress)),
        ("unknown.example", false, Err(Unroutable::Temporary)),
        ("servfail.example", false, Err(Unroutable::Temporary)),
        ("empty.example", false, Err(Unroutable::Temporary)),
        ("nowhere.example", false, Err(Unroutable::NoSuchDomain)),
        ("a b", false, Err(Unroutable::NoSuchDomain)),
    ];
    for (destination, allow_private, expected) in rows {
        let found = ask(destination, 25, *allow_private).await;
        let names =
            found.as_ref().map(|hosts| hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(" "));
        let names = names.as_deref().map_err(|error| error.why);
        assert_eq!(names, *expected, "{destination}: {found:?}");
        if let Err(error) = found {
            assert!(!error.detail.is_empty(), "{destination}");
        }
    }
}

#[tokio::test]
async fn our_own_sockets() {
    assert_eq!(ask("local.example", 2525, true).await.unwrap_err().why, Unroutable::Loop);
    assert_eq!(ask("[127.0.0.1]", 2525, true).await.unwrap_err().why, Unroutable::Loop);
    assert_eq!(ask("[127.0.0.1]", 2526, true).await.unwrap()[0].addresses, [ip("127.0.0.1")]);
    // A listener on all addresses, and an address that is this machine's.
    let own = OwnIdentity { names: vec![], listeners: vec!["0.0.0.0:2525".parse().unwrap()] };
    let question = Question { ip: IpVersion::Any, port: 2525, own: &own, allow_private: true };
    let found = mx_hosts(&table(), "[127.0.0.9]", &question).await;
    assert_eq!(found.unwrap_err().why, Unroutable::Loop);
}

#[tokio::test]
async fn smart_hosts() {
    let check = |host: &'static str, version: IpVersion| async move { smart_host_hosts(&table(), host, version).await };
    let addresses = |found: Result<Vec<Host>, NoRoute>| found.unwrap()[0].addresses.clone();
    assert_eq!(addresses(check("localhost", IpVersion::Any).await), [ip("::1"), ip("127.0.0.1")]);
    assert_eq!(addresses(check("localhost", IpVersion::V4).await), [ip("127.0.0.1")]);
    assert_eq!(addresses(check("127.0.0.1", IpVersion::Any).await), [ip("127.0.0.1")]);
    assert_eq!(addresses(check("::1", IpVersion::Any).await), [ip("::1")]);
    // No MX lookup.
    for host in ["two.example", "nowhere.example", "broken.example"] {
        let error = check(host, IpVersion::Any).await.unwrap_err();
        assert_eq!(error.why, Unroutable::Temporary, "{host}");
        assert!(error.detail.starts_with("smart host "), "{error}");
    }
    assert_eq!(check("127.0.0.1", IpVersion::V6).await.unwrap_err().why, Unroutable::Temporary);
    assert_eq!(check("second.example", IpVersion::V6).await.unwrap_err().why, Unroutable::Temporary);
}

/// A resolver that never answers for some hosts.
struct Slow(Table);

impl Resolver for Slow {
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Answer<Mx>> {
        self.0.mx(domain)
    }

    fn addresses<'a>(&'a self, host: &'a str, ip: IpVersion) -> BoxFuture<'a, Answer<IpAddr>> {
        if host.starts_with("slow") { Box::pin(std::future::pending()) } else { self.0.addresses(host, ip) }
    }

    fn names(&self, address: IpAddr) -> BoxFuture<'_, Answer<String>> {
        self.0.names(address)
    }

    fn configured_addresses<'a>(&'a self, host: &'a str, ip: IpVersion) -> BoxFuture<'a, Answer<IpAddr>> {
        self.addresses(host, ip)
    }
}

#[tokio::test(start_paused = true)]
async fn slow_hosts_do_not_hold_up_the_others_for_ever() {
    let names: Vec<String> = (0..9).map(|n| format!("slow{n}.example")).collect();
    let mut records: Vec<(u16, &str)> = names.iter().map(|name| (10, name.as_str())).collect();
    records.insert(0, (5, "second.example"));
    let all_slow = &records[1..];
    let slow = Slow(table().with_mx("some.example", &records).with_mx("all.example", all_slow));
    let own = OwnIdentity::default();
    let question = Question { ip: IpVersion::Any, port: 25, own: &own, allow_private: false };
    let start = Instant::now();
    let hosts = mx_hosts(&slow, "some.example", &question).await.unwrap();
    assert_eq!(hosts.len(), 1);
    assert_eq!(mx_hosts(&slow, "all.example", &question).await.unwrap_err().why, Unroutable::Temporary);
    assert_eq!(start.elapsed(), 2 * LOOKUP_LIMIT);
}
