//! A next hop that keeps of each message what tells whether it arrived whole: its id, its recipients and the SHA-256
//! of its body. It can be told to be up in part only. Content of any size takes no memory.

use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Error, ErrorKind, Read as _, Result, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The header field by which the tests know their messages.
pub const ID: &str = "X-Id";

/// The SHA-256 of a body.
pub type Sum = [u8; 32];

/// One message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its recipients in this transaction.
    pub recipients: Vec<String>,
    /// Of what follows the first empty line, line ends as on the wire, dot-stuffing undone.
    pub sum: Sum,
    /// Octets of the body.
    pub len: u64,
}

#[derive(Default)]
struct Inner {
    arrived: Mutex<HashMap<String, Vec<Arrived>>>,
    count: AtomicUsize,
    /// Of 100 transactions, so many are put off at MAIL.
    refused: AtomicU32,
    turn: AtomicU32,
    stop: AtomicBool,
}

/// A sink in this process; it ends with the value.
pub struct HashSink {
    inner: Arc<Inner>,
    /// Where it listens.
    pub port: u16,
}

impl HashSink {
    /// Starts it, with `refused` of 100 transactions answered 451.
    ///
    /// # Panics
    /// There is no port.
    #[must_use]
    pub fn start(refused: u32) -> Self {
        // Another process may take a port that was free a moment ago.
        let listener = (0..100).find_map(|_| TcpListener::bind(("127.0.0.1", crate::free_port())).ok());
        Self::serve(listener.expect("a free port"), refused)
    }

    /// As [`HashSink::start`], on a given port.
    ///
    /// # Panics
    /// The port is taken.
    #[must_use]
    pub fn start_on(port: u16, refused: u32) -> Self {
        Self::serve(TcpListener::bind(("127.0.0.1", port)).expect("a free port"), refused)
    }

    fn serve(listener: TcpListener, refused: u32) -> Self {
        let port = listener.local_addr().expect("an address").port();
        let inner = Arc::new(Inner { refused: AtomicU32::new(refused), ..Inner::default() });
        let shared = Arc::clone(&inner);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stop.load(Ordering::Relaxed) {
                    break;
                }
                // A connection that was gone before it was accepted is no reason to end.
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&shared);
                // A connection that breaks is the other side's business.
                std::thread::spawn(move || session(stream, &shared));
            }
        });
        Self { inner, port }
    }

    /// From now on so many of 100 transactions are put off.
    pub fn refuse(&self, share: u32) {
        self.inner.refused.store(share, Ordering::Relaxed);
    }

    /// How many messages came.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inner.count.load(Ordering::Relaxed)
    }

    /// What came, by id.
    #[must_use]
    pub fn arrived(&self) -> HashMap<String, Vec<Arrived>> {
        self.inner.arrived().clone()
    }
}

impl Drop for HashSink {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::Relaxed);
        // Wakes the accept.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Inner {
    fn arrived(&self) -> MutexGuard<'_, HashMap<String, Vec<Arrived>>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_refused(&self) -> bool {
        // A step that has no divisor in common with 100: each hundred has its share, and not in one piece.
        let turn = self.turn.fetch_add(37, Ordering::Relaxed) % 100;
        turn < self.refused.load(Ordering::Relaxed)
    }
}

fn session(stream: TcpStream, inner: &Inner) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(300)))?;
    let mut out = stream.try_clone()?;
    let mut input = BufReader::with_capacity(64 << 10, stream);
    let mut recipients = Vec::new();
    out.write_all(b"220 sink.example ESMTP\r\n")?;
    loop {
        let mut line = Vec::new();
        input.by_ref().take(8192).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line);
        let verb = line.trim_end().get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match &verb[..] {
            "EHLO" => b"250-sink.example\r\n250-PIPELINING\r\n250-SIZE\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n",
            "MAIL" if inner.is_refused() => b"451 4.3.0 not now\r\n",
            "MAIL" => {
                recipients.clear();
                b"250 2.1.0 ok\r\n"
            }
            "RCPT" => {
                let address = line.split(['<', '>']).nth(1).unwrap_or_default();
                recipients.push(address.to_owned());
                b"250 2.1.5 ok\r\n"
            }
            "DATA" if recipients.is_empty() => b"503 5.5.1 no recipients\r\n",
            "DATA" => {
                out.write_all(b"354 go on\r\n")?;
                let (id, sum, len) = content(&mut input)?;
                let arrived = Arrived { recipients: std::mem::take(&mut recipients), sum, len };
                inner.arrived().entry(id).or_default().push(arrived);
                inner.count.fetch_add(1, Ordering::Relaxed);
                b"250 2.0.0 taken\r\n"
            }
            "QUIT" => {
                out.write_all(b"221 2.0.0 bye\r\n")?;
                return Ok(());
            }
            _ => b"250 2.0.0 ok\r\n",
        };
        out.write_all(reply)?;
    }
}

/// Reads content to its end: the id in its header, the sum and the length of its body.
fn content(input: &mut BufReader<TcpStream>) -> Result<(String, Sum, u64)> {
    let (mut id, mut sum, mut len, mut in_body) = (String::new(), Sha256::new(), 0, false);
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Err(Error::from(ErrorKind::UnexpectedEof));
        }
        if line == b".\r\n" {
            return Ok((id, sum.finalize().into(), len));
        }
        let text = line.strip_prefix(b".").unwrap_or(&line);
        if in_body {
            sum.update(text);
            len += text.len() as u64;
        } else if text == b"\r\n" {
            in_body = true;
        } else if let Some(value) = text.strip_prefix(ID.as_bytes()).and_then(|rest| rest.strip_prefix(b": ")) {
            id = String::from_utf8_lossy(value).trim().to_owned();
        }
    }
}
