//! TCP connections from addresses of ours.

use postern_core::smtp::client::{Cause, Failure, Fault, Loss, Stage};
use postern_core::zone::Source;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tracing::warn;

/// Connects from the first of `sources` that fits the address and can be bound, and says from which.
pub(super) async fn connect(
    address: SocketAddr,
    sources: &[Source],
    limit: Duration,
    unbound: &Unbound,
) -> Result<(TcpStream, Source), Failure> {
    let lost = |loss, error: io::Error| Failure::new(Stage::Connect, Cause::Lost(loss)).with_detail(error.to_string());
    let mut failures = Vec::new();
    for source in sources.iter().filter(|source| fits(source.ip, address.ip())) {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.map_err(|error| lost(Loss::Unreachable, error))?;
        if let Err(error) = bind(&socket, source.ip) {
            unbound.failed(source.ip, &error);
            failures.push(format!("{}: {error}", source.ip));
            continue;
        }
        unbound.bound(source.ip);
        return match timeout(limit, socket.connect(address)).await {
            Ok(Ok(stream)) => {
                // Commands and content are written whole, so there is nothing for Nagle's algorithm to collect.
                stream.set_nodelay(true).map_err(|error| lost(Loss::Unreachable, error))?;
                Ok((stream, source.clone()))
            }
            Ok(Err(error)) => Err(lost(Loss::Unreachable, error)),
            Err(_) => Err(lost(Loss::TimedOut, io::ErrorKind::TimedOut.into())),
        };
    }
    let detail = match &failures[..] {
        [] => format!("no source address is of the IP version of {}", address.ip()),
        failures => failures.join("; "),
    };
    Err(Failure::new(Stage::Connect, Cause::Fault(Fault::Source)).with_detail(detail))
}

/// An unspecified address of either version stands for whatever the system chooses.
pub(super) fn fits(source: IpAddr, target: IpAddr) -> bool {
    source.is_unspecified() || source.is_ipv4() == target.is_ipv4()
}

fn bind(socket: &TcpSocket, source: IpAddr) -> io::Result<()> {
    if source.is_unspecified() {
        return Ok(());
    }
    let any_port = SocketAddr::new(source, 0);
    match socket.bind(any_port) {
        // All ports are taken, most of them by connections that have ended. To another next hop one may be used again.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            socket.set_reuseaddr(true)?;
            socket.bind(any_port)
        }
        bound => bound,
    }
}

/// Addresses that could not be bound when last tried, so that the log says it once and not for each message. At most
/// as many as the config ever named.
#[derive(Debug, Default)]
pub struct Unbound {
    addresses: Mutex<BTreeSet<IpAddr>>,
}

impl Unbound {
    fn failed(&self, ip: IpAddr, error: &io::Error) {
        let new = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).insert(ip);
        if new {
            warn!(source = %ip, %error, "can't connect from this address; others are used as long as that is so");
        }
    }

    fn bound(&self, ip: IpAddr) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if !addresses.is_empty() {
            addresses.remove(&ip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn families() {
        let check = |source: &str, target: &str, expected: bool| {
            assert_eq!(fits(source.parse().unwrap(), target.parse().unwrap()), expected, "{source} {target}");
        };
        check("192.0.2.1", "198.51.100.1", true);
        check("192.0.2.1", "2001:db8::1", false);
        check("2001:db8::1", "2001:db8::2", true);
        check("2001:db8::1", "192.0.2.1", false);
        check("0.0.0.0", "2001:db8::1", true);
        check("::", "192.0.2.1", true);
    }
}
