//! Too much of anything in one session has a bounded answer, and costs the server little memory: a line of 100 MB, in a
//! command and in content, a million header fields, a million recipients, a hundred thousand commands, multiparts a
//! hundred thousand deep.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use postern_tests::{Client, Postern, Reply, free_port, process, root};
use std::fmt::Write as _;
use std::io::Result;

/// Growth of the server's memory by one flood, at most.
const BOUND_KIB: u64 = 16 << 10;
const LINE: usize = 100_000_000;

/// A server that is warm: what it takes once and for all is not the flood's.
fn server() -> Postern {
    server_with("")
}

fn server_with(config: &str) -> Postern {
    let server = Postern::start_with(free_port(), "max_size = '200MB'", "", config);
    for _ in 0..5 {
        let large = format!("Subject: s\r\n\r\n{}", format!("{}\r\n", "y".repeat(990)).repeat(2000));
        let mut client = Client::hello(server.port).unwrap();
        assert_eq!(client.mail("a@b.example", &["c@d.example"], &large).unwrap().code, 250);
    }
    server
}

/// A client that has its transaction open if `content`; what is done with it, and the growth.
fn flood(what: &str, server: &Postern, content: bool, act: impl FnOnce(&mut Client)) {
    let mut client = Client::hello(server.port).unwrap();
    if content {
        client.open("a@b.example", &["c@d.example"]).unwrap();
    }
    let growth = process::growth_kib(server.pid(), || act(&mut client));
    println!("{what}: +{growth} KiB");
    assert!(growth < BOUND_KIB, "{what}: memory grew by {growth} KiB");
    // The others are served.
    let reply = Client::hello(server.port).unwrap().mail("a@b.example", &["c@d.example"], "\r\nb\r\n").unwrap();
    assert_eq!(reply.code, 250);
}

fn send_times(client: &mut Client, piece: &str, octets: usize) -> Result<()> {
    let block = piece.repeat((1 << 20) / piece.len());
    let mut sent = 0;
    while sent < octets {
        let now = block.len().min(octets - sent);
        client.send(&block.as_bytes()[..now])?;
        sent += now;
    }
    Ok(())
}

#[test]
fn lines_of_a_hundred_megabytes() {
    let server = server();
    flood("a command line of 100 MB", &server, false, |client| {
        send_times(client, "x", LINE).unwrap();
        assert_eq!(client.command("", 5).unwrap().code, 500);
        client.command("NOOP", 2).unwrap();
    });
    flood("a line of content of 100 MB", &server, true, |client| {
        send_times(client, "x", LINE).unwrap();
        client.send(b"\r\n.\r\n").unwrap();
        assert_eq!(client.reply().unwrap().code, 550);
        client.command("NOOP", 2).unwrap();
    });
    flood("a header field of 100 MB", &server, true, |client| {
        send_times(client, "x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n ", LINE).unwrap();
        client.send(b"\r\n.\r\n").unwrap();
        assert_eq!(client.reply().unwrap().code, 552);
    });
    assert!(server.log().lines().all(|line| line.len() < 2000));
}

#[test]
fn a_million_header_fields() {
    let server = server();
    flood("10^6 header fields", &server, true, |client| {
        send_times(client, "x: y\r\n", 6_000_000).unwrap();
        client.send(b"\r\nbody\r\n.\r\n").unwrap();
        assert_eq!(client.reply().unwrap().code, 552);
    });
    // As many as a header has room for.
    flood("60,000 header fields", &server, true, |client| {
        send_times(client, "x:\r\n", 240_000).unwrap();
        client.send(b"\r\nbody\r\n.\r\n").unwrap();
        assert_eq!(client.reply().unwrap().code, 250);
    });
}

/// All replies to the end of the connection.
fn replies(client: &mut Client) -> Vec<Reply> {
    std::iter::from_fn(|| client.reply().ok()).collect()
}

#[test]
fn a_million_recipients_and_commands() {
    let server = server();
    flood("10^6 recipients", &server, false, |client| {
        client.command("MAIL FROM:<a@b.example>", 2).unwrap();
        let (mut taken, mut later, mut end) = (0, 0, None);
        'all: for group in 0..10_000 {
            let mut commands = String::new();
            for number in 0..100 {
                let _ = write!(commands, "RCPT TO:<r{group}-{number}@d.example>\r\n");
            }
            if client.send(commands.as_bytes()).is_err() {
                break;
            }
            for _ in 0..100 {
                match client.reply() {
                    Ok(reply) if reply.code == 250 => taken += 1,
                    Ok(reply) if reply.code == 452 => later += 1,
                    other => {
                        end = other.ok();
                        break 'all;
                    }
                }
            }
        }
        assert_eq!((taken, later, end.map(|reply| reply.code)), (1000, 1020, Some(421)));
    });
    flood("10^5 NOOP", &server, false, |client| {
        // The server may have closed its end before all is sent.
        let _ = send_times(client, "NOOP\r\n", 600_000);
        let replies = replies(client);
        assert!(replies.len() <= 121 && replies.last().unwrap().code == 421, "{} replies", replies.len());
    });
    assert!(server.log().lines().count() < 5000, "the log is flooded");
}

/// Multiparts within each other: each opens the next, none is closed.
fn deep(depth: usize) -> String {
    let mut content = "Subject: deep\r\nContent-Type: multipart/mixed; boundary=b0\r\n\r\n".to_owned();
    for level in 0..depth {
        let _ = write!(content, "--b{level}\r\nContent-Type: multipart/mixed; boundary=b{}\r\n\r\n", level + 1);
    }
    content + "text\r\n"
}

/// A plugin that asks for parts has the server look for them.
#[test]
fn multiparts_a_hundred_thousand_deep() {
    let component = root().join("tests/guests/part-hooks/part-hooks.wasm");
    assert!(component.exists(), "it is missing: run `make guests`");
    let plugin = format!(
        "[[plugin]]\nname = 'parts'\ncomponent = '{}'\nconfig = {{ parts = {{ '9.9' = [['upper']] }} }}",
        component.display()
    );
    let server = server_with(&plugin);
    flood("multiparts 10^5 deep", &server, true, |client| {
        client.send(deep(100_000).as_bytes()).unwrap();
        client.send(b".\r\n").unwrap();
        assert_eq!(client.reply().unwrap().code, 250);
    });
}
