//! Listeners over TCP and TLS: accept, ask who may submit, drive a session ([`session`]) for each connection.
//!
//! It knows sockets and time limits; what SMTP says is `postern_core::smtp::server`'s, what becomes of a message is
//! [`crate::intake`]'s.

mod guard;
mod login;
mod section;
mod session;
mod stream;
mod tls;

pub use section::{Auth, CertificateSection, Listener, ListenerSection, ListenerTlsMode};

use crate::intake::Intake;
use crate::observe::delivery_log;
use crate::spool::Spool;
use crate::users::Users;
use login::Logins;
use postern_core::mail::{EnhancedCode, Reply};
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

/// What the sessions of a listener share.
struct Gate<S: Spool> {
    listener: Arc<Listener>,
    intake: Arc<Intake<S>>,
    logins: Logins,
}

/// Serves one listener until `stop` turns true, then lets transactions in flight finish.
pub async fn serve<S: Spool>(
    socket: TcpListener,
    listener: Arc<Listener>,
    intake: Arc<Intake<S>>,
    users: Users,
    mut stop: watch::Receiver<bool>,
) {
    let logins = Logins::new(users, listener.auth_failures);
    let gate = Arc::new(Gate { listener: Arc::clone(&listener), intake: Arc::clone(&intake), logins });
    let mut look = tokio::time::interval(tls::LOOK);
    let slots = Arc::new(Semaphore::new(listener.max_sessions));
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
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if listener.auth == Auth::Off && !listener.allows(peer.ip()) {
            let text = format!("{} access denied", intake.hostname());
            let reply = Reply::new(554, EnhancedCode(5, 7, 1), text);
            delivery_log::noqueue("-", peer, "CONNECT", &reply, "not in allow_from");
            refuse(&mut sessions, &refusals, &listener, stream, reply);
            continue;
        }
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            let text = format!("{} too many connections", intake.hostname());
            let reply = Reply::new(421, EnhancedCode(4, 7, 0), text);
            delivery_log::noqueue("-", peer, "CONNECT", &reply, "max_sessions");
            refuse(&mut sessions, &refusals, &listener, stream, reply);
            continue;
        };
        let (gate, stop) = (Arc::clone(&gate), stop.clone());
        sessions.spawn(async move {
            session::run(stream, peer, &gate, stop).await;
            drop(slot);
        });
    }
    drop(socket);
    let all_ended = async { while sessions.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(STOP_TIMEOUT, all_ended).await;
    // What is left is cut off with the JoinSet; it was never told 250.
}

/// The greeting says no, and the connection is closed; where too many are being told that already, or where a handshake
/// would come first, it is closed alone.
fn refuse(
    sessions: &mut JoinSet<()>,
    refusals: &Arc<Semaphore>,
    listener: &Listener,
    mut stream: TcpStream,
    reply: Reply,
) {
    if listener.tls_mode == ListenerTlsMode::Implicit {
        return;
    }
    let Ok(place) = Arc::clone(refusals).try_acquire_owned() else { return };
    sessions.spawn(async move {
        let mut out = Vec::new();
        reply.write_to(&mut out);
        let _ = tokio::time::timeout(REFUSAL_TIMEOUT, async {
            let _ = stream.write_all(&out).await;
            let _ = stream.shutdown().await;
        })
        .await;
        drop(place);
    });
}
