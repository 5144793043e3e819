//! Routes with several hosts, and what connections are made from.

use super::*;

const GREETED: [&str; 8] = ["<EHLO me.example", ">250 mx", ONE[0], ">250 ok", ONE[1], ">250 ok", ONE[2], ">354 go"];

/// One listener on each of 127.0.0.1, 127.0.0.2 …, all on one port, each with the scripts of the connections it gets.
async fn hosts(scripts: Vec<Vec<Vec<&'static str>>>) -> (Route, tokio::task::JoinHandle<usize>) {
    let listeners = loop {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        let mut listeners = vec![first];
        for n in 2..=scripts.len() {
            listeners.extend(TcpListener::bind(format!("127.0.0.{n}:{port}")).await.ok());
        }
        if listeners.len() == scripts.len() {
            break listeners;
        }
    };
    let mut route = local(listeners[0].local_addr().unwrap().port());
    let host = |n| Host { name: format!("mx{n}.example"), addresses: vec![IpAddr::from([127, 0, 0, n])] };
    route.hosts = (1..=u8::try_from(scripts.len()).unwrap()).map(host).collect();
    let server = tokio::spawn(async move {
        let mut played = 0;
        for (listener, scripts) in listeners.into_iter().zip(scripts) {
            for script in scripts {
                let (stream, _) = listener.accept().await.unwrap();
                peer(stream, &script).await;
                played += 1;
            }
        }
        played
    });
    (route, server)
}

fn accepts() -> Vec<&'static str> {
    script(&[&[">220 hi"], &GREETED, &["*", ">250 taken", "<QUIT", ">221 bye"]])
}

/// Whatever the first host does before it has answered MAIL, the second gets the message in the same attempt.
#[tokio::test]
async fn the_next_host_takes_what_the_first_does_not() {
    let hello = [">220 hi", "<EHLO me.example"];
    for first in [
        &[][..],
        &[">554 no service"],
        &[">421 busy"],
        &[">\0\0"],
        &hello,
        &[hello[0], hello[1], ">421 busy"],
        &[hello[0], hello[1], ">550 not you"],
        &[hello[0], hello[1], ">502 what", "<HELO me.example", ">550 not you"],
        &[hello[0], hello[1], ">250 mx", ONE[0]],
        &[hello[0], hello[1], ">250 mx", ONE[0], ">421 4.3.2 going"],
    ] {
        let (route, server) = hosts(vec![vec![first.to_vec()], vec![accepts()]]).await;
        let (done, connection) = attempt_one(None, &route).await;
        assert_shows(&done, &["001 delivered 250 taken"]);
        assert_eq!(done.remote, format!("mx2.example[127.0.0.2]:{}", route.port), "{first:?}");
        connection.unwrap().quit().await;
        assert_eq!(server.await.unwrap(), 2, "{first:?}");
    }
}

/// After MAIL was answered the outcome stands, and the second host hears nothing.
#[tokio::test]
async fn an_answer_to_mail_stands() {
    for (end, expected) in [
        (&[">550 5.7.1 no", "<QUIT"][..], "001 bounced 5.7.1: "),
        (&[">451 later", "<QUIT"], "001 deferred 4.3.0: "),
        (&[">250 ok", ONE[1]], "001 deferred 4.4.2: "),
        (&[">250 ok", ONE[1], ">421 bye"], "001 deferred 4.3.2: "),
        (&[">250 ok", ONE[1], ">250 ok", ONE[2], ">354 go", "*"], "001 deferred 4.4.2: "),
    ] {
        let first = script(&[&[">220 hi", "<EHLO me.example", ">250 mx", ONE[0]], end]);
        let (route, server) = hosts(vec![vec![first], vec![]]).await;
        let (done, connection) = attempt_one(None, &route).await;
        assert!(show(&done)[0].starts_with(expected), "{done:?}");
        if let Some(connection) = connection {
            connection.quit().await;
        }
        assert_eq!(server.await.unwrap(), 1);
    }
}

/// A host that stalls has its time; then the next has its turn.
#[tokio::test]
async fn a_stalling_host_is_left() {
    let stalls = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = stalls.local_addr().unwrap().port();
    let good = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let good = tokio::spawn(async move { peer(good.accept().await.unwrap().0, &accepts()).await });
    let mut route = local(port);
    route.hosts[0].addresses.push("127.0.0.2".parse().unwrap());
    let mut options = options();
    options.limits.greeting = Duration::from_millis(50);
    let (done, connection) =
        attempt(None, &route, &options, &message(1, CONTENT.len()), &seqs(1), &memory(CONTENT)).await;
    assert_shows(&done, &["001 delivered 250 taken"]);
    connection.unwrap().quit().await;
    good.await.unwrap();
    drop(stalls);
}

#[tokio::test]
async fn no_more_than_eight_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut route = local(listener.local_addr().unwrap().port());
    route.hosts[0].addresses = vec!["127.0.0.1".parse().unwrap(); 20];
    let server = tokio::spawn(async move {
        let mut count = 0;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count += 1;
            peer(stream, &[">421 busy"]).await;
            if count == MAX_ADDRESSES {
                return listener;
            }
        }
    });
    let (done, _) = attempt_one(None, &route).await;
    let mx = format!("127.0.0.1[127.0.0.1]:{}", route.port);
    assert_shows(&done, &[&format!("001 deferred 4.3.2: {mx} greeted with: 421 busy")]);
    let Outcome::Deferred(reason) = &done.outcomes[0].1 else { panic!("{done:?}") };
    assert_eq!(reason.detail.matches("before: ").count(), 7, "{}", reason.detail);
    let listener = server.await.unwrap();
    let more = futures_util::FutureExt::now_or_never(listener.accept());
    assert!(more.is_none(), "a ninth connection");
}

/// A host that answers with our name is us: nothing is sent to it or to those behind it.
#[tokio::test]
async fn ourselves() {
    let us = vec![">220 hi", "<EHLO me.example", ">250-Me.Example greets you", ">250 PIPELINING"];
    let (mut route, server) = hosts(vec![vec![us.clone()], vec![]]).await;
    route.own_names = Arc::new(["other.example".to_owned(), "me.example".to_owned()]);
    let (done, _) = attempt_one(None, &route).await;
    let text = format!("mail for mx1.example[127.0.0.1]:{} would come back to this server", route.port);
    assert_shows(&done, &[&format!("001 bounced 5.4.6: {text}")]);
    assert_eq!(server.await.unwrap(), 1);
    // Behind a better host that is down for now, the mail waits for that one.
    let (mut route, server) = hosts(vec![vec![vec![">421 busy"]], vec![us], vec![]]).await;
    route.own_names = Arc::new(["me.example".to_owned()]);
    let (done, _) = attempt_one(None, &route).await;
    let mx = format!("mx1.example[127.0.0.1]:{}", route.port);
    assert_shows(&done, &[&format!("001 deferred 4.3.2: {mx} greeted with: 421 busy")]);
    assert_eq!(server.await.unwrap(), 2);
}

#[test]
fn without_a_host_every_recipient_is_judged() {
    let done = unroutable(&seqs(2), Unroutable::NullMx, "MX 0 .", "example.org");
    let text = "bounced 5.1.10: the domain example.org takes no mail (null MX)";
    assert_shows(&done, &[&format!("001 {text}"), &format!("002 {text}")]);
    let done = unroutable(&seqs(1), Unroutable::Temporary, "SERVFAIL", "example.org");
    assert_shows(&done, &["001 deferred 4.4.3: the DNS says nothing about example.org at present"]);
    let Outcome::Deferred(reason) = &done.outcomes[0].1 else { panic!("{done:?}") };
    assert_eq!((reason.detail.as_str(), done.remote.as_str()), ("SERVFAIL", "example.org"));
}

/// What the peer sees is the first source that fits and can be bound; EHLO says its name.
#[tokio::test]
async fn sources() {
    for (sources, expected) in [
        (&["127.0.0.2", "127.0.0.1"][..], "127.0.0.2"),
        (&["127.0.0.1", "127.0.0.2"], "127.0.0.1"),
        // Not an address of this machine (RFC 5737), and one of the other IP version.
        (&["198.51.100.1", "::1", "127.0.0.3"], "127.0.0.3"),
        (&["0.0.0.0"], "127.0.0.1"),
        (&["::"], "127.0.0.1"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut route = local(listener.local_addr().unwrap().port());
        let named = |ip: &&str| Source { ip: ip.parse().unwrap(), helo: format!("from-{}.example", ip.len()) };
        route.sources = sources.iter().map(named).collect();
        let helo =
            route.sources.iter().find(|s| s.ip.is_unspecified() || s.ip.to_string() == expected).unwrap().clone();
        let ehlo: &'static str = format!("<EHLO {}", helo.helo).leak();
        let server = tokio::spawn(async move {
            let (stream, from) = listener.accept().await.unwrap();
            let script = script(&[&[">220 hi", ehlo], &GREETED[1..], &["*", ">250 taken", "<QUIT"]]);
            peer(stream, &script).await;
            from.ip().to_string()
        });
        let (done, connection) = attempt_one(None, &route).await;
        assert_shows(&done, &["001 delivered 250 taken"]);
        assert_eq!(done.source.map(|ip| ip.to_string()).as_deref(), Some(expected));
        let connection = connection.unwrap();
        assert_eq!(connection.source(), &helo);
        connection.quit().await;
        assert_eq!(server.await.unwrap(), expected);
    }
}

#[tokio::test]
async fn no_source_is_our_fault() {
    let mut route = local(1);
    for (sources, detail) in [
        (
            vec![source("198.51.100.1"), source("203.0.113.1")],
            "198.51.100.1: Cannot assign requested address (os error 99); 203.0.113.1: ",
        ),
        (vec![source("::1")], "no source address is of the IP version of 127.0.0.1"),
        (vec![], "no source address is of the IP version of 127.0.0.1"),
    ] {
        route.sources = sources;
        let (done, _) = attempt_one(None, &route).await;
        let Outcome::Deferred(reason) = &done.outcomes[0].1 else { panic!("{done:?}") };
        assert_eq!((reason.scope, reason.status.to_string().as_str()), (Scope::Local, "4.3.0"));
        assert!(reason.detail.starts_with(detail), "{}", reason.detail);
        assert!(!reason.public.contains("198.51"), "{}", reason.public);
    }
}
