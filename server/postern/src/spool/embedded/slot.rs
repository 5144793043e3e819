//! One recipient in the index: 16 octets.

use super::store::MAX_DIRECT;
use crate::spool::State;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotState {
    Pending,
    Leased,
    Held,
    Done,
}

/// One recipient.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub due: u64,
    pub queue: u32,
    pub attempts: u16,
    pub state: SlotState,
    pub flags: u8,
}

impl Slot {
    /// The sender was told that this recipient is late.
    pub(super) fn is_told(&self) -> bool {
        self.flags & TOLD != 0
    }

    /// It waits, for its time or for an operator.
    pub(super) fn wait(&mut self, state: SlotState, due: u64, attempts: u16, told: bool) {
        (self.state, self.due, self.attempts) = (state, due, attempts);
        self.flags = self.flags & !TOLD | if told { TOLD } else { 0 };
    }
}

/// There is a page of states.
pub(super) const STATES: u8 = 1 << 7;
/// Of the slot rather than the message, even where that has only one: [`Slot::is_told`].
const TOLD: u8 = 1 << 6;
/// The other bits: [`Extent::chunks`].
pub(super) const CHUNKS: u8 = MAX_DIRECT;
const _: () = assert!((STATES | TOLD) & CHUNKS == 0 && CHUNKS.count_ones() == CHUNKS.trailing_ones());

impl SlotState {
    /// As operators see it; None is not in the queue.
    pub(super) fn shown(self) -> Option<State> {
        match self {
            Self::Pending => Some(State::Pending),
            Self::Leased => Some(State::InAttempt),
            Self::Held => Some(State::Held),
            Self::Done => None,
        }
    }
}
