//! Freshly committed messages, kept in memory for their first attempt so that it reads nothing from disk. Bounded by
//! octets, first in first out; whatever isn't here is read from the store.

use crate::spool::StoredMessage;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Rough cost of an entry besides content and recipients.
const OVERHEAD: usize = 1024;
const PER_RECIPIENT: usize = 160;

/// A message and (unless it was streamed) its content.
#[derive(Clone, Debug)]
pub(super) struct HotMessage {
    pub message: Arc<StoredMessage>,
    /// Header block and body section.
    pub content: Option<(Bytes, Bytes)>,
}

impl HotMessage {
    fn weight(&self) -> usize {
        let content = self.content.as_ref().map_or(0, |(header, body)| header.len() + body.len());
        OVERHEAD + PER_RECIPIENT * self.message.envelope.recipients.len() + content
    }
}

#[derive(Debug)]
pub(super) struct Hot {
    entries: HashMap<u64, HotMessage>,
    /// Ids as they came; some may be gone already.
    order: VecDeque<u64>,
    weight: usize,
    limit: usize,
}

impl Hot {
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), weight: 0, limit }
    }

    pub(super) fn get(&self, id: u64) -> Option<&HotMessage> {
        self.entries.get(&id)
    }

    pub(super) fn insert(&mut self, message: HotMessage) {
        let (id, weight) = (message.message.id.0, message.weight());
        if weight > self.limit / 4 {
            return;
        }
        self.weight += weight;
        self.entries.insert(id, message);
        self.order.push_back(id);
        while self.weight > self.limit {
            let Some(oldest) = self.order.pop_front() else { break };
            self.remove(oldest);
        }
        // Messages mostly end in the order they came: what is gone is at the front.
        while self.order.front().is_some_and(|id| !self.entries.contains_key(id)) {
            self.order.pop_front();
        }
        if self.order.len() > 64 + 2 * self.entries.len() {
            self.order.retain(|id| self.entries.contains_key(id));
        }
    }

    pub(super) fn remove(&mut self, id: u64) {
        if let Some(gone) = self.entries.remove(&id) {
            self.weight -= gone.weight();
        }
    }
}
