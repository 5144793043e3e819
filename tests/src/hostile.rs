//! The fake next hop: it plays one hostile act at one stage of its first few sessions, and behaves well after them. It
//! remembers what it took, with and without having said so.
//!
//! Recipients whose local part begins with `perm` are refused with 550, those with `once` with 450 by a hostile session,
//! which behaves from then on.

use std::io::{BufRead as _, BufReader, Error, ErrorKind, Result, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where it acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Instead of the greeting.
    Greeting,
    /// Instead of the reply to EHLO.
    Ehlo,
    /// Instead of the reply to MAIL.
    Mail,
    /// Instead of the reply to each RCPT.
    Rcpt,
    /// Instead of the reply to DATA.
    Data,
    /// After the first line of the content.
    Content,
    /// After the final dot, instead of the reply.
    Dot,
}

/// All stages in order.
pub const STAGES: [Stage; 7] =
    [Stage::Greeting, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Content, Stage::Dot];

/// A budget that is never spent; mail from the null reverse-path is spared.
pub const ALWAYS: usize = usize::MAX;

/// What it does there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Closes the connection.
    Drop,
    /// Closes it with a reset.
    Reset,
    /// Says this and closes.
    SayAndDrop(&'static [u8]),
    /// Says this, which is a lie or nonsense, and goes on; it takes no message in this session.
    Lie(&'static [u8]),
    /// Says this, which is a proper reply, and goes on; unless the budget is [`ALWAYS`] it behaves from then on.
    Reply(&'static [u8]),
    /// Gives the proper reply octet by octet.
    Slowly,
    /// Says this over and over, up to so many octets.
    Flood(&'static [u8], usize),
    /// Closes its sending side, and reads on.
    HalfClose,
    /// Says nothing more, and keeps the connection.
    Stall,
}

/// A message that came in whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Without brackets.
    pub reverse_path: String,
    /// Those that were accepted.
    pub recipients: Vec<String>,
    /// Value of Subject.
    pub subject: String,
    /// Did it say that it took it?
    pub answered: bool,
}

/// A running sink.
pub struct HostileSink {
    /// Where it listens.
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    stage: Stage,
    act: Act,
    /// Sessions that are still hostile.
    budget: AtomicUsize,
    sessions: AtomicUsize,
    acts: AtomicUsize,
    stalled: AtomicUsize,
    taken: Mutex<Vec<Taken>>,
    stop: AtomicBool,
    /// Ends stalls.
    released: (Mutex<bool>, Condvar),
}

impl HostileSink {
    /// Listens; `budget` sessions are hostile.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn start(stage: Stage, act: Act, budget: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared {
            stage,
            act,
            budget: AtomicUsize::new(budget),
            sessions: AtomicUsize::new(0),
            acts: AtomicUsize::new(0),
            stalled: AtomicUsize::new(0),
            taken: Mutex::default(),
            stop: AtomicBool::new(false),
            released: (Mutex::new(false), Condvar::new()),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if of_thread.stop.load(SeqCst) {
                    break;
                }
                let shared = Arc::clone(&of_thread);
                // A session that breaks is what this is about.
                std::thread::spawn(move || Session::new(shared, stream).and_then(Session::run));
            }
        });
        Self { port, shared }
    }

    /// One that behaves.
    #[must_use]
    pub fn tame() -> Self {
        Self::start(Stage::Greeting, Act::Drop, 0)
    }

    /// All messages that came in whole.
    #[must_use]
    pub fn taken(&self) -> Vec<Taken> {
        self.shared.taken().clone()
    }

    /// Sessions so far.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.shared.sessions.load(SeqCst)
    }

    /// Sessions that stall.
    #[must_use]
    pub fn stalled(&self) -> usize {
        self.shared.stalled.load(SeqCst)
    }

    /// How often it was hostile.
    #[must_use]
    pub fn acts(&self) -> usize {
        self.shared.acts.load(SeqCst)
    }
}

impl Drop for HostileSink {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        *self.shared.released.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.released.1.notify_all();
        // Wakes the accept.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stall(&self) {
        self.stalled.fetch_add(1, SeqCst);
        let mut released = self.released.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*released {
            released = self.released.1.wait(released).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Session {
    shared: Arc<Shared>,
    stream: BufReader<TcpStream>,
    hostile: bool,
    always: bool,
    /// It has lied: what it gets now it does not take.
    lied: bool,
    reverse_path: String,
    recipients: Vec<String>,
}

/// The session is over.
fn over() -> Error {
    ErrorKind::ConnectionAborted.into()
}

impl Session {
    fn new(shared: Arc<Shared>, stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        // A peer that keeps its side open for ever must not keep the test.
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        shared.sessions.fetch_add(1, SeqCst);
        let always = shared.budget.load(SeqCst) == ALWAYS;
        let spend = |left: usize| if always { Some(left) } else { left.checked_sub(1) };
        let hostile = shared.budget.fetch_update(SeqCst, SeqCst, spend).is_ok();
        let stream = BufReader::new(stream);
        Ok(Self { shared, stream, hostile, always, lied: false, reverse_path: String::new(), recipients: Vec::new() })
    }

    fn run(mut self) -> Result<()> {
        self.at(Stage::Greeting, b"220 sink.example ESMTP\r\n")?;
        loop {
            let line = self.line()?;
            let argument = |line: &str| line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
                "EHLO" => {
                    self.at(Stage::Ehlo, b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n")?;
                }
                "MAIL" => {
                    (self.reverse_path, self.recipients) = (argument(&line), Vec::new());
                    self.at(Stage::Mail, b"250 2.1.0 ok\r\n")?;
                }
                "RCPT" => self.rcpt(argument(&line))?,
                "DATA" => self.data()?,
                "QUIT" => return self.say(b"221 2.0.0 bye\r\n"),
                "HELO" | "RSET" | "NOOP" => self.say(b"250 2.0.0 ok\r\n")?,
                _ => self.say(b"500 5.5.1 what?\r\n")?,
            }
        }
    }

    fn rcpt(&mut self, recipient: String) -> Result<()> {
        if recipient.starts_with("perm") {
            return self.say(b"550 5.1.1 no such user\r\n");
        }
        if recipient.starts_with("once") && std::mem::take(&mut self.hostile) {
            return self.say(b"450 4.2.0 later\r\n");
        }
        if self.acts_at(Stage::Rcpt) && matches!(self.shared.act, Act::Reply(_)) {
            return self.at(Stage::Rcpt, b"");
        }
        self.recipients.push(recipient);
        self.at(Stage::Rcpt, b"250 2.1.5 ok\r\n")
    }

    fn data(&mut self) -> Result<()> {
        if self.acts_at(Stage::Data) && matches!(self.shared.act, Act::Reply(_)) {
            return self.at(Stage::Data, b"");
        }
        // 354 even where no recipient was accepted, as RFC 2920 lets it.
        self.at(Stage::Data, b"354 go ahead\r\n")?;
        let (mut subject, mut first) = (String::new(), true);
        loop {
            let line = self.line()?;
            if line == "." {
                break;
            }
            if std::mem::take(&mut first) {
                self.at(Stage::Content, b"")?;
            }
            if let Some(value) = line.strip_prefix("Subject: ").filter(|_| subject.is_empty()) {
                value.clone_into(&mut subject);
            }
        }
        if self.lied {
            return Err(over());
        }
        if self.recipients.is_empty() {
            return self.say(b"554 5.5.1 no recipients\r\n");
        }
        let acts = self.acts_at(Stage::Dot);
        let answered = !acts || self.shared.act == Act::Slowly;
        if !(acts && matches!(self.shared.act, Act::Reply(_))) {
            let (reverse_path, recipients) = (self.reverse_path.clone(), self.recipients.clone());
            self.shared.taken().push(Taken { reverse_path, recipients, subject, answered });
        }
        self.at(Stage::Dot, b"250 2.0.0 taken\r\n")
    }

    fn acts_at(&self, stage: Stage) -> bool {
        // Who refuses for good spares DSNs, so that they can be counted.
        let before_mail = matches!(stage, Stage::Greeting | Stage::Ehlo);
        let spared = self.always && !before_mail && self.reverse_path.is_empty();
        self.hostile && self.shared.stage == stage && !spared
    }

    /// The proper reply, or the act.
    fn at(&mut self, stage: Stage, reply: &[u8]) -> Result<()> {
        if !self.acts_at(stage) {
            return self.say(reply);
        }
        self.shared.acts.fetch_add(1, SeqCst);
        match self.shared.act {
            Act::Drop => Err(over()),
            Act::Reset => {
                reset_on_close(self.stream.get_ref());
                Err(over())
            }
            Act::SayAndDrop(text) => {
                self.say(text)?;
                Err(over())
            }
            Act::Lie(text) => {
                self.lied = true;
                self.say(text)
            }
            Act::Reply(text) => {
                self.hostile = self.always;
                self.say(text)
            }
            Act::Slowly => reply.chunks(1).try_for_each(|octet| self.say(octet)),
            Act::Flood(text, octets) => {
                let block = text.repeat((64 << 10) / text.len());
                (0..octets / block.len()).try_for_each(|_| self.say(&block))?;
                Err(over())
            }
            Act::HalfClose => {
                self.stream.get_ref().shutdown(Shutdown::Write)?;
                loop {
                    self.line()?;
                }
            }
            Act::Stall => {
                self.shared.stall();
                Err(over())
            }
        }
    }

    fn say(&mut self, text: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(text)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        if self.stream.read_until(b'\n', &mut line)? == 0 {
            return Err(over());
        }
        Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// Closing the socket will send RST.
#[allow(unsafe_code, reason = "std has no SO_LINGER")]
fn reset_on_close(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = libc::socklen_t::try_from(size_of::<libc::linger>()).expect("a few octets");
    // SAFETY: the descriptor is open, and pointer and length are those of `linger`, which setsockopt(2) only reads.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            std::ptr::from_ref(&linger).cast(),
            length,
        )
    };
    assert_eq!(result, 0, "SO_LINGER");
}
