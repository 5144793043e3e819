//! The order of what waits: for each (zone, destination) its pending recipients by due time, and the queues by the
//! time their first one is due.
//!
//! It knows neither states nor leases: what is in here is pending, nothing else is. A queue exists as long as any
//! recipient (in whatever state) belongs to it.

use crate::spool::Ready;
use postern_core::route::QueueKey;
use postern_core::time::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

/// Most queues that one look at what is ready gives.
const MAX_QUEUES: usize = 10_000;
/// How far recipients are counted, where that costs nothing and where they have to be walked through.
const MAX_COUNT: usize = 1_000;
const MAX_WALK: usize = 100;
/// When to look again if there was more: not at once, since the queues seen may all be resting.
const LOOK_AGAIN_MS: u64 = 100;

/// A pending recipient in its queue's order: due time, message, sequence number.
pub(super) type Waiting = (u64, u64, u32);

#[derive(Debug)]
struct Queue {
    key: QueueKey,
    waiting: BTreeSet<Waiting>,
    /// Recipients that belong to it, in any state.
    members: usize,
}

/// All queues. A queue's number is valid while it has members.
#[derive(Debug, Default)]
pub(super) struct Queues {
    by_key: HashMap<QueueKey, u32>,
    list: Vec<Queue>,
    free: Vec<u32>,
    /// When the first recipient of each queue is due.
    order: BTreeSet<(u64, u32)>,
    /// The last queue that was given, if there were more.
    cursor: Option<(u64, u32)>,
}

impl Queues {
    /// The queue's number, if it exists.
    pub(super) fn find(&self, key: &QueueKey) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    pub(super) fn key(&self, queue: u32) -> &QueueKey {
        &self.list[queue as usize].key
    }

    /// Adds `members` recipients to the queue of `key`, which is made if there is none.
    pub(super) fn join(&mut self, key: &QueueKey, members: usize) -> u32 {
        if let Some(&queue) = self.by_key.get(key) {
            self.list[queue as usize].members += members;
            return queue;
        }
        let new = Queue { key: key.clone(), waiting: BTreeSet::new(), members };
        let queue = if let Some(queue) = self.free.pop() {
            self.list[queue as usize] = new;
            queue
        } else {
            self.list.push(new);
            u32::try_from(self.list.len() - 1).expect("fewer queues than recipients, of which memory holds fewer")
        };
        self.by_key.insert(key.clone(), queue);
        queue
    }

    /// A recipient that isn't waiting leaves the queue for good.
    pub(super) fn leave(&mut self, queue: u32) {
        let entry = &mut self.list[queue as usize];
        entry.members -= 1;
        if entry.members == 0 {
            debug_assert!(entry.waiting.is_empty(), "who waits is a member");
            self.by_key.remove(&entry.key);
            self.free.push(queue);
        }
    }

    pub(super) fn insert(&mut self, queue: u32, waiting: Waiting) {
        let entry = &mut self.list[queue as usize].waiting;
        let first = entry.first().copied();
        entry.insert(waiting);
        if first.is_none_or(|first| waiting < first) {
            if let Some((due, ..)) = first {
                self.order.remove(&(due, queue));
            }
            self.order.insert((waiting.0, queue));
        }
    }

    pub(super) fn remove(&mut self, queue: u32, waiting: Waiting) {
        let entry = &mut self.list[queue as usize].waiting;
        let was_first = entry.first() == Some(&waiting);
        entry.remove(&waiting);
        if was_first {
            self.order.remove(&(waiting.0, queue));
            if let Some(&(due, ..)) = entry.first() {
                self.order.insert((due, queue));
            }
        }
    }

    /// Due recipients of a queue: at most `messages` messages with at most `recipients` each, by due time.
    pub(super) fn due(&self, queue: u32, now: u64, messages: usize, recipients: usize) -> Vec<(u64, Vec<u32>)> {
        let waiting = &self.list[queue as usize].waiting;
        let mut groups: Vec<(u64, Vec<u32>)> = Vec::new();
        let mut from = Bound::Unbounded;
        let end = Bound::Included((now, u64::MAX, u32::MAX));
        if messages == 0 || recipients == 0 {
            return groups;
        }
        // A message whose group is full is passed over as a whole.
        while let Some((due, id)) = fill(&mut groups, waiting.range((from, end)), messages, recipients) {
            from = Bound::Excluded((due, id, u32::MAX));
        }
        for (_, group) in &mut groups {
            group.sort_unstable();
        }
        groups
    }

    /// What is due at `now`, and when the next one after it is. If it was not all last time, it goes on from there, so
    /// that queues that nobody can serve do not hide others.
    pub(super) fn ready(&mut self, now: Timestamp) -> Ready {
        let mut ready = Ready::default();
        let ends = (now.0, u32::MAX);
        let later = self.order.range((Bound::Excluded(ends), Bound::Unbounded)).next();
        let mut next = later.map_or(u64::MAX, |(due, _)| *due);
        let from = self.cursor.take().unwrap_or(ends).min(ends);
        let behind = self.order.range((Bound::Excluded(from), Bound::Included(ends)));
        for &(first, queue) in behind.chain(self.order.range(..=from)) {
            if ready.queues.len() == MAX_QUEUES {
                next = now.0.saturating_add(LOOK_AGAIN_MS);
                break;
            }
            self.cursor = Some((first, queue));
            let Queue { key, waiting, .. } = &self.list[queue as usize];
            let later = (now.0, u64::MAX, u32::MAX);
            let due = if waiting.last().is_some_and(|last| *last <= later) {
                waiting.len().min(MAX_COUNT)
            } else {
                if let Some(&(due, ..)) = waiting.range((Bound::Excluded(later), Bound::Unbounded)).next() {
                    next = next.min(due);
                }
                waiting.range(..=later).take(MAX_WALK).count()
            };
            ready.queues.push((key.clone(), due));
        }
        if ready.queues.len() < MAX_QUEUES {
            self.cursor = None;
        }
        ready.next_due = (next != u64::MAX).then_some(Timestamp(next));
        ready
    }
}

/// Adds to `groups`; gives the place of a message whose group is full, to go on behind it.
fn fill<'a>(
    groups: &mut Vec<(u64, Vec<u32>)>,
    waiting: impl Iterator<Item = &'a Waiting>,
    messages: usize,
    recipients: usize,
) -> Option<(u64, u64)> {
    for &(due, id, seq) in waiting {
        match groups.iter().rposition(|(known, _)| *known == id) {
            Some(at) if groups[at].1.len() == recipients => return Some((due, id)),
            Some(at) => groups[at].1.push(seq),
            None if groups.len() == messages => return None,
            None => groups.push((id, vec![seq])),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(destination: &str) -> QueueKey {
        QueueKey { zone: "z".into(), destination: destination.into() }
    }

    #[test]
    fn groups_by_message_in_due_order() {
        let mut queues = Queues::default();
        let q = queues.join(&key("a"), 7);
        for waiting in [(5, 1, 3), (5, 1, 1), (5, 1, 2), (4, 2, 1), (6, 1, 4), (6, 3, 1), (9, 4, 1)] {
            queues.insert(q, waiting);
        }
        assert_eq!(queues.due(q, 8, 9, 9), [(2, vec![1]), (1, vec![1, 2, 3, 4]), (3, vec![1])]);
        assert_eq!(queues.due(q, 8, 2, 2), [(2, vec![1]), (1, vec![1, 2])]);
        assert_eq!(queues.due(q, 8, 3, 1), [(2, vec![1]), (1, vec![1]), (3, vec![1])]);
        assert_eq!(queues.due(q, 3, 9, 9), []);
        assert_eq!(queues.due(q, 8, 0, 9), []);
    }

    #[test]
    fn what_was_cut_off_comes_first_next_time() {
        let mut queues = Queues::default();
        let all = u64::try_from(MAX_QUEUES).unwrap() + 3;
        for n in 0..all {
            let queue = queues.join(&key(&n.to_string()), 1);
            queues.insert(queue, (n, n, 1));
        }
        let now = Timestamp(all);
        let first = queues.ready(now);
        assert_eq!((first.queues.len(), &first.queues[0].0), (MAX_QUEUES, &key("0")));
        assert_eq!(first.next_due, Some(Timestamp(now.0 + LOOK_AGAIN_MS)));
        let second = queues.ready(now);
        let names: Vec<_> = second.queues.iter().take(4).map(|(key, _)| key.clone()).collect();
        let expected = [MAX_QUEUES, MAX_QUEUES + 1, MAX_QUEUES + 2, 0].map(|n| key(&n.to_string()));
        assert_eq!((second.queues.len(), &names[..]), (MAX_QUEUES, &expected[..]));
        assert!(second.next_due.is_some());
        let few = queues.ready(Timestamp(4));
        assert_eq!((few.queues.len(), few.next_due), (5, Some(Timestamp(5))));
    }

    #[test]
    fn ready_tells_what_is_due_and_when_to_look_again() {
        let mut queues = Queues::default();
        let (a, b, c) = (queues.join(&key("a"), 2), queues.join(&key("b"), 1), queues.join(&key("c"), 1));
        queues.insert(a, (7, 1, 1));
        queues.insert(a, (3, 2, 1));
        queues.insert(b, (2, 3, 1));
        queues.insert(c, (9, 4, 1));
        let ready = queues.ready(Timestamp(5));
        assert_eq!(ready.queues, [(key("b"), 1), (key("a"), 1)]);
        assert_eq!(ready.next_due, Some(Timestamp(7)));
        queues.remove(a, (3, 2, 1));
        queues.remove(b, (2, 3, 1));
        queues.leave(b);
        assert_eq!(queues.ready(Timestamp(5)), Ready { queues: Vec::new(), next_due: Some(Timestamp(7)) });
        assert_eq!((queues.find(&key("b")), queues.join(&key("d"), 1)), (None, b), "numbers are used again");
    }
}
