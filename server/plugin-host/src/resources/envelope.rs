//! The resources `envelope` and `recipient`.

use super::{CONTENT, address, count, delay, milliseconds, set_attribute, word};
use crate::bindings::postern::plugin::envelope::{Host, HostEnvelope, HostRecipient};
use crate::error::{HostResult, LAST_RECIPIENT, NOT_FOUND, TOO_LARGE, error};
use crate::state::{EnvelopeHandle, GuestState, RecipientHandle};
use postern_core::hook::HookPoint;
use postern_core::mail::{Address, OriginalRecipient, Recipient, ReversePath};
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::Resource;

const MAX_RECIPIENTS: usize = 10_000;

/// The hooks that may change the reverse-path.
const PATH: [HookPoint; 4] = [HookPoint::Mail, HookPoint::Spam, HookPoint::Rewrite, HookPoint::RewritePart];

impl Host for GuestState {}

impl HostEnvelope for GuestState {
    fn reverse_path(&mut self, _: Resource<EnvelopeHandle>) -> Result<String> {
        Ok(self.transaction()?.envelope.reverse_path.as_str().to_owned())
    }

    fn set_reverse_path(&mut self, _: Resource<EnvelopeHandle>, text: String) -> Result<HostResult> {
        if let Err(refused) = self.only_in(&PATH) {
            return Ok(Err(refused));
        }
        let path = match text.as_str() {
            "" => Ok(ReversePath::Null),
            text => address(text).map(ReversePath::Path),
        };
        self.edit(format_args!("reverse-path <{text}>"), |transaction| {
            let path = path?;
            if let ReversePath::Path(address) = &path {
                transaction.envelope_mut().smtputf8 |= address.is_international();
            }
            transaction.envelope_mut().reverse_path = path;
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

    fn add_recipient(&mut self, _: Resource<EnvelopeHandle>, text: String) -> Result<HostResult> {
        if let Err(refused) = self.only_in(&CONTENT) {
            return Ok(Err(refused));
        }
        self.edit(format_args!("add recipient {text}"), |transaction| {
            let new = address(&text)?;
            let envelope = transaction.envelope_mut();
            let recipients = &mut envelope.recipients;
            if recipients.iter().any(|recipient| same(&recipient.address, &new)) {
                return Ok(false);
            }
            if recipients.len() >= MAX_RECIPIENTS {
                return Err(too_many());
            }
            envelope.smtputf8 |= new.is_international();
            recipients.push(Recipient::new(new));
            Ok(true)
        })
    }

    fn remove_recipient(&mut self, _: Resource<EnvelopeHandle>, index: u32) -> Result<HostResult> {
        if let Err(refused) = self.only_in(&CONTENT) {
            return Ok(Err(refused));
        }
        let old = self.transaction()?.envelope.recipients.get(index as usize).map(|old| old.address.clone());
        let Some(old) = old else { return Ok(Err(no_recipient())) };
        self.edit(format_args!("remove recipient {old}"), |transaction| {
            // A message that nobody gets would end in no state at all.
            if transaction.envelope.recipients.len() == 1 {
                return Err(error(LAST_RECIPIENT, "a message needs a recipient"));
            }
            transaction.envelope_mut().recipients.remove(index as usize);
            Ok(true)
        })
    }

    fn replace_recipient(&mut self, _: Resource<EnvelopeHandle>, index: u32, text: String) -> Result<HostResult> {
        if let Err(refused) = self.only_in(&CONTENT) {
            return Ok(Err(refused));
        }
        let old = self.transaction()?.envelope.recipients.get(index as usize).map(|old| old.address.clone());
        let Some(old) = old else { return Ok(Err(no_recipient())) };
        self.edit(format_args!("replace recipient {old} by {text}"), |transaction| {
            let new = address(&text)?;
            let envelope = transaction.envelope_mut();
            let recipients = &mut envelope.recipients;
            let index = index as usize;
            if recipients.iter().enumerate().any(|(at, other)| at != index && same(&other.address, &new)) {
                // Nobody gets a message twice.
                recipients.remove(index);
            } else if let Some(recipient) = recipients.get_mut(index) {
                envelope.smtputf8 |= new.is_international();
                replace(recipient, new);
            }
            Ok(true)
        })
    }

    fn zone(&mut self, _: Resource<EnvelopeHandle>) -> Result<Option<String>> {
        Ok(self.transaction()?.zone.as_deref().map(str::to_owned))
    }

    fn set_zone(&mut self, _: Resource<EnvelopeHandle>, name: Option<String>) -> Result<HostResult> {
        self.edit(format_args!("zone {}", name.as_deref().unwrap_or("by config")), |transaction| {
            name.as_deref().map(word).transpose()?;
            transaction.zone = name.as_deref().map(Arc::from);
            Ok(true)
        })
    }

    fn delay(&mut self, _: Resource<EnvelopeHandle>) -> Result<Option<u64>> {
        Ok(self.transaction()?.delay.map(milliseconds))
    }

    fn set_delay(&mut self, _: Resource<EnvelopeHandle>, wanted: Option<u64>) -> Result<HostResult> {
        self.edit(format_args!("delay {} ms", wanted.unwrap_or(0)), |transaction| {
            transaction.delay = wanted.map(delay).transpose()?;
            Ok(true)
        })
    }

    fn attribute(&mut self, _: Resource<EnvelopeHandle>, name: String) -> Result<Option<String>> {
        Ok(self.transaction()?.attributes.get(&name).cloned())
    }

    fn attribute_names(&mut self, _: Resource<EnvelopeHandle>) -> Result<Vec<String>> {
        Ok(self.transaction()?.attributes.keys().cloned().collect())
    }

    fn set_attribute(
        &mut self,
        _: Resource<EnvelopeHandle>,
        name: String,
        value: Option<String>,
    ) -> Result<HostResult> {
        self.edit(format_args!("attribute {name}"), |transaction| {
            set_attribute(&mut transaction.attributes, &name, value)
        })
    }

    fn drop(&mut self, _: Resource<EnvelopeHandle>) -> Result<()> {
        Ok(())
    }
}

impl HostRecipient for GuestState {
    fn address(&mut self, _: Resource<RecipientHandle>) -> Result<String> {
        Ok(self.recipient_mut()?.address.as_str().to_owned())
    }

    fn set_address(&mut self, _: Resource<RecipientHandle>, text: String) -> Result<HostResult> {
        let new = match self.may_edit().and_then(|()| address(&text)) {
            Ok(new) => new,
            Err(refused) => return Ok(Err(refused)),
        };
        let international = new.is_international();
        let recipient = self.recipient_mut()?;
        let old = recipient.address.clone();
        replace(recipient, new);
        self.transaction_mut()?.envelope_mut().smtputf8 |= international;
        self.changed(format_args!("replace recipient {old} by {text}"));
        Ok(Ok(()))
    }

    fn drop(&mut self, _: Resource<RecipientHandle>) -> Result<()> {
        Ok(())
    }
}

/// Puts another address in the place of a recipient's. RFC 3461 section 5.2.1: DSNs name the recipient as the sender
/// knows it.
fn replace(recipient: &mut Recipient, new: Address) {
    let old = std::mem::replace(&mut recipient.address, new);
    if recipient.orcpt.is_none() {
        recipient.orcpt = OriginalRecipient::of(&old);
    }
}

fn no_recipient() -> String {
    error(NOT_FOUND, "there is no recipient at that index")
}

fn too_many() -> String {
    error(TOO_LARGE, "a message has at most 10,000 recipients")
}

/// RFC 5321 section 2.4: domains compare without case, local parts with it.
fn same(a: &Address, b: &Address) -> bool {
    a.local() == b.local() && a.domain().eq_ignore_ascii_case(b.domain())
}
