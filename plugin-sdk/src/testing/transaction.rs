//! One message with its session and envelope, and the hooks that are about it.

use super::content::{self, PartEdits};
use super::mime::{self, Part};
use super::session::{SessionHandle, checked};
use super::{Routing, Session, envelope, routing};
use crate::{Error, Mail, Rcpt, Result, Rewrite, RewritePart, Route, Spam, SpamVerdict, Verdict};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// One message with its session and envelope. Set the fields, call a hook, look at the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The session in which it comes in.
    pub session: Session,
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
    /// Header fields from the top: name, and value as it stands in the message, without the space in front and the line
    /// end behind it.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Vec<u8>,
    /// The parts, if a plugin changed any.
    edited_parts: Option<Vec<Part>>,
}

impl Default for Transaction {
    fn default() -> Self {
        Self {
            session: Session::default(),
            id: "00123456789abcdef0".into(),
            reverse_path: "sender@example.com".into(),
            recipients: vec!["recipient@example.net".into()],
            zone: None,
            delay: None,
            attributes: BTreeMap::new(),
            headers: Vec::new(),
            body: Vec::new(),
            edited_parts: None,
        }
    }
}

impl Transaction {
    /// A message from `sender@example.com` to `recipient@example.net` without header fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with this content: header fields, an empty line, a body.
    #[must_use]
    pub fn from_eml(content: &[u8]) -> Self {
        let (headers, body) = mime::split(content);
        Self { headers, body, ..Self::default() }
    }

    /// The same with one more header field at the bottom.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with this body.
    #[must_use]
    pub fn with_body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// The same with this user.
    #[must_use]
    pub fn with_user(mut self, user: &str) -> Self {
        self.session.user = Some(user.into());
        self
    }

    /// The same with these recipients.
    #[must_use]
    pub fn with_recipients(mut self, recipients: &[&str]) -> Self {
        self.recipients = recipients.iter().map(|recipient| (*recipient).to_owned()).collect();
        self
    }

    /// The same with this attribute.
    #[must_use]
    pub fn with_attribute(mut self, name: &str, value: &str) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// The values of all fields of this name.
    #[must_use]
    pub fn header_all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The parts as they stand now.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        self.edited_parts.clone().unwrap_or_else(|| mime::parts(&self.content()))
    }

    /// Header fields, empty line and body; edits of parts are not in it.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        mime::join(&self.headers, &self.body)
    }

    /// Runs the hook `mail`.
    ///
    /// # Errors
    /// What the plugin returned, or a reply that breaks the rules.
    pub fn mail<P: Mail>(&mut self, plugin: &mut P) -> Result<Verdict> {
        let recipients = std::mem::take(&mut self.recipients);
        let verdict = self.run(Hook::Mail, |call| checked(plugin.mail(call.session(), call.envelope())?));
        self.recipients = recipients;
        verdict
    }

    /// Runs the hook `rcpt`; a recipient that passes is added to the others, by the address that the plugin gave it.
    ///
    /// # Errors
    /// What the plugin returned, or a reply that breaks the rules.
    pub fn rcpt<P: Rcpt>(&mut self, plugin: &mut P, address: &str) -> Result<Verdict> {
        let recipient = envelope::Recipient::new(address);
        let verdict = self.run(Hook::Rcpt, |call| {
            checked(plugin.rcpt(call.session(), call.envelope(), crate::Recipient::of(&recipient))?)
        })?;
        if verdict == Verdict::Pass {
            self.recipients.push(recipient.address());
        }
        Ok(verdict)
    }

    /// Runs the hook `spam`.
    ///
    /// # Errors
    /// What the plugin returned, or a verdict that is not allowed.
    pub fn spam<P: Spam>(&mut self, plugin: &mut P) -> Result<SpamVerdict> {
        self.run(Hook::Spam, |call| {
            let verdict = plugin.check(call.session(), call.envelope(), call.message())?;
            match &verdict {
                SpamVerdict::Accept => {}
                SpamVerdict::Reject(reply) => reply.check_class(5)?,
                SpamVerdict::Defer(reply) => reply.check_class(4)?,
                SpamVerdict::Hold(reason) | SpamVerdict::Discard(reason) => {
                    super::rules::line(reason).map_err(Error::new)?;
                }
            }
            Ok(verdict)
        })
    }

    /// Runs the hook `rewrite`.
    ///
    /// # Errors
    /// What the plugin returned.
    pub fn rewrite<P: Rewrite>(&mut self, plugin: &mut P) -> Result<()> {
        self.run(Hook::Rewrite, |call| plugin.rewrite(call.session(), call.envelope(), call.message()))
    }

    /// Runs the hook `rewrite-part`: asks for each part, and rewrites it if it was chosen, before the next one.
    ///
    /// # Errors
    /// What the plugin returned; no edit is kept.
    pub fn rewrite_parts<P: RewritePart>(&mut self, plugin: &mut P) -> Result<()> {
        self.run(Hook::RewritePart, |call| {
            for part in call.message().parts()? {
                if part.0.is_removed() {
                    continue;
                }
                if plugin.select(call.session(), call.envelope(), call.message(), &part)? {
                    plugin.rewrite_part(call.session(), call.envelope(), call.message(), &part)?;
                }
            }
            Ok(())
        })
    }

    /// Runs the hook `route`.
    ///
    /// # Errors
    /// What the plugin returned; the routing stays.
    pub fn route<P: Route>(&self, plugin: &mut P, routing: &mut Routing) -> Result<()> {
        let handle = routing::Handle::new(routing);
        self.clone().run(Hook::Route, |call| {
            plugin.route(call.session(), call.envelope(), call.message(), crate::Routing::of(&handle))
        })?;
        *routing = handle.into_inner();
        Ok(())
    }

    /// Runs a hook on a copy, which is kept if it succeeds.
    fn run<R>(&mut self, hook: Hook, call: impl FnOnce(&Handles) -> Result<R>) -> Result<R> {
        let shared = Rc::new(RefCell::new(Call { hook, transaction: self.clone(), parts: None, edits: 0 }));
        let handles = Handles {
            session: SessionHandle::fixed(&self.session),
            envelope: envelope::Envelope(shared.clone()),
            message: content::Message(shared.clone()),
        };
        let answer = call(&handles)?;
        let mut kept = shared.borrow_mut();
        if let Some(parts) = kept.parts.take().filter(|parts| parts.edited) {
            kept.transaction.edited_parts = Some(parts.kept());
        }
        *self = kept.transaction.clone();
        Ok(answer)
    }
}

/// Which hook runs: not every edit is allowed in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Mail,
    Rcpt,
    Spam,
    Rewrite,
    RewritePart,
    Route,
}

/// A call in progress, with its own copy of the transaction.
pub(crate) struct Call {
    pub(crate) hook: Hook,
    pub(crate) transaction: Transaction,
    pub(crate) parts: Option<PartEdits>,
    /// Edits of the message so far.
    pub(crate) edits: u32,
}

pub(crate) type Shared = Rc<RefCell<Call>>;

struct Handles {
    session: SessionHandle,
    envelope: envelope::Envelope,
    message: content::Message,
}

impl Handles {
    fn session(&self) -> &crate::Session {
        crate::Session::of(&self.session)
    }

    fn envelope(&self) -> &crate::Envelope {
        crate::Envelope::of(&self.envelope)
    }

    fn message(&self) -> &crate::Message {
        crate::Message::of(&self.message)
    }
}
