//! Listeners over TCP and TLS: accept, ask who may submit, drive a session ([`session`]) for each connection.
//!
//! It knows sockets and time limits; what SMTP says is `postern_core::smtp::server`'s, what becomes of a message is
//! [`crate::intake`]'s.

mod places;
mod proxied;
mod reverse;
mod section;
mod session;
mod stream;

pub use section::{Auth, Listener, ListenerSection, ListenerTlsMode};

use crate::clients::{Guard, Logins, Seat, Tally, tls};
use crate::intake::Intake;
use crate::observe::delivery_log;
use crate::resolve::Resolver;
use crate::spool::Spool;
use crate::users::Users;
use places::Places;
use postern_core::mail::{EnhancedCode, Reply};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::warn;

/// Refused clients that are told so at once.
const MAX_REFUSALS: usize = 64;
/// How long a refused client has to take its reply.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait after accept has failed (no descriptors left) before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long sessions have to end after a stop was asked for.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What all listeners share.
pub struct Shared<S: Spool> {
    /// Where messages come in.
    pub intake: Arc<Intake<S>>,
    /// Who may authenticate.
    pub users: Users,
    /// Who knows the names of clients' addresses.
    pub resolver: Arc<dyn Resolver>,
    /// Failed logins.
    pub tally: Tally,
}

impl<S: Spool> Clone for Shared<S> {
    fn clone(&self) -> Self {
        let Self { intake, users, resolver, tally } = self;
        Self { intake: Arc::clone(intake), users: users.clone(), resolver: Arc::clone(resolver), tally: tally.clone() }
    }
}

/// What the sessions of a listener share.
struct Gate<S: Spool> {
    listener: Arc<Listener>,
    intake: Arc<Intake<S>>,
    logins: Logins,
    resolver: Arc<dyn Resolver>,
    places: Arc<Places>,
}

/// Serves one listener until `stop` turns true, then lets transactions in flight finish.
pub async fn serve<S: Spool>(
    socket: TcpListener,
    listener: Arc<Listener>,
    shared: Shared<S>,
    mut stop: watch::Receiver<bool>,
) {
    let Shared { intake, users, resolver, tally } = shared;
    let logins = Logins::new(users, Guard::new(listener.auth_failures, tally));
    let places = Places::new(&listener.name, listener.max_sessions);
    let gate = Gate {
        listener: Arc::clone(&listener),
        intake: Arc::clone(&intake),
        logins,
        resolver,
        places: Arc::clone(&places),
    };
    let gate = Arc::new(gate);
    let mut look = tokio::time::interval(tls::LOOK);
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let mut sessions = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => Some(accepted),
            _ = look.tick(), if listener.tls.is_some() => None,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Some(accepted) = accepted else {
            if let Some(tls) = &listener.tls {
                tls.look(&listener.name).await;
            }
            continue;
        };
        while sessions.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(listener = %listener.name, %error, "can't accept a connection");
                places.exhausted();
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Whoever is to come through a proxy is let in once that has said who it is.
        let seat = match admit(&listener, peer, intake.hostname()) {
            Ok(seat) => seat,
            Err(reply) => {
                refuse(&mut sessions, &refusals, &listener, stream, reply);
                continue;
            }
        };
        let Some(place) = places.take() else {
            let text = format!("{} too many connections", intake.hostname());
            let reply = Reply::new(421, EnhancedCode(4, 7, 0), text);
            delivery_log::noqueue("-", peer, "CONNECT", &reply, "max_sessions");
            refuse(&mut sessions, &refusals, &listener, stream, reply);
            continue;
        };
        let (gate, stop) = (Arc::clone(&gate), stop.clone());
        sessions.spawn(async move {
            receive(stream, peer, seat, &gate, stop).await;
            drop(place);
        });
    }
    drop(socket);
    let all_ended = async { while sessions.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(STOP_TIMEOUT, all_ended).await;
    // What is left is cut off with the JoinSet; it was never told 250.
}

/// Whom a connection is from, as far as that can be known before a proxy has named its client: the seat, if there is
/// none in between.
fn admit(listener: &Listener, peer: SocketAddr, hostname: &str) -> Result<Option<Seat>, Reply> {
    if listener.proxies.is_none() {
        return listener.seat(peer, hostname).map(Some);
    }
    if listener.may_connect(peer.ip()) {
        return Ok(None);
    }
    let reply = Reply::new(554, EnhancedCode(5, 7, 1), format!("{hostname} access denied"));
    delivery_log::noqueue("-", peer, "CONNECT", &reply, "not in proxy_from");
    Err(reply)
}

/// One connection to its end.
async fn receive<S: Spool>(
    mut stream: TcpStream,
    mut peer: SocketAddr,
    seat: Option<Seat>,
    gate: &Gate<S>,
    stop: watch::Receiver<bool>,
) {
    let Gate { listener, intake, .. } = gate;
    let seat = match seat {
        Some(seat) => seat,
        None => {
            match proxied::read_header(&mut stream).await {
                // A health check, or a client that the proxy can't name, is as the proxy itself.
                Ok(client) => peer = client.unwrap_or(peer),
                Err(error) => {
                    warn!(listener = %listener.name, %peer, %error, "a proxy's connection is closed");
                    return;
                }
            }
            match listener.seat(peer, intake.hostname()) {
                Ok(seat) => seat,
                Err(reply) => return tell(listener, stream, &reply).await,
            }
        }
    };
    session::run(stream, peer, seat, gate, stop).await;
}

impl Listener {
    /// A seat for a client, or what it is told instead of a greeting. Who speaks for others is counted as those.
    fn seat(&self, peer: SocketAddr, hostname: &str) -> Result<Seat, Reply> {
        let refused = |reply: Reply, why: &str| {
            delivery_log::noqueue("-", peer, "CONNECT", &reply, why);
            reply
        };
        if self.trusts(peer.ip()) {
            return Ok(self.clients.unlimited());
        }
        if self.auth == Auth::Off && !self.allows(peer.ip()) {
            let reply = Reply::new(554, EnhancedCode(5, 7, 1), format!("{hostname} access denied"));
            return Err(refused(reply, "not in allow_from"));
        }
        self.clients.connect(peer.ip()).map_err(|over| refused(over.at_connect(hostname), &over.limit))
    }
}

/// Tells a client no in a task of its own; where too many are being told that already, the connection is closed alone.
fn refuse(
    sessions: &mut JoinSet<()>,
    refusals: &Arc<Semaphore>,
    listener: &Arc<Listener>,
    stream: TcpStream,
    reply: Reply,
) {
    let Ok(place) = Arc::clone(refusals).try_acquire_owned() else { return };
    let listener = Arc::clone(listener);
    sessions.spawn(async move {
        tell(&listener, stream, &reply).await;
        drop(place);
    });
}

/// The greeting says no, and the connection is closed; where a handshake would come first, it is closed alone.
async fn tell(listener: &Listener, mut stream: TcpStream, reply: &Reply) {
    if listener.tls_mode == ListenerTlsMode::Implicit {
        return;
    }
    let mut out = Vec::new();
    reply.write_to(&mut out);
    let _ = tokio::time::timeout(REFUSAL_TIMEOUT, async {
        let _ = stream.write_all(&out).await;
        let _ = stream.shutdown().await;
    })
    .await;
}
