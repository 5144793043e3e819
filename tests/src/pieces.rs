//! Sends octets so that each piece is read by itself: the next one goes out only when the system says that the peer's
//! program has taken the last one. Without that the kernel would join them, and nothing would have been split.
//!
//! Linux alone: it is asked by netlink (sock_diag(7)). `/proc/net/tcp` says the same, a hundred times slower.

use crate::{Client, PATIENCE};
use std::fs::File;
use std::io::{Error, Read as _, Result, Write as _};
use std::os::fd::FromRawFd as _;
use std::time::Instant;

/// Sends the pieces one after the other to the server that listens on `port`.
///
/// # Errors
/// The connection breaks, or the system does not say what has been read.
///
/// # Panics
/// The peer does not read.
pub fn send_apart(client: &mut Client, port: u16, pieces: &[&[u8]]) -> Result<()> {
    let own = client.local_port()?;
    let mut sockets = netlink()?;
    for (number, piece) in pieces.iter().enumerate() {
        let start = Instant::now();
        while number > 0 && !taken(&mut sockets, own, port)? {
            assert!(start.elapsed() < PATIENCE, "waited in vain for the peer to read");
            // It takes microseconds: no pause.
            std::thread::yield_now();
        }
        client.send(piece)?;
    }
    Ok(())
}

/// Is nothing on its way from port `own` to `port` any more, neither unacknowledged nor unread?
fn taken(sockets: &mut File, own: u16, port: u16) -> Result<bool> {
    // Ours is there, or we would not get what we ask for; the peer may have closed its own.
    let ours = ask(sockets, own, port)?.ok_or_else(|| Error::other("the system does not know our socket"))?;
    Ok(ours.unsent == 0 && ask(sockets, port, own)?.is_none_or(|theirs| theirs.unread == 0))
}

/// What waits in a socket.
struct Queues {
    unread: u32,
    unsent: u32,
}

#[allow(unsafe_code, reason = "std has no netlink sockets")]
fn netlink() -> Result<File> {
    // SAFETY: socket(2) takes three integers; the descriptor it gives is nobody else's.
    unsafe {
        match libc::socket(libc::AF_NETLINK, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, libc::NETLINK_SOCK_DIAG) {
            -1 => Err(Error::last_os_error()),
            descriptor => Ok(File::from_raw_fd(descriptor)),
        }
    }
}

/// The socket on loopback with these ports; None if there is none.
fn ask(sockets: &mut File, local: u16, remote: u16) -> Result<Option<Queues>> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const LOOPBACK: [u8; 16] = [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // struct nlmsghdr: length, type, flags (a request), sequence, sender.
    let mut request = Vec::from(72_u32.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(1_u16.to_ne_bytes());
    request.extend([0; 8]);
    // struct inet_diag_req_v2: family, protocol, no extensions, all states; ports, addresses, interface, no cookie.
    request.extend([2, 6, 0, 0, 255, 255, 255, 255]);
    request.extend(local.to_be_bytes());
    request.extend(remote.to_be_bytes());
    request.extend([LOOPBACK, LOOPBACK].concat());
    request.extend([0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    sockets.write_all(&request)?;
    let mut answer = [0; 4096];
    let length = sockets.read(&mut answer)?;
    // struct nlmsghdr (16 octets), then struct inet_diag_msg, whose queues are at 56 and 60.
    let word = |at: usize| u32::from_ne_bytes([answer[at], answer[at + 1], answer[at + 2], answer[at + 3]]);
    let found = length >= 16 + 64 && u16::from_ne_bytes([answer[4], answer[5]]) == SOCK_DIAG_BY_FAMILY;
    Ok(found.then(|| Queues { unread: word(16 + 56), unsent: word(16 + 60) }))
}
