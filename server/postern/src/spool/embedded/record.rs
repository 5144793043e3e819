//! Rows of the embedded store as bytes: a message's immutable row, a fact, the checksum of a chunk of content.
//! Recipients' states are in `states`.
//!
//! Every row begins with a CRC-32 of its key and the rest, checked on every read, so that neither a flipped bit nor a
//! row in the wrong place is taken for mail. Rows are CBOR arrays with numbered fields: a later version may append
//! fields, and an older row reads with their defaults. What a row does *not* do is migrate: the store's format version
//! is `open`'s.

use crate::spool::{NewMessage, Origin, StoredMessage};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};
use postern_core::hook::Attributes;
use postern_core::mail::{
    Address, BodyType, Envelope, EnvelopeId, Notify, OriginalRecipient, QueueId, Recipient, Ret, ReversePath,
};
use postern_core::message::BodyHashes;
use postern_core::route::QueueKey;
use postern_core::time::Timestamp;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// A row could not be read: what was wrong, without its place.
#[derive(Debug)]
pub(super) struct Damaged(pub &'static str);

#[derive(Encode, Decode)]
struct Row<'b> {
    #[n(0)]
    accepted: u64,
    #[n(1)]
    deliver_at: u64,
    #[n(2)]
    header_len: u64,
    #[n(3)]
    len: u64,
    #[n(4)]
    streamed: bool,
    /// The distinct queues, as zone and destination in turn.
    #[b(5)]
    queues: Vec<&'b str>,
    /// Index into them by recipient; empty if there is only one.
    #[n(6)]
    queue_of: Vec<u32>,
    #[n(7)]
    recipients: u32,
    #[b(8)]
    envelope: EnvelopeRow<'b>,
    #[b(9)]
    origin: OriginRow<'b>,
    /// Of the body, simple and relaxed.
    #[n(10)]
    body_hashes: Option<[ByteArray<32>; 2]>,
}

/// The part of [`Row`] that the index is built from.
#[derive(Decode)]
struct RowHead<'b> {
    #[n(1)]
    deliver_at: u64,
    #[n(3)]
    len: u64,
    #[n(4)]
    streamed: bool,
    #[b(5)]
    queues: Vec<&'b str>,
    #[n(6)]
    queue_of: Vec<u32>,
    #[n(7)]
    recipients: u32,
}

/// The part of [`Row`] that says where the content is.
#[derive(Decode)]
struct RowExtent {
    #[n(2)]
    header_len: u64,
    #[n(3)]
    len: u64,
    #[n(4)]
    streamed: bool,
}

#[derive(Encode, Decode)]
struct EnvelopeRow<'b> {
    /// None is `<>`.
    #[b(0)]
    reverse_path: Option<&'b str>,
    #[b(1)]
    recipients: Vec<RecipientRow<'b>>,
    #[n(2)]
    eight_bit: bool,
    #[n(3)]
    smtputf8: bool,
    /// RET: is it FULL?
    #[n(4)]
    ret_full: Option<bool>,
    #[b(5)]
    envid: Option<&'b str>,
}

#[derive(Encode, Decode)]
struct RecipientRow<'b> {
    #[b(0)]
    address: &'b str,
    /// [`Notify::bits`].
    #[n(1)]
    notify: Option<u8>,
    /// ORCPT: type and address, decoded.
    #[b(2)]
    orcpt_kind: Option<&'b str>,
    #[b(3)]
    orcpt_address: Option<&'b str>,
    #[b(4)]
    pool: Option<&'b str>,
}

#[derive(Encode, Decode)]
struct OriginRow<'b> {
    #[b(0)]
    session: &'b str,
    #[b(1)]
    listener: &'b str,
    #[n(2)]
    peer_addr: Option<String>,
    #[b(3)]
    user: Option<&'b str>,
    /// Names and values in turn; None if there are none.
    #[b(4)]
    attributes: Option<Vec<&'b str>>,
}

impl<'b> RecipientRow<'b> {
    fn new(Recipient { address, notify, orcpt, pool }: &'b Recipient) -> Self {
        Self {
            address: address.as_str(),
            notify: notify.map(Notify::bits),
            orcpt_kind: orcpt.as_ref().map(OriginalRecipient::kind),
            orcpt_address: orcpt.as_ref().map(OriginalRecipient::address),
            pool: pool.as_deref(),
        }
    }

    fn read(&self) -> Result<Recipient, Damaged> {
        let notify = self.notify.map(|bits| Notify::from_bits(bits).ok_or(Damaged("what a recipient is notified of")));
        let orcpt = match (self.orcpt_kind, self.orcpt_address) {
            (None, None) => None,
            (Some(kind), Some(address)) => OriginalRecipient::from_decoded(kind, address).map(Some).ok_or(ORIGINAL)?,
            _ => return Err(ORIGINAL),
        };
        Ok(Recipient {
            address: address(self.address)?,
            notify: notify.transpose()?,
            orcpt,
            pool: self.pool.map(Arc::from),
        })
    }
}

const ORIGINAL: Damaged = Damaged("an original recipient");

/// What the index needs of a message.
pub(super) struct Head {
    pub due: u64,
    pub len: u64,
    pub streamed: bool,
    /// The distinct queues.
    pub queues: Vec<QueueKey>,
    /// Index into them by recipient; empty if there is only one.
    pub queue_of: Vec<u32>,
    pub recipients: u32,
}

/// The distinct queues of a message, and for each recipient which of them (nothing if there is only one).
pub(super) fn distinct(queues: &[QueueKey]) -> (Vec<QueueKey>, Vec<u32>) {
    let Some(first) = queues.first() else { return (Vec::new(), Vec::new()) };
    if queues.iter().all(|key| key == first) {
        return (vec![first.clone()], Vec::new());
    }
    let mut places: HashMap<&QueueKey, u32> = HashMap::new();
    let mut keys = Vec::new();
    let mut of = Vec::with_capacity(queues.len());
    for key in queues {
        let next = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        let place = *places.entry(key).or_insert(next);
        if place == next {
            keys.push(key.clone());
        }
        of.push(place);
    }
    (keys, of)
}

/// The row of a message whose queues are `keys`, for each recipient `queue_of` (see [`distinct`]).
pub(super) fn encode_message(
    id: QueueId,
    message: &NewMessage,
    keys: &[QueueKey],
    queue_of: &[u32],
    len: u64,
    streamed: bool,
) -> Vec<u8> {
    // Every field is named, so that one that is added to the values can't be forgotten here.
    let Envelope { reverse_path, recipients, body, smtputf8, ret, envid } = &message.envelope;
    let Origin { session, listener, peer_addr, user, attributes } = &message.origin;
    let row = Row {
        accepted: message.accepted.0,
        deliver_at: message.deliver_at.0,
        header_len: message.header.len() as u64,
        len,
        streamed,
        queues: keys.iter().flat_map(|key| [&*key.zone, &*key.destination]).collect(),
        queue_of: queue_of.to_vec(),
        recipients: count(recipients.len()),
        envelope: EnvelopeRow {
            reverse_path: match reverse_path {
                ReversePath::Null => None,
                ReversePath::Path(address) => Some(address.as_str()),
            },
            recipients: recipients.iter().map(RecipientRow::new).collect(),
            eight_bit: match body {
                BodyType::SevenBit => false,
                BodyType::EightBit => true,
            },
            smtputf8: *smtputf8,
            ret_full: ret.map(|ret| ret == Ret::Full),
            envid: envid.as_ref().map(EnvelopeId::as_str),
        },
        origin: OriginRow {
            session,
            listener,
            peer_addr: peer_addr.map(|peer| peer.to_string()),
            user: user.as_deref(),
            attributes: (!attributes.is_empty())
                .then(|| attributes.iter().flat_map(|(name, value)| [name.as_str(), value]).collect()),
        },
        body_hashes: message.body_hashes.map(|BodyHashes { simple, relaxed }| [simple.into(), relaxed.into()]),
    };
    seal(row_seed(id.0, 0), &row, 160 + 48 * recipients.len())
}

/// Reads a message's row.
pub(super) fn decode_message(id: QueueId, bytes: &[u8]) -> Result<StoredMessage, Damaged> {
    let row: Row<'_> = unseal(row_seed(id.0, 0), bytes)?;
    let keys = queue_keys(&row.queues)?;
    let recipients = row.envelope.recipients.iter().map(RecipientRow::read).collect::<Result<Vec<_>, _>>()?;
    let queues = if row.queue_of.is_empty() {
        let only = keys.first().ok_or(Damaged("a message without a queue"))?;
        vec![only.clone(); recipients.len()]
    } else {
        let key = |&place: &u32| keys.get(place as usize).cloned().ok_or(Damaged("a recipient without a queue"));
        row.queue_of.iter().map(key).collect::<Result<Vec<_>, _>>()?
    };
    if queues.len() != recipients.len() || recipients.len() != row.recipients as usize || recipients.is_empty() {
        return Err(Damaged("recipients and queues do not match"));
    }
    Ok(StoredMessage {
        id,
        envelope: Envelope {
            reverse_path: match row.envelope.reverse_path {
                None => ReversePath::Null,
                Some(path) => ReversePath::Path(address(path)?),
            },
            recipients,
            body: if row.envelope.eight_bit { BodyType::EightBit } else { BodyType::SevenBit },
            smtputf8: row.envelope.smtputf8,
            ret: row.envelope.ret_full.map(|full| if full { Ret::Full } else { Ret::Headers }),
            envid: match row.envelope.envid {
                None => None,
                Some(id) => Some(EnvelopeId::from_decoded(id).ok_or(Damaged("an envelope id"))?),
            },
        },
        queues,
        accepted: Timestamp(row.accepted),
        deliver_at: Timestamp(row.deliver_at),
        origin: Origin {
            session: row.origin.session.into(),
            listener: row.origin.listener.into(),
            peer_addr: match row.origin.peer_addr {
                None => None,
                Some(peer) => Some(peer.parse::<SocketAddr>().map_err(|_| Damaged("a peer address"))?),
            },
            user: row.origin.user.map(Arc::from),
            attributes: Arc::new(attributes(row.origin.attributes.as_deref().unwrap_or_default())?),
        },
        header_len: row.header_len,
        len: row.len,
        body_hashes: row
            .body_hashes
            .map(|[simple, relaxed]| BodyHashes { simple: simple.into(), relaxed: relaxed.into() }),
    })
}

/// Octets of the header block and of the content, and whether the body was streamed ahead of the commit.
pub(super) fn decode_extent(id: QueueId, bytes: &[u8]) -> Result<(u64, u64, bool), Damaged> {
    let row: RowExtent = unseal(row_seed(id.0, 0), bytes)?;
    if row.header_len > row.len {
        return Err(Damaged("a header block longer than the content"));
    }
    Ok((row.header_len, row.len, row.streamed))
}

/// Reads the part of a message's row that the index is built from.
pub(super) fn decode_head(id: QueueId, bytes: &[u8]) -> Result<Head, Damaged> {
    let row: RowHead<'_> = unseal(row_seed(id.0, 0), bytes)?;
    let queues = queue_keys(&row.queues)?;
    let places_fit = row.queue_of.iter().all(|&place| (place as usize) < queues.len());
    let counts_fit = row.queue_of.is_empty() || row.queue_of.len() == row.recipients as usize;
    if row.recipients == 0 || queues.is_empty() || !places_fit || !counts_fit {
        return Err(Damaged("recipients and queues do not match"));
    }
    Ok(Head {
        due: row.deliver_at,
        len: row.len,
        streamed: row.streamed,
        queues,
        queue_of: row.queue_of,
        recipients: row.recipients,
    })
}

fn attributes(texts: &[&str]) -> Result<Attributes, Damaged> {
    let (pairs, rest) = texts.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Damaged("an attribute without a value"));
    }
    Ok(pairs.iter().map(|[name, value]| ((*name).to_owned(), (*value).to_owned())).collect())
}

fn queue_keys(names: &[&str]) -> Result<Vec<QueueKey>, Damaged> {
    let (pairs, rest) = names.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Damaged("a queue without a destination"));
    }
    Ok(pairs
        .iter()
        .map(|[zone, destination]| QueueKey { zone: (*zone).into(), destination: (*destination).into() })
        .collect())
}

fn address(text: &str) -> Result<Address, Damaged> {
    Address::parse(text).map_err(|_| Damaged("an address"))
}

/// The CRC of a chunk of content: of its place, and of the parts it is made of.
pub(super) fn chunk_crc(id: u64, number: u32, parts: [&[u8]; 2]) -> u32 {
    let mut crc = seed(&[&id.to_le_bytes(), &number.to_le_bytes()]);
    for part in parts {
        crc.update(part);
    }
    crc.finalize()
}

/// A fact's value: CRC, expiry (the greatest number is never), octets.
pub(super) fn encode_fact(key: &[u8], value: &[u8], expires: Option<Timestamp>) -> Vec<u8> {
    let expires = expires.map_or(u64::MAX, |at| at.0).to_le_bytes();
    let mut crc = seed(&[key]);
    crc.update(&expires);
    crc.update(value);
    [&crc.finalize().to_le_bytes(), &expires[..], value].concat()
}

/// When the fact expires, and its value.
pub(super) fn decode_fact<'b>(key: &[u8], bytes: &'b [u8]) -> Result<(u64, &'b [u8]), Damaged> {
    let (crc, rest) = bytes.split_first_chunk::<4>().ok_or(Damaged("a fact is too short"))?;
    let (expires, value) = rest.split_first_chunk::<8>().ok_or(Damaged("a fact is too short"))?;
    let mut sum = seed(&[key]);
    sum.update(rest);
    if sum.finalize() != u32::from_le_bytes(*crc) {
        return Err(Damaged("a fact's checksum"));
    }
    Ok((u64::from_le_bytes(*expires), value))
}

pub(super) fn row_seed(id: u64, page: u32) -> crc32fast::Hasher {
    seed(&[&id.to_le_bytes(), &page.to_le_bytes()])
}

fn seed(parts: &[&[u8]]) -> crc32fast::Hasher {
    let mut crc = crc32fast::Hasher::new();
    for part in parts {
        crc.update(part);
    }
    crc
}

pub(super) fn seal<T: Encode<()>>(mut crc: crc32fast::Hasher, row: &T, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size);
    bytes.extend_from_slice(&[0; 4]);
    minicbor::encode(row, &mut bytes).expect("writing to a Vec does not fail");
    crc.update(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.finalize().to_le_bytes());
    bytes
}

pub(super) fn unseal<'b, T: Decode<'b, ()>>(mut crc: crc32fast::Hasher, bytes: &'b [u8]) -> Result<T, Damaged> {
    let (sum, row) = bytes.split_first_chunk::<4>().ok_or(Damaged("a row is too short"))?;
    crc.update(row);
    if crc.finalize() != u32::from_le_bytes(*sum) {
        return Err(Damaged("a row's checksum"));
    }
    minicbor::decode(row).map_err(|_| Damaged("a row's form"))
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn message() -> NewMessage {
        let mut envelope = Envelope::new(ReversePath::Path("a@b.example".parse().unwrap()));
        envelope.recipients =
            ["x@one.example", "y@two.example", "z@one.example"].map(|a| Recipient::new(a.parse().unwrap())).to_vec();
        envelope.body = BodyType::EightBit;
        let key = |d: &str| QueueKey { zone: "default".into(), destination: d.into() };
        NewMessage {
            envelope,
            header: Bytes::from_static(b"A: b\r\n"),
            queues: vec![key("one.example"), key("two.example"), key("one.example")],
            accepted: Timestamp(5),
            deliver_at: Timestamp(7),
            origin: Origin {
                session: "s".into(),
                listener: "l".into(),
                peer_addr: Some("[::1]:25".parse().unwrap()),
                user: Some("u".into()),
                attributes: Arc::default(),
            },
            starts: Vec::new(),
            body_hashes: Some(BodyHashes { simple: [1; 32], relaxed: [2; 32] }),
            facts: Vec::new(),
        }
    }

    #[test]
    fn message_rows_come_back_and_damage_is_seen() {
        let new = message();
        let (keys, of) = distinct(&new.queues);
        assert_eq!((keys.len(), &of[..]), (2, &[0, 1, 0][..]));
        let id = QueueId(9);
        let bytes = encode_message(id, &new, &keys, &of, 100, true);
        let stored = decode_message(id, &bytes).unwrap();
        assert_eq!((&stored.envelope, &stored.queues, &stored.origin), (&new.envelope, &new.queues, &new.origin));
        assert_eq!(
            (stored.accepted, stored.deliver_at, stored.header_len, stored.len),
            (Timestamp(5), Timestamp(7), 6, 100)
        );
        assert_eq!(stored.body_hashes, new.body_hashes);
        let head = decode_head(id, &bytes).unwrap();
        assert_eq!((head.due, head.streamed, head.recipients, head.queues.len()), (7, true, 3, 2));
        assert!(decode_message(QueueId(8), &bytes).is_err(), "a row in the wrong place");
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(decode_message(id, &flipped).is_err() && decode_head(id, &flipped).is_err(), "octet {at}");
        }
    }

    #[test]
    fn format_1_stays_as_it_is() {
        let new = NewMessage { body_hashes: None, ..message() };
        let (keys, of) = distinct(&new.queues);
        let hex = |bytes: &[u8]| bytes.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        assert_eq!(
            hex(&encode_message(QueueId(9), &new, &keys, &of, 100, true)),
            "2a307b648a0507061864f5846764656661756c746b6f6e652e6578616d706c656764656661756c746b74776f2e6578616d706c658300010003846b6140622e6578616d706c6583816d78406f6e652e6578616d706c65816d794074776f2e6578616d706c65816d7a406f6e652e6578616d706c65f5f4846173616c685b3a3a315d3a32356175"
        );
        assert_eq!(hex(&encode_fact(b"k", b"v", Some(Timestamp(4)))), "f412072e040000000000000076");
        assert_eq!(hex(&chunk_crc(1, 2, [b"a", b"b"]).to_le_bytes()), "286326de");
    }

    #[test]
    fn what_is_asked_of_dsns_is_appended_to_format_1() {
        let mut new = message();
        new.envelope.recipients.truncate(2);
        new.queues.truncate(2);
        new.queues[1] = new.queues[0].clone();
        (new.envelope.ret, new.envelope.envid) = (Some(Ret::Full), EnvelopeId::parse("e+20id"));
        new.envelope.recipients[0].notify = Notify::parse("SUCCESS,DELAY");
        new.envelope.recipients[1].orcpt = OriginalRecipient::parse("rfc822;o@p", false);
        let (keys, of) = distinct(&new.queues);
        let bytes = encode_message(QueueId(9), &new, &keys, &of, 100, true);
        assert_eq!(decode_message(QueueId(9), &bytes).unwrap().envelope, new.envelope);
        assert!(decode_head(QueueId(9), &bytes).is_ok() && decode_extent(QueueId(9), &bytes).is_ok());
        let envelope = "866b6140622e6578616d706c6582826d78406f6e652e6578616d706c6505846d794074776f2e6578616d706c65f666726663383232636f4070f5f4f564652069\
                        64";
        let hex: String = bytes.iter().map(|octet| format!("{octet:02x}")).collect();
        assert!(hex.contains(envelope), "{hex}");
    }

    #[test]
    fn what_plugins_decided_is_appended_to_format_1() {
        let mut new = NewMessage { body_hashes: None, ..message() };
        new.envelope.recipients[1].pool = Some("warm".into());
        new.origin.attributes = Arc::new(Attributes::from([("k".to_owned(), "v".to_owned())]));
        let (keys, of) = distinct(&new.queues);
        let bytes = encode_message(QueueId(9), &new, &keys, &of, 100, true);
        let stored = decode_message(QueueId(9), &bytes).unwrap();
        assert_eq!((&stored.envelope, &stored.origin), (&new.envelope, &new.origin));
        let hex: String = bytes.iter().map(|octet| format!("{octet:02x}")).collect();
        assert!(hex.contains("856d794074776f2e6578616d706c65f6f6f6647761726d"), "{hex}");
        assert!(hex.ends_with("856173616c685b3a3a315d3a3235617582616b6176"), "{hex}");
    }

    #[test]
    fn hashes_of_the_body_are_appended_to_format_1() {
        let new = message();
        let (keys, of) = distinct(&new.queues);
        let bytes = encode_message(QueueId(9), &new, &keys, &of, 100, true);
        assert_eq!(bytes[4], 0x8b, "eleven fields");
        let hex: String = bytes.iter().map(|octet| format!("{octet:02x}")).collect();
        assert!(hex.ends_with(&format!("825820{}5820{}", "01".repeat(32), "02".repeat(32))), "{hex}");
    }

    #[test]
    fn facts_come_back() {
        let bytes = encode_fact(b"k", b"v", Some(Timestamp(4)));
        assert_eq!(decode_fact(b"k", &bytes).unwrap(), (4, &b"v"[..]));
        assert!(decode_fact(b"l", &bytes).is_err());
    }
}
