//! Memory for content on its way in, and the proof that waiting for it ends.
//!
//! Three quarters of the budget are *bases*: a draft takes one before its first octet (what MAIL declared, else
//! 32 KiB) while it holds nothing else. The rest is *windows* of 256 KiB: a draft that outgrows its base takes one,
//! once, and with it streams content of any size, waiting for nobody but the disk. The order is base, window, disk,
//! and whoever waits holds only what comes earlier in it: there is no cycle, and whoever has a window can finish.
//! A client that is slow holds its share; cutting it off is intake's.

use crate::spool::SpoolError;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Content up to this size stays in memory until its commit; also the size of a window.
pub(super) const WINDOW: usize = 256 * 1024;
/// Base of a draft that declared no size, or more than a window.
const BASE: usize = 32 * 1024;
/// Least base: what a draft costs besides its content.
const LEAST: usize = 2 * 1024;

#[derive(Debug)]
pub(super) struct Budget {
    bases: Arc<Semaphore>,
    windows: Windows,
    base_total: usize,
    window_total: usize,
}

/// Where windows come from, and how long a draft waits for one.
#[derive(Clone, Debug)]
struct Windows {
    free: Arc<Semaphore>,
    patience: Duration,
}

/// What a draft holds; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    _base: OwnedSemaphorePermit,
    window: Option<OwnedSemaphorePermit>,
    windows: Windows,
    base_len: usize,
}

impl Budget {
    /// A budget of `total` octets (at least 1 MiB) for which a draft waits `patience`.
    pub(super) fn new(total: usize, patience: Duration) -> Self {
        let total = total.clamp(1024 * 1024, u32::MAX as usize);
        let window_total = (total / 4 / WINDOW).max(1);
        let base_total = total - window_total * WINDOW;
        Self {
            bases: Arc::new(Semaphore::new(base_total)),
            windows: Windows { free: Arc::new(Semaphore::new(window_total)), patience },
            base_total,
            window_total,
        }
    }

    /// The first share of a draft.
    pub(super) async fn begin(&self, declared: Option<u64>) -> Result<Share, SpoolError> {
        let declared = declared.and_then(|len| usize::try_from(len).ok()).filter(|len| *len <= WINDOW);
        let base_len = declared.unwrap_or(BASE).max(LEAST);
        let permits = u32::try_from(base_len).unwrap_or(u32::MAX);
        let base = match Arc::clone(&self.bases).try_acquire_many_owned(permits) {
            Ok(base) => base,
            Err(_) => wait(self.windows.patience, Arc::clone(&self.bases).acquire_many_owned(permits)).await?,
        };
        Ok(Share { _base: base, window: None, windows: self.windows.clone(), base_len })
    }

    /// Octets given out.
    pub(super) fn used(&self) -> u64 {
        let bases = self.base_total - self.bases.available_permits().min(self.base_total);
        let windows = self.window_total - self.windows.free.available_permits().min(self.window_total);
        (bases + windows * WINDOW) as u64
    }
}

impl Share {
    /// Makes room for `len` octets in all; true if they can stay in memory.
    pub(super) async fn grow(&mut self, len: usize) -> Result<bool, SpoolError> {
        if self.window.is_none() && len > self.base_len {
            let Windows { free, patience } = &self.windows;
            self.window = Some(match Arc::clone(free).try_acquire_owned() {
                Ok(window) => window,
                Err(_) => wait(*patience, Arc::clone(free).acquire_owned()).await?,
            });
        }
        Ok(len <= WINDOW)
    }
}

async fn wait<F>(patience: Duration, acquire: F) -> Result<OwnedSemaphorePermit, SpoolError>
where
    F: Future<Output = Result<OwnedSemaphorePermit, tokio::sync::AcquireError>>,
{
    match tokio::time::timeout(patience, acquire).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(SpoolError::Busy("the memory for content on its way in is taken".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_room_and_gives_up() {
        let budget = Budget::new(1024 * 1024, Duration::from_secs(30));
        let mut shares = Vec::new();
        for _ in 0..3 {
            shares.push(budget.begin(Some(256 * 1024)).await.unwrap());
        }
        assert!(matches!(budget.begin(None).await, Err(SpoolError::Busy(_))));
        assert!(!shares[0].grow(10 << 20).await.unwrap());
        assert!(shares[0].grow(10).await.unwrap());
        assert!(matches!(shares[1].grow(300 << 10).await, Err(SpoolError::Busy(_))));
        assert_eq!(budget.used(), 1024 * 1024);
        let waiting = budget.begin(None);
        let (freed, ()) = tokio::join!(waiting, async { shares.truncate(1) });
        assert!(freed.is_ok());
        drop((freed, shares));
        assert_eq!(budget.used(), 0);
    }
}
