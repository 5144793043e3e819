//! Bodies of requests: their type, gzip inflated with a limit, and how much of them is in memory at once.

use super::problem::Problem;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use flate2::write::GzDecoder;
use futures_util::StreamExt as _;
use std::io::Write as _;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Octets that are inflated in one step: a thousand times as much may come out.
const STEP: usize = 2 << 10;

/// A body that is read piece by piece, inflated.
pub(super) struct Pieces {
    stream: BodyDataStream,
    inflate: Option<GzDecoder<Vec<u8>>>,
    compressed: Bytes,
    left: u64,
    limit: u64,
}

impl Pieces {
    /// The body of a request with a content of one of these types (or none given), at most `limit` octets of it.
    ///
    /// # Errors
    /// 413 or 415, from the header alone.
    pub(super) fn new(headers: &HeaderMap, body: Body, types: &[&str], limit: u64) -> Result<Self, Problem> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let unsupported = |detail: String| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail);
        if let Some(given) = text(header::CONTENT_TYPE) {
            let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            if !types.contains(&essence.as_str()) {
                return Err(unsupported(format!("Content-Type: it must be {}", types.join(" or "))));
            }
        }
        let inflate = match text(header::CONTENT_ENCODING).map(|coding| coding.trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "identity") => None,
            Some("gzip" | "x-gzip") => Some(GzDecoder::new(Vec::new())),
            Some(_) => return Err(unsupported("Content-Encoding: it must be gzip or identity".to_owned())),
        };
        let declared = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        if declared.is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        Ok(Self { stream: body.into_data_stream(), inflate, compressed: Bytes::new(), left: limit, limit })
    }

    /// The body of a request as it is, whatever its type and coding, at most `limit` octets of it.
    pub(super) fn plain(body: Body, limit: u64) -> Self {
        Self { stream: body.into_data_stream(), inflate: None, compressed: Bytes::new(), left: limit, limit }
    }

    /// The next piece; None at the end of a complete body.
    ///
    /// # Errors
    /// The client is gone or too slow (408), the body is too large (413) or no gzip (400).
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            if self.compressed.is_empty() {
                match self.stream.next().await {
                    Some(Ok(piece)) => self.compressed = piece,
                    Some(Err(error)) => return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, cut(&error))),
                    None => return self.end(),
                }
            }
            let piece = self.inflated()?;
            self.left = self.left.checked_sub(piece.len() as u64).ok_or_else(|| too_large(self.limit))?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    fn inflated(&mut self) -> Result<Bytes, Problem> {
        let Some(inflate) = &mut self.inflate else { return Ok(std::mem::take(&mut self.compressed)) };
        let step = self.compressed.split_to(STEP.min(self.compressed.len()));
        inflate.write_all(&step).map_err(|_| not_gzip())?;
        Ok(std::mem::take(inflate.get_mut()).into())
    }

    fn end(&mut self) -> Result<Option<Bytes>, Problem> {
        let Some(mut inflate) = self.inflate.take() else { return Ok(None) };
        inflate.try_finish().map_err(|_| not_gzip())?;
        let piece = Bytes::from(std::mem::take(inflate.get_mut()));
        self.left = self.left.checked_sub(piece.len() as u64).ok_or_else(|| too_large(self.limit))?;
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }
}

fn cut(error: &axum::Error) -> String {
    use std::error::Error as _;
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    match io.map(std::io::Error::kind) {
        Some(std::io::ErrorKind::TimedOut) => "the body came too slowly".to_owned(),
        _ => "the body is not complete".to_owned(),
    }
}

fn not_gzip() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "the body is not gzip, or not complete")
}

pub(super) fn too_large(limit: u64) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("it is larger than {limit} octets"))
}

/// A body in memory, with its place there.
pub(super) struct Whole {
    pub(super) octets: Vec<u8>,
    place: Vec<OwnedSemaphorePermit>,
}

impl Whole {
    /// Reads all of it.
    ///
    /// # Errors
    /// As [`Pieces::next`]; 503 if too much is in memory.
    pub(super) async fn read(pieces: &mut Pieces, memory: &Arc<Semaphore>) -> Result<Self, Problem> {
        let mut whole = Self { octets: Vec::new(), place: Vec::new() };
        let mut paid = 0;
        while let Some(piece) = pieces.next().await? {
            whole.octets.extend_from_slice(&piece);
            while paid < whole.octets.len() {
                let kib = 64;
                let permit = Arc::clone(memory).try_acquire_many_owned(kib).map_err(|_| {
                    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests are in memory, try again later")
                })?;
                whole.place.push(permit);
                paid += 64 << 10;
            }
        }
        Ok(whole)
    }

    /// The octets, and the place that they keep until it is dropped.
    pub(super) fn split(self) -> (Vec<u8>, Vec<OwnedSemaphorePermit>) {
        (self.octets, self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(encoding: &'static str, body: Vec<u8>, limit: u64) -> Result<usize, u16> {
        let mut headers = HeaderMap::new();
        headers.insert("content-encoding", encoding.parse().unwrap());
        let memory = Arc::new(Semaphore::new(1 << 20));
        let mut pieces = Pieces::new(&headers, Body::from(body), &[], limit).map_err(|problem| problem.status)?;
        Whole::read(&mut pieces, &memory).await.map(|whole| whole.octets.len()).map_err(|problem| problem.status)
    }

    #[tokio::test]
    async fn gzip_is_inflated_up_to_the_limit() {
        let gzip = |octets: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(octets).unwrap();
            encoder.finish().unwrap()
        };
        let bomb = gzip(&vec![0; 20 << 20]);
        assert!(bomb.len() < 30 << 10, "{}", bomb.len());
        assert_eq!(read("gzip", bomb.clone(), 20 << 20).await, Ok(20 << 20));
        assert_eq!(read("gzip", bomb.clone(), 1 << 20).await, Err(413));
        assert_eq!(read("gzip", bomb[..bomb.len() - 1].to_vec(), 20 << 20).await, Err(400));
        assert_eq!(read("gzip", b"no gzip".to_vec(), 100).await, Err(400));
        assert_eq!(read("br", b"x".to_vec(), 100).await, Err(415));
        assert_eq!(read("identity", vec![0; 100], 100).await, Ok(100));
        assert_eq!(read("identity", vec![0; 101], 100).await, Err(413));
    }
}
