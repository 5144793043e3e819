//! A host of ordinary Rust, for unit tests of plugins: the same traits, no WebAssembly.
//!
//! It keeps the host's rules as far as plugins can tell: what is refused, and that a failed call leaves no edits. It
//! does not fold or encode header values and has no limits.

use crate::{EditError, Error, Position, ReadError, Rewrite};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// One message with its session and envelope. Set the fields, call a hook, look at the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// What `session.listener` gives.
    pub listener: String,
    /// What `session.peer_address` gives.
    pub peer_address: String,
    /// What `session.helo` gives.
    pub helo: String,
    /// What `session.user` gives.
    pub user: Option<String>,
    /// The queue id.
    pub id: String,
    /// MAIL FROM; empty for `<>`.
    pub reverse_path: String,
    /// RCPT TO.
    pub recipients: Vec<String>,
    /// The zone that a plugin chose.
    pub zone: Option<String>,
    /// How long the first attempt is held back.
    pub delay: Option<Duration>,
    /// Notes from plugin to plugin.
    pub attributes: BTreeMap<String, String>,
    /// Header fields, from the top.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            listener: "feeder".into(),
            peer_address: "192.0.2.1".into(),
            helo: "client.example".into(),
            user: None,
            id: "00123456789abcdef0".into(),
            reverse_path: "sender@example.com".into(),
            recipients: vec!["recipient@example.net".into()],
            zone: None,
            delay: None,
            attributes: BTreeMap::new(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }
}

impl Mail {
    /// A message from `sender@example.com` to `recipient@example.net` without header fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more header field at the bottom.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The values of all fields of this name.
    #[must_use]
    pub fn header_all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// Runs the hook `rewrite`; its edits are kept if it succeeds.
    ///
    /// # Errors
    /// What the plugin returned.
    pub fn rewrite<P: Rewrite>(&mut self, plugin: &mut P) -> Result<(), Error> {
        let shared = Rc::new(RefCell::new(self.clone()));
        let (session, envelope, message) = (Session(shared.clone()), Envelope(shared.clone()), Message(shared.clone()));
        plugin.rewrite(&crate::Session(&session), &crate::Envelope(&envelope), &crate::Message(&message))?;
        *self = shared.borrow().clone();
        Ok(())
    }
}

/// Makes a plugin of a config, as the host does.
///
/// # Errors
/// What refuses the config, named by key.
pub fn init<P: crate::Plugin>(config_json: &str) -> Result<P, Error> {
    crate::config::parse(config_json).map_err(|e| e.context("config")).and_then(P::init)
}

pub(crate) struct Session(Rc<RefCell<Mail>>);
pub(crate) struct Envelope(Rc<RefCell<Mail>>);
pub(crate) struct Message(Rc<RefCell<Mail>>);

fn header_name(name: &str) -> Result<(), EditError> {
    let ok = !name.is_empty() && name.bytes().all(|b| (33..=126).contains(&b) && b != b':');
    if ok { Ok(()) } else { Err(EditError::BadName) }
}

fn header_value(value: &str) -> Result<(), EditError> {
    if value.contains(|c: char| c.is_control() && c != '\t') { Err(EditError::BadValue) } else { Ok(()) }
}

fn note_value(value: &str) -> Result<(), EditError> {
    if value.contains(char::is_control) {
        return Err(EditError::BadValue);
    }
    if value.len() > 4 << 10 { Err(EditError::TooLarge) } else { Ok(()) }
}

/// RFC 5321 section 2.4: domains compare without case, local parts with it.
fn same(a: &str, b: &str) -> bool {
    match (a.rsplit_once('@'), b.rsplit_once('@')) {
        (Some((a, in_a)), Some((b, in_b))) => a == b && in_a.eq_ignore_ascii_case(in_b),
        _ => a == b,
    }
}

fn note_name(name: &str) -> Result<(), EditError> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if (1..=64).contains(&name.len()) && name.bytes().all(ok) { Ok(()) } else { Err(EditError::BadName) }
}

/// Far simpler than the host's.
fn address(text: &str) -> Result<String, EditError> {
    let ok = text.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>');
    if ok && text.len() <= 254 && !text.contains(forbidden) { Ok(text.into()) } else { Err(EditError::BadAddress) }
}

impl Session {
    pub fn id(&self) -> String {
        "test".into()
    }
    pub fn listener(&self) -> String {
        self.0.borrow().listener.clone()
    }
    pub fn peer_address(&self) -> String {
        self.0.borrow().peer_address.clone()
    }
    pub fn peer_port(&self) -> u16 {
        49152
    }
    pub fn helo(&self) -> String {
        self.0.borrow().helo.clone()
    }
    pub fn protocol(&self) -> String {
        "ESMTP".into()
    }
    pub fn user(&self) -> Option<String> {
        self.0.borrow().user.clone()
    }
}

impl Envelope {
    pub fn reverse_path(&self) -> String {
        self.0.borrow().reverse_path.clone()
    }
    pub fn set_reverse_path(&self, text: &str) -> Result<(), EditError> {
        let path = if text.is_empty() { String::new() } else { address(text)? };
        self.0.borrow_mut().reverse_path = path;
        Ok(())
    }
    pub fn recipient_count(&self) -> u32 {
        u32::try_from(self.0.borrow().recipients.len()).unwrap_or(u32::MAX)
    }
    pub fn recipient(&self, index: u32) -> Option<String> {
        self.0.borrow().recipients.get(index as usize).cloned()
    }
    pub fn add_recipient(&self, text: &str) -> Result<(), EditError> {
        let new = address(text)?;
        let recipients = &mut self.0.borrow_mut().recipients;
        if !recipients.iter().any(|old| same(old, &new)) {
            recipients.push(new);
        }
        Ok(())
    }
    pub fn remove_recipient(&self, index: u32) -> Result<(), EditError> {
        let recipients = &mut self.0.borrow_mut().recipients;
        if index as usize >= recipients.len() {
            return Err(EditError::NotFound);
        }
        if recipients.len() == 1 {
            return Err(EditError::LastRecipient);
        }
        recipients.remove(index as usize);
        Ok(())
    }
    pub fn replace_recipient(&self, index: u32, text: &str) -> Result<(), EditError> {
        let new = address(text)?;
        let index = index as usize;
        let recipients = &mut self.0.borrow_mut().recipients;
        let is_double = recipients.iter().enumerate().any(|(at, old)| at != index && same(old, &new));
        let old = recipients.get_mut(index).ok_or(EditError::NotFound)?;
        if is_double {
            recipients.remove(index);
        } else {
            *old = new;
        }
        Ok(())
    }
    pub fn zone(&self) -> Option<String> {
        self.0.borrow().zone.clone()
    }
    pub fn set_zone(&self, name: Option<&str>) -> Result<(), EditError> {
        name.map(note_name).transpose()?;
        self.0.borrow_mut().zone = name.map(str::to_owned);
        Ok(())
    }
    pub fn delay(&self) -> Option<u64> {
        self.0.borrow().delay.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
    }
    pub fn set_delay(&self, milliseconds: Option<u64>) -> Result<(), EditError> {
        let delay = milliseconds.map(Duration::from_millis);
        if delay.is_some_and(|delay| delay > Duration::from_secs(30 * 24 * 3600)) {
            return Err(EditError::TooLarge);
        }
        self.0.borrow_mut().delay = delay;
        Ok(())
    }
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.0.borrow().attributes.get(name).cloned()
    }
    pub fn attribute_names(&self) -> Vec<String> {
        self.0.borrow().attributes.keys().cloned().collect()
    }
    pub fn set_attribute(&self, name: &str, value: Option<&str>) -> Result<(), EditError> {
        note_name(name)?;
        value.map(note_value).transpose()?;
        let attributes = &mut self.0.borrow_mut().attributes;
        match value {
            Some(value) => attributes.insert(name.into(), value.into()),
            None => attributes.remove(name),
        };
        Ok(())
    }
}

impl Message {
    pub fn id(&self) -> String {
        self.0.borrow().id.clone()
    }
    pub fn size(&self) -> u64 {
        let mail = self.0.borrow();
        let fields: usize = mail.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        (fields + 2 + mail.body.len()) as u64
    }
    pub fn header(&self, name: &str) -> Option<String> {
        self.0.borrow().header_all(name).first().map(|value| (*value).to_owned())
    }
    pub fn header_all(&self, name: &str) -> Vec<String> {
        self.0.borrow().header_all(name).into_iter().map(str::to_owned).collect()
    }
    pub fn header_count(&self) -> u32 {
        u32::try_from(self.0.borrow().headers.len()).unwrap_or(u32::MAX)
    }
    pub fn header_at(&self, index: u32) -> Option<(String, String)> {
        self.0.borrow().headers.get(index as usize).cloned()
    }
    pub fn raw_headers(&self) -> Vec<(String, Vec<u8>)> {
        let raw = |(name, value): &(String, String)| (name.clone(), format!(" {value}\r\n").into_bytes());
        self.0.borrow().headers.iter().map(raw).collect()
    }
    pub fn add_header(&self, name: &str, value: &str, position: Position) -> Result<(), EditError> {
        header_name(name)?;
        header_value(value)?;
        let headers = &mut self.0.borrow_mut().headers;
        let at = if position == Position::Top { 0 } else { headers.len() };
        headers.insert(at, (name.into(), value.into()));
        Ok(())
    }
    pub fn set_header(&self, name: &str, value: &str) -> Result<(), EditError> {
        header_name(name)?;
        header_value(value)?;
        let headers = &mut self.0.borrow_mut().headers;
        let at = headers.iter().position(|(n, _)| n.eq_ignore_ascii_case(name)).unwrap_or(headers.len());
        headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        headers.insert(at, (name.into(), value.into()));
        Ok(())
    }
    pub fn remove_header(&self, name: &str) -> Result<u32, EditError> {
        header_name(name)?;
        let headers = &mut self.0.borrow_mut().headers;
        let before = headers.len();
        headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        Ok(u32::try_from(before - headers.len()).unwrap_or(u32::MAX))
    }
    pub fn body_size(&self) -> u64 {
        self.0.borrow().body.len() as u64
    }
    pub fn read_body(&self, offset: u64, max: u32) -> Result<Vec<u8>, ReadError> {
        let mail = self.0.borrow();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(mail.body.len());
        let end = start.saturating_add(max.min(256 << 10) as usize).min(mail.body.len());
        Ok(mail.body[start..end].to_vec())
    }
}
