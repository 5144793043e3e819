//! The one transaction by which every message comes in: envelope, content into a draft, hooks, commit.
//!
//! Whoever receives (SMTP now; HTTP, LMTP and the bounce listener later) drives an [`Incoming`]; nobody else commits
//! messages of clients.

mod held;
mod prepared;
mod queued;
mod scratch;
mod section_hasher;
mod session_id;

pub use queued::Queued;

use crate::spool::{Draft, Fact, Health, Spool, SpoolError};
use bytes::Bytes;
use held::{Budget, Held};
use postern_core::hook::{Credentials, HookPoint, Hooks, Identity, LiveHooks, Places, Refusal, Session, Transaction};
use postern_core::mail::{Address, BodyType, EnhancedCode, Envelope, QueueId, Recipient, Reply, ReversePath};
use postern_core::message::{HeaderBlock, HeaderSplitter};
use postern_core::route::QueueKey;
use postern_core::smtp::command::Mail;
use postern_core::time::Timestamp;
use prepared::Prepared;
use scratch::{Room, SpoolScratch};
use section_hasher::SectionHasher;
use std::sync::Arc;

/// Largest header block taken, in octets (Postfix: 102,400).
const MAX_HEADER: usize = 256 << 10;
/// Octets of header blocks and recipients that all transactions may hold at once.
const MAX_HELD: u64 = 32 << 20;
/// What a recipient costs in memory besides its address.
const RECIPIENT_COST: usize = 64;

/// Where recipients go: the queue of each, by zone.
pub trait Router: Send + Sync + 'static {
    /// The queue for `recipient`, in `zone` if the message has one. None if there is no such zone.
    fn route(&self, recipient: &Recipient, zone: Option<&str>) -> Option<QueueKey>;

    /// The zone that claims the whole message, by its header or sender.
    fn zone_of(&self, header: &HeaderBlock, reverse_path: &ReversePath, trust_headers: bool) -> Option<Arc<str>>;

    /// Is there such a zone?
    fn has_zone(&self, zone: &str) -> bool;

    /// Is there such a pool?
    fn has_pool(&self, pool: &str) -> bool;
}

/// What the hook `route` may choose from.
struct Choices(Arc<dyn Router>);

impl Places for Choices {
    fn queue(&self, recipient: &Address, zone: &str) -> Option<QueueKey> {
        self.0.route(&Recipient::new(recipient.clone()), Some(zone))
    }

    fn has_pool(&self, name: &str) -> bool {
        self.0.has_pool(name)
    }
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
    hooks: Arc<LiveHooks>,
    router: Arc<dyn Router>,
    hostname: Arc<str>,
    clock: fn() -> Timestamp,
    sessions: session_id::SessionIds,
    budget: Budget,
    scratch: Room,
}

impl<S: Spool> Intake<S> {
    /// An intake into `spool`. `hostname` stands in Received and replies.
    pub fn new(
        spool: S,
        hooks: Arc<LiveHooks>,
        router: Arc<dyn Router>,
        hostname: &str,
        clock: fn() -> Timestamp,
    ) -> Self {
        let sessions = session_id::SessionIds::new(clock());
        let budget = Budget::new(MAX_HELD);
        let scratch = Room::new(&budget);
        Self { spool, hooks, router, hostname: hostname.into(), clock, sessions, budget, scratch }
    }

    /// What the server calls itself.
    #[must_use]
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// An id for a new session.
    #[must_use]
    pub fn session_id(&self) -> Arc<str> {
        self.sessions.next()
    }

    /// A client has connected: plugins may refuse it, or leave attributes in the session.
    ///
    /// # Errors
    /// What it is told instead of a greeting: 421 or 5yz.
    pub async fn connect(&self, session: &mut Session) -> Result<(), Refusal> {
        let hooks = self.hooks.get();
        if hooks.wants(HookPoint::Connect) { hooks.connect(session).await } else { Ok(()) }
    }

    /// Do plugins want to know of connections?
    #[must_use]
    pub fn has_connect_plugins(&self) -> bool {
        self.hooks.get().wants(HookPoint::Connect)
    }

    /// Can plugins say who a client is?
    #[must_use]
    pub fn has_auth_plugins(&self) -> bool {
        self.hooks.get().wants(HookPoint::Auth)
    }

    /// Whose credentials are these? Plugins may leave attributes in the session.
    ///
    /// # Errors
    /// What the client is told: 5yz they are nobody's, 454 nobody can tell now.
    pub async fn authenticate(&self, session: &mut Session, credentials: &Credentials) -> Result<Identity, Refusal> {
        let hooks = self.hooks.get();
        if hooks.wants(HookPoint::Auth) { hooks.auth(session, credentials).await } else { Ok(Identity::Unknown) }
    }

    /// Starts a transaction.
    ///
    /// # Errors
    /// The reply to MAIL: the store takes no mail now, or a plugin refuses it.
    pub async fn begin(&self, session: &Session, policy: Policy, mail: Mail) -> Result<Incoming<S>, Refusal> {
        let of_server = |reply| Refusal { reply, detail: String::new() };
        match self.spool.health() {
            Health::Ok => {}
            Health::Full(_) => return Err(of_server(no_room())),
            Health::Poisoned(_) => return Err(of_server(local_error())),
        }
        let mut envelope = Envelope::new(mail.reverse_path);
        (envelope.body, envelope.smtputf8) = (mail.body, mail.smtputf8);
        (envelope.ret, envelope.envid) = (mail.ret, mail.envid);
        let put_off_until = mail.hold.map(|hold| hold.until((self.clock)()));
        let scratch = Arc::new(SpoolScratch::new(self.spool.clone(), &self.scratch));
        let mut transaction = Transaction::new(Arc::new(session.clone()), envelope, scratch);
        let hooks = self.hooks.get();
        if hooks.wants(HookPoint::Mail) {
            hooks.mail(&mut transaction).await?;
        }
        Ok(Incoming {
            policy,
            hooks,
            transaction,
            put_off_until,
            declared: mail.size,
            draft: None,
            splitter: Some(HeaderSplitter::new(MAX_HEADER)),
            header: Bytes::new(),
            hasher: SectionHasher::default(),
            held: self.budget.hold(),
            note: None,
            failed: None,
        })
    }
}

/// Facts that must be durable with a message, made when its id is known.
pub type Note = Box<dyn FnOnce(QueueId) -> Vec<Fact> + Send>;

/// One message on its way in. Dropping it leaves nothing behind.
pub struct Incoming<S: Spool> {
    policy: Policy,
    /// Those that were in force at MAIL: a message sees one generation of plugins.
    hooks: Arc<dyn Hooks>,
    transaction: Transaction,
    /// When the client wants delivery to begin.
    put_off_until: Option<Timestamp>,
    declared: Option<u64>,
    draft: Option<S::Draft>,
    splitter: Option<HeaderSplitter>,
    header: Bytes,
    hasher: SectionHasher,
    held: Held,
    note: Option<Note>,
    failed: Option<Refusal>,
}

impl<S: Spool> Incoming<S> {
    /// One more recipient.
    ///
    /// # Errors
    /// The reply to RCPT: there is no room for it, or a plugin refuses it.
    pub async fn add(&mut self, mut recipient: Recipient) -> Result<(), Refusal> {
        if self.hooks.wants(HookPoint::Rcpt) {
            self.hooks.rcpt(&mut self.transaction, &mut recipient).await?;
        }
        if !self.held.grow(recipient.octets() + RECIPIENT_COST) {
            let detail = "too much is held in memory for messages on their way in".into();
            return Err(Refusal { reply: no_room(), detail });
        }
        self.transaction.envelope_mut().recipients.push(recipient);
        Ok(())
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

    /// These facts are written in the transaction that queues the message. (A message that a plugin discards has none.)
    pub fn note(&mut self, note: Note) {
        self.note = Some(note);
    }

    /// The content turned out to have octets above 127: it needs 8BITMIME (RFC 6152).
    pub fn is_eight_bit(&mut self) {
        self.transaction.envelope_mut().body = BodyType::EightBit;
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
        self.hasher.push(&piece);
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
        let Self { policy, hooks, transaction, put_off_until, header, hasher, note, .. } = self;
        let body_hashes = hasher.finish();
        let prepared = Prepared { policy, hooks, transaction, put_off_until, header, sealed, body_hashes, note };
        prepared.queue(intake).await
    }
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
