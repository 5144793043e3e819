//! Random octets from the system's generator. Needs `grants = { random = true }`.

use crate::backend::random as host;

/// `count` octets, at most 4,096.
#[must_use]
pub fn bytes(count: u32) -> Vec<u8> {
    host::bytes(count)
}

/// A number from all 64 bits.
#[must_use]
pub fn number() -> u64 {
    host::number()
}

/// A number below `limit`; 0 if that is 0. For shares of traffic: the first numbers are preferred by one in 2^64.
#[must_use]
pub fn below(limit: u64) -> u64 {
    ((u128::from(number()) * u128::from(limit)) >> 64) as u64
}
