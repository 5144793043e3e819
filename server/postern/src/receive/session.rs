//! One SMTP session over TCP: moves bytes between the socket and the state machine, and events to intake.

use super::Listener;
use super::clients::{Clients, Over};
use crate::intake::{Incoming, Intake, Policy};
use crate::observe::delivery_log;
use crate::spool::Spool;
use bytes::BytesMut;
use postern_core::hook::{Attributes, Protocol, Refusal, Session};
use postern_core::mail::{EnhancedCode, Recipient, Reply};
use postern_core::smtp::command::Mail;
use postern_core::smtp::server::{COMMAND_TIMEOUT, Event, FutureRelease, Server};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tracing::debug;

/// Room for commands; a waiting session holds none.
const COMMAND_READ: usize = 4 << 10;
/// Room for content.
const CONTENT_READ: usize = 32 << 10;

/// Least rate at which content must come on average, in octets a second (Postfix's `smtpd_min_data_rate`), …
const MIN_RATE: u64 = 500;
/// … after so long, in which a client may have paused once.
const RATE_GRACE: Duration = Duration::from_secs(60);
/// After the last reply a client has so long to close its end: what it still sends is thrown away, for closing on it
/// would take the reply from it.
const LINGER: Duration = Duration::from_secs(2);

/// Why a session ends before the state machine ends it.
enum Cut {
    /// The client closed or broke the connection.
    Gone,
    /// The client was silent for too long.
    TimeLimit,
    /// The server stops.
    Stop,
}

struct Driver<'a, S: Spool> {
    stream: TcpStream,
    server: Server,
    input: BytesMut,
    intake: &'a Intake<S>,
    policy: Policy,
    clients: &'a Clients,
    session: Session,
    incoming: Option<Incoming<S>>,
    stop: watch::Receiver<bool>,
    /// When the content on its way in, or the chunk of it, began to come, and how many octets have.
    content: Option<(Instant, u64)>,
}

/// Runs a session to its end.
pub async fn run<S: Spool>(
    stream: TcpStream,
    peer: SocketAddr,
    listener: &Listener,
    intake: &Intake<S>,
    stop: watch::Receiver<bool>,
) {
    // Replies are small and waited for.
    let _ = stream.set_nodelay(true);
    let session = Session {
        id: intake.session_id(),
        listener: Arc::clone(&listener.name),
        peer_addr: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
        helo: Arc::from(""),
        protocol: Protocol::Smtp,
        user: None,
        attributes: Attributes::new(),
    };
    debug!(session = %session.id, %peer, listener = %listener.name, "connected");
    let mut session = session;
    let mut limits = listener.limits.clone();
    let bounds = |longest| FutureRelease { longest, latest: intake.now().after(longest) };
    limits.future_release = listener.future_release.map(bounds);
    let mut server = Server::new(intake.hostname(), limits);
    if let Err(Refusal { reply, detail }) = intake.connect(&mut session).await {
        delivery_log::noqueue(&session.id, session.peer_addr, "CONNECT", &reply, &detail);
        drop(server.take_output());
        server.close(&reply);
    }
    let (input, content) = (BytesMut::new(), None);
    let (policy, clients) = (listener.policy, &*listener.clients);
    Driver { stream, server, input, intake, policy, clients, session, incoming: None, stop, content }.run().await;
}

impl<S: Spool> Driver<'_, S> {
    async fn run(mut self) {
        loop {
            let event = self.server.poll(&mut self.input);
            for refused in self.server.take_refusals() {
                let peer = self.session.peer_addr;
                delivery_log::noqueue(&self.session.id, peer, refused.stage, &refused.reply, "");
            }
            if self.server.discards_content() {
                // It will be refused: its place is free for others.
                self.incoming = None;
            }
            match event {
                Event::Input => match self.fill().await {
                    Ok(()) => {}
                    Err(Cut::Gone) => break,
                    Err(Cut::TimeLimit) => self.bye("time limit exceeded"),
                    Err(Cut::Stop) => self.bye("shutting down"),
                },
                Event::Hello { protocol, name } => {
                    self.incoming = None;
                    (self.session.protocol, self.session.helo) = (protocol, name.into());
                }
                Event::Mail(mail) => match self.begin(mail).await {
                    Ok(incoming) => {
                        self.incoming = Some(incoming);
                        self.server.answer(&Reply::new(250, EnhancedCode(2, 1, 0), "Sender OK"));
                    }
                    Err(refusal) => self.refuse("MAIL", &refusal.reply, &refusal.detail),
                },
                Event::Rcpt(recipient) => match self.add(recipient).await {
                    Ok(()) => self.server.answer(&Reply::new(250, EnhancedCode(2, 1, 5), "Recipient OK")),
                    Err(refusal) => self.refuse("RCPT", &refusal.reply, &refusal.detail),
                },
                Event::Data => self.data().await,
                Event::Content(piece) => {
                    if let Some(incoming) = &mut self.incoming {
                        incoming.content(piece).await;
                    }
                }
                Event::ContentEnd => self.finish().await,
                Event::Abort => self.incoming = None,
                Event::Close => {
                    self.end().await;
                    break;
                }
            }
        }
    }

    async fn begin(&mut self, mail: Mail) -> Result<Incoming<S>, Refusal> {
        self.clients.message(self.session.peer_addr.ip(), self.session.user.as_ref()).map_err(over)?;
        self.intake.begin(&self.session, self.policy, mail).await
    }

    async fn add(&mut self, recipient: Recipient) -> Result<(), Refusal> {
        self.clients.recipient(self.session.peer_addr.ip(), self.session.user.as_ref()).map_err(over)?;
        match &mut self.incoming {
            Some(incoming) => incoming.add(recipient).await,
            None => Err(Refusal { reply: out_of_order(), detail: "RCPT without a transaction".into() }),
        }
    }

    async fn data(&mut self) {
        let opened = match &mut self.incoming {
            Some(incoming) => incoming.open(self.intake).await,
            None => Err(out_of_order()),
        };
        match opened {
            Ok(()) => self.server.answer(&Reply::plain(354, "Send the message, end with CRLF.CRLF")),
            Err(reply) => self.refuse("DATA", &reply, ""),
        }
    }

    async fn finish(&mut self) {
        let finished = match self.incoming.take() {
            Some(incoming) => incoming.finish(self.intake).await,
            None => Err(Refusal { reply: out_of_order(), detail: "content without a transaction".into() }),
        };
        match finished {
            Ok(id) => self.server.answer(&Reply::new(250, EnhancedCode(2, 0, 0), format!("Message queued as {id}"))),
            Err(refusal) => self.refuse("END-OF-DATA", &refusal.reply, &refusal.detail),
        }
    }

    fn refuse(&mut self, stage: &str, reply: &Reply, detail: &str) {
        delivery_log::noqueue(&self.session.id, self.session.peer_addr, stage, reply, detail);
        self.server.answer(reply);
    }

    fn bye(&mut self, why: &str) {
        let text = format!("{} {why}", self.intake.hostname());
        self.server.close(&Reply::new(421, EnhancedCode(4, 4, 2), text));
    }

    /// Sends what is to be sent and reads what there is.
    async fn fill(&mut self) -> Result<(), Cut> {
        self.flush().await?;
        if self.input.is_empty() {
            // An idle session holds no buffer.
            self.input = BytesMut::new();
        }
        let in_transaction = self.server.in_transaction();
        let patience = self.patience();
        let ready = async {
            tokio::select! {
                biased;
                ready = self.stream.readable() => ready.map_err(|_| Cut::Gone),
                _ = self.stop.wait_for(|stop| *stop), if !in_transaction => Err(Cut::Stop),
            }
        };
        tokio::time::timeout(patience, ready).await.map_err(|_| Cut::TimeLimit)??;
        self.input.reserve(if self.server.in_content() { CONTENT_READ } else { COMMAND_READ });
        match self.stream.try_read_buf(&mut self.input) {
            Ok(0) => Err(Cut::Gone),
            Ok(read) => {
                if let Some((_, octets)) = &mut self.content {
                    *octets += read as u64;
                }
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(Cut::Gone),
        }
    }

    /// How long to wait for input: for content no longer than its rate allows.
    fn patience(&mut self) -> Duration {
        if !self.server.in_content() {
            self.content = None;
            return COMMAND_TIMEOUT;
        }
        let (start, octets) = *self.content.get_or_insert_with(|| (Instant::now(), 0));
        let allowed = RATE_GRACE + Duration::from_secs(octets / MIN_RATE);
        allowed.saturating_sub(start.elapsed()).min(COMMAND_TIMEOUT)
    }

    /// Sends the last reply and closes the connection.
    async fn end(&mut self) {
        if self.flush().await.is_err() || self.stream.shutdown().await.is_err() {
            return;
        }
        let drain = async {
            loop {
                self.input.clear();
                self.input.reserve(COMMAND_READ);
                if !matches!(self.stream.read_buf(&mut self.input).await, Ok(1..)) {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, drain).await;
    }

    async fn flush(&mut self) -> Result<(), Cut> {
        if !self.server.has_output() {
            return Ok(());
        }
        let out = self.server.take_output();
        match tokio::time::timeout(COMMAND_TIMEOUT, self.stream.write_all(&out)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Cut::Gone),
            Err(_) => Err(Cut::TimeLimit),
        }
    }
}

fn over(over: Over) -> Refusal {
    Refusal { reply: over.reply(), detail: over.limit }
}

/// The state machine asks for content only within a transaction; should it ever not, the client tries again.
fn out_of_order() -> Reply {
    Reply::new(451, EnhancedCode(4, 3, 0), "Local error, try again later")
}
