//! Scripted peers: in memory with a paused clock where time matters, on loopback where the kernel does.

mod contents;
mod hosts;
mod tls;

use super::*;
use crate::spool::{Origin, StoredMessage};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use postern_core::mail::{Address, BodyType, Envelope, QueueId, Recipient, ReversePath, Scope};
use postern_core::message::MemorySource;
use postern_core::smtp::client::{Loss, Terms};
use postern_core::time::Timestamp;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream};
use tokio::net::{TcpListener, TcpStream};

const CONTENT: &str = "Subject: x\r\n\r\n.dot\r\n";

fn options() -> Options {
    Options { limits: TimeLimits::RFC, tls: Arc::new(TlsClient::new(None).unwrap()), unbound: Arc::default() }
}

fn source(ip: &str) -> Source {
    Source { ip: ip.parse().unwrap(), helo: "me.example".to_owned() }
}

/// To 127.0.0.1, in clear.
fn local(port: u16) -> Route {
    let host = Host { name: "127.0.0.1".to_owned(), addresses: vec!["127.0.0.1".parse().unwrap()] };
    let (hosts, sources) = (vec![host], vec![source("0.0.0.0")]);
    Route { hosts, port, tls: TlsMode::Off, credentials: None, sources, own_names: Arc::new([]) }
}

/// A session over anything, in clear.
async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> Result<Connection<S>, Failure> {
    let (remote, source) = ("mx".to_owned(), source("0.0.0.0"));
    Connection::greet(stream, Session { remote, source, terms: Terms::none(), limits: TimeLimits::RFC }).await
}

fn message(recipients: usize, len: usize) -> StoredMessage {
    let mut envelope = Envelope::new(ReversePath::Path("a@b.example".parse().unwrap()));
    let address = |n| Recipient::new(Address::parse(&format!("r{n}@c.example")).unwrap());
    envelope.recipients = (1..=recipients).map(address).collect();
    let origin =
        Origin { session: "s".into(), listener: "l".into(), peer_addr: None, user: None, attributes: Arc::default() };
    let (accepted, deliver_at) = (Timestamp(1), Timestamp(1));
    StoredMessage {
        id: QueueId(1),
        envelope,
        queues: vec![],
        accepted,
        deliver_at,
        origin,
        header_len: 12,
        len: len as u64,
        body_hashes: None,
    }
}

fn seqs(count: usize) -> Vec<Seq> {
    (0..count).map(Seq::from_index).collect()
}

fn memory(content: impl Into<Bytes>) -> MemorySource {
    MemorySource(content.into())
}

fn show(attempt: &Attempt) -> Vec<String> {
    let show = |(seq, outcome): &(Seq, Outcome)| match outcome {
        Outcome::Delivered(reply) => format!("{seq} delivered {reply}"),
        Outcome::Deferred(reason) => format!("{seq} deferred {}: {}", reason.status, reason.public),
        Outcome::Bounced(reason) => format!("{seq} bounced {}: {}", reason.status, reason.public),
    };
    attempt.outcomes.iter().map(show).collect()
}

/// Plays a peer: `>text` sends a line, `<text` expects one, `*` reads content up to the final dot, `zN` reads N
/// octets, `hang` never goes on. At its end the connection closes.
async fn peer<S: AsyncRead + AsyncWrite + Unpin>(stream: S, script: &[&str]) -> Vec<u8> {
    let mut stream = BufReader::new(stream);
    let mut content = Vec::new();
    for step in script {
        match step.split_at(1) {
            (">", line) => stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap(),
            ("<", expected) => {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                assert_eq!(line.trim_end(), expected);
            }
            ("*", _) => loop {
                let mut line = Vec::new();
                stream.read_until(b'\n', &mut line).await.unwrap();
                if line == b".\r\n" {
                    break;
                }
                content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            },
            ("h", _) => std::future::pending().await,
            ("z", count) => {
                let mut octets = vec![0; count.parse().unwrap()];
                stream.read_exact(&mut octets).await.unwrap();
            }
            _ => panic!("unknown step {step}"),
        }
    }
    content
}

const HELLO: [&str; 4] = [">220 hi", "<EHLO me.example", ">250-mx", ">250 PIPELINING"];
const ONE: [&str; 3] = ["<MAIL FROM:<a@b.example>", "<RCPT TO:<r1@c.example>", "<DATA"];
const ONE_OK: [&str; 5] = [">250 ok", ">250 ok", ">354 go", "*", ">250 taken"];

fn script(parts: &[&[&'static str]]) -> Vec<&'static str> {
    parts.concat()
}

/// One message with one recipient to a peer in memory that takes little at a time.
async fn against(parts: &[&[&'static str]]) -> (Attempt, Option<Connection<DuplexStream>>) {
    let (ours, theirs) = tokio::io::duplex(64);
    let script = script(parts);
    let deliver = async {
        let message = message(1, CONTENT.len());
        match greet(ours).await {
            Ok(mut connection) => {
                let attempt = connection.deliver(&message, &seqs(1), &memory(CONTENT)).await;
                (attempt, Some(connection))
            }
            Err(failure) => (Attempt::failed(&seqs(1), &failure, "mx"), None),
        }
    };
    let peer = peer(theirs, &script);
    tokio::pin!(peer);
    tokio::pin!(deliver);
    tokio::select! {
        biased;
        done = &mut deliver => done,
        // The script is over: the peer's end is dropped and the rest is up to us.
        _ = &mut peer => deliver.await,
    }
}

#[track_caller]
fn assert_shows(attempt: &Attempt, expected: &[&str]) {
    assert_eq!(show(attempt), expected);
}

#[tokio::test(start_paused = true)]
async fn delivers_and_stays_usable() {
    let (attempt, connection) = against(&[&HELLO, &ONE, &ONE_OK]).await;
    assert_shows(&attempt, &["001 delivered 250 taken"]);
    assert!(attempt.reusable && !attempt.stale);
    assert!(connection.is_some());
}

#[tokio::test(start_paused = true)]
async fn lost_reply_after_the_dot_is_deferred() {
    let (attempt, _) = against(&[&HELLO, &ONE, &[">250 ok", ">250 ok", ">354 go", "*"]]).await;
    assert_shows(&attempt, &["001 deferred 4.4.2: mx closed the connection after the whole message had been sent"]);
    assert!(!attempt.reusable && !attempt.stale);
    let (attempt, _) = against(&[&HELLO, &ONE, &[">250 ok", ">250 ok", ">354 go", "*", "hang"]]).await;
    assert_shows(&attempt, &["001 deferred 4.4.2: mx took too long, after the whole message had been sent"]);
}

#[tokio::test(start_paused = true)]
async fn silence_is_cut_at_every_stage() {
    let begin = tokio::time::Instant::now();
    let (attempt, _) = against(&[&["hang"]]).await;
    assert_shows(&attempt, &["001 deferred 4.4.2: mx took too long, before its greeting"]);
    assert_eq!(begin.elapsed().as_secs(), 300);
    for (steps, text) in [
        (&[][..], "mx took too long to answer MAIL FROM"),
        (&[">250 ok"][..], "mx took too long to answer RCPT TO"),
        (&[">250 ok", ">250 ok"][..], "mx took too long to answer DATA"),
    ] {
        let (attempt, _) = against(&[&HELLO, &ONE, steps, &["hang"]]).await;
        assert_shows(&attempt, &[&format!("001 deferred 4.4.2: {text}")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_is_cut() {
    let (attempt, _) = against(&[&HELLO, &ONE, &[">250 ok", ">250 ok", ">354 go", "hang"]]).await;
    assert_shows(&attempt, &["001 deferred 4.4.2: mx took too long, after the whole message had been sent"]);
    let (ours, theirs) = tokio::io::duplex(64);
    let script = script(&[&HELLO, &ONE, &[">250 ok", ">250 ok", ">354 go", "hang"]]);
    let content = "x".repeat(1000);
    let mut sent = Attempt::failed(&[], &Failure::new(Stage::Mail, Cause::Lost(Loss::Closed)), "mx");
    let deliver = async {
        let mut connection = greet(ours).await.unwrap();
        sent = connection.deliver(&message(1, 1000), &seqs(1), &memory(content)).await;
    };
    tokio::select! { () = deliver => {}, _ = peer(theirs, &script) => unreachable!("it hangs") }
    assert_shows(&sent, &["001 deferred 4.4.2: mx took too long, while the message was being sent"]);
}

/// Each octet of a reply within the limit, the reply not.
#[tokio::test(start_paused = true)]
async fn a_tarpit_is_cut_by_the_reply_not_by_the_octet() {
    let (ours, mut theirs) = tokio::io::duplex(64);
    let tarpit = async {
        loop {
            tokio::time::advance(Duration::from_secs(100)).await;
            if theirs.write_all(b"2").await.is_err() {
                break;
            }
            theirs.write_all(b"20-x\r\n2").await.ok();
            tokio::task::yield_now().await;
        }
        std::future::pending::<()>().await;
    };
    let begin = tokio::time::Instant::now();
    tokio::select! {
        greeted = greet(ours) => { greeted.unwrap_err(); }
        () = tarpit => unreachable!(),
    }
    assert!(begin.elapsed().as_secs() <= 500);
}

#[tokio::test(start_paused = true)]
async fn early_refusal_and_close_amid_the_content() {
    let (ours, theirs) = tokio::io::duplex(256);
    let script = script(&[&HELLO, &ONE, &[">250 ok", ">250 ok", ">354 go", "z1000", ">552 5.3.4 too large"]]);
    let deliver = async {
        let mut connection = greet(ours).await.unwrap();
        let content = "x\r\n".repeat(200_000);
        connection.deliver(&message(1, content.len()), &seqs(1), &memory(content)).await
    };
    let (attempt, _) = tokio::join!(deliver, peer(theirs, &script));
    let text = "001 bounced 5.3.4: mx said: 552 5.3.4 too large (in reply to content)";
    assert_shows(&attempt, &[text]);
    assert!(!attempt.reusable);
}

#[tokio::test(start_paused = true)]
async fn hostile_replies() {
    let (attempt, _) = against(&[&[">\0\0\0"]]).await;
    assert_shows(&attempt, &["001 deferred 4.5.0: mx did not speak SMTP, before its greeting"]);
    let long = format!(">220 {}", "x".repeat(100_000));
    let (attempt, _) = against(&[&[long.leak()]]).await;
    assert_shows(&attempt, &["001 deferred 4.5.0: mx did not speak SMTP, before its greeting"]);
    let (attempt, _) = against(&[&HELLO, &ONE, &[">250 ok", ">421 4.3.2 bye"]]).await;
    assert_shows(&attempt, &["001 deferred 4.3.2: mx said: 421 4.3.2 bye (in reply to RCPT TO)"]);
}

/// A peer with the script of each connection it gets, in turn.
async fn loopback(scripts: Vec<Vec<&'static str>>) -> (Route, tokio::task::JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let mut contents = Vec::new();
        for script in scripts {
            let (stream, _) = listener.accept().await.unwrap();
            contents.push(peer(stream, &script).await);
        }
        contents
    });
    (local(port), server)
}

/// Attempts run as tasks.
#[allow(dead_code)]
fn attempts_are_send(hop: &Route, message: &StoredMessage, content: &dyn ContentSource) {
    fn send<T: Send>(_: T) {}
    send(attempt(None, hop, &options(), message, &[], content));
}

async fn attempt_one(cached: Option<Connection>, hop: &Route) -> (Attempt, Option<Connection>) {
    attempt(cached, hop, &options(), &message(1, CONTENT.len()), &seqs(1), &memory(CONTENT)).await
}

#[tokio::test]
async fn a_connection_is_reused_and_ends_with_quit() {
    let script = script(&[&HELLO, &ONE, &ONE_OK, &ONE, &ONE_OK, &["<QUIT", ">221 bye"]]);
    let (hop, server) = loopback(vec![script]).await;
    let (first, connection) = attempt_one(None, &hop).await;
    assert_shows(&first, &["001 delivered 250 taken"]);
    assert_eq!(first.remote, format!("127.0.0.1[127.0.0.1]:{}", hop.port));
    let (second, connection) = attempt_one(connection, &hop).await;
    assert_shows(&second, &["001 delivered 250 taken"]);
    connection.unwrap().quit().await;
    assert_eq!(server.await.unwrap(), [format!("{CONTENT}{CONTENT}").into_bytes()]);
}

/// The peer says farewell or closes while idle, or when it sees the next MAIL: the message goes over a fresh
/// connection and nothing is deferred.
#[tokio::test]
async fn a_stale_connection_is_replaced() {
    let good = script(&[&HELLO, &ONE, &ONE_OK]);
    for end in
        [&[][..], &[">421 idle"][..], &["<MAIL FROM:<a@b.example>"][..], &["<MAIL FROM:<a@b.example>", ">421 no"]]
    {
        let (hop, server) = loopback(vec![script(&[&good, end]), script(&[&good, &["<QUIT"]])]).await;
        let (first, connection) = attempt_one(None, &hop).await;
        assert_shows(&first, &["001 delivered 250 taken"]);
        let (second, connection) = attempt_one(connection, &hop).await;
        assert_shows(&second, &["001 delivered 250 taken"]);
        connection.unwrap().quit().await;
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_fresh_connection_that_dies_is_an_outcome() {
    let (hop, server) =
        loopback(vec![script(&[&HELLO, &["<MAIL FROM:<a@b.example>", "<RCPT TO:<r1@c.example>", "<DATA"]])]).await;
    let (attempt, connection) = attempt_one(None, &hop).await;
    let mx = format!("127.0.0.1[127.0.0.1]:{}", hop.port);
    assert_shows(
        &attempt,
        &[&format!("001 deferred 4.4.2: {mx} closed the connection instead of answering MAIL FROM")],
    );
    assert!(connection.is_none());
    server.await.unwrap();
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hop = local(listener.local_addr().unwrap().port());
    drop(listener);
    let (attempt, _) = attempt(None, &hop, &options(), &message(3, 20), &seqs(3), &memory(CONTENT)).await;
    assert_eq!(attempt.outcomes.len(), 3);
    for (_, outcome) in &attempt.outcomes {
        let Outcome::Deferred(reason) = outcome else { panic!("{outcome:?}") };
        assert_eq!((reason.scope, reason.status.to_string().as_str()), (Scope::NextHop, "4.4.1"));
    }
}

/// 150 recipients are two transactions on one connection; the second is refused.
#[tokio::test]
async fn many_recipients_are_split() {
    let rcpts = |range: std::ops::RangeInclusive<usize>| -> Vec<&'static str> {
        range.map(|n| &*format!("<RCPT TO:<r{n}@c.example>").leak()).collect()
    };
    let ok = |count| vec![">250 ok"; count];
    let script = [
        HELLO.to_vec(),
        vec![ONE[0]],
        rcpts(1..=100),
        vec![ONE[2]],
        ok(101),
        vec![">354 go", "*", ">250 taken"],
        vec![ONE[0]],
        rcpts(101..=150),
        vec![ONE[2]],
        vec![">550 no"],
        ok(50),
        vec![">503 RCPT first", "<QUIT"],
    ];
    let (hop, server) = loopback(vec![script.concat()]).await;
    let message = message(150, CONTENT.len());
    let (attempt, connection) = attempt(None, &hop, &options(), &message, &seqs(150), &memory(CONTENT)).await;
    connection.unwrap().quit().await;
    let shown = show(&attempt);
    assert_eq!(shown.len(), 150);
    assert!(shown[..100].iter().all(|line| line.ends_with("delivered 250 taken")));
    assert!(shown[100..].iter().all(|line| line.contains("bounced 5.1.8")), "{shown:?}");
    server.await.unwrap();
}

/// 503 and the like speak of the dialogue: deferred, the connection is given up, and later transactions share it.
#[tokio::test]
async fn a_confused_session_is_given_up() {
    let rcpts = (1..=100).map(|n| &*format!("<RCPT TO:<r{n}@c.example>").leak()).collect();
    let refusals = vec![">503 5.5.1 what"; 102];
    let (hop, server) = loopback(vec![[HELLO.to_vec(), vec![ONE[0]], rcpts, vec![ONE[2]], refusals].concat()]).await;
    let message = message(101, CONTENT.len());
    let (attempt, connection) = attempt(None, &hop, &options(), &message, &seqs(101), &memory(CONTENT)).await;
    assert!(connection.is_none());
    let shown = show(&attempt);
    assert_eq!(shown.len(), 101);
    assert!(shown.iter().all(|line| line.contains("deferred 4.5.1: 127.0.0.1[127.0.0.1]")), "{shown:?}");
    server.await.unwrap();
}
