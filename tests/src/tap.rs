//! A tap on the wire: forwards connections to a port and keeps every octet that goes there.
//!
//! For tests that must see the whole of what leaves the server, whoever takes it. Kept in memory: not for large mail.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A running tap.
pub struct Tap {
    /// Where it listens.
    pub port: u16,
    streams: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
}

impl Tap {
    /// Listens on a port of its own and forwards to `target` on loopback.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let (streams, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let tap = Self { port, streams: Arc::clone(&streams), stop: Arc::clone(&stop) };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                // A target that is gone is for the client to notice.
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                forward(client, server, &streams);
            }
        });
        tap
    }

    /// All that clients have sent so far, a vector for each connection.
    #[must_use]
    pub fn sent(&self) -> Vec<Vec<u8>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Octets that clients have sent so far.
    ///
    /// # Panics
    /// Among them is a bare CR, a bare LF or a NUL.
    pub fn assert_clean(&self) -> usize {
        let sent = self.sent();
        for stream in &sent {
            if let Some(at) = unclean(stream) {
                let around = &stream[at.saturating_sub(80)..stream.len().min(at + 80)];
                panic!("a bare CR, LF or NUL left the server: {}", around.escape_ascii());
            }
        }
        sent.iter().map(Vec::len).sum()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Where the first bare CR, bare LF or NUL is.
#[must_use]
pub fn unclean(octets: &[u8]) -> Option<usize> {
    (0..octets.len()).find(|&at| match octets[at] {
        0 => true,
        b'\r' => octets.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || octets[at - 1] != b'\r',
        _ => false,
    })
}

fn forward(client: TcpStream, server: TcpStream, streams: &Arc<Mutex<Vec<Vec<u8>>>>) {
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let Ok((client_side, server_side)) = client.try_clone().and_then(|c| Ok((c, server.try_clone()?))) else { return };
    let index = {
        let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.push(Vec::new());
        streams.len() - 1
    };
    let streams = Arc::clone(streams);
    std::thread::spawn(move || {
        pump(client, server, |piece| {
            streams.lock().unwrap_or_else(PoisonError::into_inner)[index].extend_from_slice(piece);
        });
    });
    std::thread::spawn(move || pump(server_side, client_side, |_| ()));
}

fn pump(mut from: TcpStream, mut to: TcpStream, mut keep: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        keep(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
