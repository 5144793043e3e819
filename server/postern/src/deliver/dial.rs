//! From the name of a next hop to a greeted connection.

use super::{Connection, NextHop, Options};
use postern_core::smtp::client::{Cause, Failure, Loss, Stage};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// At most this many addresses of one host are tried.
pub const MAX_ADDRESSES: usize = 8;

/// No address of the next hop gave a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unopened {
    /// What the last address that was tried did.
    pub failure: Failure,
    /// Which one that was, `host[ip]:port`; `host:port` if there was none.
    pub remote: String,
}

/// Connects to the next hop: its addresses in the order of the resolver, until one greets us and answers EHLO.
///
/// # Errors
/// None did.
pub async fn open(hop: &NextHop, options: &Options) -> Result<Connection, Unopened> {
    let addresses = match addresses(hop, options).await {
        Ok(addresses) => addresses,
        Err(detail) => {
            let failure = Failure::new(Stage::Connect, Cause::Lost(Loss::NoAddress)).with_detail(detail);
            return Err(Unopened { failure, remote: hop.to_string() });
        }
    };
    let no_address = Failure::new(Stage::Connect, Cause::Lost(Loss::NoAddress));
    let mut last = Unopened { failure: no_address, remote: hop.to_string() };
    for address in addresses {
        let remote = format!("{}[{}]:{}", hop.host, address.ip().to_canonical(), address.port());
        let greeted = match connect(address, options).await {
            Ok(stream) => Connection::greet(stream, remote.clone(), options).await,
            Err(failure) => Err(failure),
        };
        match greeted {
            Ok(connection) => return Ok(connection),
            Err(failure) => last = Unopened { failure, remote },
        }
    }
    Err(last)
}

async fn addresses(hop: &NextHop, options: &Options) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = hop.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, hop.port)]);
    }
    let lookup = tokio::net::lookup_host((hop.host.as_str(), hop.port));
    match timeout(options.limits.connect, lookup).await {
        Ok(Ok(found)) => Ok(found.take(MAX_ADDRESSES).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the lookup took too long".to_owned()),
    }
}

async fn connect(address: SocketAddr, options: &Options) -> Result<TcpStream, Failure> {
    let failure =
        |loss, error: io::Error| Failure::new(Stage::Connect, Cause::Lost(loss)).with_detail(error.to_string());
    match timeout(options.limits.connect, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            // Commands and content are written whole, so there is nothing for Nagle's algorithm to collect.
            stream.set_nodelay(true).map_err(|error| failure(Loss::Unreachable, error))?;
            Ok(stream)
        }
        Ok(Err(error)) => Err(failure(Loss::Unreachable, error)),
        Err(_) => Err(failure(Loss::TimedOut, io::ErrorKind::TimedOut.into())),
    }
}
