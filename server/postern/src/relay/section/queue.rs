//! `[queue]`.

use crate::config::{Size, Span};
use serde::{Deserialize, Serialize};

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
        Self { engine: Engine::Embedded, max_age: Span::secs(5 * 86_400), retry, min_free: Size(64 << 20) }
    }
}
