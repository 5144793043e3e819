//! One request as a session of intake: who it is from, and its messages one by one.

use super::super::body::too_large;
use super::super::credentials::Caller;
use super::super::guard::literal;
use super::super::problem::Problem;
use super::super::section::Scope;
use super::Submission;
use super::idempotency::{Digest, Key};
use crate::clients::Over;
use crate::intake::Incoming;
use crate::observe::delivery_log;
use crate::spool::{Facts, Spool};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use postern_core::hook::{Attributes, Refusal, Session};
use postern_core::mail::{Address, BodyType, QueueId, Recipient, Reply, ReversePath};
use postern_core::smtp::command::Mail;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Longest name of a user, in octets.
const MAX_USER: usize = 255;

/// A session in which messages are sent.
#[derive(Clone)]
pub(super) struct Sender<S: Spool + Facts> {
    pub(super) submission: Arc<Submission<S>>,
    session: Session,
}

/// An envelope, and what is noted with the message.
pub(super) struct Order {
    pub(super) from: ReversePath,
    pub(super) to: Vec<Address>,
    /// The header has addresses that need SMTPUTF8.
    pub(super) international: bool,
    pub(super) attributes: Attributes,
    /// Its size, if known.
    pub(super) size: Option<u64>,
}

impl<S: Spool + Facts> Sender<S> {
    /// The session of a request, in the name that its headers say.
    ///
    /// # Errors
    /// 403 or 400 for headers that say in whose name it is, and what plugins say to the connection.
    pub(super) async fn new(
        submission: Arc<Submission<S>>,
        caller: &Caller,
        mut session: Session,
        headers: &HeaderMap,
    ) -> Result<Self, Problem> {
        if let Some(name) = header(headers, "x-authenticated-user")? {
            impersonating(caller, "X-Authenticated-User")?;
            if name.is_empty() || name.len() > MAX_USER || name.contains(char::is_control) {
                return Err(Problem::field("X-Authenticated-User", "X-Authenticated-User: it is not a name"));
            }
            session.user = Some(name.into());
        }
        if let Some(text) = header(headers, "x-originating-ip")? {
            impersonating(caller, "X-Originating-IP")?;
            let ip: IpAddr = text
                .trim_matches(['[', ']'])
                .parse()
                .map_err(|_| Problem::field("X-Originating-IP", "X-Originating-IP: it must be an IP address"))?;
            session.peer_addr = SocketAddr::new(ip.to_canonical(), 0);
            session.helo = literal(session.peer_addr.ip()).into();
        }
        if let Err(refusal) = submission.intake.connect(&mut session).await {
            return Err(refused(&session, "CONNECT", &refusal));
        }
        Ok(Self { submission, session })
    }

    /// The user of the messages.
    pub(super) fn user(&self) -> Option<&str> {
        self.session.user.as_deref()
    }

    /// Starts a message and opens its draft.
    ///
    /// # Errors
    /// The refusal of the envelope.
    pub(super) async fn begin(&self, order: Order) -> Result<Incoming<S>, Problem> {
        let Order { from, to, international, attributes, size } = order;
        let submission = &*self.submission;
        let limit = submission.limits.max_recipients;
        if to.len() > limit {
            return Err(Problem::field("to", format!("to: there are more than {limit} recipients")));
        }
        if to.is_empty() {
            return Err(Problem::field("to", "to: there are no recipients"));
        }
        let (ip, user) = (self.session.peer_addr.ip(), self.session.user.as_ref());
        let number = u32::try_from(to.len()).unwrap_or(u32::MAX);
        let counted = submission.clients.message(ip, user);
        counted.and_then(|()| submission.clients.recipients(number, ip, user)).map_err(|over| self.over(over))?;
        let smtputf8 = international
            || to.iter().any(Address::is_international)
            || matches!(&from, ReversePath::Path(address) if address.is_international());
        let mail =
            Mail { reverse_path: from, size, body: BodyType::SevenBit, smtputf8, ret: None, envid: None, hold: None };
        let mut session = self.session.clone();
        session.attributes.extend(attributes);
        let refused = |stage: &'static str, refusal: &Refusal| refused(&session, stage, refusal);
        let begun = submission.intake.begin(&session, submission.policy, mail).await;
        let mut incoming = begun.map_err(|refusal| refused("MAIL", &refusal))?;
        for address in to {
            let added = incoming.add(Recipient::new(address)).await;
            added.map_err(|refusal| Problem { field: Some("to".to_owned()), ..refused("RCPT", &refusal) })?;
        }
        let opened = incoming.open(&submission.intake).await;
        opened.map_err(|reply| refused("DATA", &Refusal { reply, detail: String::new() }))?;
        Ok(incoming)
    }

    /// Logs that a limit is reached.
    fn over(&self, over: Over) -> Problem {
        delivery_log::noqueue(&self.session.id, self.session.peer_addr, "MAIL", &over.reply(), &over.limit);
        over.into()
    }

    /// Queues a message whose content is complete; `noted` is written with it.
    ///
    /// # Errors
    /// The refusal of the content.
    pub(super) async fn finish(
        &self,
        mut incoming: Incoming<S>,
        noted: Option<(Key, Digest)>,
    ) -> Result<QueueId, Problem> {
        if let Some((key, request)) = noted {
            let now = (self.submission.clock)();
            incoming.note(Box::new(move |id| vec![key.fact(&request, id, now)]));
        }
        let finished = incoming.finish(&self.submission.intake).await;
        finished.map_err(|refusal| refused(&self.session, "HTTP", &refusal))
    }

    /// Sends content that is at hand.
    ///
    /// # Errors
    /// The refusal of envelope or content.
    pub(super) async fn send(
        &self,
        order: Order,
        content: impl Iterator<Item = Bytes> + Send,
        is_eight_bit: bool,
        noted: Option<(Key, Digest)>,
    ) -> Result<QueueId, Problem> {
        let mut incoming = self.begin(order).await?;
        if is_eight_bit {
            incoming.is_eight_bit();
        }
        let (limit, mut size) = (self.submission.limits.max_size, 0);
        for piece in content {
            size += piece.len() as u64;
            if size > limit {
                return Err(too_large(limit));
            }
            incoming.content(piece).await;
        }
        self.finish(incoming, noted).await
    }
}

fn impersonating(caller: &Caller, field: &str) -> Result<(), Problem> {
    if caller.may(Scope::Impersonate) {
        return Ok(());
    }
    let detail = format!("{field}: the caller does not have the scope `impersonate`");
    Err(Problem { field: Some(field.to_owned()), ..Problem::new(StatusCode::FORBIDDEN, detail) })
}

/// The value of a header field of the request.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).ok().map(str::trim);
    text.map(Some).ok_or_else(|| Problem::field(name, format!("{name}: it is not UTF-8")))
}

/// Logs a refusal; the caller gets its public text.
fn refused(session: &Session, stage: &str, Refusal { reply, detail }: &Refusal) -> Problem {
    delivery_log::noqueue(&session.id, session.peer_addr, stage, reply, detail);
    Problem::from(&Reply { text: reply.text.replace('\n', " "), ..reply.clone() })
}
