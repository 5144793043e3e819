//! Namespaced durable state in the embedded store. A key in the table is the namespace's length, the namespace and the
//! key, so that no namespace reaches into another; a key that the store gives is an id (see `Numbers`). Expired facts read as absent and are removed by the writer in time.

use super::Embedded;
use super::content::guarded;
use super::reader::blocking;
use super::record::{self, Damaged};
use super::shared::{Shared, lock};
use super::store::FACTS;
use super::store::{StoreError, Tables};
use super::writer::{FactRow, FactsOp, Op};
use crate::spool::{Fact, Facts, SpoolError};
use bytes::Bytes;
use minicbor::{Decode, Encode};
use postern_core::time::Timestamp;
use redb::ReadableDatabase;
use tokio::sync::{oneshot, watch};

const MAX_KEY: usize = 1024;
const MAX_VALUE: usize = 64 * 1024;

fn full_key(namespace: &str, key: &[u8]) -> Result<Vec<u8>, SpoolError> {
    let len = u8::try_from(namespace.len())
        .map_err(|_| SpoolError::Invalid("a namespace of more than 255 octets".to_owned()))?;
    Ok([&[len], namespace.as_bytes(), key].concat())
}

/// Checks facts and makes rows of them.
pub(super) fn encode(facts: Vec<Fact>) -> Result<Vec<FactRow>, SpoolError> {
    let row = |fact: Fact| {
        if fact.key.len() > MAX_KEY || fact.value.as_ref().is_some_and(|value| value.len() > MAX_VALUE) {
            return Err(SpoolError::Invalid(format!("a fact of {} that is too long", fact.namespace)));
        }
        let key = full_key(&fact.namespace, &fact.key)?;
        Ok(match fact.value {
            Some(value) if fact.key.is_empty() => {
                let expires = fact.expires.map(|expires| expires.0);
                FactRow::Append(Entry { base: key, value: value.into(), expires })
            }
            Some(value) => FactRow::Put { row: record::encode_fact(&key, &value, fact.expires), key },
            None => FactRow::Remove { key },
        })
    };
    facts.into_iter().map(row).collect()
}

/// Checks facts of which all are appended.
pub(super) fn entries(facts: Vec<Fact>) -> Result<Vec<Entry>, SpoolError> {
    let entry = |row| match row {
        FactRow::Append(entry) => Ok(entry),
        FactRow::Put { .. } | FactRow::Remove { .. } => {
            Err(SpoolError::Invalid("a fact that is not appended, with an operator's action".to_owned()))
        }
    };
    encode(facts)?.into_iter().map(entry).collect()
}

/// A row for the end of a namespace, which gets its key in the transaction that writes it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Entry {
    /// The key without the number.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub base: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
    #[n(2)]
    pub expires: Option<u64>,
}

/// Gives the keys of [`Entry`]s of one transaction: ids, which never go back.
pub(super) struct Numbers<'s> {
    shared: &'s Shared,
    now: Timestamp,
    /// The last one given; 0 if there was none.
    pub newest: u64,
}

impl<'s> Numbers<'s> {
    pub(super) fn new(shared: &'s Shared) -> Self {
        Self { shared, now: (shared.options.clock)(), newest: 0 }
    }

    fn next(&mut self) -> u64 {
        self.newest = lock(&self.shared.ids).next(self.now).0;
        self.newest
    }

    /// What was appended is durable.
    pub(super) fn tell(&self) {
        if self.newest > 0 {
            self.shared.appended.send_replace(self.newest);
        }
    }
}

/// Writes facts into the transaction.
pub(super) fn write(tables: &mut Tables<'_>, facts: &[FactRow], numbers: &mut Numbers<'_>) -> Result<(), StoreError> {
    facts.iter().try_for_each(|fact| match fact {
        FactRow::Put { key, row } => tables.put_fact(key, Some(row)),
        FactRow::Remove { key } => tables.put_fact(key, None),
        FactRow::Append(entry) => append(tables, entry, numbers),
    })
}

/// Writes one at the end of its namespace.
pub(super) fn append(tables: &mut Tables<'_>, entry: &Entry, numbers: &mut Numbers<'_>) -> Result<(), StoreError> {
    let key = [&entry.base[..], &numbers.next().to_be_bytes()].concat();
    let row = record::encode_fact(&key, &entry.value, entry.expires.map(Timestamp));
    tables.put_fact(&key, Some(&row))
}

fn damaged(Damaged(what): Damaged) -> redb::Error {
    redb::Error::Corrupted(what.to_owned())
}

impl Facts for Embedded {
    async fn get(&self, namespace: &str, key: &[u8], now: Timestamp) -> Result<Option<Bytes>, SpoolError> {
        let key = full_key(namespace, key)?;
        blocking(self.shared(), move |db| {
            guarded(|| {
                let facts = db.begin_read()?.open_table(FACTS)?;
                let Some(row) = facts.get(&key[..])? else { return Ok(None) };
                let (expires, value) = record::decode_fact(&key, row.value()).map_err(damaged)?;
                Ok((expires > now.0).then(|| Bytes::copy_from_slice(value)))
            })
        })
        .await
    }

    async fn scan(
        &self,
        namespace: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, SpoolError> {
        let (base, prefix) = (full_key(namespace, &[])?.len(), full_key(namespace, prefix)?);
        let after = after.map(|after| full_key(namespace, after)).transpose()?;
        // The first key behind `after` is `after` and a zero octet.
        let start = after.map_or_else(|| prefix.clone(), |after| prefix.clone().max([&after[..], &[0]].concat()));
        blocking(self.shared(), move |db| {
            guarded(|| {
                let facts = db.begin_read()?.open_table(FACTS)?;
                let mut found = Vec::new();
                for row in facts.range::<&[u8]>(&start[..]..)? {
                    let (key, row) = row?;
                    if found.len() >= limit || !key.value().starts_with(&prefix) {
                        break;
                    }
                    let (expires, value) = record::decode_fact(key.value(), row.value()).map_err(damaged)?;
                    if expires > now.0 {
                        found.push((key.value()[base..].to_vec(), Bytes::copy_from_slice(value)));
                    }
                }
                Ok(found)
            })
        })
        .await
    }

    async fn write(&self, facts: Vec<Fact>) -> Result<(), SpoolError> {
        let facts = encode(facts)?;
        let (ack, answer) = oneshot::channel();
        self.handle.send(Op::Facts(FactsOp { facts, ack })).await?;
        self.handle.answer(answer).await
    }

    fn appended(&self) -> watch::Receiver<u64> {
        self.shared().appended.subscribe()
    }
}
