//! The public listener: connections over TCP, a bounded number of them, each with limits on how slow it may be.

use super::slow::Taking;
use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

/// How long the header of a request may take, and a connection may be idle before the next one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest header of a request, in octets.
const MAX_HEADER: usize = 64 << 10;
/// How long to wait after accept has failed (no descriptors left) before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests in flight have to end after a stop was asked for.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The client's end of the connection of a request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Serves `router` until `stop` turns true, then lets requests in flight finish.
pub async fn serve(socket: TcpListener, router: Router, max_connections: usize, mut stop: watch::Receiver<bool>) {
    match socket.local_addr() {
        Ok(address) => info!(listener = "http", %address, "LISTENING"),
        Err(error) => warn!(listener = "http", %error, "has no address"),
    }
    let slots = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            // A place first: what can't be served waits in the system's queue.
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, socket.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            accepted = accepted => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(listener = "http", %error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            connection(stream, peer, router, stop).await;
            drop(slot);
        });
    }
    drop(socket);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(STOP_TIMEOUT, all_ended).await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, mut stop: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let peer = Peer(SocketAddr::new(peer.ip().to_canonical(), peer.port()));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER)
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
    if let Err(error) = ended {
        debug!(peer = %peer.0, %error, "HTTP connection");
    }
}
