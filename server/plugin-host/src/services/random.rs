//! Random octets from the system's generator, with a small buffer, so that a number costs no system call.
//!
//! Octets leave the buffer once and are wiped from it: what a guest got can't be read back.

use super::error::ServiceError;

/// So many octets at a time.
pub const MAX_RANDOM: u32 = 4096;
/// What is asked of the system at once; requests that are larger go past the buffer.
const BUFFER: usize = 256;

/// The random octets of one instance.
#[derive(Debug)]
pub struct Random {
    buffer: [u8; BUFFER],
    /// Octets of the buffer that were given out.
    used: usize,
}

impl Default for Random {
    fn default() -> Self {
        Self { buffer: [0; BUFFER], used: BUFFER }
    }
}

impl Random {
    /// `count` octets.
    ///
    /// # Errors
    /// `too-large`: more than [`MAX_RANDOM`]; `unavailable`: the system has none.
    pub fn bytes(&mut self, count: u32) -> Result<Vec<u8>, ServiceError> {
        if count > MAX_RANDOM {
            return Err(ServiceError::too_large(format_args!("at most {MAX_RANDOM} random octets at a time")));
        }
        let mut octets = vec![0; count as usize];
        self.fill(&mut octets)?;
        Ok(octets)
    }

    /// A number from all 64 bits.
    ///
    /// # Errors
    /// `unavailable`: the system has none.
    pub fn number(&mut self) -> Result<u64, ServiceError> {
        let mut octets = [0; 8];
        self.fill(&mut octets)?;
        Ok(u64::from_le_bytes(octets))
    }

    fn fill(&mut self, octets: &mut [u8]) -> Result<(), ServiceError> {
        let system = |octets: &mut [u8]| {
            let failed = |error| ServiceError::unavailable(format_args!("no random octets: {error}"));
            getrandom::fill(octets).map_err(failed)
        };
        if octets.len() > BUFFER {
            return system(octets);
        }
        if octets.len() > BUFFER - self.used {
            // Until it is full again it has nothing to give.
            self.used = BUFFER;
            system(&mut self.buffer)?;
            self.used = 0;
        }
        let taken = &mut self.buffer[self.used..self.used + octets.len()];
        octets.copy_from_slice(taken);
        taken.fill(0);
        self.used += octets.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn octets_differ_and_are_given_once() {
        let mut random = Random::default();
        let numbers: HashSet<u64> = (0..10_000).map(|_| random.number().unwrap()).collect();
        assert_eq!(numbers.len(), 10_000);
        for count in [0, 1, 7, 255, 256, 257, MAX_RANDOM] {
            let octets = random.bytes(count).unwrap();
            assert_eq!(octets.len(), count as usize);
            let at_most = octets.len() / 16 + 4;
            assert!(octets.iter().filter(|octet| **octet == 0).count() <= at_most, "{count}: {octets:?}");
        }
        assert!(random.buffer[..random.used].iter().all(|octet| *octet == 0));
        assert_eq!(random.bytes(MAX_RANDOM + 1).unwrap_err().word, "too-large");
    }
}
