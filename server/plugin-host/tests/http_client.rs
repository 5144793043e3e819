//! The plugins' HTTP client against servers on loopback that do well and wrong.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "http_client/server.rs"]
mod server;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use postern_core::message::{ContentSource, MemorySource};
use postern_plugin_host::services::{
    Http, HttpClient, HttpGrant, Incoming, MAX_ANSWER, MAX_READ, Outgoing, RequestBody, ServiceError,
};
use serde_json::json;
use server::{Certificates, Server};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::time::Instant;

/// Longer than anything takes that is not meant to be late.
const AMPLE: Duration = Duration::from_secs(30);
/// For what is never answered.
const SHORT: Duration = Duration::from_millis(300);

fn http(origins: &[String]) -> Http {
    with_roots(origins, None)
}

fn with_roots(origins: &[String], roots: Option<&[u8]>) -> Http {
    Http::new(Arc::new(HttpClient::new(roots).unwrap()), HttpGrant::parse(&json!(origins)).unwrap())
}

fn request(method: &str, url: &str) -> Outgoing {
    Outgoing::new(method, url).unwrap()
}

fn with_body(method: &str, url: &str, body: RequestBody) -> Outgoing {
    let mut request = request(method, url);
    request.body(body);
    request
}

async fn send_within(http: &Http, request: Outgoing, limit: Duration) -> Result<Incoming, ServiceError> {
    http.send(request, Instant::now() + limit).await
}

async fn get(http: &Http, url: &str) -> Result<Incoming, ServiceError> {
    send_within(http, request("GET", url), AMPLE).await
}

/// Content by its offset, made as it is read; counts its reads.
struct Pattern {
    len: u64,
    /// Past this there is nothing, whatever `len` says.
    end: u64,
    read: AtomicU64,
    largest: AtomicUsize,
}

impl Pattern {
    fn new(len: u64) -> Arc<Self> {
        Self::short(len, len)
    }

    fn short(len: u64, end: u64) -> Arc<Self> {
        Arc::new(Self { len, end, read: AtomicU64::new(0), largest: AtomicUsize::new(0) })
    }
}

fn octet(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9E37_79B9) >> 16) as u8
}

impl ContentSource for Pattern {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, max: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        let end = self.end.min(offset + max as u64);
        self.largest.fetch_max(max, SeqCst);
        self.read.fetch_add(end.saturating_sub(offset), SeqCst);
        Box::pin(std::future::ready(Ok((offset..end).map(octet).collect())))
    }
}

#[tokio::test]
async fn an_answer_and_its_connection() {
    let server = Server::start().await;
    let http = http(&[server.origin()]);
    let mut post = with_body("POST", &server.url("/hello?q=1#part"), RequestBody::Bytes(Bytes::from_static(b"body")));
    post.header("X-Key", "s\u{e9}cret").unwrap();
    post.header("X-Key", "two").unwrap();
    let mut answer = send_within(&http, post, AMPLE).await.unwrap();
    assert_eq!((answer.status(), answer.header("x-a"), answer.header("X-B")), (200, Some("1".to_owned()), None));
    assert_eq!(answer.read(0).await.unwrap_err().word, "bad-value");
    assert_eq!(answer.read(2).await.unwrap(), "he");
    assert_eq!(answer.body().await.unwrap(), "llo");
    assert_eq!(answer.read(9).await.unwrap(), "");
    let asked = server.asked().remove(0);
    assert_eq!((&*asked.method, &*asked.target, &*asked.body), ("POST", "/hello?q=1", &b"body"[..]));
    assert_eq!(asked.header("host"), Some(&*server.address.to_string()));
    assert_eq!(asked.header("x-key"), Some("s\u{e9}cret"));
    assert_eq!((asked.header("content-length"), asked.header("referer")), (Some("4"), None));
    assert_eq!(asked.header("accept-encoding"), None, "nothing is unpacked");
    for status in [204, 404, 500, 599] {
        let mut answer = get(&http, &server.url(&format!("/status?{status}"))).await.unwrap();
        assert_eq!((answer.status(), answer.body().await.unwrap().len()), (status, 0));
    }
    let answer = send_within(&http, request("HEAD", &server.url("/hello")), AMPLE).await.unwrap();
    assert_eq!(answer.header("content-length").as_deref(), Some("5"));
    assert_eq!(server.connections.load(SeqCst), 1, "one connection for all");
}

#[tokio::test]
async fn only_what_is_granted() {
    let (granted, other) = (Server::start().await, Server::start().await);
    let http = http(&[granted.origin()]);
    let error = get(&http, &other.url("/hello?secret")).await.unwrap_err();
    assert_eq!(error.to_string(), format!("denied: the grant `http` does not have {}", other.origin()));
    for status in [301, 302, 303, 307, 308] {
        let error = get(&http, &granted.url(&format!("/to?{status}+{}", other.url("/x?secret")))).await.unwrap_err();
        let expected =
            format!("denied: the grant `http` does not have {}; {} redirects there", other.origin(), granted.origin());
        assert_eq!(error.to_string(), expected);
    }
    for (location, word) in
        [("ftp://a.test/", "denied"), ("http://u:p@127.0.0.1/", "unavailable"), ("//[", "unavailable")]
    {
        let error = get(&http, &granted.url(&format!("/to?302+{location}"))).await.unwrap_err();
        assert_eq!(error.word, word, "{error}");
    }
    assert_eq!(other.connections.load(SeqCst), 0);
}

#[tokio::test]
async fn redirects_are_followed_with_the_right_method() {
    let server = Server::start().await;
    let http = http(&[server.origin()]);
    for (status, method, expected) in [
        (301, "POST", "GET "),
        (302, "POST", "GET "),
        (303, "POST", "GET "),
        (303, "PUT", "GET "),
        (303, "HEAD", "HEAD body"),
        (302, "PUT", "PUT body"),
        (307, "POST", "POST body"),
        (308, "DELETE", "DELETE body"),
    ] {
        let body = RequestBody::Bytes(Bytes::from_static(b"body"));
        let mut request = with_body(method, &server.url(&format!("/to?{status}+/hello")), body);
        request.header("Content-Type", "text/plain").unwrap();
        request.header("Authorization", "secret").unwrap();
        let answer = send_within(&http, request, AMPLE).await.unwrap();
        assert_eq!(answer.status(), 200);
        let last = server.asked().pop().unwrap();
        assert_eq!(format!("{} {}", last.method, String::from_utf8(last.body.clone()).unwrap()), expected, "{status}");
        assert_eq!(last.header("content-type").is_some(), !last.body.is_empty());
        assert_eq!(last.header("authorization"), Some("secret"), "the origin is the same");
    }
    assert_eq!(get(&http, &server.url("/nowhere")).await.unwrap().status(), 302);
    assert_eq!(get(&http, &server.url("/to?304+/hello")).await.unwrap().status(), 304);
    let chain = |count: usize| (0..count).fold("/hello".to_owned(), |target, _| format!("/to?302+{target}"));
    assert_eq!(get(&http, &server.url(&chain(5))).await.unwrap().status(), 200);
    let before = server.asked().len();
    let error = get(&http, &server.url(&chain(6))).await.unwrap_err();
    assert_eq!((error.word, server.asked().len() - before), ("unavailable", 6), "{error}");
}

#[tokio::test]
async fn secrets_stay_with_their_origin() {
    let (first, second) = (Server::start().await, Server::start().await);
    let http = http(&[first.origin(), second.origin()]);
    let mut request = request("GET", &first.url(&format!("/to?307+{}", second.url("/hello"))));
    for name in ["Authorization", "Cookie", "X-Api-Key", "X-Auth-Token", "Accept", "X-Trace"] {
        request.header(name, "v").unwrap();
    }
    assert_eq!(send_within(&http, request, AMPLE).await.unwrap().status(), 200);
    let names = |server: &Server| {
        let asked = server.asked().remove(0);
        let own = asked.headers.iter().filter(|(_, value)| value == "v").map(|(name, _)| name.clone());
        own.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(names(&first).len(), 6);
    assert_eq!(names(&second), ["accept", "x-trace"]);
}

#[tokio::test]
async fn a_message_is_streamed_and_sent_again() {
    const LEN: u64 = 20 << 20;
    let (first, second) = (Server::start().await, Server::start().await);
    let http = http(&[first.origin(), second.origin()]);
    let source = Pattern::new(LEN);
    let body = RequestBody::Source(Bytes::from_static(b"Subject: x\r\n\r\n"), Arc::clone(&source) as _);
    let url = first.url(&format!("/to?307+{}", second.url("/hello")));
    let answer = send_within(&http, with_body("POST", &url, body), AMPLE).await.unwrap();
    assert_eq!(answer.status(), 200);
    for server in [&first, &second] {
        let asked = server.asked().remove(0);
        assert_eq!(asked.header("content-length"), Some(&*(LEN + 14).to_string()));
        assert_eq!((&asked.body[..14], asked.body.len() as u64), (&b"Subject: x\r\n\r\n"[..], LEN + 14));
        assert!(asked.body[14..].iter().zip(0..).all(|(got, at)| *got == octet(at)));
    }
    assert_eq!((source.read.load(SeqCst), source.largest.load(SeqCst)), (2 * LEN, 64 * 1024));
    let empty = RequestBody::Source(Bytes::new(), Arc::new(MemorySource::default()));
    let answer = send_within(&http, with_body("POST", &first.url("/hello"), empty), AMPLE).await.unwrap();
    assert_eq!((answer.status(), first.asked().pop().unwrap().header("content-length")), (200, Some("0")));
}

#[tokio::test]
async fn an_answer_before_the_body_has_gone_out() {
    let server = Server::start().await;
    let http = http(&[server.origin()]);
    let source = Pattern::new(1 << 40);
    let body = RequestBody::Source(Bytes::new(), Arc::clone(&source) as _);
    let mut answer = send_within(&http, with_body("POST", &server.url("/early"), body), AMPLE).await.unwrap();
    assert_eq!((answer.status(), answer.body().await.unwrap()), (200, Bytes::from_static(b"hello")));
    drop(answer);
    // Nobody reads on at the other end: what is read here is what fits into buffers.
    assert!(source.read.load(SeqCst) < 64 << 20);
}

#[tokio::test]
async fn content_that_is_not_there_breaks_the_request() {
    let server = Server::start().await;
    let http = http(&[server.origin()]);
    let body = RequestBody::Source(Bytes::new(), Pattern::short(1 << 20, 300_000));
    let error = send_within(&http, with_body("PUT", &server.url("/hello"), body), AMPLE).await.unwrap_err();
    let expected = format!("unavailable: the body for {} can't be read", server.origin());
    assert_eq!((error.to_string(), server.asked().len()), (expected, 0));
}

#[tokio::test]
async fn what_takes_too_long() {
    let server = Server::start().await;
    let http = http(&[server.origin()]);
    for path in ["/silent?secret", "/slow-header?secret"] {
        let error = send_within(&http, request("GET", &server.url(path)), SHORT).await.unwrap_err();
        assert_eq!(error.to_string(), format!("timeout: {} did not answer in time", server.origin()));
        let mut own = request("GET", &server.url(path));
        own.timeout(SHORT).unwrap();
        assert_eq!(send_within(&http, own, AMPLE).await.unwrap_err().word, "timeout");
    }
    let mut slow = send_within(&http, request("GET", &server.url("/slow-body")), SHORT).await.unwrap();
    assert_eq!(slow.read(MAX_READ).await.unwrap(), "hello");
    for _ in 0..2 {
        assert_eq!(slow.read(MAX_READ).await.unwrap_err().word, "timeout");
    }
}

#[tokio::test]
async fn what_breaks_off_or_is_no_answer() {
    let server = Server::start().await;
    let http = http(&[server.origin(), "http://127.0.0.1:1".to_owned(), "http://no-such-host.invalid".to_owned()]);
    let mut short = get(&http, &server.url("/short-body")).await.unwrap();
    assert_eq!(short.read(MAX_READ).await.unwrap(), "hello");
    let error = short.read(MAX_READ).await.unwrap_err();
    assert_eq!(error.word, "unavailable", "{error}");
    for url in [&*server.url("/garbage?secret"), "http://127.0.0.1:1/?secret", "http://no-such-host.invalid/?secret"] {
        let error = get(&http, url).await.unwrap_err();
        let origin = url.split("/?").next().unwrap().trim_end_matches("/garbage?secret");
        assert!(error.word == "unavailable" && error.text.starts_with(origin), "{error}");
        assert!(!error.text.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn answers_are_bounded() {
    let server = Server::start().await;
    let http = http(&[server.origin()]);
    let mut endless = get(&http, &server.url("/endless")).await.unwrap();
    let mut read = 0;
    let error = loop {
        match endless.read(usize::MAX).await {
            Ok(piece) => read += piece.len() as u64,
            Err(error) => break error,
        }
    };
    assert!(error.word == "too-large" && read <= MAX_ANSWER, "{error} after {read}");
    let mut most = get(&http, &server.url(&format!("/length?{MAX_ANSWER}"))).await.unwrap();
    assert_eq!(most.body().await.unwrap().len() as u64, MAX_ANSWER);
    let mut more = get(&http, &server.url(&format!("/length?{}", MAX_ANSWER + 1))).await.unwrap();
    assert_eq!(more.read(1).await.unwrap_err().word, "too-large", "at once, for it is announced");
    assert_eq!(get(&http, &server.url("/headers?60")).await.unwrap().status(), 200);
    assert_eq!(get(&http, &server.url("/headers?70")).await.unwrap_err().word, "too-large");
    assert_eq!(get(&http, &server.url("/headers?500")).await.unwrap_err().word, "unavailable");
}

#[tokio::test]
async fn requests_in_progress_are_few() {
    let server = Server::start().await;
    let http = Arc::new(http(&[server.origin()]));
    let asking: Vec<_> = (0..32)
        .map(|_| {
            let (http, url) = (Arc::clone(&http), server.url("/silent"));
            tokio::spawn(async move { send_within(&http, request("GET", &url), AMPLE).await.map(drop) })
        })
        .collect();
    while server.in_progress.load(SeqCst) < 32 {
        tokio::task::yield_now().await;
    }
    let error = send_within(&http, request("GET", &server.url("/hello")), SHORT).await.unwrap_err();
    assert!(error.word == "timeout" && error.text.contains("in progress"), "{error}");
    assert_eq!(server.asked().len(), 32);
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    // An answer that is held counts; one that was read to its end does not.
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(get(&http, &server.url("/hello")).await.unwrap());
    }
    let late = send_within(&http, request("GET", &server.url("/hello")), SHORT).await.unwrap_err();
    assert_eq!(late.word, "timeout");
    held[0].body().await.unwrap();
    assert_eq!(get(&http, &server.url("/hello")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn certificates_count() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let check = async |by: &Certificates, name: &str, expired: bool, expected: &str| {
        let server = Server::start_with(Some(by.config(name, expired))).await;
        let http = with_roots(&[server.origin()], Some(&ours.roots()));
        let said = match get(&http, &server.url("/hello?secret")).await {
            Ok(answer) => answer.status().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(expected) && !said.contains("secret"), "{said}");
        assert!(
            said == "200" || said.starts_with(&format!("unavailable: {}: no connection", server.origin())),
            "{said}"
        );
    };
    check(&ours, "127.0.0.1", false, "200").await;
    check(&ours, "127.0.0.1", true, "expired").await;
    check(&ours, "other.example", false, "not valid for name").await;
    check(&theirs, "127.0.0.1", false, "invalid peer certificate").await;
    assert!(HttpClient::new(Some(b"no certificate")).is_err());
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(HttpClient::new(Some(broken.as_bytes())).is_err());
}
