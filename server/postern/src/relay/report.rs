//! DSNs on their way into the queue: which recipients there is something to tell of, the original read back, the report
//! in a draft. What a report looks like is `core::message::dsn`'s.

use super::router::Zones;
use crate::intake::Router;
use crate::spool::{Draft, NewMessage, Origin, Spool, SpoolError, StoredMessage};
use bytes::Bytes;
use postern_core::mail::{Address, Recipient, ReversePath};
use postern_core::message::dsn::{self, Action, Reported};
use postern_core::message::{ContentSource, HeaderBlock};
use postern_core::route::QueueKey;
use postern_core::time::Timestamp;
use postern_core::zone::{self, DEFAULT_ZONE, Zone};
use std::sync::Arc;
use tracing::warn;

/// At most this much of a message's header is looked at for a DSN, in octets.
const MAX_HEADER: u64 = 1 << 20;

/// What DSNs are made with.
pub struct Reporter<'a, S: Spool> {
    /// Where they go, and where the original is.
    pub spool: &'a S,
    /// By which zone they go.
    pub zones: &'a Zones,
    /// `Reporting-MTA`.
    pub hostname: &'a str,
}

/// The original, as far as a DSN needs it.
pub struct Original<'a> {
    message: &'a StoredMessage,
    header: HeaderBlock,
    return_to: &'a Address,
}

impl<S: Spool> Reporter<'_, S> {
    /// Reads the header of a message, if its sender may be told anything at all.
    pub async fn original<'m>(&self, zone: &Zone, message: &'m StoredMessage) -> Option<Original<'m>> {
        let ReversePath::Path(return_to) = &message.envelope.reverse_path else { return None };
        // If it can't be read the sender is told all the same.
        let header = self.read(message, message.header_len.min(MAX_HEADER)).await.unwrap_or_default();
        let header = HeaderBlock::parse(&header);
        dsn::wanted(&message.envelope, &header, &zone.dsn.address).then_some(Original { message, header, return_to })
    }

    /// Writes the report into a draft.
    ///
    /// # Errors
    /// There is no room for it now, or no zone.
    pub async fn draft(
        &self,
        zone: &Zone,
        original: &Original<'_>,
        recipients: &[Reported<'_>],
        now: Timestamp,
    ) -> Result<(S::Sealed, NewMessage), SpoolError> {
        let Original { message, header, return_to } = original;
        let queue = self.queue_for(return_to, message);
        let queue = queue.ok_or_else(|| SpoolError::Invalid("there is no zone for it".into()))?;
        let failed = recipients.iter().any(|reported| matches!(reported.action, Action::Failed { .. }));
        let content = match dsn::returns_whole(&message.envelope, failed, message.len) {
            true => self.read(message, message.len).await,
            false => None,
        };
        let report = dsn::Report {
            hostname: self.hostname,
            from_name: &zone.dsn.name,
            from: &zone.dsn.address,
            to: return_to,
            queue_id: message.id,
            envelope: &message.envelope,
            arrival: message.accepted,
            now,
            recipients,
            header,
            content: content.as_ref(),
        };
        let dsn = report.compose();
        let mut draft = self.spool.begin_own().await?;
        draft.write(dsn.body).await?;
        let sealed = draft.seal().await?;
        let new = NewMessage {
            envelope: dsn.envelope,
            header: dsn.header,
            queues: vec![queue],
            accepted: now,
            deliver_at: now,
            origin: Origin {
                session: "-".into(),
                listener: "-".into(),
                peer_addr: None,
                user: None,
                attributes: Arc::default(),
            },
            starts: Vec::new(),
            body_hashes: None,
            facts: Vec::new(),
        };
        Ok((sealed, new))
    }

    /// Where a DSN goes: by the zone that claims its recipient, else by the message's. A zone that claimed the message's
    /// own recipient is for that recipient's domain alone, and what it hands to may take nothing else: then by `default`.
    fn queue_for(&self, return_to: &Address, message: &StoredMessage) -> Option<QueueKey> {
        let recipient = Recipient::new(return_to.clone());
        let claimed = |recipient| zone::by_recipient(self.zones.all(), recipient).map(|zone| &**zone);
        let zone = Some(&*message.queues[0].zone);
        let own = zone.filter(|_| claimed(&message.envelope.recipients[0]) != zone);
        let zones = claimed(&recipient).into_iter().chain(own).chain([DEFAULT_ZONE]);
        zones.into_iter().find_map(|zone| self.zones.route(&recipient, Some(zone)))
    }

    /// The first `len` octets of a message.
    async fn read(&self, message: &StoredMessage, len: u64) -> Option<Bytes> {
        let id = message.id;
        let found = match self.spool.open(id).await {
            Ok(content) => read(&*content, len).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        found.map_err(|error| warn!(%id, error, "a message can't be read for its DSN")).ok()
    }
}

async fn read(content: &dyn ContentSource, len: u64) -> std::io::Result<Bytes> {
    let mut all = Vec::new();
    while (all.len() as u64) < len {
        let missing = usize::try_from(len).unwrap_or(usize::MAX) - all.len();
        let piece = content.read(all.len() as u64, missing).await?;
        if piece.is_empty() {
            break;
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.into())
}

/// The host of `host[ip]:port`: `Remote-MTA` wants a name. None if there was no session with one.
pub fn remote_host(next_hop: &str) -> Option<&str> {
    next_hop.split_once('[').map(|(host, _)| host).filter(|host| !host.is_empty())
}
