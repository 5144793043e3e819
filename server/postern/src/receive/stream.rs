//! The two kinds of connections that clients have: TCP, and TLS over it.

use crate::clients::tls::agreed;
use bytes::BytesMut;
use postern_core::hook::SessionTls;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A client's connection.
pub enum Stream {
    /// TCP alone.
    Clear(TcpStream),
    /// Boxed, as its state is large and most sessions have none.
    Tls(Box<TlsStream<TcpStream>>),
    /// None: a handshake failed.
    Closed,
}

impl Stream {
    /// Waits for input and appends what there is, up to `room` octets; 0 at the end of the connection. While it waits,
    /// an empty `input` holds no buffer.
    pub async fn read(&mut self, input: &mut BytesMut, room: usize) -> io::Result<usize> {
        match self {
            Self::Clear(tcp) => loop {
                tcp.readable().await?;
                input.reserve(room);
                match tcp.try_read_buf(input) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        if input.is_empty() {
                            *input = BytesMut::new();
                        }
                    }
                    done => return done,
                }
            },
            Self::Tls(tls) => {
                let done = poll_fn(|context| {
                    input.reserve(room);
                    let poll = pin!(tls.read_buf(input)).poll(context);
                    if poll.is_pending() && input.is_empty() {
                        *input = BytesMut::new();
                    }
                    poll
                });
                match done.await {
                    // Closed without close_notify. Commands and content have ends of their own.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                    done => done,
                }
            }
            Self::Closed => Ok(0),
        }
    }

    /// Sends all of it.
    pub async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Clear(tcp) => tcp.write_all(octets).await,
            Self::Tls(tls) => {
                tls.write_all(octets).await?;
                tls.flush().await
            }
            Self::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Ends the sending side; over TLS with close_notify.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(tcp) => tcp.shutdown().await,
            Self::Tls(tls) => tls.shutdown().await,
            Self::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// What TLS it has.
    pub fn tls(&self) -> Option<SessionTls> {
        let Self::Tls(stream) = self else { return None };
        Some(agreed(stream))
    }
}
