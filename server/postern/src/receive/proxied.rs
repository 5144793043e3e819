//! Who is behind a proxy: the PROXY protocol, version 1 and 2, before anything else on the connection.

use postern_core::smtp::proxied::{LONGEST_HEADER, proxy_client};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// How long a proxy has to send its header.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A header comes in one segment nearly always; how long to wait before looking at one that did not again.
const PAUSE: Duration = Duration::from_millis(10);

/// Reads the header, to its last octet and no further. Gives the client's address; None where the proxy speaks for
/// itself (a health check), or of a client that it can't name.
///
/// # Errors
/// There is no such header, or it did not come in time.
pub async fn read_header(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let timed_out = || io::Error::new(io::ErrorKind::TimedOut, "no PROXY header came in time");
    tokio::time::timeout(TIMEOUT, read(stream)).await.map_err(|_| timed_out())?
}

async fn read(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut seen = vec![0; LONGEST_HEADER];
    let mut before = 0;
    loop {
        let there = stream.peek(&mut seen).await?;
        if there == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let found = proxy_client(&seen[..there]);
        if let Some(client) = found.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
            stream.read_exact(&mut vec![0; client.length]).await?;
            return Ok(client.address);
        }
        if there == before {
            tokio::time::sleep(PAUSE).await;
        }
        before = there;
    }
}
