//! An answer: its status and header, and its body as it comes.

use super::client::failure;
use super::grant::Origin;
use super::upload::Upload;
use crate::services::error::ServiceError;
use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::HeaderMap;
use std::fmt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

/// Octets of a body that can be read.
pub const MAX_ANSWER: u64 = 4 * 1024 * 1024;
/// Octets of a body that are given at a time.
pub const MAX_READ: usize = 256 * 1024;
/// Octets of an answer's header lines.
pub(super) const MAX_HEADER_OCTETS: usize = 64 * 1024;

/// An answer. Dropping it ends the request.
pub struct Incoming {
    response: Response,
    origin: String,
    deadline: Instant,
    /// Octets that came and were not asked for yet.
    waiting: Bytes,
    /// Octets that came.
    come: u64,
    end: End,
    /// For as long as the body has not come to its end.
    busy: Option<(OwnedSemaphorePermit, Upload)>,
}

/// Where the body stands.
enum End {
    NotYet,
    Reached,
    Failed(ServiceError),
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (status, origin) = (self.response.status(), &self.origin);
        f.debug_struct("Incoming").field("status", &status).field("origin", origin).finish_non_exhaustive()
    }
}

impl Incoming {
    pub(super) fn new(
        response: Response,
        origin: &Origin,
        deadline: Instant,
        permit: OwnedSemaphorePermit,
        upload: Upload,
    ) -> Result<Self, ServiceError> {
        let lines = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
        if lines.sum::<usize>() > MAX_HEADER_OCTETS {
            let text = format!("the answer of {origin} has more than {MAX_HEADER_OCTETS} octets of header");
            return Err(ServiceError::too_large(text));
        }
        let (waiting, busy) = (Bytes::new(), Some((permit, upload)));
        Ok(Self { response, origin: origin.to_string(), deadline, waiting, come: 0, end: End::NotYet, busy })
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The first value of a header field; what is not UTF-8 in it is replaced.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let value = self.response.headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// All header fields.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next octets of the body, at most `max` and at most [`MAX_READ`]; none is the end.
    ///
    /// # Errors
    /// `bad-value`: `max` is 0; `too-large`: the body has more than [`MAX_ANSWER`]; `unavailable`, `timeout`. After an
    /// error, but for the first, there is only that error.
    pub async fn read(&mut self, max: usize) -> Result<Bytes, ServiceError> {
        if max == 0 {
            return Err(ServiceError::bad_value("a read of at most 0 octets"));
        }
        if self.waiting.is_empty() {
            self.fetch().await?;
        }
        let len = max.min(MAX_READ).min(self.waiting.len());
        Ok(self.waiting.split_to(len))
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// As [`Incoming::read`].
    pub async fn body(&mut self) -> Result<Bytes, ServiceError> {
        let first = self.read(MAX_READ).await?;
        let mut all = BytesMut::from(first);
        loop {
            let next = self.read(MAX_READ).await?;
            if next.is_empty() {
                return Ok(all.freeze());
            }
            all.extend_from_slice(&next);
        }
    }

    /// Waits for more octets, or the end.
    async fn fetch(&mut self) -> Result<(), ServiceError> {
        match &self.end {
            End::NotYet => {}
            End::Reached => return Ok(()),
            End::Failed(error) => return Err(error.clone()),
        }
        let fetched = self.next_piece().await;
        match fetched {
            Ok(Some(piece)) => {
                self.waiting = piece;
                return Ok(());
            }
            Ok(None) => self.end = End::Reached,
            Err(error) => self.end = End::Failed(error),
        }
        self.busy = None;
        match &self.end {
            End::Failed(error) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, ServiceError> {
        let too_large = |origin: &str| {
            Err(ServiceError::too_large(format_args!("the answer of {origin} has more than {MAX_ANSWER} octets")))
        };
        if self.come == 0 && self.response.content_length().is_some_and(|announced| announced > MAX_ANSWER) {
            return too_large(&self.origin);
        }
        loop {
            let Ok(chunk) = timeout_at(self.deadline, self.response.chunk()).await else {
                let text = format!("the answer of {} did not come to its end in time", self.origin);
                return Err(ServiceError::timeout(text));
            };
            let chunk = chunk.map_err(|error| failure(error, &self.origin, "the answer breaks off"))?;
            let Some(chunk) = chunk else { return Ok(None) };
            if chunk.is_empty() {
                continue;
            }
            self.come += chunk.len() as u64;
            return if self.come > MAX_ANSWER { too_large(&self.origin) } else { Ok(Some(chunk)) };
        }
    }
}
