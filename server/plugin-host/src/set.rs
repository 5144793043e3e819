//! The plugins of one generation of the config, in order, behind the trait [`Hooks`]; and what a failed call does.

use crate::instance::CallError;
use crate::load::OnError;
use crate::plugin::{About, Done, Plugin};
use crate::said::Said;
use crate::subject::{Exchange, Held, Subject};
use futures_util::future::BoxFuture;
use postern_core::hook::{
    Credentials, Decision, Delivery, Disposition, Failures, HookPoint, Hooks, HttpAnswer, HttpRequest, Identity,
    NoAnswer, Refusal, Routing, Session, Transaction,
};
use postern_core::mail::{EnhancedCode, Recipient, Reply};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Limits of all plugins together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetOptions {
    /// What all plugins together may take of one transaction: well under the ten minutes that a client waits for the
    /// reply to its content (RFC 5321 section 4.5.3.2.6).
    pub budget: Duration,
    /// So many transactions may be in hooks at once; more are told 451.
    pub concurrency: usize,
}

impl Default for SetOptions {
    fn default() -> Self {
        Self { budget: Duration::from_secs(60), concurrency: 1000 }
    }
}

/// Plugins in the order of the config. Reload makes a new set; calls in progress finish on the old one.
#[derive(Debug)]
pub struct PluginSet {
    plugins: Vec<Arc<Plugin>>,
    wanted: [bool; HookPoint::ALL.len()],
    consumers: Arc<[Arc<str>]>,
    budget: Duration,
    room: Semaphore,
}

/// How asking the plugins ended before all of them had said "go on".
struct Stop {
    by: Arc<Plugin>,
    why: Why,
}

enum Why {
    Said(Said),
    /// The plugin failed, and its `on_error` is not to go on.
    Failed {
        error: CallError,
        out_of_time: bool,
    },
}

impl PluginSet {
    /// A set that calls the plugins in this order.
    #[must_use]
    pub fn new(plugins: Vec<Arc<Plugin>>, options: SetOptions) -> Self {
        let has = |point: &HookPoint| plugins.iter().any(|plugin| plugin.pool.template().hooks.has(*point));
        let wanted = HookPoint::ALL.map(|point| has(&point));
        let events = plugins.iter().filter(|plugin| plugin.pool.template().hooks.has(HookPoint::Event));
        let consumers = events.map(|plugin| Arc::clone(&plugin.pool.template().identity.name)).collect();
        let room = Semaphore::new(options.concurrency.clamp(1, Semaphore::MAX_PERMITS));
        Self { plugins, wanted, consumers, budget: options.budget, room }
    }

    /// The plugins, in order.
    #[must_use]
    pub fn plugins(&self) -> &[Arc<Plugin>] {
        &self.plugins
    }

    /// Asks the plugins in order. What each that succeeds made of its copy of `held` is there for the next, and what it
    /// did in the list of changes. `spent` is what hooks have taken of this transaction.
    async fn ask(
        &self,
        point: HookPoint,
        about: About<'_>,
        mut held: Held<'_>,
        spent: Duration,
    ) -> (Result<(), Stop>, Duration) {
        let began = Instant::now();
        let latest = began + self.budget.saturating_sub(spent);
        // Copies are cheaper without them.
        let mut changes = held.changes().map(std::mem::take).unwrap_or_default();
        let (mut start, mut result) = (began, Ok(()));
        for plugin in self.plugins.iter().filter(|plugin| plugin.wants(point, about)) {
            let mut copy = held.copy();
            let (called, end) = plugin.call(point, &mut copy, start, latest).await;
            start = end;
            let stop = match called {
                Ok(done) if plugin.spec.shadow => {
                    shadowed(plugin, point, &copy, &done);
                    continue;
                }
                Ok(Done { said, changes: made }) => {
                    held.replace(copy);
                    changes.extend(made);
                    said.map(Why::Said)
                }
                Err(error) => failed(plugin, point, &held, error, end >= latest),
            };
            if let Some(why) = stop {
                result = Err(Stop { by: Arc::clone(plugin), why });
                break;
            }
        }
        if let Some(kept) = held.changes() {
            *kept = changes;
        }
        (result, spent + (start - began))
    }

    /// A hook whose subject is the transaction alone.
    async fn ask_about(&self, point: HookPoint, transaction: &mut Transaction) -> Result<(), Stop> {
        let session = Arc::clone(&transaction.session);
        let zone = transaction.zone.clone().or_else(|| transaction.claimed.clone());
        let about = About { listener: Some(&session.listener), zone: zone.as_deref(), user: session.user.as_deref() };
        let spent = transaction.spent;
        let (result, spent) = self.ask(point, about, Held::Message(transaction), spent).await;
        transaction.spent = spent;
        result
    }

    fn plugin(&self, name: &str) -> Option<&Arc<Plugin>> {
        self.plugins.iter().find(|plugin| plugin.name() == name)
    }
}

/// What a shadow would have done.
fn shadowed(plugin: &Plugin, point: HookPoint, subject: &Subject, done: &Done) {
    let changes: Vec<&str> = done.changes.iter().map(|change| change.what.as_str()).collect();
    tracing::info!(
        plugin = plugin.author(),
        hook = point.name(),
        queue_id = subject.queue_id().map(tracing::field::display),
        verdict = ?done.said,
        changes = changes.join("; "),
        "SHADOW"
    );
}

/// Logs a failed call and says whether it ends the asking.
fn failed(plugin: &Plugin, point: HookPoint, held: &Held<'_>, error: CallError, out_of_time: bool) -> Option<Why> {
    // A plugin that rests has been complained of enough.
    if !matches!(error, CallError::Resting) {
        let subject = held.copy();
        tracing::warn!(
            plugin = plugin.author(),
            hook = point.name(),
            session = subject.session_id(),
            queue_id = subject.queue_id().map(tracing::field::display),
            kind = error.kind().name(),
            on_error = ?plugin.spec.on_error,
            "plugin call failed: {error}"
        );
    }
    // A server at its limits is no reason to lose a message, or to let one pass unseen.
    let of_host = out_of_time || error.is_of_host();
    // Whatever goes wrong with credentials ends closed.
    if point == HookPoint::Auth && !plugin.spec.shadow {
        return Some(Why::Failed { error, out_of_time });
    }
    if plugin.spec.shadow || (plugin.spec.on_error == OnError::Skip && !of_host) {
        return None;
    }
    // What was decided of a failure stands, and the next plugin is asked.
    if point == HookPoint::Bounce {
        return None;
    }
    Some(Why::Failed { error, out_of_time })
}

impl Stop {
    fn detail(&self, point: HookPoint) -> String {
        let (author, hook) = (self.by.author(), point.name());
        match &self.why {
            Why::Said(_) => format!("plugin {author}, hook {hook}"),
            Why::Failed { error, .. } => format!("plugin {author}, hook {hook}: {}: {error}", error.kind().name()),
        }
    }

    /// As the client is told. The texts name nothing inside: what the client can do about it is the same whatever it
    /// was.
    fn refusal(self, point: HookPoint) -> Refusal {
        let detail = self.detail(point);
        let (defer, reject) = if point == HookPoint::Connect { (421, 554) } else { (451, 550) };
        let reply = match self.why {
            Why::Said(Said::Refuse(reply)) => reply,
            Why::Said(Said::User(_)) | Why::Failed { .. } if point == HookPoint::Auth => cannot_authenticate(),
            // Only the hook `spam` holds and discards, and it looks for that.
            Why::Said(Said::User(_)) => Reply::new(defer, EnhancedCode(4, 3, 0), "Try again later"),
            Why::Said(Said::PutOff(text) | Said::Hold(text) | Said::Discard(text)) => {
                Reply::new(defer, EnhancedCode(4, 3, 0), text)
            }
            Why::Failed { error, out_of_time } if out_of_time || error.is_of_host() => {
                Reply::new(defer, EnhancedCode(4, 3, 2), "Message not accepted: too busy, try again later")
            }
            Why::Failed { .. } if self.by.spec.on_error == OnError::Reject => {
                Reply::new(reject, EnhancedCode(5, 3, 0), "Message not accepted")
            }
            Why::Failed { .. } => {
                Reply::new(defer, EnhancedCode(4, 3, 0), "Message not accepted for now, try again later")
            }
        };
        Refusal { reply, detail }
    }

    fn decision(self) -> Decision {
        let detail = self.detail(HookPoint::DeliveryBefore);
        match self.why {
            Why::Said(Said::Refuse(reply)) => Decision::Bounce { reply, detail },
            Why::Said(Said::PutOff(public) | Said::Hold(public) | Said::Discard(public)) => {
                let public = if public.is_empty() { "delivery is put off by policy".to_owned() } else { public };
                Decision::Defer { public, detail }
            }
            Why::Failed { .. } | Why::Said(Said::User(_)) => {
                Decision::Defer { public: "local error in processing".to_owned(), detail }
            }
        }
    }
}

/// RFC 4954 section 6.
fn cannot_authenticate() -> Reply {
    Reply::new(454, EnhancedCode(4, 7, 0), "Temporary authentication failure")
}

/// There is no room for one more transaction in hooks.
fn crowded() -> Refusal {
    let reply = Reply::new(451, EnhancedCode(4, 3, 2), "Message not accepted: too busy, try again later");
    Refusal { reply, detail: "too many transactions are in plugins".into() }
}

impl Hooks for PluginSet {
    fn wants(&self, point: HookPoint) -> bool {
        self.wanted[point as usize]
    }

    fn connect<'a>(&'a self, session: &'a mut Session) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let _room = self.room.try_acquire().map_err(|_| Refusal {
                reply: Reply::new(421, EnhancedCode(4, 3, 2), "Too busy, try again later"),
                ..crowded()
            })?;
            let listener = Arc::clone(&session.listener);
            let about = About { listener: Some(&listener), ..About::default() };
            let (asked, _) = self.ask(HookPoint::Connect, about, Held::Session(session), Duration::ZERO).await;
            asked.map_err(|stop| stop.refusal(HookPoint::Connect))
        })
    }

    fn auth<'a>(
        &'a self,
        session: &'a mut Session,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Identity, Refusal>> {
        Box::pin(async move {
            let crowded = |_| Refusal { reply: cannot_authenticate(), ..crowded() };
            let _room = self.room.try_acquire().map_err(crowded)?;
            let listener = Arc::clone(&session.listener);
            let user = (!credentials.user.is_empty()).then_some(credentials.user.as_str());
            let about = About { listener: Some(&listener), user, ..About::default() };
            let (asked, _) = self.ask(HookPoint::Auth, about, Held::Login(session, credentials), Duration::ZERO).await;
            match asked {
                Ok(()) => Ok(Identity::Unknown),
                Err(Stop { why: Why::Said(Said::User(user)), .. }) => Ok(Identity::User(user)),
                Err(stop) => Err(stop.refusal(HookPoint::Auth)),
            }
        })
    }

    fn mail<'a>(&'a self, transaction: &'a mut Transaction) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let _room = self.room.try_acquire().map_err(|_| crowded())?;
            self.ask_about(HookPoint::Mail, transaction).await.map_err(|stop| stop.refusal(HookPoint::Mail))
        })
    }

    fn rcpt<'a>(
        &'a self,
        transaction: &'a mut Transaction,
        recipient: &'a mut Recipient,
    ) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let _room = self.room.try_acquire().map_err(|_| crowded())?;
            let spent = transaction.spent;
            let session = Arc::clone(&transaction.session);
            let zone = transaction.zone.clone();
            let about =
                About { listener: Some(&session.listener), zone: zone.as_deref(), user: session.user.as_deref() };
            let (asked, spent) = self.ask(HookPoint::Rcpt, about, Held::Recipient(transaction, recipient), spent).await;
            transaction.spent = spent;
            asked.map_err(|stop| stop.refusal(HookPoint::Rcpt))
        })
    }

    fn spam<'a>(&'a self, transaction: &'a mut Transaction) -> BoxFuture<'a, Result<Disposition, Refusal>> {
        Box::pin(async move {
            let _room = self.room.try_acquire().map_err(|_| crowded())?;
            let Err(stop) = self.ask_about(HookPoint::Spam, transaction).await else { return Ok(Disposition::Accept) };
            let by: Arc<str> = stop.by.author().into();
            match stop.why {
                Why::Said(Said::Hold(reason)) => Ok(Disposition::Hold { by, reason }),
                Why::Said(Said::Discard(reason)) => Ok(Disposition::Discard { by, reason }),
                _ => Err(stop.refusal(HookPoint::Spam)),
            }
        })
    }

    fn rewrite<'a>(&'a self, transaction: &'a mut Transaction) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let _room = self.room.try_acquire().map_err(|_| crowded())?;
            self.ask_about(HookPoint::Rewrite, transaction).await.map_err(|stop| stop.refusal(HookPoint::Rewrite))
        })
    }

    fn rewrite_part<'a>(&'a self, transaction: &'a mut Transaction) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let _room = self.room.try_acquire().map_err(|_| crowded())?;
            let asked = self.ask_about(HookPoint::RewritePart, transaction).await;
            asked.map_err(|stop| stop.refusal(HookPoint::RewritePart))
        })
    }

    fn route<'a>(
        &'a self,
        transaction: &'a mut Transaction,
        routing: &'a mut Routing,
    ) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let _room = self.room.try_acquire().map_err(|_| crowded())?;
            let spent = transaction.spent;
            let session = Arc::clone(&transaction.session);
            let zone = routing.recipients.first().map(|first| Arc::clone(&first.queue.zone));
            let about =
                About { listener: Some(&session.listener), zone: zone.as_deref(), user: session.user.as_deref() };
            let (asked, spent) = self.ask(HookPoint::Route, about, Held::Routing(transaction, routing), spent).await;
            transaction.spent = spent;
            asked.map_err(|stop| stop.refusal(HookPoint::Route))
        })
    }

    fn delivery_before<'a>(&'a self, delivery: &'a mut Delivery) -> BoxFuture<'a, Decision> {
        Box::pin(async move {
            let (zone, user) = (Arc::clone(&delivery.zone), delivery.user.clone());
            let about = About { listener: None, zone: Some(&zone), user: user.as_deref() };
            let held = Held::Delivery(delivery);
            let (asked, _) = self.ask(HookPoint::DeliveryBefore, about, held, Duration::ZERO).await;
            asked.map_or_else(Stop::decision, |()| Decision::Go)
        })
    }

    fn bounce<'a>(&'a self, failures: &'a mut Failures) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (zone, user) = (Arc::clone(&failures.zone), failures.user.clone());
            let about = About { listener: None, zone: Some(&zone), user: user.as_deref() };
            // Nothing stops the asking: there is no verdict, and a failure leaves the decision as it was.
            let _ = self.ask(HookPoint::Bounce, about, Held::Failures(failures), Duration::ZERO).await;
        })
    }

    fn event_consumers(&self) -> Arc<[Arc<str>]> {
        Arc::clone(&self.consumers)
    }

    fn events<'a>(&'a self, consumer: &'a str, batch: Vec<String>) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let Some(plugin) = self.plugin(consumer) else { return Err("there is no such plugin".into()) };
            let start = Instant::now();
            let mut subject = Subject::Events(batch);
            let (called, _) = plugin.call(HookPoint::Event, &mut subject, start, start + self.budget).await;
            called.map(|_| ()).map_err(|error| format!("{}: {error}", error.kind().name()))
        })
    }

    fn http<'a>(&'a self, plugin: &'a str, request: HttpRequest) -> BoxFuture<'a, Result<HttpAnswer, NoAnswer>> {
        Box::pin(async move {
            let user = request.user.clone();
            let about = About { listener: Some("http"), user: user.as_deref(), ..About::default() };
            let wants = |plugin: &&Arc<Plugin>| plugin.wants(HookPoint::Http, about);
            let plugin = self.plugin(plugin).filter(wants).ok_or(NoAnswer::Unknown)?;
            let _room = self.room.try_acquire().map_err(|_| NoAnswer::Busy)?;
            let start = Instant::now();
            let mut subject = Subject::Exchange(Box::new(Exchange { request, answer: HttpAnswer::default() }));
            let (called, _) = plugin.call(HookPoint::Http, &mut subject, start, start + self.budget).await;
            called.map_err(|error| unanswered(plugin, &error))?;
            // A call gives back what it was given.
            let Subject::Exchange(exchange) = subject else { return Err(NoAnswer::Failed) };
            let answer = exchange.answer;
            if plugin.spec.shadow {
                let (plugin, octets) = (plugin.author(), answer.body.len());
                tracing::info!(plugin, hook = HookPoint::Http.name(), status = answer.status, octets, "SHADOW");
                return Err(NoAnswer::Unknown);
            }
            Ok(answer)
        })
    }
}

/// Logs why a request has no answer. `on_error` is about mail: here nothing can be put off or let pass.
fn unanswered(plugin: &Plugin, error: &CallError) -> NoAnswer {
    if !matches!(error, CallError::Resting) {
        let (author, kind) = (plugin.author(), error.kind().name());
        tracing::warn!(plugin = author, hook = HookPoint::Http.name(), kind, "plugin call failed: {error}");
    }
    match error {
        // The clients of a shadow are not to see what it does.
        _ if plugin.spec.shadow => NoAnswer::Unknown,
        CallError::Refused(_) => NoAnswer::Refused,
        CallError::Deadline => NoAnswer::Late,
        CallError::Busy | CallError::Instance(_) | CallError::Resting => NoAnswer::Busy,
        CallError::Trap(_) | CallError::Cpu(_) | CallError::Memory(_) | CallError::Verdict(_) => NoAnswer::Failed,
    }
}
