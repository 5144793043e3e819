//! Sends octets so that each piece is read by itself: the next one goes out only when the system says that the peer's
//! program has taken the last one. Without that the kernel would join them, and nothing would have been split.

use crate::{Client, PATIENCE};
use std::io::Result;
use std::time::Instant;

/// Sends the pieces one after the other to the server that listens on `port`.
///
/// # Errors
/// The connection breaks.
///
/// # Panics
/// The peer does not read.
pub fn send_apart(client: &mut Client, port: u16, pieces: &[&[u8]]) -> Result<()> {
    let own = client.local_port()?;
    for (number, piece) in pieces.iter().enumerate() {
        let start = Instant::now();
        while number > 0 && !taken(own, port) {
            assert!(start.elapsed() < PATIENCE, "waited in vain for the peer to read");
            // It takes microseconds: no pause.
            std::thread::yield_now();
        }
        client.send(piece)?;
    }
    Ok(())
}

/// Is nothing on its way from port `own` to `port` any more, neither unacknowledged nor unread?
fn taken(own: u16, port: u16) -> bool {
    let Ok(table) = std::fs::read_to_string("/proc/net/tcp") else { return true };
    table.lines().filter_map(Row::read).all(|row| match (row.local, row.remote) {
        at if at == (own, port) => row.unsent == 0,
        at if at == (port, own) => row.unread == 0,
        _ => true,
    })
}

/// A line of `/proc/net/tcp`.
struct Row {
    local: u16,
    remote: u16,
    unsent: u64,
    unread: u64,
}

impl Row {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace().skip(1);
        let mut port = || u16::from_str_radix(words.next()?.rsplit(':').next()?, 16).ok();
        let (local, remote) = (port()?, port()?);
        let (unsent, unread) = words.nth(1)?.split_once(':')?;
        let octets = |hex| u64::from_str_radix(hex, 16).ok();
        Some(Self { local, remote, unsent: octets(unsent)?, unread: octets(unread)? })
    }
}
