//! A next hop that counts: how many sessions there are at once, in all and for each recipient domain, in which order the
//! domains' mail comes, and when.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Result, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long each message takes it, so that others have the time to come.
const WORK: Duration = Duration::from_millis(5);

/// The sink. It takes everything.
pub struct CountingSink {
    /// Where it listens.
    pub port: u16,
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    counts: Mutex<Counts>,
    open: Mutex<bool>,
    opened: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct Counts {
    sessions: usize,
    most: usize,
    /// Sessions that have had mail for a domain, now and at most.
    by_domain: HashMap<String, (usize, usize)>,
    arrived: Vec<String>,
    /// Of sessions, of MAIL and of RCPT.
    times: Times,
}

/// When something came, and from whom to whom.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// Address of the client.
    pub peer: IpAddr,
    /// Reverse-path (MAIL and RCPT), lower case.
    pub from: String,
    /// Recipient domain (RCPT).
    pub domain: String,
}

/// What came, in order.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// Sessions.
    pub sessions: Vec<Arrival>,
    /// MAIL commands.
    pub messages: Vec<Arrival>,
    /// RCPT commands.
    pub recipients: Vec<Arrival>,
}

impl CountingSink {
    /// Starts it; it greets, and answers no DATA before [`CountingSink::open`].
    ///
    /// # Panics
    /// There is no port.
    #[must_use]
    pub fn start() -> Self {
        Self::start_at(IpAddr::V4(Ipv4Addr::LOCALHOST), 0).expect("a port")
    }

    /// As [`CountingSink::start`], at an address of this machine.
    ///
    /// # Errors
    /// There is no such address, or the port is taken.
    pub fn start_at(ip: IpAddr, port: u16) -> Result<Self> {
        let listener = TcpListener::bind((ip, port))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if of_thread.stop.load(Ordering::SeqCst) {
                    break;
                }
                let shared = Arc::clone(&of_thread);
                std::thread::spawn(move || shared.session(&stream));
            }
        });
        Ok(Self { port: address.port(), address, shared, accepting: Some(accepting) })
    }

    /// From now on it takes mail.
    pub fn open(&self) {
        *lock(&self.shared.open) = true;
        self.shared.opened.notify_all();
    }

    /// Most sessions that there were at once.
    #[must_use]
    pub fn most(&self) -> usize {
        lock(&self.shared.counts).most
    }

    /// Most sessions at once that had had mail for this domain.
    #[must_use]
    pub fn most_for(&self, domain: &str) -> usize {
        lock(&self.shared.counts).by_domain.get(domain).map_or(0, |(_, most)| *most)
    }

    /// The domains of the messages that it took, in their order.
    #[must_use]
    pub fn arrived(&self) -> Vec<String> {
        lock(&self.shared.counts).arrived.clone()
    }

    /// What came so far, and when.
    #[must_use]
    pub fn times(&self) -> Times {
        lock(&self.shared.counts).times.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Shared {
    fn session(&self, stream: &TcpStream) {
        {
            let mut counts = lock(&self.counts);
            counts.sessions += 1;
            counts.most = counts.most.max(counts.sessions);
        }
        let mut domains = Vec::new();
        // A peer that leaves is as good as one that says QUIT.
        let _ = self.talk(stream, &mut domains);
        let mut counts = lock(&self.counts);
        counts.sessions -= 1;
        for domain in domains {
            if let Some((now, _)) = counts.by_domain.get_mut(&domain) {
                *now -= 1;
            }
        }
    }

    fn talk(&self, stream: &TcpStream, domains: &mut Vec<String>) -> Result<()> {
        let mut out = stream.try_clone()?;
        let came = |from: &str, domain: &str| -> Result<Arrival> {
            let peer = stream.peer_addr()?.ip();
            Ok(Arrival { at: Instant::now(), peer, from: from.to_owned(), domain: domain.to_owned() })
        };
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        lock(&self.counts).times.sessions.push(came("", "")?);
        out.write_all(b"220 sink\r\n")?;
        let (mut current, mut from) = (String::new(), String::new());
        while let Some(line) = lines.next() {
            let line = line?.to_ascii_lowercase();
            let reply = match line.get(..4) {
                Some("mail") => {
                    from =
                        line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(f, _)| f).into();
                    lock(&self.counts).times.messages.push(came(&from, "")?);
                    "250 ok\r\n"
                }
                Some("rcpt") => {
                    let domain = line.split_once('@').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(d, _)| d);
                    current = domain.to_owned();
                    lock(&self.counts).times.recipients.push(came(&from, domain)?);
                    if !domains.contains(&current) {
                        domains.push(current.clone());
                        let mut counts = lock(&self.counts);
                        let (now, most) = counts.by_domain.entry(current.clone()).or_default();
                        (*now, *most) = (*now + 1, (*most).max(*now + 1));
                    }
                    "250 ok\r\n"
                }
                Some("data") => {
                    drop(self.opened.wait_while(lock(&self.open), |open| !*open));
                    out.write_all(b"354 go\r\n")?;
                    while lines.next().is_some_and(|line| line.is_ok_and(|line| line != ".")) {}
                    std::thread::sleep(WORK);
                    lock(&self.counts).arrived.push(current.clone());
                    "250 taken\r\n"
                }
                Some("quit") => return out.write_all(b"221 bye\r\n"),
                _ => "250 ok\r\n",
            };
            out.write_all(reply.as_bytes())?;
        }
        Ok(())
    }
}

impl Drop for CountingSink {
    fn drop(&mut self) {
        self.open();
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the accept.
        let _ = TcpStream::connect(self.address);
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}
