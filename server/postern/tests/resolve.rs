//! The resolver against real DNS servers on loopback: dnsmasq, which we did not write, and one that does wrong
//! (`resolve/evil.py`, with dnslib). `make test` installs both.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern::resolve::{Dns, Hickory, MAX_RECORDS, Question, Resolver, mx_hosts, smart_host_hosts};
use postern_core::route::{Answer, MAX_ADDRESSES, MAX_HOSTS, Missing, Mx, OwnIdentity, Unroutable};
use postern_core::zone::IpVersion;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// A process that ends with the test.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn resolver(&self) -> Hickory {
        resolver(&[self.address])
    }
}

fn resolver(servers: &[SocketAddr]) -> Hickory {
    Hickory::new(&Dns { servers: servers.to_vec(), allow_private: false }).unwrap()
}

/// The server that does wrong.
fn evil() -> Process {
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", include_str!("resolve/evil.py")])
        // Its end is what ends it: a killed test closes it.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3; `make test` installs what the tests need");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port: u16 = line.trim().parse().expect("a port; is python3-dnslib there? `make test` installs it");
    Process { child, address: SocketAddr::from(([127, 0, 0, 1], port)) }
}

/// dnsmasq with these options; it knows nothing but what they say.
fn dnsmasq(options: &[&str]) -> Process {
    let (mut child, address) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_err() {
            continue;
        }
        drop(tcp);
        let child = Command::new("/usr/sbin/dnsmasq")
            .args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=", "--pid-file="])
            .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--local-ttl=300"])
            .arg(format!("--port={}", address.port()))
            .args(options)
            .stderr(Stdio::null())
            .spawn()
            .expect("dnsmasq; `make test` installs it");
        break (child, address);
    };
    for _ in 0..3_000 {
        assert!(child.try_wait().unwrap().is_none(), "dnsmasq ended");
        if TcpStream::connect(address).is_ok() {
            return Process { child, address };
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("dnsmasq does not listen");
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn one(preference: u16, host: &str) -> Answer<Mx> {
    Ok(vec![Mx::new(preference, host)])
}

/// Hosts, or why there are none, as a text: "h1.evil.test=2600::1+8.8.8.1".
async fn route(resolver: &dyn Resolver, domain: &str, allow_private: bool) -> Result<String, Unroutable> {
    let own = OwnIdentity { names: vec!["mta.test".into()], listeners: vec!["127.0.0.1:2525".parse().unwrap()] };
    let question = Question { ip: IpVersion::Any, port: 25, own: &own, allow_private };
    let hosts = mx_hosts(resolver, domain, &question).await.map_err(|error| error.why)?;
    let text = hosts.iter().map(|host| {
        let ips: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
        format!("{}={}", host.name, ips.join("+"))
    });
    Ok(text.collect::<Vec<_>>().join(" "))
}

#[tokio::test]
async fn what_dnsmasq_says() {
    let server = dnsmasq(&[
        "--mx-host=two.test,second.test,20",
        "--mx-host=two.test,first.test,10",
        "--mx-host=xn--nide-loa.test,first.test,10",
        "--mx-host=us.test,mta.test,10",
        "--mx-host=inside.test,private.test,10",
        "--mx-host=ghost.test,nobody.nx.test,10",
        "--mx-host=alias.test,cname.test,10",
        "--host-record=first.test,8.8.8.1,2600::1",
        "--host-record=second.test,8.8.8.2",
        "--host-record=bare.test,8.8.8.3",
        "--host-record=private.test,10.0.0.1",
        "--host-record=mta.test,8.8.8.9",
        "--cname=cname.test,second.test",
        // Nothing else is there.
        "--local=/test/",
    ]);
    let resolver = server.resolver();
    assert_eq!(resolver.addresses("second.test", IpVersion::Any).await, Ok(vec![ip("8.8.8.2")]));
    assert_eq!(resolver.addresses("second.test", IpVersion::V6).await, Err(Missing::NoData));
    assert_eq!(resolver.mx("bare.test").await, Err(Missing::NoData));
    assert_eq!(resolver.mx("nx.test").await, Err(Missing::NoSuchName));
    assert!(matches!(resolver.mx("not.ours.example").await, Err(Missing::Temporary(_))), "refused");
    let rows: &[(&str, Result<&str, Unroutable>)] = &[
        ("two.test", Ok("first.test=2600::1+8.8.8.1 second.test=8.8.8.2")),
        ("n\u{e4}ide.test", Ok("first.test=2600::1+8.8.8.1")),
        ("bare.test", Ok("bare.test=8.8.8.3")),
        ("alias.test", Ok("cname.test=8.8.8.2")),
        ("cname.test", Ok("cname.test=8.8.8.2")),
        ("us.test", Err(Unroutable::Loop)),
        ("inside.test", Err(Unroutable::Forbidden)),
        ("ghost.test", Err(Unroutable::NoAddress)),
        ("none.nx.test", Err(Unroutable::NoSuchDomain)),
        ("not.ours.example", Err(Unroutable::Temporary)),
    ];
    for (domain, expected) in rows {
        assert_eq!(route(&resolver, domain, false).await.as_deref(), expected.as_ref().copied(), "{domain}");
    }
    assert_eq!(route(&resolver, "inside.test", true).await.as_deref(), Ok("private.test=10.0.0.1"));
}

#[tokio::test]
async fn errors_are_temporary_and_absence_is_not() {
    let server = evil();
    let resolver = server.resolver();
    let rows: &[(&str, Result<&str, Unroutable>)] = &[
        ("servfail", Err(Unroutable::Temporary)),
        ("refused", Err(Unroutable::Temporary)),
        ("notimp", Err(Unroutable::Temporary)),
        ("formerr", Err(Unroutable::Temporary)),
        ("oddcode", Err(Unroutable::Temporary)),
        ("referral", Err(Unroutable::Temporary)),
        ("garbage", Err(Unroutable::Temporary)),
        ("truncatedtwice", Err(Unroutable::Temporary)),
        ("othernames", Err(Unroutable::Temporary)),
        ("nxwithrecords", Err(Unroutable::Temporary)),
        ("loop1", Err(Unroutable::Temporary)),
        ("endless", Err(Unroutable::Temporary)),
        ("nxdomain", Err(Unroutable::NoSuchDomain)),
        ("tonowhere", Err(Unroutable::NoSuchDomain)),
        ("null", Err(Unroutable::NullMx)),
        ("nodata", Err(Unroutable::NoAddress)),
        ("tonodata", Err(Unroutable::NoAddress)),
        ("literal", Err(Unroutable::NoAddress)),
        ("local", Err(Unroutable::Forbidden)),
        ("inside", Err(Unroutable::Forbidden)),
        ("foreign", Ok("h2.evil.test=8.8.8.2")),
        ("chain", Ok("h1.evil.test=2600::1+8.8.8.1")),
        ("step", Ok("h1.evil.test=2600::1+8.8.8.1")),
        ("alias", Ok("hostalias.evil.test=8.8.8.2")),
        ("odd", Ok("h1.evil.test=2600::1+8.8.8.1")),
        ("unders_core", Ok("h_1.evil.test=8.8.8.3")),
        ("half", Ok("half.evil.test=8.8.4.4")),
    ];
    for (label, expected) in rows {
        let domain = format!("{label}.evil.test");
        assert_eq!(route(&resolver, &domain, false).await.as_deref(), expected.as_ref().copied(), "{domain}");
    }
    assert_eq!(route(&resolver, "local.evil.test", true).await.as_deref(), Ok("localhost=::1+127.0.0.1"));
}

#[tokio::test]
async fn no_answer_and_forged_ones_are_no_answer() {
    let server = evil();
    let resolver = server.resolver();
    let ask = |label: &'static str| {
        let resolver = &resolver;
        async move { resolver.mx(&format!("{label}.evil.test")).await }
    };
    let answers = futures_util::future::join3(ask("silent"), ask("wrongid"), ask("wrongquestion")).await;
    for answer in [answers.0, answers.1, answers.2] {
        let Err(Missing::Temporary(why)) = &answer else { panic!("{answer:?}") };
        assert!(why.contains(&server.address.to_string()), "{why}");
    }
    // That a name is not answered for says nothing about the others.
    assert_eq!(resolver.mx("step3.evil.test").await, one(10, "h1.evil.test"));
}

#[tokio::test]
async fn thousands_of_records_come_to_a_few() {
    let server = evil();
    let resolver = server.resolver();
    // One message has room for no more than 2,900 hosts with names of their own.
    let records = resolver.mx("many.evil.test").await.unwrap();
    assert_eq!(records.len(), MAX_RECORDS);
    assert_eq!(records[0], Mx::new(5, "h0.many.evil.test"));
    let addresses = resolver.addresses("manyaddresses.evil.test", IpVersion::V4).await.unwrap();
    assert_eq!(addresses.len(), MAX_RECORDS);
    let own = OwnIdentity::default();
    let question = Question { ip: IpVersion::Any, port: 25, own: &own, allow_private: false };
    let hosts = mx_hosts(&resolver, "manyaddresses.evil.test", &question).await.unwrap();
    assert_eq!(hosts[0].addresses.len(), MAX_ADDRESSES);
    // None of the hosts exists: ten were asked for.
    assert_eq!(route(&resolver, "many.evil.test", false).await, Err(Unroutable::NoAddress));
    const { assert!(MAX_HOSTS <= MAX_RECORDS) };
}

#[tokio::test]
async fn what_does_not_fit_into_a_datagram_comes_over_tcp() {
    let server = evil();
    let records = server.resolver().mx("truncated.evil.test").await.unwrap();
    assert_eq!((records.len(), records[0].preference), (MAX_RECORDS, 5));
}

#[tokio::test]
async fn answers_are_kept_as_long_as_they_say() {
    let server = evil();
    let resolver = server.resolver();
    for expected in [1, 1] {
        assert_eq!(resolver.mx("cached.evil.test").await, one(expected, "h1.evil.test"));
    }
    for expected in [1, 2, 3] {
        assert_eq!(resolver.mx("uncached.evil.test").await, one(expected, "h1.evil.test"));
    }
    for _ in 0..2 {
        assert_eq!(resolver.mx("appears.evil.test").await, Err(Missing::NoSuchName));
    }
    assert_eq!(resolver.mx("APPEARS.evil.test").await, Err(Missing::NoSuchName));
    assert_eq!(resolver.mx("appearsatonce.evil.test").await, Err(Missing::NoSuchName));
    assert_eq!(resolver.mx("appearsatonce.evil.test").await, one(2, "h1.evil.test"));
}

#[tokio::test]
async fn another_server_is_asked_where_one_fails() {
    let (broken, good) = (dnsmasq(&[]), evil());
    // The first refuses whatever it is asked.
    let resolver = resolver(&[broken.address, good.address]);
    assert_eq!(resolver.mx("step3.evil.test").await, one(10, "h1.evil.test"));
    assert_eq!(resolver.mx("nxdomain.evil.test").await, Err(Missing::NoSuchName));
    let Err(Missing::Temporary(why)) = resolver.mx("servfail.evil.test").await else { panic!("temporary") };
    for server in [&broken, &good] {
        assert!(why.contains(&server.address.to_string()), "{why}");
    }
}

#[tokio::test]
async fn two_silent_servers_leave_time_for_the_third() {
    let silent = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let good = evil();
    let [one_silent, other] = silent.each_ref().map(|socket| socket.local_addr().unwrap());
    let resolver = resolver(&[one_silent, other, good.address]);
    assert_eq!(resolver.mx("step3.evil.test").await, one(10, "h1.evil.test"));
}

#[tokio::test]
async fn nobody_listens() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let answer = resolver(&[address]).mx("a.test").await;
    assert!(matches!(answer, Err(Missing::Temporary(_))), "{answer:?}");
}

#[tokio::test]
async fn many_at_once() {
    let server = evil();
    let resolver = server.resolver();
    // More than are under way at once, by UDP and TCP.
    let names: Vec<String> = (0..320).map(|n| format!("{}{n}.evil.test", ["any", "big"][n % 2])).collect();
    let answers = futures_util::future::join_all(names.iter().map(|name| resolver.mx(name))).await;
    let failed: Vec<_> = answers.iter().filter(|answer| **answer != one(10, "h1.evil.test")).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// /etc/hosts and `localhost` are for smart hosts alone.
static HOSTS: OnceLock<Option<(String, IpAddr)>> = OnceLock::new();

/// A name of /etc/hosts with a dot or not, that is not `localhost`, and its address.
fn listed() -> Option<&'static (String, IpAddr)> {
    let read = || {
        let text = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        text.lines().find_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let ip = words.next()?.parse().ok()?;
            let name = words.find(|name| !name.contains("localhost"))?;
            Some((name.to_ascii_lowercase(), ip))
        })
    };
    HOSTS.get_or_init(read).as_ref()
}

#[tokio::test]
async fn names_of_the_operator() {
    let server = evil();
    let resolver = server.resolver();
    let local = smart_host_hosts(&resolver, "localhost", IpVersion::Any).await.unwrap();
    assert!(local[0].addresses.contains(&ip("127.0.0.1")), "{local:?}");
    let inside = smart_host_hosts(&resolver, "inside.evil.test", IpVersion::Any).await.unwrap();
    assert_eq!(inside[0].addresses, [ip("10.1.2.3")]);
    let nowhere = smart_host_hosts(&resolver, "nxdomain.evil.test", IpVersion::Any).await;
    assert_eq!(nowhere.unwrap_err().why, Unroutable::Temporary);
    assert!(resolver.mx("localhost").await == Err(Missing::NoData));
    assert_eq!(resolver.addresses("x.onion", IpVersion::Any).await, Err(Missing::NoSuchName));
    if let Some((name, address)) = listed() {
        let found = smart_host_hosts(&resolver, name, IpVersion::Any).await.unwrap();
        assert!(found[0].addresses.contains(address), "{name}: {found:?}");
        // DNS, which is what MX hosts are looked up in, does not know it.
        assert_eq!(resolver.addresses(name, IpVersion::Any).await, Err(Missing::NoSuchName), "{name}");
    }
}

#[cfg(feature = "plugins")]
#[tokio::test]
async fn records_for_plugins() {
    use postern_plugin_host::services::{Dns as _, MAX_DNS_RECORDS};
    let (good, bad) = (
        dnsmasq(&[
            "--mx-host=two.test,first.test,10",
            "--mx-host=two.test,second.test,20",
            "--host-record=first.test,8.8.8.1,2600::1",
            "--cname=alias.test,first.test",
            "--txt-record=s1._domainkey.test,v=DKIM1; p=,abc",
            "--dns-rr=null.test,15,000000",
            "--dns-rr=zone.test,2,026e7304746573740000",
            "--ptr-record=1.2.0.192.in-addr.arpa,Host.Test",
            "--local=/test/",
            "--local=/arpa/",
        ]),
        evil(),
    );
    let check = async |resolver: &Hickory, name: &str, kind: &str, expected: Result<&str, &str>| {
        let answer = resolver.lookup(name, kind.parse().unwrap()).await;
        let said = answer.map(|mut records| {
            records.sort_unstable();
            records.join(" | ")
        });
        assert_eq!(said.as_deref().map_err(|error| error.word), expected, "{name} {kind}: {said:?}");
    };
    let resolver = good.resolver();
    for (name, kind, expected) in [
        ("TWO.test.", "MX", Ok("10 first.test | 20 second.test")),
        ("first.test", "A", Ok("8.8.8.1")),
        ("first.test", "AAAA", Ok("2600::1")),
        ("alias.test", "A", Ok("8.8.8.1")),
        ("alias.test", "CNAME", Ok("first.test")),
        ("first.test", "CNAME", Ok("")),
        ("s1._domainkey.test", "TXT", Ok("v=DKIM1; p=abc")),
        ("null.test", "MX", Ok("0 .")),
        ("192.0.2.1", "PTR", Ok("host.test")),
        ("192.0.2.2", "PTR", Ok("")),
        ("nx.test", "TXT", Ok("")),
        ("localhost", "A", Ok("127.0.0.1")),
        ("x.localhost", "MX", Ok("")),
        ("x.onion", "A", Ok("")),
        ("a..b", "A", Err("bad-name")),
        ("not.ours.example", "A", Err("unavailable")),
    ] {
        check(&resolver, name, kind, expected).await;
        check(&resolver, name, kind, expected).await;
    }
    let resolver = bad.resolver();
    for (label, kind, expected) in [
        ("servfail", "TXT", Err("unavailable")),
        ("loop1", "MX", Err("unavailable")),
        ("silent", "A", Err("timeout")),
        ("nxdomain", "A", Ok("")),
        ("chain", "MX", Ok("10 h1.evil.test")),
        ("cached", "MX", Ok("1 h1.evil.test")),
    ] {
        check(&resolver, &format!("{label}.evil.test"), kind, expected).await;
        check(&resolver, &format!("{label}.evil.test"), kind, expected).await;
    }
    let many = resolver.lookup("manyaddresses.evil.test", "A".parse().unwrap()).await.unwrap();
    assert_eq!(many.len(), MAX_DNS_RECORDS);
}
