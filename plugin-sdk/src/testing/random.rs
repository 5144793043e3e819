//! Random numbers that are the same in each run.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// Sets where the numbers begin.
pub fn seed(seed: u64) {
    STATE.set(seed);
}

#[allow(unreachable_pub)]
pub(crate) mod host {
    /// SplitMix64.
    pub fn number() -> u64 {
        let state = super::STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        super::STATE.set(state);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn bytes(count: u32) -> Vec<u8> {
        let count = count.min(4096) as usize;
        let mut bytes: Vec<u8> = (0..count.div_ceil(8)).flat_map(|_| number().to_le_bytes()).collect();
        bytes.truncate(count);
        bytes
    }
}
