//! A message as the body of a request: read from its source as the server takes it, never held whole.

use super::outgoing::RequestBody;
use bytes::Bytes;
use futures_util::stream::{Stream, try_unfold};
use postern_core::message::ContentSource;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::time::Instant;

/// Octets that are read at a time.
const PIECE: usize = 64 * 1024;

/// Whoever holds it wants the body to be sent: when it is dropped, what is left is not read any more.
#[derive(Debug, Default)]
pub(super) struct Upload(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    unwanted: AtomicBool,
    unreadable: AtomicBool,
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.unwanted.store(true, Relaxed);
    }
}

impl Upload {
    /// Could the body not be read?
    pub(super) fn unreadable(&self) -> bool {
        self.0.unreadable.load(Relaxed)
    }

    /// The body as the client wants it. Its length has to be announced by the caller.
    pub(super) fn body(&self, body: &RequestBody, deadline: Instant) -> Option<reqwest::Body> {
        match body {
            _ if body.is_empty() => None,
            RequestBody::Empty => None,
            RequestBody::Bytes(bytes) => Some(bytes.clone().into()),
            RequestBody::Source(head, source) => {
                let shared = Arc::clone(&self.0);
                Some(reqwest::Body::wrap_stream(pieces(head.clone(), Arc::clone(source), shared, deadline)))
            }
        }
    }
}

/// Exactly the octets that were announced, or an error, which breaks the connection.
fn pieces(
    head: Bytes,
    source: Arc<dyn ContentSource>,
    shared: Arc<Shared>,
    deadline: Instant,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let len = source.len();
    try_unfold((head, 0_u64), move |(head, offset)| {
        let (source, shared) = (Arc::clone(&source), Arc::clone(&shared));
        async move {
            if shared.unwanted.load(Relaxed) || Instant::now() >= deadline {
                return Err(io::Error::other("the request has ended"));
            }
            if !head.is_empty() {
                return Ok(Some((head, (Bytes::new(), offset))));
            }
            if offset >= len {
                return Ok(None);
            }
            let wanted = usize::try_from(len - offset).unwrap_or(PIECE).min(PIECE);
            let piece = source.read(offset, wanted).await.and_then(|piece| match piece.len() {
                read if (1..=wanted).contains(&read) => Ok(piece),
                _ => Err(io::Error::other("it is not as long as it was")),
            });
            let piece = piece.inspect_err(|_| shared.unreadable.store(true, Relaxed))?;
            let next = offset + piece.len() as u64;
            Ok(Some((piece, (head, next))))
        }
    })
}
