//! The transaction of a fixture, and calls of a plugin's hooks on it, in the order and with the consequences that intake
//! gives them. A clone is the same point of the same transaction.

use super::attempt;
use super::fixture::Fixture;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use postern_core::hook::{
    Decision, Delivery, Disposition, Failures, HookPoint, Hooks as _, MemoryScratch, Places, Protocol, Refusal, Routed,
    Routing, Session, Transaction,
};
use postern_core::mail::{Address, Envelope, QueueId, Recipient, ReversePath};
use postern_core::message::{HeaderBlock, HeaderSplitter, MemorySource};
use postern_core::route::QueueKey;
use postern_core::zone::DEFAULT_ZONE;
use postern_plugin_host::{ErrorKind, Plugin, PluginSet};
use std::sync::Arc;

/// The id of a fixture's message, the same as in the SDK's mock host.
const QUEUE_ID: QueueId = QueueId(0x1234_5678_9abc_def0);
/// Octets of one piece that a plugin writes in the place of another.
const SCRATCH: usize = 64 << 20;

/// One point of a fixture's transaction.
#[derive(Clone)]
pub struct Scene {
    /// The message as hooks have made it so far.
    pub transaction: Transaction,
    /// Where its recipients go, once that has been decided.
    pub routing: Option<Routing>,
    /// The attempt, for `delivery-before`.
    pub delivery: Option<Delivery>,
    /// The failures, for `bounce`.
    pub failures: Option<Failures>,
    pub(super) header: HeaderBlock,
    pub(super) body: Bytes,
    places: Arc<Known>,
    claimed: Arc<str>,
    events: Vec<String>,
}

/// One call to make.
#[derive(Clone, Debug)]
pub struct Call {
    /// The hook.
    pub hook: HookPoint,
    /// Whom `rcpt` is about.
    pub recipient: Option<Recipient>,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Go on.
    Pass,
    /// The client gets this reply.
    Refused(Refusal),
    /// The message is held.
    Held(String),
    /// The message is dropped.
    Discarded(String),
    /// The attempt is not made.
    Stopped(Decision),
    /// The plugin did not take the events.
    Failed(String),
}

/// Zones and pools by name.
struct Known {
    zones: Vec<String>,
    pools: Vec<String>,
}

impl Places for Known {
    fn queue(&self, recipient: &Address, zone: &str) -> Option<QueueKey> {
        let destination = recipient.domain().to_lowercase().into();
        self.zones.iter().any(|name| name == zone).then(|| QueueKey { zone: zone.into(), destination })
    }

    fn has_pool(&self, name: &str) -> bool {
        self.pools.iter().any(|pool| pool == name)
    }
}

impl Call {
    /// As reports name it: `rewrite`, `rcpt <b@c.example>`.
    pub fn label(&self) -> String {
        match &self.recipient {
            Some(recipient) => format!("{} <{}>", self.hook.name(), recipient.address.as_str()),
            None => self.hook.name().to_owned(),
        }
    }
}

impl Scene {
    /// The beginning of a fixture, and the calls to make of a plugin with these hooks.
    ///
    /// # Errors
    /// The fixture's values can't be used, or it names a hook that the plugin does not export.
    pub fn new(fixture: &Fixture, exported: &[HookPoint]) -> anyhow::Result<(Self, Vec<Call>)> {
        let place = |key: &str| format!("{}: {key}", fixture.path.display());
        let hooks = hooks(fixture, exported).with_context(|| place("hooks"))?;
        let to = fixture.envelope.to.iter().enumerate().map(|(index, text)| {
            Address::parse(text).map(Recipient::new).with_context(|| place(&format!("envelope.to[{index}] `{text}`")))
        });
        let to = to.collect::<anyhow::Result<Vec<_>>>()?;
        let from = match fixture.envelope.from.as_str() {
            "" => ReversePath::Null,
            text => ReversePath::Path(Address::parse(text).with_context(|| place("envelope.from"))?),
        };
        let (header, body) = split(&fixture.message()?)?;
        let mut envelope = Envelope::new(from);
        envelope.smtputf8 = fixture.envelope.smtputf8;
        if !hooks.contains(&HookPoint::Rcpt) {
            envelope.recipients.clone_from(&to);
        }
        let session = Arc::new(session(fixture));
        let mut transaction = Transaction::new(session, envelope, Arc::new(MemoryScratch(SCRATCH)));
        transaction.zone = fixture.envelope.zone.as_deref().map(Arc::from);
        let with_default = |names: &[String]| [&[DEFAULT_ZONE.to_owned()][..], names].concat();
        let places = Known { zones: with_default(&fixture.server.zones), pools: with_default(&fixture.server.pools) };
        let events = fixture.event.iter().map(serde_json::to_string).collect::<Result<_, _>>();
        let scene = Self {
            delivery: attempt::delivery(fixture, &transaction, &to, &header, &body)?,
            failures: attempt::failures(fixture, &transaction)?,
            transaction,
            routing: None,
            header: HeaderBlock::parse(&header),
            body,
            places: Arc::new(places),
            claimed: fixture.server.claimed.as_str().into(),
            events: events.with_context(|| place("event"))?,
        };
        let calls = hooks.into_iter().flat_map(|hook| match hook {
            HookPoint::Rcpt => to.iter().map(|one| Call { hook, recipient: Some(one.clone()) }).collect(),
            _ => vec![Call { hook, recipient: None }],
        });
        Ok((scene, calls.collect()))
    }

    /// Makes one call.
    pub async fn ask(&mut self, plugins: &PluginSet, call: &Call) -> Answer {
        if call.hook >= HookPoint::Spam {
            self.open_content();
        }
        let transaction = &mut self.transaction;
        let refused = |result: Result<(), Refusal>| result.map_or_else(Answer::Refused, |()| Answer::Pass);
        match call.hook {
            HookPoint::Connect => {
                let mut session = (*transaction.session).clone();
                let answer = refused(plugins.connect(&mut session).await);
                // Each message begins with a copy of the session's notes.
                transaction.attributes.clone_from(&session.attributes);
                transaction.session = Arc::new(session);
                answer
            }
            HookPoint::Mail => refused(plugins.mail(transaction).await),
            HookPoint::Rcpt => {
                let Some(mut recipient) = call.recipient.clone() else { return Answer::Pass };
                let answer = refused(plugins.rcpt(transaction, &mut recipient).await);
                if matches!(answer, Answer::Pass) {
                    transaction.envelope_mut().recipients.push(recipient);
                }
                answer
            }
            HookPoint::Spam => match plugins.spam(transaction).await {
                Ok(Disposition::Accept) => Answer::Pass,
                Ok(Disposition::Hold { reason, .. }) => Answer::Held(reason),
                Ok(Disposition::Discard { reason, .. }) => Answer::Discarded(reason),
                Err(refusal) => Answer::Refused(refusal),
            },
            HookPoint::Rewrite => refused(plugins.rewrite(transaction).await),
            HookPoint::RewritePart => refused(plugins.rewrite_part(transaction).await),
            HookPoint::Route => {
                if let Err(unknown) = self.decide_routes() {
                    return Answer::Failed(unknown);
                }
                let Some(routing) = &mut self.routing else { return Answer::Pass };
                refused(plugins.route(&mut self.transaction, routing).await)
            }
            HookPoint::DeliveryBefore => match &mut self.delivery {
                Some(delivery) => match plugins.delivery_before(delivery).await {
                    Decision::Go => Answer::Pass,
                    decision => Answer::Stopped(decision),
                },
                None => Answer::Pass,
            },
            HookPoint::Bounce => {
                if let Some(failures) = &mut self.failures {
                    plugins.bounce(failures).await;
                }
                Answer::Pass
            }
            HookPoint::Event => match plugins.plugins().first() {
                Some(plugin) => {
                    let took = plugins.events(plugin.name(), self.events.clone()).await;
                    took.map_or_else(Answer::Failed, |()| Answer::Pass)
                }
                None => Answer::Pass,
            },
            HookPoint::Auth | HookPoint::Sign | HookPoint::Http => Answer::Pass,
        }
    }

    /// The content is there: so the hooks after RCPT find it.
    fn open_content(&mut self) {
        if self.transaction.queue_id.is_none() {
            self.transaction.queue_id = Some(QUEUE_ID);
            self.transaction.header = self.header.clone();
            self.transaction.body = Arc::new(MemorySource(self.body.clone()));
            self.transaction.claimed = Some(Arc::clone(&self.claimed));
        }
    }

    /// Each recipient in the zone that a plugin chose, else in the one that claims the message.
    fn decide_routes(&mut self) -> Result<(), String> {
        let zone = self.transaction.zone.clone().unwrap_or_else(|| Arc::clone(&self.claimed));
        let queue = |recipient: &Recipient| {
            let queue = self.places.queue(&recipient.address, &zone)?;
            Some(Routed::new(recipient.address.clone(), queue))
        };
        let recipients = self.transaction.envelope.recipients.iter().map(queue).collect::<Option<Vec<_>>>();
        let unknown = || format!("there is no zone `{zone}`, only {}", self.places.zones.join(", "));
        let recipients = recipients.ok_or_else(unknown)?;
        self.routing = Some(Routing { places: Arc::clone(&self.places) as Arc<dyn Places>, recipients });
        Ok(())
    }
}

/// How often a hook of the plugin has failed, by kind.
pub fn failures_of(plugin: &Plugin, hook: HookPoint) -> Vec<(ErrorKind, u64)> {
    let stats = plugin.hook_stats().into_iter().find(|stats| stats.hook == hook);
    stats.map(|stats| stats.errors.to_vec()).unwrap_or_default()
}

/// Hooks whose calls fixtures can't describe.
const NOT_FOR_FIXTURES: [HookPoint; 3] = [HookPoint::Auth, HookPoint::Sign, HookPoint::Http];

fn hooks(fixture: &Fixture, exported: &[HookPoint]) -> anyhow::Result<Vec<HookPoint>> {
    let named = fixture.hooks()?;
    for hook in &named {
        if !exported.contains(hook) {
            let exported: Vec<&str> = exported.iter().map(|hook| hook.name()).collect();
            bail!("the plugin does not export `{}`, only {}", hook.name(), exported.join(", "));
        }
        if NOT_FOR_FIXTURES.contains(hook) {
            bail!("fixtures can't describe calls of `{}`; use the SDK's mock host", hook.name());
        }
    }
    if !named.is_empty() {
        return Ok(named);
    }
    let given = |hook: &HookPoint| match hook {
        HookPoint::DeliveryBefore => fixture.delivery.is_some(),
        HookPoint::Bounce => !fixture.failure.is_empty(),
        HookPoint::Event => !fixture.event.is_empty(),
        hook => !NOT_FOR_FIXTURES.contains(hook),
    };
    Ok(exported.iter().copied().filter(given).collect())
}

fn session(fixture: &Fixture) -> Session {
    let table = &fixture.session;
    Session {
        id: "fixture".into(),
        listener: table.listener.as_str().into(),
        peer_addr: table.peer,
        peer_name: table.peer_name.as_deref().map(Arc::from),
        helo: table.helo.as_str().into(),
        protocol: Protocol::Esmtp,
        tls: None,
        user: table.user.as_deref().map(Arc::from),
        attributes: table.attributes.clone(),
    }
}

/// Header block and the rest, as intake divides them.
fn split(content: &[u8]) -> anyhow::Result<(Bytes, Bytes)> {
    let mut splitter = HeaderSplitter::new(HeaderBlock::MAX);
    match splitter.push(content).context("message")? {
        Some(parts) => Ok(parts),
        None => splitter.finish().context("message"),
    }
}
