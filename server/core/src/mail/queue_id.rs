//! Queue ids: 63 bits, of which 41 are milliseconds, 10 the node and 12 a counter, so that a node makes them alone,
//! in order, and two nodes never make the same one.

use crate::time::Timestamp;
use std::fmt;
use std::str::FromStr;

/// Milliseconds of Unix time at which the ids' clock starts: 2024-01-01T00:00:00Z. It ends in 2093.
const EPOCH_MS: u64 = 1_704_067_200_000;
const NODE_BITS: u32 = 10;
const COUNTER_BITS: u32 = 12;

/// The id of a message in the queue, printed as 18 hex digits, zero-padded. It stands in the 250 reply, in Received
/// and in every log line about the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u64);

/// A recipient's place in its message, from 1; printed as at least three hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u32);

/// One recipient of one message, printed `id.seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecipientId {
    /// The message.
    pub message: QueueId,
    /// The recipient's place in it.
    pub seq: Seq,
}

/// A text is not a queue id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a queue id is 18 hex digits, a recipient's has a dot and at least three more")]
pub struct ParseIdError;

impl QueueId {
    /// The least id that is made at `time` or later: ids below it are older.
    #[must_use]
    pub fn floor(time: Timestamp) -> Self {
        let tick = time.0.saturating_sub(EPOCH_MS).min((1 << (63 - NODE_BITS - COUNTER_BITS)) - 1);
        Self(tick << (NODE_BITS + COUNTER_BITS))
    }
}

impl Seq {
    /// The sequence number of the recipient at `index` of the envelope.
    #[must_use]
    pub fn from_index(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX - 1) + 1)
    }

    /// The index in the envelope.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.saturating_sub(1) as usize
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:018x}", self.0)
    }
}

impl FromStr for QueueId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.len() != 18 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ParseIdError);
        }
        u64::from_str_radix(text, 16).ok().filter(|id| id >> 63 == 0).map(Self).ok_or(ParseIdError)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03x}", self.0)
    }
}

impl FromStr for RecipientId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let (message, seq) = text.split_once('.').ok_or(ParseIdError)?;
        if seq.len() < 3 || !seq.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ParseIdError);
        }
        let seq = u32::from_str_radix(seq, 16).ok().filter(|seq| *seq > 0).ok_or(ParseIdError)?;
        Ok(Self { message: message.parse()?, seq: Seq(seq) })
    }
}

impl fmt::Display for RecipientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.message, self.seq)
    }
}

/// Makes queue ids that never go back, even when the clock does.
#[derive(Debug)]
pub struct IdGenerator {
    node: u64,
    last: u64,
}

impl IdGenerator {
    /// A generator for `node` (the low 10 bits count) whose next id is greater than `last`, the greatest id that the
    /// spool has seen.
    #[must_use]
    pub fn new(node: u16, last: Option<QueueId>) -> Self {
        Self { node: u64::from(node) & ((1 << NODE_BITS) - 1), last: last.map_or(0, |id| id.0) }
    }

    /// The next id at `now`. When more than 4,096 are made in one millisecond, ids run ahead of the clock.
    pub fn next(&mut self, now: Timestamp) -> QueueId {
        let step = 1 << (NODE_BITS + COUNTER_BITS);
        let clock = now.0.saturating_sub(EPOCH_MS) * step;
        let last_tick = self.last & !(step - 1);
        let counter = self.last & ((1 << COUNTER_BITS) - 1);
        let id = if clock > last_tick {
            clock | (self.node << COUNTER_BITS)
        } else if counter + 1 < 1 << COUNTER_BITS {
            last_tick | (self.node << COUNTER_BITS) | (counter + 1)
        } else {
            (last_tick + step) | (self.node << COUNTER_BITS)
        };
        self.last = id;
        QueueId(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_through_bursts_and_clock_jumps() {
        let mut ids = IdGenerator::new(3, None);
        let now = Timestamp(1_795_428_000_000);
        let mut last = ids.next(now);
        for _ in 0..10_000 {
            let id = ids.next(now);
            assert!(id > last);
            last = id;
        }
        let back = ids.next(Timestamp(now.0 - 86_400_000));
        assert!(back > last);
        let restarted = IdGenerator::new(3, Some(back)).next(Timestamp(0));
        assert!(restarted > back);
        assert_eq!(restarted.0 >> 63, 0);
        let id = IdGenerator::new(3, None).next(now);
        assert!(id >= QueueId::floor(now) && id < QueueId::floor(Timestamp(now.0 + 1)));
        assert_eq!(QueueId::floor(Timestamp(u64::MAX)).0 >> 63, 0);
    }

    #[test]
    fn ids_as_text() {
        let id = QueueId(0x1234_5678_9abc_def0);
        assert_eq!(id.to_string(), "00123456789abcdef0");
        assert_eq!("00123456789abcdef0".parse(), Ok(id));
        assert_eq!(RecipientId { message: id, seq: Seq::from_index(0) }.to_string(), "00123456789abcdef0.001");
        for bad in ["", "123", "00123456789abcdeg0", "+0123456789abcdef0", "ffffffffffffffffff"] {
            assert_eq!(bad.parse::<QueueId>(), Err(ParseIdError), "{bad}");
        }
        let recipient = RecipientId { message: id, seq: Seq(0x1abc) };
        assert_eq!(recipient.to_string().parse(), Ok(recipient));
        for bad in [
            "",
            "00123456789abcdef0",
            "00123456789abcdef0.",
            "00123456789abcdef0.000",
            "00123456789abcdef0.01",
            "00123456789abcdef0.+01",
            "1.001",
        ] {
            assert_eq!(bad.parse::<RecipientId>(), Err(ParseIdError), "{bad}");
        }
    }
}
