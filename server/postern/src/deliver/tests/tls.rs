//! Real handshakes over loopback, with a server of rustls that records what it hears in clear and what over TLS.

mod server;

use super::*;
use server::{Certificates, Heard, Offer, Server};

/// Nothing here takes so long; where something does, the test fails and not the machine's patience.
const PATIENCE: Duration = Duration::from_secs(30);

const MODES: [TlsMode; 4] = [TlsMode::Off, TlsMode::Opportunistic, TlsMode::Require, TlsMode::Verify];

/// What became of one message, in a word or two, and what the server heard.
async fn deliver(server: Server, mode: TlsMode, certificates: &Certificates) -> (String, Heard) {
    let (port, heard) = server.start().await;
    let mut route = local(port);
    route.hosts[0].name = "mx.example".to_owned();
    route.tls = mode;
    let (done, connection) = attempt_by(&route, certificates).await;
    let shown = in_a_word(&done);
    if let Some(connection) = connection {
        connection.quit().await;
    }
    let heard = heard.stop().await;
    if matches!(mode, TlsMode::Require | TlsMode::Verify) {
        heard.nothing_of_the_mail_in_clear();
    }
    (shown.replace(&format!("mx.example[127.0.0.1]:{port}"), "mx"), heard)
}

fn in_a_word(done: &Attempt) -> String {
    match (&done.outcomes[0].1, &done.tls) {
        (Outcome::Delivered(_), None) => "clear".to_owned(),
        (Outcome::Delivered(_), Some(tls)) => tls.to_string(),
        (Outcome::Deferred(reason), None) => format!("deferred {} {}", reason.status, reason.public),
        other => panic!("{other:?}"),
    }
}

async fn attempt_by(route: &Route, certificates: &Certificates) -> (Attempt, Option<Connection>) {
    let tls = Arc::new(TlsClient::new(Some(&certificates.roots())).unwrap());
    let mut limits = TimeLimits::all(PATIENCE);
    // Of the one test whose server stalls in it.
    limits.handshake = Duration::from_secs(1);
    let options = Options { limits, tls, unbound: Arc::default() };
    attempt(None, route, &options, &message(1, CONTENT.len()), &seqs(1), &memory(CONTENT)).await
}

const ANY: &str = "TLSv1.3 TLS_AES_256_GCM_SHA384 verified=no";
const VERIFIED: &str = "TLSv1.3 TLS_AES_256_GCM_SHA384 verified=yes";
const NOT_VALID: &str = "deferred 4.7.5 mx has no certificate that is valid for its name";
const NOT_OFFERED: &str = "deferred 4.7.4 mx does not offer TLS, which is required";
const BROKEN: &str = "deferred 4.7.5 the TLS handshake with mx failed";

/// What becomes of the mail in each of [`MODES`].
#[tokio::test]
async fn modes() {
    let certificates = Certificates::new();
    let with = |key| Server { offer: Offer::Tls, ..Server::new(Some(certificates.config(key))) };
    let offering = |offer| Server { offer, ..Server::new(Some(certificates.config("valid"))) };
    for (what, server, expected) in [
        ("valid", with("valid"), ["clear", ANY, ANY, VERIFIED]),
        ("self-signed", with("self-signed"), ["clear", ANY, ANY, NOT_VALID]),
        ("expired", with("expired"), ["clear", ANY, ANY, NOT_VALID]),
        ("wrong name", with("wrong-name"), ["clear", ANY, ANY, NOT_VALID]),
        ("of another CA", with("other-ca"), ["clear", ANY, ANY, NOT_VALID]),
        ("not offered", offering(Offer::Nothing), ["clear", "clear", NOT_OFFERED, NOT_OFFERED]),
        (
            "refused",
            offering(Offer::Refused),
            ["clear", "clear", "deferred 4.7.0 mx said: 454 TLS not available (in reply to STARTTLS)", ""],
        ),
        ("broken", offering(Offer::Broken), ["clear", "clear", BROKEN, BROKEN]),
        ("closed", offering(Offer::Closed), ["clear", "clear", BROKEN, BROKEN]),
        (
            "stalls",
            offering(Offer::Stalls),
            ["clear", "clear", "deferred 4.4.2 mx took too long, in the TLS handshake", ""],
        ),
        (
            "closed at EHLO",
            offering(Offer::ClosedAfter),
            ["clear", "clear", "deferred 4.4.2 mx closed the connection in the TLS handshake", ""],
        ),
    ] {
        for (mode, expected) in MODES.into_iter().zip(expected) {
            let expected = if expected.is_empty() { "deferred" } else { expected };
            let (shown, heard) = deliver(server.clone(), mode, &certificates).await;
            assert!(shown.starts_with(expected), "{what}, {mode:?}: {shown:?} instead of {expected:?}");
            let fell_back = mode == TlsMode::Opportunistic && server.offer.breaks();
            assert_eq!(heard.connections, if fell_back { 2 } else { 1 }, "{what}, {mode:?}");
            assert_eq!(
                heard.clear.matches("STARTTLS").count(),
                usize::from(mode != TlsMode::Off && server.offer.has())
            );
        }
    }
}

/// The name of the host goes into the handshake; an address does not.
#[tokio::test]
async fn names() {
    let certificates = Certificates::new();
    for (name, sni, expected) in [
        ("mx.example", Some("mx.example"), true),
        ("MX.Example.", Some("mx.example"), true),
        ("127.0.0.1", None, true),
        ("127.0.0.2", None, false),
        ("other.example", Some("other.example"), false),
        ("not a name", None, false),
    ] {
        for mode in [TlsMode::Require, TlsMode::Verify] {
            let (port, heard) = Server::new(Some(certificates.config("valid"))).start().await;
            let mut route = local(port);
            (route.hosts[0].name, route.tls) = (name.to_owned(), mode);
            let (done, connection) = attempt_by(&route, &certificates).await;
            let delivered = matches!(done.outcomes[0].1, Outcome::Delivered(_));
            assert_eq!(delivered, expected || mode == TlsMode::Require, "{name} {mode:?} {done:?}");
            drop(connection);
            let heard = heard.stop().await;
            assert!(heard.sni.is_none() || heard.sni.as_deref() == sni, "{:?}", heard.sni);
            assert!(mode == TlsMode::Verify || heard.sni.as_deref() == sni, "{:?}", heard.sni);
        }
    }
}

/// What the log is told of a certificate that does not do, and the sender is not.
#[tokio::test]
async fn the_librarys_words_are_for_the_log() {
    let certificates = Certificates::new();
    let (port, heard) = Server::new(Some(certificates.config("wrong-name"))).start().await;
    let mut route = local(port);
    (route.hosts[0].name, route.tls) = ("mx.example".to_owned(), TlsMode::Verify);
    let (done, _) = attempt_by(&route, &certificates).await;
    let Outcome::Deferred(reason) = &done.outcomes[0].1 else { panic!("{done:?}") };
    assert!(reason.detail.contains("not valid for name \"mx.example\""), "{}", reason.detail);
    assert!(!reason.public.contains("example\""), "{}", reason.public);
    assert_eq!(reason.scope, Scope::NextHop);
    heard.stop().await;
}

/// A reply that comes in one piece with the 220 ends the session, and not even clear text goes to that host; the next
/// one gets the mail.
#[tokio::test]
async fn an_injected_reply_is_never_taken() {
    let certificates = Certificates::new();
    for mode in [TlsMode::Opportunistic, TlsMode::Require, TlsMode::Verify] {
        let (port, first) = Server { offer: Offer::Injects, ..Server::new(None) }.start().await;
        let good = Server::new(Some(certificates.config("valid")));
        let second = good.start_at("127.0.0.2", port).await;
        let mut route = local(port);
        let host = |name: &str, ip: &str| Host { name: name.to_owned(), addresses: vec![ip.parse().unwrap()] };
        route.hosts = vec![host("evil.example", "127.0.0.1"), host("mx.example", "127.0.0.2")];
        route.tls = mode;
        let (done, connection) = attempt_by(&route, &certificates).await;
        assert_shows(&done, &["001 delivered 250 taken"]);
        assert_eq!(done.remote, format!("mx.example[127.0.0.2]:{port}"));
        connection.unwrap().quit().await;
        let first = first.stop().await;
        first.nothing_of_the_mail_in_clear();
        assert_eq!((first.connections, first.secure.as_str()), (1, ""));
        let second = second.stop().await;
        second.nothing_of_the_mail_in_clear();
        assert!(second.secure.contains(CONTENT));
    }
}

#[tokio::test]
async fn a_host_with_a_bad_certificate_is_passed_by() {
    let certificates = Certificates::new();
    let (port, first) = Server::new(Some(certificates.config("expired"))).start().await;
    let second = Server::new(Some(certificates.config("valid"))).start_at("127.0.0.2", port).await;
    let mut route = local(port);
    route.hosts[0].name = "mx.example".to_owned();
    route.hosts[0].addresses.push("127.0.0.2".parse().unwrap());
    route.tls = TlsMode::Verify;
    let (done, connection) = attempt_by(&route, &certificates).await;
    assert_shows(&done, &["001 delivered 250 taken"]);
    assert_eq!(done.tls.unwrap().to_string(), VERIFIED);
    connection.unwrap().quit().await;
    assert!(first.stop().await.secure.is_empty());
    assert!(second.stop().await.ended_cleanly, "QUIT and close_notify");
}

/// Over TLS a connection is reused, replaced if the peer has closed it without close_notify, and large content streams.
#[tokio::test]
async fn sessions_over_tls_are_as_others() {
    let certificates = Certificates::new();
    let server = Server { closes_after: Some(2), ..Server::new(Some(certificates.config("valid"))) };
    let (port, heard) = server.start().await;
    let mut route = local(port);
    (route.hosts[0].name, route.tls) = ("mx.example".to_owned(), TlsMode::Verify);
    let tls = Arc::new(TlsClient::new(Some(&certificates.roots())).unwrap());
    let options = Options { limits: TimeLimits::all(PATIENCE), tls, unbound: Arc::default() };
    let mut connection = None;
    for size in [10_usize, 8 << 20, 10, 100_000, 10] {
        let content = format!("{}\r\n", "x".repeat(size - 2));
        let message = message(1, size);
        let (done, kept) = attempt(connection, &route, &options, &message, &seqs(1), &memory(content)).await;
        assert_shows(&done, &["001 delivered 250 taken"]);
        connection = kept;
    }
    connection.unwrap().quit().await;
    let heard = heard.stop().await;
    assert_eq!(heard.connections, 3);
    assert_eq!(heard.secure.matches("MAIL FROM").count(), 5);
    assert!(heard.secure.matches('x').count() > 8 << 20);
    heard.nothing_of_the_mail_in_clear();
}

fn credentials() -> Option<Credentials> {
    Some(Credentials { user: "tim".to_owned(), password: "tanstaaftanstaaf".to_owned() })
}

/// The password goes over TLS or, where the operator wants no TLS, in clear; never in clear because TLS failed.
#[tokio::test]
async fn auth_by_mode() {
    let certificates = Certificates::new();
    let in_clear = "deferred 4.7.11";
    for (offer, expected) in [
        (Offer::Tls, ["clear", ANY, ANY, VERIFIED]),
        (Offer::Nothing, ["clear", in_clear, NOT_OFFERED, NOT_OFFERED]),
        (Offer::Refused, ["clear", in_clear, "deferred 4.7.0", "deferred 4.7.0"]),
        (Offer::Broken, ["clear", BROKEN, BROKEN, BROKEN]),
    ] {
        for mechanism in ["PLAIN", "LOGIN"] {
            for (mode, expected) in MODES.into_iter().zip(expected) {
                let auth = Some(mechanism);
                let server = Server { offer, auth, ..Server::new(Some(certificates.config("valid"))) };
                let (port, heard) = server.start().await;
                let mut route = local(port);
                route.hosts[0].name = "mx.example".to_owned();
                (route.tls, route.credentials) = (mode, credentials());
                let (done, connection) = attempt_by(&route, &certificates).await;
                let shown = in_a_word(&done).replace(&format!("mx.example[127.0.0.1]:{port}"), "mx");
                assert!(shown.starts_with(expected), "{offer:?} {mode:?}: {shown:?} instead of {expected:?}");
                for text in [format!("{connection:?}"), format!("{route:?}"), format!("{done:?}")] {
                    assert!(!text.contains("tanst") && !text.contains("YW5zd"), "{text}");
                }
                drop(connection);
                let heard = heard.stop().await;
                if mode != TlsMode::Off {
                    assert!(!heard.clear.contains("AUTH"), "{offer:?} {mode:?} {}", heard.clear);
                    heard.nothing_of_the_mail_in_clear();
                }
                assert_eq!(heard.connections, 1);
            }
        }
    }
}

/// A refused password is the next hop's matter: other hosts are asked, and the mail waits.
#[tokio::test]
async fn a_refused_password_defers() {
    let certificates = Certificates::new();
    let server = Server { auth: Some("PLAIN"), ..Server::new(Some(certificates.config("valid"))) };
    let (port, heard) = server.start().await;
    let mut route = local(port);
    (route.tls, route.credentials) = (TlsMode::Require, credentials());
    route.credentials.as_mut().unwrap().password = "wrong password".to_owned();
    route.hosts.push(route.hosts[0].clone());
    let (done, _) = attempt_by(&route, &certificates).await;
    let mx = format!("127.0.0.1[127.0.0.1]:{port}");
    assert_shows(&done, &[&format!("001 deferred 4.7.8: {mx} said: 535 5.7.8 no (in reply to AUTH)")]);
    let heard = heard.stop().await;
    assert_eq!(heard.connections, 2);
    heard.nothing_of_the_mail_in_clear();
    assert!(!format!("{done:?}").contains("wrong password"));
}
