//! Against guessing passwords: failed logins are counted by client and by the name that was tried; whoever has too
//! many is turned away for a while.
//!
//! All ways in count together: whoever guesses can't begin anew over HTTP. A name that somebody else guesses at stays open to
//! addresses from which it logged in before. At most
//! [`MAX_ENTRIES`] of each kind are kept; when there are more, old ones give way.

use super::network::network;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// In so long failures are counted, and for so long nobody is let try again.
pub const WINDOW: Duration = Duration::from_secs(600);
/// So long an address is known to be a user's.
const KNOWN: Duration = Duration::from_secs(24 * 3600);
/// Most entries of each kind.
const MAX_ENTRIES: usize = 10_000;
/// Longest name that is kept, in octets; longer ones are counted by their beginning.
const MAX_NAME: usize = 64;

/// The failed logins of all ways in. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<Counts>>);

/// How many of them are too many for one listener.
#[derive(Debug)]
pub struct Guard {
    limit: u32,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Counts {
    addresses: HashMap<IpAddr, Failures>,
    users: HashMap<String, Failures>,
    known: HashMap<(IpAddr, String), Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    since: Instant,
}

impl Guard {
    /// Turns away after `limit` failures, wherever they were.
    #[must_use]
    pub fn new(limit: u32, tally: Tally) -> Self {
        Self { limit, tally }
    }

    /// Has there been too much, from this address or for this name?
    #[must_use]
    pub fn turns_away(&self, peer: IpAddr, user: &str, now: Instant) -> bool {
        let (network, user) = (network(peer), beginning(user));
        let counts = self.tally.0.lock().unwrap_or_else(PoisonError::into_inner);
        let too_many = |failures: Option<&Failures>| {
            failures.is_some_and(|failures| failures.count >= self.limit && now - failures.since < WINDOW)
        };
        if too_many(counts.addresses.get(&network)) {
            return true;
        }
        let is_known = || counts.known.get(&(network, user.to_owned())).is_some_and(|at| now - *at < KNOWN);
        too_many(counts.users.get(user)) && !is_known()
    }

    /// A login failed; without a name (a token alone) the address alone is to blame.
    pub fn failed(&self, peer: IpAddr, user: &str, now: Instant) {
        let mut counts = self.tally.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Counts { addresses, users, .. } = &mut *counts;
        let by_address = Some(count(addresses, network(peer), now));
        let by_name = (!user.is_empty()).then(|| count(users, beginning(user).to_owned(), now));
        for failures in by_address.into_iter().chain(by_name) {
            failures.count = failures.count.saturating_add(1);
            if failures.count == self.limit {
                failures.since = now;
            }
        }
    }

    /// A login succeeded.
    pub fn succeeded(&self, peer: IpAddr, user: &str, now: Instant) {
        let mut counts = self.tally.0.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut counts.known, |at| now - *at < KNOWN);
        counts.known.insert((network(peer), beginning(user).to_owned()), now);
    }
}

fn count<K: Hash + Eq + Clone>(all: &mut HashMap<K, Failures>, key: K, now: Instant) -> &mut Failures {
    if !all.contains_key(&key) {
        make_room(all, |failures| now - failures.since < WINDOW);
    }
    let fresh = Failures { count: 0, since: now };
    let failures = all.entry(key).or_insert(fresh);
    if now - failures.since >= WINDOW {
        *failures = fresh;
    }
    failures
}

/// Of a full table what is over goes, and if nothing is, any one.
fn make_room<K: Hash + Eq + Clone, V>(all: &mut HashMap<K, V>, lasts: impl Fn(&V) -> bool) {
    if all.len() < MAX_ENTRIES {
        return;
    }
    all.retain(|_, value| lasts(value));
    if all.len() >= MAX_ENTRIES
        && let Some(any) = all.keys().next().cloned()
    {
        all.remove(&any);
    }
}

fn beginning(user: &str) -> &str {
    &user[..user.floor_char_boundary(MAX_NAME)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn by_address_and_by_user() {
        let (guard, start) = (Guard::new(3, Tally::default()), Instant::now());
        for n in 0..3 {
            assert!(!guard.turns_away(ip("192.0.2.1"), "any", start));
            guard.failed(ip("192.0.2.1"), &format!("user{n}"), start);
        }
        assert!(guard.turns_away(ip("192.0.2.1"), "any", start));
        assert!(guard.turns_away(ip("::ffff:192.0.2.1"), "any", start));
        assert!(!guard.turns_away(ip("192.0.2.2"), "user0", start));
        assert!(!guard.turns_away(ip("192.0.2.1"), "any", start + WINDOW));
        // Many addresses, one name; the user's own address stays open.
        guard.succeeded(ip("198.51.100.9"), "app", start);
        for host in 0..3 {
            guard.failed(ip(&format!("2001:db8:0:{host}::1")), "app", start);
        }
        assert!(guard.turns_away(ip("203.0.113.1"), "app", start));
        assert!(!guard.turns_away(ip("198.51.100.9"), "app", start));
        assert!(!guard.turns_away(ip("203.0.113.1"), "other", start));
    }

    #[test]
    fn failures_count_together_under_different_limits() {
        let (tally, start) = (Tally::default(), Instant::now());
        let (smtp, http) = (Guard::new(2, tally.clone()), Guard::new(3, tally));
        http.failed(ip("192.0.2.1"), "a", start);
        smtp.failed(ip("192.0.2.1"), "", start);
        assert!(smtp.turns_away(ip("192.0.2.1"), "b", start) && !http.turns_away(ip("192.0.2.1"), "b", start));
        http.failed(ip("192.0.2.1"), "", start);
        assert!(http.turns_away(ip("192.0.2.1"), "", start));
        assert!(!http.turns_away(ip("192.0.2.2"), "", start), "tokens have no name that others could block");
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_failures_are_forgotten() {
        let (guard, start) = (Guard::new(2, Tally::default()), Instant::now());
        guard.failed(ip("2001:db8::1"), "a", start);
        guard.failed(ip("2001:db8::2"), "b", start + WINDOW / 2);
        assert!(guard.turns_away(ip("2001:db8::3"), "c", start + WINDOW), "ten minutes from the last failure");
        assert!(!guard.turns_away(ip("2001:db8::3"), "c", start + WINDOW * 3 / 2));
        assert!(!guard.turns_away(ip("2001:db8:0:1::3"), "c", start + WINDOW / 2));
        guard.failed(ip("192.0.2.1"), "d", start);
        guard.failed(ip("192.0.2.1"), "d", start + WINDOW);
        assert!(!guard.turns_away(ip("192.0.2.1"), "d", start + WINDOW), "the first is forgotten");
    }

    #[test]
    fn memory_is_bounded() {
        let (guard, now) = (Guard::new(2, Tally::default()), Instant::now());
        for n in 0..u32::try_from(MAX_ENTRIES + 100).unwrap() {
            guard.failed(IpAddr::V4(n.into()), &n.to_string(), now);
            guard.succeeded(IpAddr::V4(n.into()), &n.to_string(), now);
        }
        let counts = guard.tally.0.lock().unwrap();
        assert_eq!((counts.addresses.len(), counts.users.len(), counts.known.len()), (10_000, 10_000, 10_000));
    }
}
