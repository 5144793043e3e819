//! One SMTP session over TCP: moves bytes between the socket and the state machine, and events to intake.

use super::Listener;
use crate::intake::{Incoming, Intake};
use crate::observe::delivery_log;
use crate::spool::Spool;
use bytes::BytesMut;
use postern_core::hook::{Protocol, Session};
use postern_core::mail::{EnhancedCode, Reply};
use postern_core::smtp::server::{COMMAND_TIMEOUT, Event, Server};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tracing::debug;

/// Room for commands; a waiting session holds none.
const COMMAND_READ: usize = 4 << 10;
/// Room for content.
const CONTENT_READ: usize = 32 << 10;

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
    session: Session,
    incoming: Option<Incoming<S>>,
    stop: watch::Receiver<bool>,
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
    };
    debug!(session = %session.id, %peer, listener = %listener.name, "connected");
    let server = Server::new(intake.hostname(), listener.limits.clone());
    Driver { stream, server, input: BytesMut::new(), intake, session, incoming: None, stop }.run().await;
}

impl<S: Spool> Driver<'_, S> {
    async fn run(mut self) {
        loop {
            match self.server.poll(&mut self.input) {
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
                Event::Mail(mail) => match self.intake.begin(&self.session, mail) {
                    Ok(incoming) => {
                        self.incoming = Some(incoming);
                        self.server.answer(&Reply::new(250, EnhancedCode(2, 1, 0), "Sender OK"));
                    }
                    Err(reply) => self.refuse("MAIL", &reply, ""),
                },
                Event::Rcpt(recipient) => {
                    if let Some(incoming) = &mut self.incoming {
                        incoming.add(recipient);
                    }
                    self.server.answer(&Reply::new(250, EnhancedCode(2, 1, 5), "Recipient OK"));
                }
                Event::Data => self.data().await,
                Event::Content(piece) => {
                    if let Some(incoming) = &mut self.incoming {
                        incoming.content(piece).await;
                    }
                }
                Event::ContentEnd => self.finish().await,
                Event::Abort => self.incoming = None,
                Event::Close => {
                    let _ = self.flush().await;
                    let _ = self.stream.shutdown().await;
                    break;
                }
            }
        }
    }

    async fn data(&mut self) {
        let Some(incoming) = &mut self.incoming else { return };
        match incoming.open(self.intake).await {
            Ok(()) => self.server.answer(&Reply::plain(354, "Send the message, end with CRLF.CRLF")),
            Err(reply) => self.refuse("DATA", &reply, ""),
        }
    }

    async fn finish(&mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        match incoming.finish(self.intake).await {
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
        let ready = async {
            tokio::select! {
                biased;
                ready = self.stream.readable() => ready.map_err(|_| Cut::Gone),
                _ = self.stop.wait_for(|stop| *stop), if !in_transaction => Err(Cut::Stop),
            }
        };
        tokio::time::timeout(COMMAND_TIMEOUT, ready).await.map_err(|_| Cut::TimeLimit)??;
        self.input.reserve(if self.server.in_content() { CONTENT_READ } else { COMMAND_READ });
        match self.stream.try_read_buf(&mut self.input) {
            Ok(0) => Err(Cut::Gone),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(Cut::Gone),
        }
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
