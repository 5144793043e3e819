//! `[queue]`.

use crate::config::{Size, Span};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `[queue]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSection {
    /// The store.
    pub engine: Engine,
    /// Recipients older than this are bounced as expired.
    pub max_age: Span,
    /// Waits between attempts; the last repeats.
    pub retry: Vec<Span>,
    /// After this long the sender is told that a recipient is late; zero: never.
    pub delay_notice: Span,
    /// Mail is refused (452) when the disk has less room than this.
    pub min_free: Size,
}

/// Stores that there are.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// In `data_dir`, for one node.
    #[default]
    Embedded,
}

impl Default for QueueSection {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        let retry = [5, 7, 8, 25, 75, 120, 240].map(|minutes| Span::secs(minutes * MINUTE)).to_vec();
        let (max_age, delay_notice) = (Span::secs(5 * 86_400), Span::secs(3 * 3600));
        Self { engine: Engine::Embedded, max_age, retry, delay_notice, min_free: Size(64 << 20) }
    }
}

/// No span is longer.
pub(super) const LONGEST_SPAN: Duration = Duration::from_secs(10 * 365 * 86_400);

impl QueueSection {
    /// When senders are told of a delay, checked; None is never.
    ///
    /// # Errors
    /// One line that begins with the key.
    pub fn delay_notice(&self) -> Result<Option<Duration>, String> {
        let Span(span) = self.delay_notice;
        if span > LONGEST_SPAN || (!span.is_zero() && span < Duration::from_secs(1)) {
            return Err("queue.delay_notice: must be at least 1s and at most 10 years, or 0s for never".into());
        }
        Ok((!span.is_zero()).then_some(span))
    }
}
