//! Namespaced durable state in the embedded store. A key in the table is the namespace's length, the namespace and the
//! key, so that no namespace reaches into another. Expired facts read as absent and are removed by the writer in time.

use super::Embedded;
use super::content::guarded;
use super::reader::blocking;
use super::record::{self, Damaged};
use super::store::FACTS;
use super::writer::{FactRow, FactsOp, Op};
use crate::spool::{Fact, Facts, SpoolError};
use bytes::Bytes;
use postern_core::time::Timestamp;
use redb::ReadableDatabase;
use tokio::sync::oneshot;

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
        let value = fact.value.map(|value| record::encode_fact(&key, &value, fact.expires));
        Ok(FactRow { key, value })
    };
    facts.into_iter().map(row).collect()
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
}
