//! An HTTP service of the test's own, which says what it was asked and answers what the test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Status and body, made of a request's body.
type Answer = dyn Fn(&str) -> (u16, String) + Send + Sync;

/// A service on loopback that answers every request in the same way, until the process ends.
pub struct WebService {
    requests: Arc<Mutex<Vec<String>>>,
    /// Where it listens.
    pub port: u16,
}

impl WebService {
    /// Starts it; `answer` makes status and body of a request's body.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn start(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::default();
        let (seen, answer): (_, Arc<Answer>) = (Arc::clone(&requests), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                // A client that goes away is none of the test's business.
                std::thread::spawn(move || serve(stream, &seen, &*answer));
            }
        });
        Self { requests, port }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The bodies of the requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<String>>, answer: &Answer) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body = String::from_utf8_lossy(&body).into_owned();
        let (status, text) = answer(&body);
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(body);
        write!(stream, "HTTP/1.1 {status} Answer\r\nContent-Length: {}\r\n\r\n{text}", text.len()).ok()?;
    }
}
