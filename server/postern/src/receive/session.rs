//! One SMTP session over TCP or TLS: moves bytes between the connection and the state machine, and events to intake.

mod client;

use super::places::{STRESS_ERRORS, STRESS_TIMEOUT};
use super::reverse::Lookup;
use super::stream::Stream;
use super::{Auth, Gate, ListenerTlsMode};
use crate::clients::{Over, Seat, tls};
use crate::intake::Incoming;
use crate::observe::delivery_log;
use crate::spool::Spool;
use crate::users::random;
use bytes::BytesMut;
use data_encoding::BASE64URL_NOPAD;
use postern_core::hook::{Attributes, Credentials, Protocol, Refusal, Session};
use postern_core::mail::{EnhancedCode, Recipient, Reply};
use postern_core::smtp::auth::{ClientFirst, Mechanisms};
use postern_core::smtp::command::Mail;
use postern_core::smtp::server::{Access, COMMAND_TIMEOUT, Event, FutureRelease, Server};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tracing::{debug, info};

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
    stream: Stream,
    server: Server,
    input: BytesMut,
    gate: &'a Gate<S>,
    session: Session,
    /// May the client say for whom it speaks?
    is_trusted: bool,
    /// What the client is counted by, and its user.
    seat: Seat,
    user_seat: Option<Seat>,
    /// Of the name of the client's address.
    lookup: Lookup,
    incoming: Option<Incoming<S>>,
    stop: watch::Receiver<bool>,
    stress: watch::Receiver<bool>,
    /// When the content on its way in, or the chunk of it, began to come, and how many octets have.
    content: Option<(Instant, u64)>,
}

/// Runs a session to its end.
pub async fn run<S: Spool>(
    stream: TcpStream,
    peer: SocketAddr,
    seat: Seat,
    gate: &Gate<S>,
    stop: watch::Receiver<bool>,
) {
    // Replies are small and waited for.
    let _ = stream.set_nodelay(true);
    let Gate { listener, intake, .. } = gate;
    let session = Session {
        id: intake.session_id(),
        listener: Arc::clone(&listener.name),
        peer_addr: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
        peer_name: None,
        helo: Arc::from(""),
        protocol: Protocol::Smtp,
        tls: None,
        user: None,
        attributes: Attributes::new(),
    };
    debug!(session = %session.id, %peer, listener = %listener.name, "connected");
    let address = session.peer_addr.ip();
    let is_trusted = listener.trusts(address);
    let mut limits = listener.limits.clone();
    let bounds = |longest| FutureRelease { longest, latest: intake.now().after(longest) };
    limits.future_release = listener.future_release.map(bounds);
    let mut driver = Driver {
        stream: Stream::Clear(stream),
        server: Server::new(intake.hostname(), limits).with_access(access(gate, address, is_trusted)),
        input: BytesMut::new(),
        gate,
        session,
        is_trusted,
        seat,
        user_seat: None,
        lookup: Lookup::start(&gate.resolver, address, listener.reverse_lookup),
        incoming: None,
        stop,
        stress: gate.places.stress(),
        content: None,
    };
    if listener.tls_mode == ListenerTlsMode::Implicit && driver.secure().await.is_err() {
        return;
    }
    if !driver.listens().await {
        driver.server.take_output();
        driver.input.clear();
        let reply = Reply::new(554, EnhancedCode(5, 5, 1), "The server speaks first");
        delivery_log::noqueue(&driver.session.id, driver.session.peer_addr, "CONNECT", &reply, "early talker");
        driver.server.close(&reply);
    } else if let Err(Refusal { reply, detail }) = Box::pin(driver.connect()).await {
        delivery_log::noqueue(&driver.session.id, driver.session.peer_addr, "CONNECT", &reply, &detail);
        driver.server.take_output();
        driver.server.close(&reply);
    }
    driver.run().await;
}

/// What the listener offers to this client, and asks of it.
fn access<S: Spool>(gate: &Gate<S>, peer: IpAddr, xclient: bool) -> Access {
    let Gate { listener, intake, logins, .. } = gate;
    Access {
        starttls: listener.tls_mode == ListenerTlsMode::StartTls,
        mechanisms: match listener.auth {
            Auth::Off => Mechanisms::default(),
            Auth::Optional | Auth::Required => logins.mechanisms(intake.has_auth_plugins()),
        },
        auth_in_clear: listener.auth_in_clear.unwrap_or(peer.is_loopback()),
        must_authenticate: match listener.auth {
            // Others were refused in the greeting.
            Auth::Off => false,
            Auth::Optional => !listener.allows(peer),
            Auth::Required => true,
        },
        xclient,
    }
}

impl<S: Spool> Driver<'_, S> {
    /// What an idle session waits in is small: the steps that are large are on the heap while they last.
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
                Event::StartTls => {
                    if self.flush().await.is_err() || self.secure().await.is_err() {
                        break;
                    }
                }
                Event::Scram(first) => self.challenge(first),
                Event::Auth(credentials) => Box::pin(self.authenticate(&credentials)).await,
                Event::Xclient(client) => Box::pin(self.speak_for(client)).await,
                Event::Mail(mail) => match Box::pin(self.begin(mail)).await {
                    Ok(incoming) => {
                        self.incoming = Some(incoming);
                        self.server.answer(&Reply::new(250, EnhancedCode(2, 1, 0), "Sender OK"));
                    }
                    Err(refusal) => self.refuse("MAIL", &refusal.reply, &refusal.detail),
                },
                Event::Rcpt(recipient) => match Box::pin(self.add(recipient)).await {
                    Ok(()) => self.server.answer(&Reply::new(250, EnhancedCode(2, 1, 5), "Recipient OK")),
                    Err(refusal) => self.refuse("RCPT", &refusal.reply, &refusal.detail),
                },
                Event::Data => Box::pin(self.data()).await,
                Event::Content(piece) => {
                    if let Some(incoming) = &mut self.incoming {
                        Box::pin(incoming.content(piece)).await;
                    }
                }
                Event::ContentEnd => Box::pin(self.finish()).await,
                Event::Abort => self.incoming = None,
                Event::Close => {
                    self.end().await;
                    break;
                }
            }
        }
    }

    async fn begin(&mut self, mail: Mail) -> Result<Incoming<S>, Refusal> {
        let Gate { listener, intake, .. } = self.gate;
        self.know_client().await;
        listener.clients.message(self.session.peer_addr.ip(), self.session.user.as_ref()).map_err(over)?;
        intake.begin(&self.session, listener.policy, mail).await
    }

    async fn add(&mut self, recipient: Recipient) -> Result<(), Refusal> {
        let clients = &self.gate.listener.clients;
        clients.recipient(self.session.peer_addr.ip(), self.session.user.as_ref()).map_err(over)?;
        match &mut self.incoming {
            Some(incoming) => incoming.add(recipient).await,
            None => Err(Refusal { reply: out_of_order(), detail: "RCPT without a transaction".into() }),
        }
    }

    /// The TLS handshake. What the client said before is forgotten (RFC 3207 section 4.2).
    async fn secure(&mut self) -> Result<(), Cut> {
        let (Some(tls), Stream::Clear(tcp)) =
            (&self.gate.listener.tls, std::mem::replace(&mut self.stream, Stream::Closed))
        else {
            return Err(Cut::Gone);
        };
        let handshake = Box::pin(tokio::time::timeout(tls::HANDSHAKE_TIMEOUT, tls.accept(tcp)));
        let done = tokio::select! {
            done = handshake => done,
            _ = self.stop.wait_for(|stop| *stop) => return Err(Cut::Stop),
        };
        let failed = match done {
            Ok(Ok(stream)) => {
                self.stream = Stream::Tls(Box::new(stream));
                self.session.tls = self.stream.tls().map(Arc::new);
                (self.session.helo, self.session.protocol) = (Arc::from(""), Protocol::Smtp);
                self.server.secured();
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "time limit exceeded".to_owned(),
        };
        let Session { id, peer_addr, .. } = &self.session;
        info!(session = %id, peer = %peer_addr, "TLS handshake failed: {}", failed.escape_debug());
        Err(Cut::Gone)
    }

    fn challenge(&mut self, first: ClientFirst) {
        let verifier = self.gate.logins.users().scram(&first.user);
        match random::<18>() {
            Ok(nonce) => self.server.verifier(first, verifier, &BASE64URL_NOPAD.encode(&nonce)),
            // The system has been asked for random octets before; should it have none now, the client tries again.
            Err(_) => self.server.answer(&Reply::new(454, EnhancedCode(4, 7, 0), "Temporary authentication failure")),
        }
    }

    async fn authenticate(&mut self, credentials: &Credentials) {
        let Gate { intake, logins, .. } = self.gate;
        self.know_client().await;
        let checked = logins.check(&mut self.session, credentials, intake).await;
        match checked.and_then(|user| self.log_in(user)) {
            Ok(user) => {
                let Session { id, peer_addr, .. } = &self.session;
                info!(session = %id, user = &*user, mechanism = credentials.mechanism, peer = %peer_addr, "AUTHENTICATED");
                self.server.answer(&Reply::new(235, EnhancedCode(2, 7, 0), "Authentication successful"));
            }
            Err(refusal) => self.refuse("AUTH", &refusal.reply, &refusal.detail),
        }
    }

    async fn data(&mut self) {
        let opened = match &mut self.incoming {
            Some(incoming) => incoming.open(&self.gate.intake).await,
            None => Err(out_of_order()),
        };
        match opened {
            Ok(()) => self.server.answer(&Reply::plain(354, "Send the message, end with CRLF.CRLF")),
            Err(reply) => self.refuse("DATA", &reply, ""),
        }
    }

    async fn finish(&mut self) {
        let finished = match self.incoming.take() {
            Some(incoming) => incoming.finish(&self.gate.intake).await,
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
        let text = format!("{} {why}", self.gate.intake.hostname());
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
        let room = if self.server.in_content() { CONTENT_READ } else { COMMAND_READ };
        loop {
            // Seen, so that it wakes this session once.
            let stressed = *self.stress.borrow_and_update();
            self.server.bear_errors(stressed.then_some(STRESS_ERRORS));
            let patience = self.patience(stressed);
            let read = async {
                tokio::select! {
                    biased;
                    read = self.stream.read(&mut self.input, room) => match read {
                        Ok(0) | Err(_) => Err(Cut::Gone),
                        Ok(read) => {
                            if let Some((_, octets)) = &mut self.content {
                                *octets += read as u64;
                            }
                            Ok(true)
                        }
                    },
                    _ = self.stop.wait_for(|stop| *stop), if !in_transaction => Err(Cut::Stop),
                    Ok(()) = self.stress.changed() => Ok(false),
                }
            };
            if tokio::time::timeout(patience, read).await.map_err(|_| Cut::TimeLimit)?? {
                return Ok(());
            }
        }
    }

    /// How long to wait for input: for content no longer than its rate allows.
    fn patience(&mut self, stressed: bool) -> Duration {
        let longest = if stressed { STRESS_TIMEOUT } else { COMMAND_TIMEOUT };
        if !self.server.in_content() {
            self.content = None;
            return longest;
        }
        let (start, octets) = *self.content.get_or_insert_with(|| (Instant::now(), 0));
        let allowed = RATE_GRACE + Duration::from_secs(octets / MIN_RATE);
        allowed.saturating_sub(start.elapsed()).min(longest)
    }

    /// Sends the last reply and closes the connection.
    async fn end(&mut self) {
        if self.flush().await.is_err() || self.stream.shutdown().await.is_err() {
            return;
        }
        let drain = async {
            loop {
                self.input.clear();
                if !matches!(self.stream.read(&mut self.input, COMMAND_READ).await, Ok(1..)) {
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
        match tokio::time::timeout(COMMAND_TIMEOUT, self.stream.write(&out)).await {
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
