//! Clients that are slow on purpose or by accident: least rates and longest pauses of what they send and take.

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A client may pause this long within a body, or before it takes a piece of an answer.
pub const PAUSE: Duration = Duration::from_secs(60);
/// Least rate of a body on average, in octets a second, …
const MIN_RATE: u64 = 500;
/// … after so long.
const GRACE: Duration = Duration::from_secs(60);

/// Puts the limits on the body of a request.
pub async fn limited(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let start = State { stream: body.into_data_stream(), begun: Instant::now(), octets: 0 };
    // A handler may ask again after the end.
    let body = Body::from_stream(futures_util::stream::unfold(Some(start), piece).fuse());
    next.run(Request::from_parts(parts, body)).await
}

struct State {
    stream: BodyDataStream,
    begun: Instant,
    octets: u64,
}

async fn piece(state: Option<State>) -> Option<(io::Result<Bytes>, Option<State>)> {
    let mut state = state?;
    let allowed = GRACE + Duration::from_secs(state.octets / MIN_RATE);
    let patience = allowed.saturating_sub(state.begun.elapsed()).min(PAUSE);
    match tokio::time::timeout(patience, state.stream.next()).await {
        Ok(Some(Ok(piece))) => {
            state.octets += piece.len() as u64;
            Some((Ok(piece), Some(state)))
        }
        Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
        Ok(None) => None,
        Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
    }
}

/// A connection whose client must take what is written to it.
pub struct Taking<T> {
    stream: T,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> Taking<T> {
    /// Over this connection.
    #[must_use]
    pub fn new(stream: T) -> Self {
        Self { stream, stalled: None }
    }

    fn judge<R>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Taking<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, to)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Taking<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, from);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, from);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_cut() {
        let trickle = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Some((Ok::<_, io::Error>(Bytes::from_static(b"x")), ()))
        });
        let begun = Instant::now();
        let state = State { stream: Body::from_stream(trickle).into_data_stream(), begun, octets: 0 };
        let pieces: Vec<_> = futures_util::stream::unfold(Some(state), piece).collect().await;
        assert_eq!(pieces.last().unwrap().as_ref().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() <= GRACE + Duration::from_secs(1), "{:?}", begun.elapsed());
    }
}
