//! `spool check`: every row and all content of a store that no server has open, read once, nothing changed.

use super::open::OpenError;
use super::states::{Fate, PAGE};
use super::store::{BODY, CHUNK};
use super::vault::{Row, Vault};
use crate::spool::StoredMessage;
use postern_core::mail::{QueueId, Seq};
use postern_core::time::Timestamp;
use std::path::Path;

/// Something of a store that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The message that it is about; None: the store as a whole.
    pub message: Option<QueueId>,
    /// What is wrong.
    pub what: String,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages whose row can be read.
    pub messages: u64,
    /// Their recipients that are not finished.
    pub recipients: u64,
    /// Of these, held.
    pub held: u64,
    /// Octets of content with right checksums.
    pub octets: u64,
    /// Pieces of durable state.
    pub facts: u64,
}

/// Where a recipient stands, as far as the store can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub seq: Seq,
    /// None: it can't be read.
    pub fate: Option<Fate>,
    pub reason: String,
}

/// Reads the store in `dir` whole, and tells of each damage as it is found.
///
/// # Errors
/// The store can't be opened at all, even for reading; see [`OpenError`].
pub fn check(dir: &Path, mut tell: impl FnMut(Damage)) -> Result<Counts, OpenError> {
    let vault = Vault::open(dir)?;
    let mut counts = Counts::default();
    for what in &vault.wrong {
        tell(Damage { message: None, what: what.clone() });
    }
    let ids = ids(&vault, &mut tell);
    for id in ids {
        let mut about = |what: String| tell(Damage { message: Some(QueueId(id)), what });
        match vault.row(id) {
            Row::Whole(message, streamed) => {
                let standings = standings(&vault, &message, &mut about);
                let live = |standing: &&Standing| standing.fate != Some(Fate::Done);
                counts.messages += 1;
                counts.recipients += standings.iter().filter(live).count() as u64;
                counts.held += standings.iter().filter(|s| matches!(s.fate, Some(Fate::Held { .. }))).count() as u64;
                for number in chunks(message.header_len, message.len, streamed) {
                    match vault.chunk(id, number.0) {
                        Ok(Some(data)) if data.len() == number.1 => counts.octets += data.len() as u64,
                        Ok(Some(_)) => about(format!("chunk {} of its content is of another length", number.0)),
                        Ok(None) => about(format!("chunk {} of its content is missing", number.0)),
                        Err(what) => about(format!("chunk {} of its content {what}", number.0)),
                    }
                }
            }
            Row::Missing => about("its row is missing; there are content or states of it".to_owned()),
            Row::Damaged(what) => about(format!("its row can't be read: {what}")),
        }
    }
    let (facts, wrong) = vault.facts();
    counts.facts = facts;
    wrong.into_iter().for_each(|what| tell(Damage { message: None, what }));
    if let Some(what) = vault.verify_pages() {
        tell(Damage { message: None, what });
    }
    Ok(counts)
}

/// All ids that anything is known of, and word of where more may have been.
pub(super) fn ids(vault: &Vault, tell: &mut impl FnMut(Damage)) -> Vec<u64> {
    let tables = [("messages", vault.messages()), ("content", vault.contents()), ("states", vault.states())];
    let mut ids = std::collections::BTreeSet::new();
    for (name, found) in tables {
        for (from, to) in found.gaps {
            let what = format!("{name} between {} and {} can't be read", QueueId(from), QueueId(to));
            tell(Damage { message: None, what });
        }
        ids.extend(found.ids);
    }
    ids.into_iter().collect()
}

/// Where each recipient of a message stands.
pub(super) fn standings(vault: &Vault, message: &StoredMessage, about: &mut impl FnMut(String)) -> Vec<Standing> {
    let recipients = u32::try_from(message.envelope.recipients.len()).unwrap_or(u32::MAX);
    let mut standings = Vec::with_capacity(recipients as usize);
    for number in 0..recipients.div_ceil(PAGE) {
        let page = vault.page(message.id.0, number);
        if let Err(what) = &page {
            about(format!("states of its recipients from {} on can't be read: {what}", Seq(number * PAGE + 1)));
        }
        for place in 0..PAGE.min(recipients - number * PAGE) {
            let accepted = Fate::Pending { due: message.deliver_at.0, attempts: 0, told: false };
            let place_in_page = place as usize;
            let (fate, reason) = match &page {
                Ok(page) => (Some(page.get(place_in_page).unwrap_or(accepted)), page.reason(place_in_page).to_owned()),
                Err(_) => (None, String::new()),
            };
            standings.push(Standing { seq: Seq(number * PAGE + place + 1), fate, reason });
        }
    }
    standings
}

/// The chunks of a message's content, in order, with their lengths.
pub(super) fn chunks(header_len: u64, len: u64, streamed: bool) -> impl Iterator<Item = (u32, usize)> {
    let packed = if streamed { header_len } else { len };
    let part = |first: u32, len: u64| {
        (0..len.div_ceil(CHUNK as u64)).map(move |number| {
            let left = len - number * CHUNK as u64;
            (first + u32::try_from(number).unwrap_or(BODY - 1), usize::try_from(left).unwrap_or(CHUNK).min(CHUNK))
        })
    };
    part(0, packed).chain(part(BODY, len.saturating_sub(packed)))
}

/// As operators name a state; `unknown` if it can't be read.
pub(super) fn state_name(fate: Option<Fate>) -> &'static str {
    match fate {
        None => "unknown",
        Some(Fate::Done) => "done",
        Some(Fate::Pending { .. }) => "pending",
        Some(Fate::Held { .. }) => "held",
    }
}

/// Attempts and next attempt of a state that has them.
pub(super) fn times(fate: Option<Fate>) -> Option<(u16, Timestamp)> {
    match fate? {
        Fate::Done => None,
        Fate::Pending { due, attempts, .. } | Fate::Held { due, attempts, .. } => Some((attempts, Timestamp(due))),
    }
}
