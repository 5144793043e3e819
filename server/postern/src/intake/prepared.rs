//! From sealed content to a queued message: completion of the header, the hooks that see content, Received, routes,
//! commit.

use super::section_hasher::SectionHasher;
use super::{Choices, Intake, Note, Policy, Queued, header_too_large, local_error, spool_refusal};
use crate::events::Outbox;
use crate::observe::delivery_log;
use crate::spool::{Draft, NewMessage, Origin, SealedDraft, Spool, Start};
use bytes::Bytes;
use postern_core::hook::{Disposition, HookPoint, Hooks, Refusal, Routed, Routing, Session, Transaction};
use postern_core::mail::{EnhancedCode, Envelope, QueueId, RecipientId, Reply, Seq};
use postern_core::message::{BodyHashes, CompleteError, Completed, Completion, ContentSource, HeaderBlock, Received};
use postern_core::route::QueueKey;
use postern_core::time::Timestamp;
use postern_core::zone::DEFAULT_ZONE;
use std::sync::Arc;
use std::time::Duration;

/// A message may be delayed this long at most.
const MAX_DELAY: Duration = Duration::from_secs(366 * 86_400);

/// Octets of an edited body that are copied at a time.
const COPIED: usize = 256 << 10;

/// A message whose content is complete.
pub(super) struct Prepared<S: Spool> {
    pub(super) policy: Policy,
    pub(super) hooks: Arc<dyn Hooks>,
    pub(super) transaction: Transaction,
    /// When the client wants delivery to begin.
    pub(super) put_off_until: Option<Timestamp>,
    /// The header block as it came.
    pub(super) header: Bytes,
    pub(super) sealed: S::Sealed,
    /// Of the body as it came.
    pub(super) body_hashes: BodyHashes,
    /// What must be durable with it.
    pub(super) note: Option<Note>,
}

impl<S: Spool> Prepared<S> {
    /// Runs the hooks and queues the message.
    pub(super) async fn queue(self, intake: &Intake<S>) -> Result<QueueId, Refusal> {
        let Self { policy, hooks, mut transaction, put_off_until, mut header, sealed, mut body_hashes, note } = self;
        let (id, accepted) = (sealed.id(), (intake.clock)());
        let mut block = HeaderBlock::parse(&header);
        let completed = complete(intake, policy, id, accepted, &mut block, &transaction.envelope)?;
        // What a plugin chose at MAIL or RCPT stands over the client's wish.
        let wished = completed.zone.filter(|zone| intake.router.has_zone(zone)).map(Arc::from);
        transaction.zone = transaction.zone.or(wished);
        (transaction.queue_id, transaction.header) = (Some(id), block);
        let disposition = content_hooks(intake, &*hooks, policy, &mut transaction, sealed.body()).await?;
        let hold = match disposition {
            Disposition::Accept => None,
            Disposition::Hold { by, reason } => Some(held_because(&by, &reason).into()),
            Disposition::Discard { by, reason } => {
                discarded(id, &transaction, &format!("discarded by plugin {by}: {reason}"));
                return Ok(id);
            }
        };
        let routing = route(intake, &*hooks, policy, &mut transaction, hold).await?;
        for changes in transaction.changes.chunk_by(|a, b| a.author == b.author) {
            delivery_log::changed(id, &transaction.session.id, changes);
        }
        if transaction.header.is_edited() {
            header = transaction.header.to_bytes();
        }
        let delay = transaction.delay.unwrap_or_default().min(MAX_DELAY);
        let wished = completed.deliver_at.max(put_off_until).unwrap_or(accepted);
        let deliver_at = wished.max(accepted.after(delay));
        let edited = transaction.body_is_edited.then(|| Arc::clone(&transaction.body));
        let mut message = message(intake, transaction, routing, &header, Times { id, accepted, deliver_at });
        let sealed = match edited {
            Some(body) => {
                let (sealed, hashes) = with_body(intake, sealed, &message.header, &*body).await?;
                body_hashes = hashes;
                sealed
            }
            None => sealed,
        };
        message.body_hashes = Some(body_hashes);
        let section = sealed.body().len();
        if let Some(outbox) = Outbox::of(&*intake.hooks.get(), accepted) {
            message.facts = outbox.accepted(id, &message, section);
        }
        message.facts.extend(note.map(|note| note(id)).unwrap_or_default());
        let queued = Queued::new(id, &message, section);
        intake.spool.commit(sealed, message).await.map_err(|error| spool_refusal(&error))?;
        queued.log(None);
        Ok(id)
    }
}

/// The hooks that see the content, in order.
async fn content_hooks<S: Spool>(
    intake: &Intake<S>,
    hooks: &dyn Hooks,
    policy: Policy,
    transaction: &mut Transaction,
    body: Arc<dyn ContentSource>,
) -> Result<Disposition, Refusal> {
    let mut disposition = Disposition::Accept;
    if ![HookPoint::Spam, HookPoint::Rewrite, HookPoint::RewritePart].into_iter().any(|point| hooks.wants(point)) {
        return Ok(disposition);
    }
    transaction.body = body;
    let reverse_path = &transaction.envelope.reverse_path;
    let claimed = intake.router.zone_of(&transaction.header, reverse_path, policy.trust_headers);
    transaction.claimed = Some(claimed.unwrap_or_else(|| DEFAULT_ZONE.into()));
    if hooks.wants(HookPoint::Spam) {
        disposition = hooks.spam(transaction).await?;
    }
    if matches!(disposition, Disposition::Discard { .. }) {
        return Ok(disposition);
    }
    if hooks.wants(HookPoint::Rewrite) {
        hooks.rewrite(transaction).await?;
    }
    if hooks.wants(HookPoint::RewritePart) {
        hooks.rewrite_part(transaction).await?;
    }
    Ok(disposition)
}

/// A second draft with another body section, in the place of the first, and the hashes of its body.
async fn with_body<S: Spool>(
    intake: &Intake<S>,
    first: S::Sealed,
    header: &Bytes,
    body: &dyn ContentSource,
) -> Result<(S::Sealed, BodyHashes), Refusal> {
    let refusal = |error| spool_refusal(&error);
    let len = header.len() as u64 + body.len();
    let mut draft = intake.spool.begin_second(first, header.clone(), Some(len)).await.map_err(refusal)?;
    let (mut offset, mut hasher) = (0, SectionHasher::default());
    while offset < body.len() {
        let unreadable = |error: std::io::Error| Refusal { reply: local_error(), detail: error.to_string() };
        let piece = body.read(offset, COPIED).await.map_err(unreadable)?;
        if piece.is_empty() {
            return Err(unreadable(std::io::ErrorKind::UnexpectedEof.into()));
        }
        offset += piece.len() as u64;
        hasher.push(&piece);
        draft.write(piece).await.map_err(refusal)?;
    }
    Ok((draft.seal().await.map_err(refusal)?, hasher.finish()))
}

/// Where each recipient goes: by the rules of the config, then by plugins.
async fn route<S: Spool>(
    intake: &Intake<S>,
    hooks: &dyn Hooks,
    policy: Policy,
    transaction: &mut Transaction,
    hold: Option<Arc<str>>,
) -> Result<Vec<Routed>, Refusal> {
    let envelope = &transaction.envelope;
    let claimed = || intake.router.zone_of(&transaction.header, &envelope.reverse_path, policy.trust_headers);
    let zone = transaction.zone.clone().or_else(claimed);
    let queues = queues(intake, envelope, zone.as_deref())?;
    let addresses = envelope.recipients.iter().map(|recipient| recipient.address.clone());
    let routed = |(address, queue)| Routed { hold: hold.clone(), ..Routed::new(address, queue) };
    let recipients = addresses.zip(queues).map(routed).collect();
    if !hooks.wants(HookPoint::Route) {
        return Ok(recipients);
    }
    let mut routing = Routing { places: Arc::new(Choices(Arc::clone(&intake.router))), recipients };
    hooks.route(transaction, &mut routing).await?;
    Ok(routing.recipients)
}

/// When a message came and goes, and its id.
struct Times {
    id: QueueId,
    accepted: Timestamp,
    deliver_at: Timestamp,
}

fn message<S: Spool>(
    intake: &Intake<S>,
    transaction: Transaction,
    routing: Vec<Routed>,
    header: &[u8],
    Times { id, accepted, deliver_at }: Times,
) -> NewMessage {
    let Transaction { session, envelope, attributes, .. } = transaction;
    let mut envelope = Arc::unwrap_or_clone(envelope);
    let header = with_received(intake, &session, &envelope, id, accepted, header);
    let mut queues = Vec::with_capacity(routing.len());
    let mut starts = Vec::new();
    for ((seq, recipient), routed) in (1..).zip(&mut envelope.recipients).zip(routing) {
        queues.push(routed.queue);
        recipient.pool = routed.pool;
        let due = routed.delay.map_or(deliver_at, |delay| deliver_at.max(accepted.after(delay)));
        if due != deliver_at || routed.hold.is_some() {
            starts.push((Seq(seq), Start { due, held: routed.hold.map(|reason| reason.to_string()) }));
        }
    }
    let origin = Origin {
        session: Arc::clone(&session.id),
        listener: Arc::clone(&session.listener),
        peer_addr: Some(session.peer_addr),
        user: session.user.clone(),
        attributes: Arc::new(attributes),
    };
    NewMessage { envelope, header, queues, accepted, deliver_at, origin, starts, body_hashes: None, facts: Vec::new() }
}

fn held_because(by: &str, reason: &str) -> String {
    if reason.is_empty() { format!("held by plugin {by}") } else { format!("{reason} (plugin {by})") }
}

/// Each recipient ends here, and the log says so.
fn discarded(id: QueueId, transaction: &Transaction, why: &str) {
    let Transaction { session, envelope, .. } = transaction;
    for (seq, recipient) in (1..).zip(&envelope.recipients) {
        let id = RecipientId { message: id, seq: Seq(seq) };
        delivery_log::dropped(id, &session.id, envelope.reverse_path.as_str(), recipient.address.as_str(), why);
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

fn queues<S: Spool>(intake: &Intake<S>, envelope: &Envelope, zone: Option<&str>) -> Result<Vec<QueueKey>, Refusal> {
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
