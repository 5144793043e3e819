//! A client behind a proxy can't say who it is: the first PROXY header is the proxy's, and all that follows is SMTP.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{Client, Postern, SmtpSink, free_port};
use std::time::{Duration, Instant};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 25\r\n";
const V1_ALLOWED: &[u8] = b"PROXY TCP4 198.51.100.9 192.0.2.1 5000 25\r\n";
/// 198.51.100.9, port 5000.
const V2_ALLOWED: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x09\xc0\0\x02\x01\x13\x88\0\x19";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Without AUTH only 198.51.100.0/24 may submit, and proxies are at 127.0.0.1.
fn server(sink: u16) -> Postern {
    let listener = "proxy_protocol = true\nproxy_from = ['127.0.0.1/32']\nallow_from = ['198.51.100.0/24']";
    Postern::start_with(sink, listener, "", "")
}

fn connect(server: &Postern, headers: &[&[u8]]) -> Client {
    let mut client = Client::connect(server.port).unwrap();
    client.send(&headers.concat()).unwrap();
    client
}

#[test]
fn a_second_header_is_no_header() {
    let sink = SmtpSink::start(&[]);
    let server = server(sink.port);
    // The control: one header does.
    for header in [V1_ALLOWED, V2_ALLOWED] {
        let mut client = connect(&server, &[header]);
        client.expect(2).unwrap();
        client.command("EHLO client.example", 2).unwrap();
        let reply = client.mail("a@b.example", &["c@d.example"], "Subject: s\r\n\r\nb\r\n").unwrap();
        assert_eq!(reply.code, 250);
    }
    // The proxy says that the client is 192.0.2.7, the client that it is another, in both versions.
    for second in [V1_ALLOWED, V2_ALLOWED, V2_LOCAL] {
        let mut client = connect(&server, &[V1, second, b"EHLO x\r\nMAIL FROM:<a@b.example>\r\n"]);
        assert_eq!(client.reply().unwrap().code, 554);
        assert_eq!(client.line().unwrap_or(None), None);
    }
    // One that may submit has its second header refused as the command that it is none of.
    let mut client = connect(&server, &[V1_ALLOWED, V1]);
    client.expect(2).unwrap();
    client.expect(5).unwrap();
    client.command("EHLO client.example", 2).unwrap();
    client.send(V1).unwrap();
    client.expect(5).unwrap();
    assert_eq!(client.mail("a@b.example", &["c@d.example"], "Subject: t\r\n\r\nb\r\n").unwrap().code, 250);
    // A health check is the proxy itself, which may not submit.
    let mut client = connect(&server, &[V2_LOCAL, V1_ALLOWED]);
    assert_eq!(client.reply().unwrap().code, 554);
    let queued = server.wait_log(" QUEUED ", 3);
    assert_eq!(queued.len(), 3);
    server.wait_empty();
    let messages = sink.messages();
    assert!(messages.iter().all(|message| message.contains("([198.51.100.9])")), "{messages:?}");
}

#[test]
fn a_header_that_is_none_or_never_ends_is_closed() {
    let server = server(free_port());
    let wrong: [&[u8]; 9] = [
        b"EHLO client.example\r\nMAIL FROM:<a@b.example>\r\n",
        b"PROXYxTCP4 198.51.100.9 192.0.2.1 5000 25\r\n",
        b"PROXY TCP4 198.51.100.9 192.0.2.1 5000 65536\r\n",
        b"PROXY TCP4 198.51.100.999 192.0.2.1 5000 25\r\n",
        b"PROXY TCP4 2001:db8::1 192.0.2.1 5000 25\r\n",
        b"PROXY TCP4 198.51.100.9 192.0.2.1 5000 25\n\n",
        b"PROXY TCP5 198.51.100.9 192.0.2.1 5000 25\r\n",
        // Version 3, and a length that is too short for its addresses.
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\xc6\x33\x64\x09\xc0\0\x02\x01\x13\x88\0\x19",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\xc6\x33\x64\x09EHLO x\r\n",
    ];
    for header in wrong {
        let mut client = connect(&server, &[header]);
        assert_eq!(client.line().ok().flatten(), None, "{}", header.escape_ascii());
    }
    let endless = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 5000]].concat();
    let mut client = connect(&server, &[&endless]);
    assert_eq!(client.line().ok().flatten(), None);
    // A header that does not end, and one that comes too slowly: a few seconds, and no greeting.
    let start = Instant::now();
    let mut half = connect(&server, &[&V1_ALLOWED[..20]]);
    let mut slow = connect(&server, &[]);
    for octet in V1_ALLOWED.iter().take(8) {
        if slow.send(&[*octet]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(800));
    }
    assert_eq!((half.line().ok().flatten(), slow.line().ok().flatten()), (None, None));
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    assert!(server.queue().is_empty());
}
