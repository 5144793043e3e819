//! What octets on a wire must be like, and what the client writes.

use postern_core::mail::Recipient;
use postern_core::smtp::client::{Client, Terms, Transaction};

/// Panics if there is a bare CR, a bare LF or a NUL.
pub fn assert_clean(octets: &[u8], what: &str) {
    for (at, octet) in octets.iter().enumerate() {
        let good = match octet {
            b'\r' => octets.get(at + 1) == Some(&b'\n'),
            b'\n' => at > 0 && octets[at - 1] == b'\r',
            octet => *octet != 0,
        };
        assert!(good, "{what} has a bare CR, a bare LF or a NUL at {at}: {}", octets.escape_ascii());
    }
}

/// Panics if a line has more than `most` octets, its end not counted.
pub fn assert_lines(octets: &[u8], most: usize, what: &str) {
    for line in octets.split(|octet| *octet == b'\n') {
        let length = line.strip_suffix(b"\r").unwrap_or(line).len();
        assert!(length <= most, "{what} has a line of {length} octets: {}", line.escape_ascii());
    }
}

/// A client that was greeted by a server that offers everything.
pub fn greeted_client() -> Client {
    let mut client = Client::new("me.example", Terms::none());
    client.receive(b"220 mx.example ESMTP\r\n");
    client.output().clear();
    client.receive(
        b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 100000000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n",
    );
    client
}

/// The lines that a client says for a transaction, or none if it does not begin one.
pub fn said(transaction: &Transaction<'_>, recipient: &Recipient) -> Option<Vec<Vec<u8>>> {
    let mut client = greeted_client();
    client.begin(transaction, [recipient]).ok()?;
    let output = std::mem::take(client.output());
    assert_clean(&output, "what the client says");
    let lines = output.strip_suffix(b"\r\n").expect("lines end");
    Some(String::from_utf8(lines.to_vec()).expect("UTF-8").split("\r\n").map(|line| line.as_bytes().to_vec()).collect())
}
