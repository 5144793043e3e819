//! The capability `log`: lines of guests into tracing, bounded in length and number, control characters escaped.

use crate::bindings::postern::plugin::log::Host;
use crate::state::GuestState;
use postern_core::mail::QueueId;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tracing::field::DisplayValue;

/// Longest line in octets.
const MAX_LINE: usize = 1024;
/// Lines that a plugin may write at once, and how many a second after that.
const BURST: f64 = 100.0;
const PER_SECOND: f64 = 20.0;

/// A token bucket for one plugin, all its instances together.
pub(crate) struct LogLimiter(Mutex<Bucket>);

struct Bucket {
    tokens: f64,
    filled: Instant,
    lost: u64,
}

impl LogLimiter {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Bucket { tokens: BURST, filled: Instant::now(), lost: 0 }))
    }

    /// May one more line be written? If so, says how many were not since the last one.
    fn take(&self, now: Instant) -> Option<u64> {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + since * PER_SECOND).min(BURST);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            bucket.lost += 1;
            return None;
        }
        bucket.tokens -= 1.0;
        Some(std::mem::take(&mut bucket.lost))
    }
}

impl Host for GuestState {
    fn debug(&mut self, message: String) -> wasmtime::Result<()> {
        // A line that the log would not show must not cost the plugin one that it would.
        if tracing::enabled!(tracing::Level::DEBUG) {
            self.line(&message, |plugin, session, id, line| tracing::debug!(plugin, session, queue_id = id, "{line}"));
        }
        Ok(())
    }

    fn info(&mut self, message: String) -> wasmtime::Result<()> {
        if tracing::enabled!(tracing::Level::INFO) {
            self.line(&message, |plugin, session, id, line| tracing::info!(plugin, session, queue_id = id, "{line}"));
        }
        Ok(())
    }

    fn warn(&mut self, message: String) -> wasmtime::Result<()> {
        if tracing::enabled!(tracing::Level::WARN) {
            self.line(&message, |plugin, session, id, line| tracing::warn!(plugin, session, queue_id = id, "{line}"));
        }
        Ok(())
    }

    fn error(&mut self, message: String) -> wasmtime::Result<()> {
        if tracing::enabled!(tracing::Level::ERROR) {
            self.line(&message, |plugin, session, id, line| tracing::error!(plugin, session, queue_id = id, "{line}"));
        }
        Ok(())
    }
}

impl GuestState {
    /// Writes a line, unless the plugin has written too many.
    fn line(&self, message: &str, write: impl Fn(&str, Option<&str>, Option<DisplayValue<QueueId>>, &str)) {
        let Some(lost) = self.identity.log.take(Instant::now()) else { return };
        let plugin = &*self.identity.name;
        if lost > 0 {
            tracing::warn!(plugin, lost, "the plugin wrote too many lines; some were dropped");
        }
        let id = self.queue_id().map(tracing::field::display);
        write(plugin, self.session_id(), id, &escape(message, MAX_LINE));
    }
}

/// One line of at most about `max` octets without control characters.
pub(crate) fn escape(text: &str, max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        if line.len() >= max {
            line.push('…');
            break;
        }
        // U+2028 and its like end lines in some viewers, U+202E turns them round.
        if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn lines_are_escaped_and_cut() {
        assert_eq!(escape("a\nb\x1b[31m\u{202e}é", 100), "a\\nb\\u{1b}[31m\\u{202e}é");
        assert_eq!(escape(&"x".repeat(2000), 10), "xxxxxxxxxx…");
    }

    #[test]
    fn floods_are_cut_and_counted() {
        let limiter = LogLimiter::new();
        let now = Instant::now();
        let written = (0..1000).filter(|_| limiter.take(now).is_some()).count();
        assert_eq!(written, 100);
        assert_eq!(limiter.take(now + Duration::from_secs(1)), Some(900));
    }
}
