//! The public listener: connections over TCP or TLS, a bounded number of them, each with limits on how slow it may be.

use super::Http;
use super::problem::Problem;
use super::slow::Taking;
use crate::clients::tls::{HANDSHAKE_TIMEOUT, LOOK, agreed};
use crate::observe::delivery_log;
use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use postern_core::hook::SessionTls;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

/// As in the log.
const NAME: &str = "http";
/// How long the header of a request may take, and a connection may be idle before the next one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest header of a request, in octets.
const MAX_HEADER: usize = 64 << 10;
/// How long to wait after accept has failed (no descriptors left) before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests in flight have to end after a stop was asked for.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The client's end of the connection of a request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub addr: SocketAddr,
    /// None in clear.
    pub tls: Option<Arc<SessionTls>>,
}

/// What connections share.
struct Shared {
    http: Http,
    router: Router,
    hostname: String,
}

/// Serves `router` until `stop` turns true, then lets requests in flight finish.
pub async fn serve(socket: TcpListener, http: Http, router: Router, hostname: &str, mut stop: watch::Receiver<bool>) {
    match socket.local_addr() {
        Ok(address) => info!(listener = NAME, %address, "LISTENING"),
        Err(error) => warn!(listener = NAME, %error, "has no address"),
    }
    let slots = Arc::new(Semaphore::new(http.max_connections));
    let shared = Arc::new(Shared { http, router, hostname: hostname.to_owned() });
    let mut look = tokio::time::interval(LOOK);
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            // A place first: what can't be served waits in the system's queue.
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, socket.accept().await)
        };
        let accepted = tokio::select! {
            accepted = accepted => Some(accepted),
            _ = look.tick(), if shared.http.tls.is_some() => None,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Some((slot, accepted)) = accepted else {
            if let Some(tls) = &shared.http.tls {
                tls.look(NAME).await;
            }
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(listener = NAME, %error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        connections.spawn(async move {
            if let Err(error) = connection(stream, peer, &shared, stop).await {
                debug!(%peer, error, "HTTP connection");
            }
            drop(slot);
        });
    }
    drop(socket);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(STOP_TIMEOUT, all_ended).await;
}

/// One connection to its end.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    shared: &Shared,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let _ = stream.set_nodelay(true);
    let addr = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    // Held to the end of the connection.
    let seat = shared.http.clients.connect(addr.ip());
    let refused = seat.as_ref().err().map(|over| {
        delivery_log::noqueue("-", addr, "CONNECT", &over.at_connect(&shared.hostname), &over.limit);
        Problem::from(over.clone())
    });
    let Some(tls) = &shared.http.tls else {
        return requests(stream, Peer { addr, tls: None }, refused, shared, stop).await;
    };
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
    let done = tokio::select! {
        done = Box::pin(handshake) => done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    };
    let stream = done.map_err(|error| format!("TLS handshake failed: {error}"))?;
    let agreed = Some(Arc::new(agreed(&stream)));
    requests(stream, Peer { addr, tls: agreed }, refused, shared, stop).await
}

/// The requests of one connection; where it is refused all the same, the first is told why.
async fn requests<T: AsyncRead + AsyncWrite + Unpin>(
    stream: T,
    peer: Peer,
    refused: Option<Problem>,
    shared: &Shared,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let is_refused = refused.is_some();
    let router = TowerToHyperService::new(shared.router.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let refused = refused.clone();
        let answer = refused.is_none().then(|| router.call(request));
        async move {
            match (answer, refused) {
                (Some(answer), _) => answer.await,
                (None, refused) => Ok::<_, Infallible>(refused.map(Problem::into_response).unwrap_or_default()),
            }
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER)
        .keep_alive(!is_refused)
        .serve_connection(TokioIo::new(Taking::new(stream)), service);
    let mut serving = std::pin::pin!(serving);
    let stopping = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stopping => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    ended.map_err(|error| error.to_string())
}
