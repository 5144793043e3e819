//! Behind the envelope and the recipient of a call.

use super::rules::{self, HostResult, error};
use super::transaction::{Hook, Shared};
use std::cell::RefCell;
use std::time::Duration;

pub(crate) struct Envelope(pub(super) Shared);

impl Envelope {
    fn unless(&self, hooks: &[Hook], text: &str) -> HostResult {
        if hooks.contains(&self.0.borrow().hook) { error("not-now", text) } else { Ok(()) }
    }

    fn may_change_recipients(&self) -> HostResult {
        let text = "recipients can be edited in spam, rewrite and rewrite-part";
        self.unless(&[Hook::Mail, Hook::Rcpt, Hook::Route], text)
    }

    fn may_change(&self) -> HostResult {
        self.unless(&[Hook::Route], "in route nothing but the routing can be changed")
    }

    pub fn reverse_path(&self) -> String {
        self.0.borrow().transaction.reverse_path.clone()
    }

    pub fn set_reverse_path(&self, text: &str) -> HostResult {
        self.unless(&[Hook::Rcpt, Hook::Route], "the reverse-path can be set in mail, spam, rewrite and rewrite-part")?;
        if !text.is_empty() {
            rules::address(text)?;
        }
        self.0.borrow_mut().transaction.reverse_path = text.to_owned();
        Ok(())
    }

    pub fn recipient_count(&self) -> u32 {
        rules::count(&self.0.borrow().transaction.recipients)
    }

    pub fn recipient(&self, index: u32) -> Option<String> {
        self.0.borrow().transaction.recipients.get(index as usize).cloned()
    }

    pub fn add_recipient(&self, new: &str) -> HostResult {
        self.may_change_recipients()?;
        rules::address(new)?;
        let recipients = &mut self.0.borrow_mut().transaction.recipients;
        if recipients.iter().any(|old| rules::same(old, new)) {
            return Ok(());
        }
        if recipients.len() >= rules::MAX_RECIPIENTS {
            return error("too-large", "a message has 10,000 recipients at most");
        }
        recipients.push(new.to_owned());
        Ok(())
    }

    pub fn remove_recipient(&self, index: u32) -> HostResult {
        self.may_change_recipients()?;
        let recipients = &mut self.0.borrow_mut().transaction.recipients;
        rules::at(recipients, index)?;
        if recipients.len() == 1 {
            return error("last-recipient", "a message keeps at least one");
        }
        recipients.remove(index as usize);
        Ok(())
    }

    pub fn replace_recipient(&self, index: u32, new: &str) -> HostResult {
        self.may_change_recipients()?;
        rules::address(new)?;
        let recipients = &mut self.0.borrow_mut().transaction.recipients;
        let is_double = recipients.iter().enumerate().any(|(at, old)| at != index as usize && rules::same(old, new));
        let old = rules::at(recipients, index)?;
        if is_double {
            recipients.remove(index as usize);
        } else {
            new.clone_into(old);
        }
        Ok(())
    }

    pub fn zone(&self) -> Option<String> {
        self.0.borrow().transaction.zone.clone()
    }

    pub fn set_zone(&self, name: Option<&str>) -> HostResult {
        self.may_change()?;
        name.map_or(Ok(()), rules::name)?;
        self.0.borrow_mut().transaction.zone = name.map(str::to_owned);
        Ok(())
    }

    pub fn delay(&self) -> Option<u64> {
        self.0.borrow().transaction.delay.map(crate::resources::milliseconds)
    }

    pub fn set_delay(&self, milliseconds: Option<u64>) -> HostResult {
        self.may_change()?;
        milliseconds.map_or(Ok(()), rules::delay)?;
        self.0.borrow_mut().transaction.delay = milliseconds.map(Duration::from_millis);
        Ok(())
    }

    pub fn attribute(&self, name: &str) -> Option<String> {
        self.0.borrow().transaction.attributes.get(name).cloned()
    }

    pub fn attribute_names(&self) -> Vec<String> {
        self.0.borrow().transaction.attributes.keys().cloned().collect()
    }

    pub fn set_attribute(&self, name: &str, value: Option<&str>) -> HostResult {
        self.may_change()?;
        rules::set_note(&mut self.0.borrow_mut().transaction.attributes, name, value)
    }
}

pub(crate) struct Recipient(RefCell<String>);

impl Recipient {
    pub(super) fn new(address: &str) -> Self {
        Self(RefCell::new(address.to_owned()))
    }

    pub fn address(&self) -> String {
        self.0.borrow().clone()
    }

    pub fn set_address(&self, address: &str) -> HostResult {
        rules::address(address)?;
        address.clone_into(&mut self.0.borrow_mut());
        Ok(())
    }
}
