//! Bounds over all transactions: of what they hold in memory besides their drafts (header blocks, recipients, what
//! plugins write), and of what plugins write in all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bound, shared by all transactions.
#[derive(Clone, Debug)]
pub struct Budget {
    used: Arc<AtomicU64>,
    limit: u64,
}

/// What one transaction holds of it; given back when dropped.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    octets: u64,
}

impl Budget {
    /// A bound of `limit` octets.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { used: Arc::default(), limit }
    }

    /// Nothing, to be grown.
    #[must_use]
    pub fn hold(&self) -> Held {
        Held { budget: self.clone(), octets: 0 }
    }
}

impl Held {
    /// Takes so many octets more; false if there is no room for them.
    #[must_use]
    pub fn grow(&mut self, octets: usize) -> bool {
        let Budget { used, limit } = &self.budget;
        let octets = octets as u64;
        let take = |now: u64| now.checked_add(octets).filter(|sum| sum <= limit);
        let taken = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if taken {
            self.octets += octets;
        }
        taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shared_bounded_and_given_back() {
        let budget = Budget::new(100);
        let (mut one, mut two) = (budget.hold(), budget.hold());
        assert!(one.grow(60) && two.grow(40));
        assert!(!one.grow(1) && !two.grow(usize::MAX));
        drop(one);
        assert!(two.grow(60) && !two.grow(1));
    }
}
