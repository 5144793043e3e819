//! Session, envelope and message as guests see them. Every text that a guest gives is checked here.
//!
//! Edits go to the plugin's own copy of the transaction, which is kept only if its call succeeds.

use crate::bindings::postern::plugin::envelope::{Host as EnvelopeMod, HostEnvelope};
use crate::bindings::postern::plugin::message::{Host as MessageMod, HostMessage, Position, ReadError};
use crate::bindings::postern::plugin::session::{Host as SessionMod, HostSession};
use crate::bindings::postern::plugin::types::{EditError, Host as TypesMod};
use crate::state::{EnvelopeHandle, GuestState, MessageHandle, SessionHandle};
use crate::words;
use postern_core::hook::Transaction;
use postern_core::mail::{Address, OriginalRecipient, Recipient, ReversePath};
use postern_core::message::{Field, HeaderError};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Result;
use wasmtime::component::Resource;

/// Octets of body that one `read-body` gives.
const MAX_READ: u32 = 256 << 10;
const MAX_RECIPIENTS: usize = 10_000;
const MAX_ATTRIBUTES: usize = 128;
const MAX_ATTRIBUTE: usize = 4 << 10;
const MAX_DELAY: Duration = Duration::from_secs(30 * 24 * 3600);

type Edit<T = ()> = std::result::Result<T, EditError>;

impl TypesMod for GuestState {}
impl SessionMod for GuestState {}
impl EnvelopeMod for GuestState {}
impl MessageMod for GuestState {}

impl HostSession for GuestState {
    fn id(&mut self, _: Resource<SessionHandle>) -> Result<String> {
        Ok(self.transaction()?.session.id.to_string())
    }

    fn listener(&mut self, _: Resource<SessionHandle>) -> Result<String> {
        Ok(self.transaction()?.session.listener.to_string())
    }

    fn peer_address(&mut self, _: Resource<SessionHandle>) -> Result<String> {
        Ok(self.transaction()?.session.peer_addr.ip().to_string())
    }

    fn peer_port(&mut self, _: Resource<SessionHandle>) -> Result<u16> {
        Ok(self.transaction()?.session.peer_addr.port())
    }

    fn helo(&mut self, _: Resource<SessionHandle>) -> Result<String> {
        Ok(self.transaction()?.session.helo.to_string())
    }

    fn protocol(&mut self, _: Resource<SessionHandle>) -> Result<String> {
        Ok(self.transaction()?.session.protocol.name().to_owned())
    }

    fn user(&mut self, _: Resource<SessionHandle>) -> Result<Option<String>> {
        Ok(self.transaction()?.session.user.as_deref().map(str::to_owned))
    }

    fn drop(&mut self, _: Resource<SessionHandle>) -> Result<()> {
        Ok(())
    }
}

impl HostEnvelope for GuestState {
    fn reverse_path(&mut self, _: Resource<EnvelopeHandle>) -> Result<String> {
        Ok(self.transaction()?.envelope.reverse_path.as_str().to_owned())
    }

    fn set_reverse_path(&mut self, _: Resource<EnvelopeHandle>, text: String) -> Result<Edit> {
        let path = match text.as_str() {
            "" => Ok(ReversePath::Null),
            text => address(text).map(ReversePath::Path),
        };
        self.edit(format_args!("reverse-path <{text}>"), |transaction| {
            let path = path?;
            if let ReversePath::Path(address) = &path {
                transaction.envelope.smtputf8 |= address.is_international();
            }
            transaction.envelope.reverse_path = path;
            Ok(true)
        })
    }

    fn recipient_count(&mut self, _: Resource<EnvelopeHandle>) -> Result<u32> {
        Ok(count(self.transaction()?.envelope.recipients.len()))
    }

    fn recipient(&mut self, _: Resource<EnvelopeHandle>, index: u32) -> Result<Option<String>> {
        let recipient = self.transaction()?.envelope.recipients.get(index as usize);
        Ok(recipient.map(|recipient| recipient.address.as_str().to_owned()))
    }

    fn add_recipient(&mut self, _: Resource<EnvelopeHandle>, text: String) -> Result<Edit> {
        self.edit(format_args!("add recipient {text}"), |transaction| {
            let new = address(&text)?;
            let recipients = &mut transaction.envelope.recipients;
            if recipients.iter().any(|recipient| same(&recipient.address, &new)) {
                return Ok(false);
            }
            if recipients.len() >= MAX_RECIPIENTS {
                return Err(EditError::TooLarge);
            }
            transaction.envelope.smtputf8 |= new.is_international();
            recipients.push(Recipient::new(new));
            Ok(true)
        })
    }

    fn remove_recipient(&mut self, _: Resource<EnvelopeHandle>, index: u32) -> Result<Edit> {
        let old = self.transaction()?.envelope.recipients.get(index as usize).map(|old| old.address.clone());
        let Some(old) = old else { return Ok(Err(EditError::NotFound)) };
        self.edit(format_args!("remove recipient {old}"), |transaction| {
            // A message that nobody gets would end in no state at all.
            if transaction.envelope.recipients.len() == 1 {
                return Err(EditError::LastRecipient);
            }
            transaction.envelope.recipients.remove(index as usize);
            Ok(true)
        })
    }

    fn replace_recipient(&mut self, _: Resource<EnvelopeHandle>, index: u32, text: String) -> Result<Edit> {
        let old = self.transaction()?.envelope.recipients.get(index as usize).map(|old| old.address.clone());
        let Some(old) = old else { return Ok(Err(EditError::NotFound)) };
        self.edit(format_args!("replace recipient {old} by {text}"), |transaction| {
            let new = address(&text)?;
            let recipients = &mut transaction.envelope.recipients;
            let index = index as usize;
            if recipients.iter().enumerate().any(|(at, other)| at != index && same(&other.address, &new)) {
                // Nobody gets a message twice.
                recipients.remove(index);
            } else if let Some(recipient) = recipients.get_mut(index) {
                transaction.envelope.smtputf8 |= new.is_international();
                let old = std::mem::replace(&mut recipient.address, new);
                // RFC 3461 section 5.2.1: DSNs name the recipient as the sender knows it.
                if recipient.orcpt.is_none() {
                    recipient.orcpt = OriginalRecipient::of(&old);
                }
            }
            Ok(true)
        })
    }

    fn zone(&mut self, _: Resource<EnvelopeHandle>) -> Result<Option<String>> {
        Ok(self.transaction()?.zone.as_deref().map(str::to_owned))
    }

    fn set_zone(&mut self, _: Resource<EnvelopeHandle>, name: Option<String>) -> Result<Edit> {
        self.edit(format_args!("zone {}", name.as_deref().unwrap_or("by config")), |transaction| {
            name.as_deref().map(word).transpose()?;
            transaction.zone = name.as_deref().map(Arc::from);
            Ok(true)
        })
    }

    fn delay(&mut self, _: Resource<EnvelopeHandle>) -> Result<Option<u64>> {
        Ok(self.transaction()?.delay.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)))
    }

    fn set_delay(&mut self, _: Resource<EnvelopeHandle>, milliseconds: Option<u64>) -> Result<Edit> {
        let delay = milliseconds.map(Duration::from_millis);
        self.edit(format_args!("delay {} ms", milliseconds.unwrap_or(0)), |transaction| {
            if delay.is_some_and(|delay| delay > MAX_DELAY) {
                return Err(EditError::TooLarge);
            }
            transaction.delay = delay;
            Ok(true)
        })
    }

    fn attribute(&mut self, _: Resource<EnvelopeHandle>, name: String) -> Result<Option<String>> {
        Ok(self.transaction()?.attributes.get(&name).cloned())
    }

    fn attribute_names(&mut self, _: Resource<EnvelopeHandle>) -> Result<Vec<String>> {
        Ok(self.transaction()?.attributes.keys().cloned().collect())
    }

    fn set_attribute(&mut self, _: Resource<EnvelopeHandle>, name: String, value: Option<String>) -> Result<Edit> {
        self.edit(format_args!("attribute {name}"), |transaction| {
            word(&name)?;
            let attributes = &mut transaction.attributes;
            let Some(value) = value else { return Ok(attributes.remove(&name).is_some()) };
            if value.contains(char::is_control) {
                return Err(EditError::BadValue);
            }
            let is_new = !attributes.contains_key(&name);
            if value.len() > MAX_ATTRIBUTE || (is_new && attributes.len() >= MAX_ATTRIBUTES) {
                return Err(EditError::TooLarge);
            }
            attributes.insert(name.clone(), value);
            Ok(true)
        })
    }

    fn drop(&mut self, _: Resource<EnvelopeHandle>) -> Result<()> {
        Ok(())
    }
}

impl HostMessage for GuestState {
    fn id(&mut self, _: Resource<MessageHandle>) -> Result<String> {
        Ok(self.transaction()?.queue_id.to_string())
    }

    fn size(&mut self, _: Resource<MessageHandle>) -> Result<u64> {
        let transaction = self.transaction()?;
        Ok(transaction.header.len() as u64 + transaction.body.len())
    }

    fn header(&mut self, _: Resource<MessageHandle>, name: String) -> Result<Option<String>> {
        Ok(self.transaction()?.header.first(&name).map(value))
    }

    fn header_all(&mut self, _: Resource<MessageHandle>, name: String) -> Result<Vec<String>> {
        Ok(self.transaction()?.header.all(&name).map(value).collect())
    }

    fn header_count(&mut self, _: Resource<MessageHandle>) -> Result<u32> {
        Ok(count(self.transaction()?.header.count()))
    }

    fn header_at(&mut self, _: Resource<MessageHandle>, index: u32) -> Result<Option<(String, String)>> {
        Ok(self.transaction()?.header.get(index as usize).map(|field| (name_of(field), value(field))))
    }

    fn raw_headers(&mut self, _: Resource<MessageHandle>) -> Result<Vec<(String, Vec<u8>)>> {
        let raw = |field: &Field| (name_of(field), field.raw_value().to_vec());
        Ok(self.transaction()?.header.fields().map(raw).collect())
    }

    fn add_header(
        &mut self,
        _: Resource<MessageHandle>,
        name: String,
        value: String,
        position: Position,
    ) -> Result<Edit> {
        let position = match position {
            Position::Top => postern_core::message::Position::Top,
            Position::Bottom => postern_core::message::Position::Bottom,
        };
        self.edit(format_args!("add {name}"), |transaction| {
            let value = writable(transaction, value)?;
            transaction.header.add(position, &name, &value).map_err(header_error)?;
            Ok(true)
        })
    }

    fn set_header(&mut self, _: Resource<MessageHandle>, name: String, value: String) -> Result<Edit> {
        self.edit(format_args!("set {name}"), |transaction| {
            let value = writable(transaction, value)?;
            transaction.header.set(&name, &value).map_err(header_error)?;
            Ok(true)
        })
    }

    fn remove_header(&mut self, _: Resource<MessageHandle>, name: String) -> Result<Edit<u32>> {
        let mut removed = 0;
        let edited = self.edit(format_args!("remove {name}"), |transaction| {
            if name.is_empty() || !name.bytes().all(|b| (33..=126).contains(&b) && b != b':') {
                return Err(EditError::BadName);
            }
            removed = transaction.header.remove(&name);
            Ok(removed > 0)
        })?;
        Ok(edited.map(|()| count(removed)))
    }

    fn body_size(&mut self, _: Resource<MessageHandle>) -> Result<u64> {
        Ok(self.transaction()?.body.len().saturating_sub(EMPTY_LINE))
    }

    async fn read_body(
        &mut self,
        _: Resource<MessageHandle>,
        offset: u64,
        max: u32,
    ) -> Result<std::result::Result<Vec<u8>, ReadError>> {
        let transaction = self.transaction()?;
        let (source, queue_id) = (transaction.body.clone(), transaction.queue_id);
        let start = self.cpu.now();
        let read = source.read(offset.saturating_add(EMPTY_LINE), max.min(MAX_READ) as usize).await;
        self.cpu.waited_since(start);
        Ok(read.map(|bytes| bytes.to_vec()).map_err(|error| {
            tracing::error!(plugin = &*self.identity.name, %queue_id, %error, "cannot read the body for a plugin");
            ReadError::Unavailable
        }))
    }

    fn drop(&mut self, _: Resource<MessageHandle>) -> Result<()> {
        Ok(())
    }
}

/// The body section begins with the empty line that ends the header.
const EMPTY_LINE: u64 = 2;

impl GuestState {
    /// Makes one edit and remembers it, if it was allowed and changed anything.
    fn edit(
        &mut self,
        what: std::fmt::Arguments<'_>,
        edit: impl FnOnce(&mut Transaction) -> Edit<bool>,
    ) -> Result<Edit> {
        if !self.may_edit() {
            return Ok(Err(EditError::TooLarge));
        }
        Ok(match edit(self.transaction_mut()?) {
            Ok(true) => {
                self.changed(what);
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        })
    }
}

fn address(text: &str) -> Edit<Address> {
    Address::parse(text).map_err(|_| EditError::BadAddress)
}

/// RFC 5321 section 2.4: domains compare without case, local parts with it.
fn same(a: &Address, b: &Address) -> bool {
    a.local() == b.local() && a.domain().eq_ignore_ascii_case(b.domain())
}

/// Names of zones and attributes.
fn word(name: &str) -> Edit {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if (1..=64).contains(&name.len()) && name.bytes().all(ok) { Ok(()) } else { Err(EditError::BadName) }
}

/// The value as it may stand in the header: without control characters but tab, and ASCII unless the message came with
/// SMTPUTF8.
fn writable(transaction: &Transaction, value: String) -> Edit<String> {
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(EditError::BadValue);
    }
    if value.is_ascii() || transaction.envelope.smtputf8 { Ok(value) } else { Ok(words::encode(&value)) }
}

fn header_error(error: HeaderError) -> EditError {
    match error {
        HeaderError::Name => EditError::BadName,
        HeaderError::Value | HeaderError::LineTooLong => EditError::BadValue,
        HeaderError::TooLarge => EditError::TooLarge,
    }
}

fn value(field: &Field) -> String {
    words::decode(field.value())
}

fn name_of(field: &Field) -> String {
    String::from_utf8_lossy(field.name()).into_owned()
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
