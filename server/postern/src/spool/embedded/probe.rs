//! Finding all keys of a tree some of whose pages can't be read: from the front as far as it goes, from the back as far
//! as it goes, and the same again in the halves of what lies between.

use std::collections::{BTreeSet, VecDeque};

/// The greatest id.
const LAST: u64 = u64::MAX >> 1;
/// How often a gap is halved, all gaps together. Each costs two reads that fail.
const HALVES: usize = 512;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The ids.
    pub ids: BTreeSet<u64>,
    /// Ranges in which there may be more.
    pub gaps: Vec<(u64, u64)>,
}

/// All ids that `first` and `last` of a range find.
pub(super) fn all<E>(
    first: impl Fn(u64, u64) -> Result<Option<u64>, E>,
    last: impl Fn(u64, u64) -> Result<Option<u64>, E>,
) -> Found {
    let mut found = Found::default();
    let mut open = VecDeque::from([(0, LAST)]);
    let mut halves = HALVES;
    while let Some((mut from, mut to)) = open.pop_front() {
        // An id outside of the range that was asked for is damage too.
        let inside = |id: Result<Option<u64>, E>, from: u64, to: u64| match id {
            Ok(Some(id)) if id < from || id > to => None,
            Ok(id) => Some(id),
            Err(_) => None,
        };
        let whole = loop {
            match inside(first(from, to), from, to) {
                Some(None) => break true,
                Some(Some(id)) => {
                    found.ids.insert(id);
                    if id == to {
                        break true;
                    }
                    from = id + 1;
                }
                None => break false,
            }
        };
        if whole {
            continue;
        }
        let whole = loop {
            match inside(last(from, to), from, to) {
                Some(None) => break true,
                Some(Some(id)) => {
                    found.ids.insert(id);
                    if id == from {
                        break true;
                    }
                    to = id - 1;
                }
                None => break false,
            }
        };
        if whole {
            continue;
        }
        if halves > 0 && from < to {
            halves -= 1;
            let middle = from + (to - from) / 2;
            open.extend([(from, middle), (middle + 1, to)]);
        } else {
            found.gaps.push((from, to));
        }
    }
    found.gaps = joined(std::mem::take(&mut found.gaps), &found.ids);
    found
}

/// Gaps with nothing known between them are one.
fn joined(mut gaps: Vec<(u64, u64)>, ids: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    gaps.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (from, to) in gaps {
        match joined.last_mut() {
            Some(before) if ids.range(before.1..=from).next().is_none() => before.1 = to,
            _ => joined.push((from, to)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of `ids` in leaves of four, of which those in `broken` can't be read.
    fn check(ids: &[u64], broken: &[usize], lost: &[u64]) {
        let leaves: Vec<&[u64]> = ids.chunks(4).collect();
        let leaf_of = |id: u64| leaves.iter().position(|leaf| leaf[leaf.len() - 1] >= id).unwrap_or(leaves.len() - 1);
        let read =
            |leaf: usize| -> Result<&[u64], ()> { if broken.contains(&leaf) { Err(()) } else { Ok(leaves[leaf]) } };
        let first = |from: u64, to: u64| -> Result<Option<u64>, ()> {
            for leaf in leaf_of(from)..leaves.len() {
                if let Some(id) = read(leaf)?.iter().find(|id| **id >= from) {
                    return Ok(Some(*id).filter(|id| *id <= to));
                }
            }
            Ok(None)
        };
        let last = |from: u64, to: u64| -> Result<Option<u64>, ()> {
            for leaf in (0..=leaf_of(to)).rev() {
                if let Some(id) = read(leaf)?.iter().rfind(|id| **id <= to) {
                    return Ok(Some(*id).filter(|id| *id >= from));
                }
            }
            Ok(None)
        };
        let found = all(first, last);
        let wanted: BTreeSet<u64> = ids.iter().copied().filter(|id| !lost.contains(id)).collect();
        assert_eq!(found.ids, wanted);
        assert_eq!(found.gaps.is_empty(), lost.is_empty(), "{:?}", found.gaps);
        for id in lost {
            assert!(found.gaps.iter().any(|(from, to)| (from..=to).contains(&id)), "{id}: {:?}", found.gaps);
        }
    }

    #[test]
    fn everything_outside_of_broken_leaves_is_found() {
        let ids: Vec<u64> = (0..40).map(|n| (1 << 60) + n * 1_000_000).collect();
        check(&ids, &[], &[]);
        check(&ids, &[3], &ids[12..16]);
        check(&ids, &[0], &ids[..4]);
        check(&ids, &[9], &ids[36..]);
        check(&ids, &[2, 7], &[&ids[8..12], &ids[28..32]].concat());
        check(&[0, LAST], &[], &[]);
    }
}
