//! A row's form in the store: what it is, when it expires, and its octets. The store hides rows that have expired and
//! says of none when it will; the quota and the counters need to know.

use super::ServiceError;
use bytes::{BufMut, Bytes, BytesMut};
use postern_core::time::Timestamp;

const VALUE: u8 = 1;
const COUNTER: u8 = 2;
/// The tag and the time.
const HEAD: usize = 9;
const NEVER: u64 = u64::MAX;

/// What is stored under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) stored: Stored,
    pub(super) expires: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Value(Bytes),
    Counter(i64),
}

impl Row {
    pub(super) fn encode(&self) -> Bytes {
        let mut row = BytesMut::new();
        let tag = if matches!(self.stored, Stored::Value(_)) { VALUE } else { COUNTER };
        row.put_u8(tag);
        row.put_u64_le(self.expires.map_or(NEVER, |at| at.0));
        match &self.stored {
            Stored::Value(value) => row.put_slice(value),
            Stored::Counter(value) => row.put_i64_le(*value),
        }
        row.freeze()
    }

    pub(super) fn decode(row: &Bytes) -> Result<Self, ServiceError> {
        let damaged = || ServiceError::unavailable("what is stored under this key can't be read");
        let (head, payload) = row.split_first_chunk::<HEAD>().ok_or_else(damaged)?;
        let [tag, expires @ ..] = *head;
        let expires = u64::from_le_bytes(expires);
        let stored = match (tag, <[u8; 8]>::try_from(payload)) {
            (VALUE, _) => Stored::Value(row.slice(HEAD..)),
            (COUNTER, Ok(value)) => Stored::Counter(i64::from_le_bytes(value)),
            _ => return Err(damaged()),
        };
        Ok(Self { stored, expires: (expires != NEVER).then_some(Timestamp(expires)) })
    }
}

/// Octets that count for the quota.
pub(super) fn size(key: &str, row: &Bytes) -> u64 {
    (key.len() + row.len().saturating_sub(HEAD)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written() {
        let rows = [
            (Row { stored: Stored::Value(Bytes::new()), expires: None }, 3),
            (Row { stored: Stored::Value(Bytes::from_static(b"12345678")), expires: Some(Timestamp(7)) }, 11),
            (Row { stored: Stored::Counter(-5), expires: Some(Timestamp(0)) }, 11),
        ];
        for (row, octets) in rows {
            let written = row.encode();
            assert_eq!(Row::decode(&written), Ok(row));
            assert_eq!(size("key", &written), octets);
        }
        for damaged in [&b""[..], b"\x01", b"\x03\0\0\0\0\0\0\0\0x", b"\x02\0\0\0\0\0\0\0\x001234567"] {
            assert_eq!(Row::decode(&Bytes::from_static(damaged)).unwrap_err().word, "unavailable");
        }
    }
}
