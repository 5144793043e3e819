//! Recipients' durable states, in pages of 256, so that a settlement of one recipient among 100,000 rewrites one small
//! row. A page that isn't there means that all its recipients are as they were accepted.

use super::record::{self, Damaged, row_seed};
use minicbor::{Decode, Encode};

/// Recipients in one page of states.
pub(super) const PAGE: u32 = 256;
/// Longest reason kept for a deferred recipient.
const MAX_REASON: usize = 512;

/// A recipient's durable state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Out of the queue.
    Done,
    /// Waits until `due`. `told`: the sender knows that it is late.
    Pending { due: u64, attempts: u16, told: bool },
    /// Waits for an operator; `due` is what it was.
    Held { due: u64, attempts: u16, told: bool },
}

/// One recipient in a page.
#[derive(Clone, Copy, Debug, Encode, Decode)]
struct StateRow {
    #[n(0)]
    kind: u8,
    #[n(1)]
    due: u64,
    #[n(2)]
    attempts: u16,
    /// Place of its reason, from 1; 0 is none.
    #[n(3)]
    reason: u16,
    /// The sender was told of the delay; absent: not yet.
    #[n(4)]
    told: Option<bool>,
}

/// The states of up to 256 recipients; one that isn't there is as it was accepted.
#[derive(Clone, Debug, Default, Encode, Decode)]
pub(super) struct Page {
    #[n(0)]
    states: Vec<Option<StateRow>>,
    #[n(1)]
    reasons: Vec<String>,
}

impl Page {
    /// Sets the state of the recipient at `place`. A `reason` of None keeps the one it had.
    pub(super) fn set(&mut self, place: usize, fate: Fate, reason: Option<&str>) {
        if self.states.len() <= place {
            self.states.resize(place + 1, None);
        }
        let kept = self.states[place].map_or(0, |state| state.reason);
        let (kind, due, attempts, told) = match fate {
            Fate::Done => (0, 0, 0, false),
            Fate::Pending { due, attempts, told } => (1, due, attempts, told),
            Fate::Held { due, attempts, told } => (2, due, attempts, told),
        };
        let reason = match (fate, reason) {
            (Fate::Done, _) => 0,
            (_, Some(text)) => self.place_of(text),
            (_, None) => kept,
        };
        self.states[place] = Some(StateRow { kind, due, attempts, reason, told: told.then_some(true) });
    }

    /// What is said of the recipient at `place`; None: it is as it was accepted.
    pub(super) fn get(&self, place: usize) -> Option<Fate> {
        let StateRow { kind, due, attempts, told, .. } = (*self.states.get(place)?)?;
        let told = told.unwrap_or(false);
        Some(match kind {
            0 => Fate::Done,
            1 => Fate::Pending { due, attempts, told },
            _ => Fate::Held { due, attempts, told },
        })
    }

    /// Why the recipient at `place` was deferred last.
    pub(super) fn reason(&self, place: usize) -> &str {
        let reason = self.states.get(place).copied().flatten().map_or(0, |state| usize::from(state.reason));
        reason.checked_sub(1).and_then(|at| self.reasons.get(at)).map_or("", String::as_str)
    }

    fn place_of(&mut self, text: &str) -> u16 {
        let text = cut(text);
        if text.is_empty() {
            return 0;
        }
        let at = self.reasons.iter().position(|known| known == text).unwrap_or_else(|| {
            self.reasons.push(text.to_owned());
            self.reasons.len() - 1
        });
        u16::try_from(at + 1).unwrap_or(0)
    }

    /// Drops reasons that nobody has any more.
    fn tidy(&mut self) {
        let mut places = vec![0u16; self.reasons.len() + 1];
        let mut kept = Vec::new();
        for state in self.states.iter_mut().flatten() {
            let old = usize::from(state.reason);
            let Some(text) = old.checked_sub(1).and_then(|at| self.reasons.get(at)) else { continue };
            if places[old] == 0 {
                kept.push(text.clone());
                places[old] = u16::try_from(kept.len()).unwrap_or(0);
            }
            state.reason = places[old];
        }
        self.reasons = kept;
    }

    pub(super) fn seal(&mut self, id: u64, page: u32) -> Vec<u8> {
        self.tidy();
        record::seal(row_seed(id, page + 1), self, 64)
    }

    pub(super) fn from_row(id: u64, page: u32, bytes: &[u8]) -> Result<Self, Damaged> {
        let read: Self = record::unseal(row_seed(id, page + 1), bytes)?;
        if read.states.iter().flatten().any(|state| state.kind > 2) {
            return Err(Damaged("a recipient in a state that is none"));
        }
        Ok(read)
    }
}

/// A reason on one line, at most 512 octets, cut between characters.
fn cut(text: &str) -> &str {
    let line = text.split(['\r', '\n']).next().unwrap_or_default();
    let mut end = line.len().min(MAX_REASON);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    &line[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_no_known_kind_is_damage() {
        let mut page = Page::default();
        page.set(0, Fate::Held { due: 1, attempts: 1, told: false }, None);
        page.states[0].as_mut().unwrap().kind = 3;
        assert!(Page::from_row(1, 0, &page.seal(1, 0)).is_err());
    }

    #[test]
    fn format_1_stays_as_it_is() {
        let mut page = Page::default();
        page.set(1, Fate::Pending { due: 7, attempts: 2, told: false }, Some("no"));
        let hex: String = page.seal(1, 0)[4..].iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(hex, "8282f684010702018162 6e6f".replace(' ', ""));
        assert_eq!(page.seal(1, 0), page.clone().seal(1, 0));
    }

    #[test]
    fn that_the_sender_was_told_is_appended_to_format_1() {
        let mut page = Page::default();
        let told = Fate::Held { due: 7, attempts: 2, told: true };
        page.set(0, told, None);
        let row = page.seal(1, 0);
        let hex: String = row[4..].iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(hex, "8281850207020 0f580".replace(' ', ""));
        assert_eq!(Page::from_row(1, 0, &row).unwrap().get(0), Some(told));
    }

    #[test]
    fn pages_share_reasons_and_forget_them() {
        let mut page = Page::default();
        let fate = Fate::Pending { due: 3, attempts: 2, told: false };
        page.set(255, fate, Some(&format!("{}é", "x".repeat(511))));
        page.set(3, fate, Some("busy\r\nX"));
        page.set(4, Fate::Held { due: 9, attempts: 1, told: false }, Some("busy"));
        page.set(4, Fate::Held { due: 9, attempts: 1, told: false }, None);
        let read = Page::from_row(1, 0, &page.seal(1, 0)).unwrap();
        assert_eq!((read.get(0), read.get(3), read.reason(3), read.reason(4)), (None, Some(fate), "busy", "busy"));
        assert_eq!((read.reason(255).len(), read.reasons.len()), (511, 2));
        page.set(3, Fate::Done, None);
        page.set(4, Fate::Done, None);
        let read = Page::from_row(1, 0, &page.seal(1, 0)).unwrap();
        assert_eq!((read.get(4), read.reason(4), read.reasons.len()), (Some(Fate::Done), "", 1));
        assert!(Page::from_row(1, 1, &page.seal(1, 0)).is_err());
    }
}
