//! Pools: the addresses of ours that a zone's mail leaves from, and which of them for whom.
//!
//! The choice is sticky: a recipient gets the same address for as long as the pool has it, with nothing remembered
//! (greylisting looks at the address it was last tried from). It is by rendezvous hashing: each address draws a number
//! from its own and the recipient's text, scaled by its weight, and the addresses stand in the order of their numbers.
//! An address that comes or goes moves only its own recipients.

use super::Source;
use crate::mail::{Address, Seq};
use std::sync::Arc;

/// One address of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolAddress {
    /// The address and its name.
    pub source: Source,
    /// Its share of the recipients, relative to the others'. 0: only when no other can be used.
    pub weight: f64,
}

/// The addresses of one `[pool.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// As in `[pool.NAME]`.
    pub name: Arc<str>,
    addresses: Vec<PoolAddress>,
}

/// Why there can be no such pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// No address at all.
    #[error("needs at least one address")]
    Empty,
    /// A weight is negative, infinite or not a number.
    #[error("a weight must be 0 or more")]
    Weight,
    /// Two are the same.
    #[error("the same address stands there twice")]
    Twice,
}

/// Recipients that are delivered to from one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The pool's addresses for them, best first; never empty.
    pub sources: Vec<Source>,
    /// Who they are.
    pub recipients: Vec<Seq>,
}

impl Pool {
    /// A pool of these addresses.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn new(name: Arc<str>, addresses: Vec<PoolAddress>) -> Result<Self, PoolError> {
        if addresses.is_empty() {
            return Err(PoolError::Empty);
        }
        if addresses.iter().any(|address| !address.weight.is_finite() || address.weight < 0.0) {
            return Err(PoolError::Weight);
        }
        let again = |(at, address): (usize, &PoolAddress)| {
            addresses[..at].iter().any(|other| other.source.ip == address.source.ip)
        };
        if addresses.iter().enumerate().any(again) {
            return Err(PoolError::Twice);
        }
        Ok(Self { name, addresses })
    }

    /// All its addresses, as configured.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.addresses.iter().map(|address| &address.source)
    }

    /// The addresses for one recipient, best first.
    #[must_use]
    pub fn order(&self, recipient: &Address) -> Vec<Source> {
        let recipient = hash(OFFSET, recipient.as_str().to_lowercase().as_bytes());
        let mut drawn: Vec<(f64, &Source)> =
            self.addresses.iter().map(|address| (draw(recipient, address), &address.source)).collect();
        drawn.sort_by(|a, b| b.0.total_cmp(&a.0));
        drawn.into_iter().map(|(_, source)| source.clone()).collect()
    }

    /// `recipients` by the address that is best for them; groups and their recipients in the order given.
    #[must_use]
    pub fn group<'r>(&self, recipients: impl Iterator<Item = (Seq, &'r Address)>) -> Vec<Group> {
        if let [only] = &self.addresses[..] {
            return vec![Group {
                sources: vec![only.source.clone()],
                recipients: recipients.map(|(seq, _)| seq).collect(),
            }];
        }
        let mut groups: Vec<Group> = Vec::new();
        for (seq, address) in recipients {
            let sources = self.order(address);
            match groups.iter_mut().find(|group| group.sources[0] == sources[0]) {
                Some(group) => group.recipients.push(seq),
                None => groups.push(Group { sources, recipients: vec![seq] }),
            }
        }
        groups
    }
}

/// The number that an address draws for a recipient: `-w / ln(u)`, u evenly from 0 to 1, so that an address comes first
/// with a probability of its share of the weights.
fn draw(recipient: u64, address: &PoolAddress) -> f64 {
    let ip = address.source.ip.to_string();
    // 53 bits make a float without loss; the half keeps it off 0 and 1.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    let even = ((mix(hash(recipient, ip.as_bytes())) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    if address.weight == 0.0 {
        // Behind all that have a weight, in an order of their own.
        return even - 1.0;
    }
    -address.weight / even.ln()
}

/// FNV-1a. Written out here since the choice must not change with a version of a library.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

fn hash(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finalizer of SplitMix64: FNV's high bits are poor for short texts.
fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::net::IpAddr;

    fn pool(weights: &[(&str, f64)]) -> Pool {
        let address = |(ip, weight): &(&str, f64)| PoolAddress {
            source: Source { ip: ip.parse().unwrap(), helo: "h.example".into() },
            weight: *weight,
        };
        Pool::new("p".into(), weights.iter().map(address).collect()).unwrap()
    }

    fn first(pool: &Pool, recipient: usize) -> IpAddr {
        pool.order(&Address::parse(&format!("user{recipient}@example.com")).unwrap())[0].ip
    }

    #[test]
    fn shares_follow_the_weights() {
        let pool = pool(&[("192.0.2.1", 1.0), ("192.0.2.2", 3.0), ("192.0.2.3", 0.0)]);
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        (0..10_000).for_each(|n| *counts.entry(first(&pool, n)).or_default() += 1);
        let count = |ip: &str| counts.get(&ip.parse::<IpAddr>().unwrap()).copied().unwrap_or(0);
        assert!((2_300..2_700).contains(&count("192.0.2.1")), "{counts:?}");
        assert_eq!(count("192.0.2.1") + count("192.0.2.2"), 10_000);
        assert_eq!(count("192.0.2.3"), 0, "a weight of 0 is a reserve");
    }

    #[test]
    fn the_choice_is_sticky() {
        let two = pool(&[("192.0.2.1", 1.0), ("192.0.2.2", 1.0)]);
        let three = pool(&[("192.0.2.3", 1.0), ("192.0.2.2", 1.0), ("192.0.2.1", 1.0)]);
        let moved = (0..1_000).filter(|n| first(&two, *n) != first(&three, *n));
        let new: IpAddr = "192.0.2.3".parse().unwrap();
        let moved: Vec<usize> = moved.collect();
        assert!((250..420).contains(&moved.len()), "a third goes to the new address: {}", moved.len());
        assert!(moved.iter().all(|n| first(&three, *n) == new), "and nobody moves between the old ones");
        let upper = Address::parse("USER1@EXAMPLE.COM").unwrap();
        assert_eq!(two.order(&upper)[0].ip, first(&two, 1));
        // Fixed for all versions: a change would send everybody's next mail from another address.
        let firsts: String =
            (0..16).map(|n| if first(&two, n) == "192.0.2.1".parse::<IpAddr>().unwrap() { '1' } else { '2' }).collect();
        assert_eq!(firsts, FIRSTS);
    }

    const FIRSTS: &str = "2122211122221112";

    #[test]
    fn groups_by_first_choice() {
        let addresses: Vec<Address> = (0..20).map(|n| Address::parse(&format!("u{n}@example.com")).unwrap()).collect();
        let recipients = || (1..).map(Seq).zip(&addresses);
        let both = pool(&[("192.0.2.1", 1.0), ("2001:db8::1", 1.0)]);
        let groups = both.group(recipients());
        assert_eq!(groups.len(), 2);
        let mut all: Vec<Seq> = groups.iter().flat_map(|group| group.recipients.clone()).collect();
        all.sort();
        assert_eq!(all, (1..=20).map(Seq).collect::<Vec<_>>());
        for group in &groups {
            assert!(group.recipients.iter().all(|seq| both.order(&addresses[seq.index()])[0] == group.sources[0]));
            assert_eq!(group.sources.len(), 2, "the other is the reserve");
        }
        assert_eq!(pool(&[("0.0.0.0", 1.0)]).group(recipients()).len(), 1);
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        let address =
            |ip: &str, weight| PoolAddress { source: Source { ip: ip.parse().unwrap(), helo: String::new() }, weight };
        let check = |addresses, error| assert_eq!(Pool::new("p".into(), addresses), Err(error));
        check(vec![], PoolError::Empty);
        check(vec![address("192.0.2.1", -1.0)], PoolError::Weight);
        check(vec![address("192.0.2.1", f64::NAN)], PoolError::Weight);
        check(vec![address("192.0.2.1", 1.0), address("192.0.2.1", 2.0)], PoolError::Twice);
    }
}
