//! The one transaction by which every message comes in: envelope, content into a draft, hooks, commit.
//!
//! Whoever receives (SMTP now; HTTP, LMTP and the bounce listener later) drives an [`Incoming`]; nobody else commits
//! messages of clients.

mod held;
mod queued;
mod session_id;

pub use queued::Queued;

use crate::observe::delivery_log;
use crate::spool::{Draft, Health, NewMessage, Origin, SealedDraft, Spool, SpoolError};
use bytes::Bytes;
use held::{Budget, Held};
use postern_core::hook::{HookPoint, Hooks, Refusal, Session, Transaction};
use postern_core::mail::{EnhancedCode, Envelope, QueueId, Recipient, Reply, ReversePath};
use postern_core::message::{CompleteError, Completed, Completion, HeaderBlock, HeaderSplitter, Received};
use postern_core::route::QueueKey;
use postern_core::smtp::command::Mail;
use postern_core::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Largest header block taken, in octets (Postfix: 102,400).
const MAX_HEADER: usize = 256 << 10;
/// Octets of header blocks and recipients that all transactions may hold at once.
const MAX_HELD: usize = 32 << 20;
/// What a recipient costs in memory besides its address.
const RECIPIENT_COST: usize = 64;
/// A message may be delayed this long at most.
const MAX_DELAY: Duration = Duration::from_secs(366 * 86_400);

/// Where recipients go: the queue of each, by zone.
pub trait Router: Send + Sync + 'static {
    /// The queue for `recipient`, in `zone` if the message has one. None if there is no such zone.
    fn route(&self, recipient: &Recipient, zone: Option<&str>) -> Option<QueueKey>;

    /// The zone that claims the whole message, by its header or sender.
    fn zone_of(&self, header: &HeaderBlock, reverse_path: &ReversePath, trust_headers: bool) -> Option<Arc<str>>;

    /// Is there such a zone?
    fn has_zone(&self, zone: &str) -> bool;
}

/// What a listener lets its clients' headers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// X-Sending-Zone chooses the zone.
    pub trust_headers: bool,
    /// A Date in the future delays delivery.
    pub future_date: bool,
    /// More Received fields than this are a loop.
    pub max_hops: usize,
}

/// What all transactions share.
pub struct Intake<S: Spool> {
    spool: S,
    hooks: Arc<dyn Hooks>,
    router: Arc<dyn Router>,
    hostname: Arc<str>,
    clock: fn() -> Timestamp,
    sessions: session_id::SessionIds,
    budget: Budget,
}

impl<S: Spool> Intake<S> {
    /// An intake into `spool`. `hostname` stands in Received and replies.
    pub fn new(
        spool: S,
        hooks: Arc<dyn Hooks>,
        router: Arc<dyn Router>,
        hostname: &str,
        clock: fn() -> Timestamp,
    ) -> Self {
        let sessions = session_id::SessionIds::new(clock());
        Self { spool, hooks, router, hostname: hostname.into(), clock, sessions, budget: Budget::new(MAX_HELD) }
    }

    /// What the server calls itself.
    #[must_use]
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// An id for a new session.
    #[must_use]
    pub fn session_id(&self) -> Arc<str> {
        self.sessions.next()
    }

    /// Starts a transaction.
    ///
    /// # Errors
    /// The reply to MAIL: the store takes no mail now.
    pub fn begin(&self, session: &Session, policy: Policy, mail: Mail) -> Result<Incoming<S>, Reply> {
        match self.spool.health() {
            Health::Ok => {}
            Health::Full(_) => return Err(no_room()),
            Health::Poisoned(_) => return Err(local_error()),
        }
        let mut envelope = Envelope::new(mail.reverse_path);
        (envelope.body, envelope.smtputf8) = (mail.body, mail.smtputf8);
        (envelope.ret, envelope.envid) = (mail.ret, mail.envid);
        Ok(Incoming {
            session: Arc::new(session.clone()),
            policy,
            envelope,
            declared: mail.size,
            draft: None,
            splitter: Some(HeaderSplitter::new(MAX_HEADER)),
            header: Bytes::new(),
            held: self.budget.hold(),
            failed: None,
        })
    }
}

/// One message on its way in. Dropping it leaves nothing behind.
pub struct Incoming<S: Spool> {
    session: Arc<Session>,
    policy: Policy,
    envelope: Envelope,
    declared: Option<u64>,
    draft: Option<S::Draft>,
    splitter: Option<HeaderSplitter>,
    header: Bytes,
    held: Held,
    failed: Option<Refusal>,
}

impl<S: Spool> Incoming<S> {
    /// One more recipient; false if there is no room for it.
    #[must_use]
    pub fn add(&mut self, recipient: Recipient) -> bool {
        let room = self.held.grow(recipient.octets() + RECIPIENT_COST);
        if room {
            self.envelope.recipients.push(recipient);
        }
        room
    }

    /// Content is about to come.
    ///
    /// # Errors
    /// The reply to DATA: there is no room.
    pub async fn open(&mut self, intake: &Intake<S>) -> Result<(), Reply> {
        self.draft = Some(intake.spool.begin(self.declared).await.map_err(|error| spool_refusal(&error).reply)?);
        Ok(())
    }

    /// A piece of content. What goes wrong is told by [`Incoming::finish`].
    pub async fn content(&mut self, piece: Bytes) {
        if self.failed.is_some() {
            return;
        }
        let Some(splitter) = &mut self.splitter else { return self.write(piece).await };
        if !self.held.grow(piece.len()) {
            self.fail(Refusal { reply: no_room(), detail: "too much is held in memory for headers".into() });
            return;
        }
        match splitter.push(&piece) {
            Ok(None) => {}
            Ok(Some((header, section))) => {
                (self.header, self.splitter) = (header, None);
                self.write(section).await;
            }
            Err(_) => self.fail(header_too_large()),
        }
    }

    /// Nothing will come of it; what it holds is given back.
    fn fail(&mut self, refusal: Refusal) {
        self.failed = Some(refusal);
        (self.draft, self.splitter) = (None, None);
    }

    async fn write(&mut self, piece: Bytes) {
        let Some(draft) = &mut self.draft else { return };
        if piece.is_empty() {
            return;
        }
        if let Err(error) = draft.write(piece).await {
            self.fail(spool_refusal(&error));
        }
    }

    /// The content is complete: runs the hooks and queues the message. Only then is it the server's.
    ///
    /// # Errors
    /// The message was not queued; the reply says why.
    pub async fn finish(mut self, intake: &Intake<S>) -> Result<QueueId, Refusal> {
        if let Some(splitter) = self.splitter.take()
            && self.failed.is_none()
        {
            match splitter.finish() {
                Ok((header, section)) => {
                    self.header = header;
                    self.write(section).await;
                }
                Err(_) => self.failed = Some(header_too_large()),
            }
        }
        if let Some(refusal) = self.failed {
            return Err(refusal);
        }
        let Some(draft) = self.draft.take() else {
            return Err(Refusal { reply: local_error(), detail: "content came before its draft".into() });
        };
        let sealed = draft.seal().await.map_err(|error| spool_refusal(&error))?;
        let accepted = (intake.clock)();
        let (message, sealed) = self.prepare(intake, sealed, accepted).await?;
        let queued = Queued::new(sealed.id(), &message, sealed.body().len());
        intake.spool.commit(sealed, message).await.map_err(|error| spool_refusal(&error))?;
        queued.log(None);
        Ok(queued.id)
    }

    /// Completion of the header, hooks, Received, routes.
    async fn prepare(
        self,
        intake: &Intake<S>,
        sealed: S::Sealed,
        accepted: Timestamp,
    ) -> Result<(NewMessage, S::Sealed), Refusal> {
        let id = sealed.id();
        let (mut envelope, mut header, session) = (self.envelope, self.header, self.session);
        let mut block = HeaderBlock::parse(&header);
        let completed = complete(intake, self.policy, id, accepted, &mut block, &envelope)?;
        let wished = completed.zone.filter(|zone| intake.router.has_zone(zone)).map(Arc::from);
        let (mut zone, mut delay) = (wished, Duration::ZERO);
        if intake.hooks.wants(HookPoint::Rewrite) {
            let mut transaction = Transaction {
                session: Arc::clone(&session),
                queue_id: id,
                envelope,
                header: block,
                body: sealed.body(),
                zone,
                delay: None,
                attributes: BTreeMap::new(),
                changes: Vec::new(),
            };
            intake.hooks.rewrite(&mut transaction).await?;
            for changes in transaction.changes.chunk_by(|a, b| a.author == b.author) {
                delivery_log::changed(id, &session.id, changes);
            }
            block = transaction.header;
            (envelope, zone) = (transaction.envelope, transaction.zone);
            delay = transaction.delay.unwrap_or_default().min(MAX_DELAY);
        }
        if block.is_edited() {
            header = block.to_bytes();
        }
        let claimed = || intake.router.zone_of(&block, &envelope.reverse_path, self.policy.trust_headers);
        let zone = zone.or_else(claimed);
        let queues = routes(intake, &envelope, zone.as_deref())?;
        let origin = Origin {
            session: Arc::clone(&session.id),
            listener: Arc::clone(&session.listener),
            peer_addr: Some(session.peer_addr),
            user: session.user.clone(),
        };
        let header = with_received(intake, &session, &envelope, id, accepted, &header);
        let deliver_at = completed.deliver_at.unwrap_or(accepted).max(accepted.after(delay));
        Ok((NewMessage { envelope, header, queues, accepted, deliver_at, origin, facts: Vec::new() }, sealed))
    }
}

fn complete<S: Spool>(
    intake: &Intake<S>,
    policy: Policy,
    queue_id: QueueId,
    now: Timestamp,
    block: &mut HeaderBlock,
    envelope: &Envelope,
) -> Result<Completed, Refusal> {
    let Policy { trust_headers, future_date, max_hops } = policy;
    let completion = Completion { hostname: &intake.hostname, queue_id, now, trust_headers, future_date, max_hops };
    completion.apply(block, envelope).map_err(|error| {
        let reply = match error {
            CompleteError::Loop(_) => Reply::new(554, EnhancedCode(5, 4, 6), "Too many hops: the message is in a loop"),
            CompleteError::Header(_) => header_too_large().reply,
        };
        Refusal { reply, detail: error.to_string() }
    })
}

fn routes<S: Spool>(intake: &Intake<S>, envelope: &Envelope, zone: Option<&str>) -> Result<Vec<QueueKey>, Refusal> {
    if envelope.recipients.is_empty() {
        let reply = Reply::new(550, EnhancedCode(5, 1, 0), "The message has no recipients left");
        return Err(Refusal { reply, detail: "plugins removed every recipient".into() });
    }
    let route = |recipient| intake.router.route(recipient, zone);
    envelope.recipients.iter().map(route).collect::<Option<Vec<_>>>().ok_or_else(|| Refusal {
        reply: local_error(),
        detail: format!("there is no zone `{}`, which a plugin chose", zone.unwrap_or("default")),
    })
}

/// The header block with the server's Received on top.
fn with_received<S: Spool>(
    intake: &Intake<S>,
    session: &Session,
    envelope: &Envelope,
    queue_id: QueueId,
    at: Timestamp,
    header: &[u8],
) -> Bytes {
    let only_recipient = match &envelope.recipients[..] {
        [one] => Some(&one.address),
        _ => None,
    };
    let mut block = Vec::with_capacity(header.len() + 384);
    let smtputf8 = envelope.smtputf8;
    Received { session, hostname: &intake.hostname, queue_id, only_recipient, smtputf8, at }.write_to(&mut block);
    block.extend_from_slice(header);
    block.into()
}

/// 452: too much is in flight now.
#[must_use]
pub fn no_room() -> Reply {
    Reply::new(452, EnhancedCode(4, 3, 1), "Not enough room now, try again later")
}

fn local_error() -> Reply {
    Reply::new(451, EnhancedCode(4, 3, 0), "Local error, try again later")
}

fn header_too_large() -> Refusal {
    let text = format!("The header is larger than {MAX_HEADER} octets");
    Refusal { reply: Reply::new(552, EnhancedCode(5, 3, 4), text), detail: String::new() }
}

fn spool_refusal(error: &SpoolError) -> Refusal {
    let reply = match error {
        SpoolError::Busy(_) => no_room(),
        _ => local_error(),
    };
    Refusal { reply, detail: error.to_string() }
}
