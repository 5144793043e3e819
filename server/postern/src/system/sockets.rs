//! The sockets that the server listens on: bound here, or handed over by whoever started it (socket activation,
//! `sd_listen_fds(3)`).
//!
//! A socket that is handed over is the one of the listener whose name it has (`FileDescriptorName=`), else of the one
//! whose address it has; `http` is the HTTP API's.

use crate::config::Config;
use listenfd::ListenFd;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// Connections that may wait for accept.
const BACKLOG: i32 = 1024;
/// What the HTTP API's socket is called.
const HTTP: &str = "http";

/// Why there are not all sockets.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A port can't be had.
    #[error("listener.{listener}.address: can't listen on {address}: {source}")]
    Listener {
        /// As in `[listener.NAME]`.
        listener: Arc<str>,
        /// What was asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The port of the HTTP API can't be had.
    #[error("http.address: can't listen on {address}: {source}; choose another, or say http.enabled = false")]
    Http {
        /// What was asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// What was handed over is of no use.
    #[error("the socket {number} (`{name}`) that was handed over is no listening TCP socket: {source}")]
    Unusable {
        /// Counted from 1.
        number: usize,
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// Nobody asked for it.
    #[error(
        "the socket `{name}` at {address} that was handed over is no listener's: give it the name of one (FileDescriptorName=) or `http`, or a listener its address"
    )]
    Unclaimed {
        /// Its name.
        name: String,
        /// Where it listens.
        address: SocketAddr,
    },
}

/// The sockets, which listen already: who connects waits until they are served.
#[derive(Debug)]
pub struct Sockets {
    /// One for each of the config's listeners, in their order.
    pub listeners: Vec<TcpListener>,
    /// The HTTP API's.
    pub http: Option<TcpListener>,
}

struct HandedOver {
    name: String,
    address: SocketAddr,
    socket: TcpListener,
}

impl Sockets {
    /// Takes what was handed over to this process and binds the rest.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn open(config: &Config) -> Result<Self, SocketError> {
        let mut handed_over = handed_over()?;
        let mut listeners = Vec::with_capacity(config.listeners.len());
        // By name first, so that no address takes the socket that was meant for another.
        let mut named: Vec<Option<TcpListener>> =
            config.listeners.iter().map(|listener| by_name(&mut handed_over, &listener.name)).collect();
        let mut http = config.http.as_ref().and_then(|_| by_name(&mut handed_over, HTTP));
        for (listener, named) in config.listeners.iter().zip(&mut named) {
            let address = listener.address;
            let socket = match named.take().or_else(|| by_address(&mut handed_over, address)) {
                Some(socket) => socket,
                None => listen(address).map_err(|source| SocketError::Listener {
                    listener: Arc::clone(&listener.name),
                    address,
                    source,
                })?,
            };
            listeners.push(socket);
        }
        if let (Some(section), None) = (&config.http, &http) {
            let address = section.address;
            http = match by_address(&mut handed_over, address) {
                Some(socket) => Some(socket),
                None => Some(listen(address).map_err(|source| SocketError::Http { address, source })?),
            };
        }
        match handed_over.into_iter().next() {
            Some(HandedOver { name, address, .. }) => Err(SocketError::Unclaimed { name, address }),
            None => Ok(Self { listeners, http }),
        }
    }
}

/// What `LISTEN_FDS` and `LISTEN_FDNAMES` say, if they are for this process.
fn handed_over() -> Result<Vec<HandedOver>, SocketError> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut descriptors = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..descriptors.len() {
        let name = names.next().unwrap_or_default().to_owned();
        let taken = descriptors.take_tcp_listener(index).and_then(|socket| {
            let socket = socket.ok_or(io::ErrorKind::NotFound)?;
            socket.set_nonblocking(true)?;
            Ok((socket.local_addr()?, socket))
        });
        let (address, socket) =
            taken.map_err(|source| SocketError::Unusable { number: index + 1, name: name.clone(), source })?;
        sockets.push(HandedOver { name, address, socket });
    }
    Ok(sockets)
}

fn by_name(sockets: &mut Vec<HandedOver>, name: &str) -> Option<TcpListener> {
    take(sockets, |one| one.name == name)
}

fn by_address(sockets: &mut Vec<HandedOver>, address: SocketAddr) -> Option<TcpListener> {
    take(sockets, |one| one.address == address)
}

fn take(sockets: &mut Vec<HandedOver>, fits: impl Fn(&HandedOver) -> bool) -> Option<TcpListener> {
    let index = sockets.iter().position(fits)?;
    Some(sockets.remove(index).socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart need not wait for the sessions of the process before.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
