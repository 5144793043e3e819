//! The plugin's value inside a component, and the way from the exported functions to its methods.

use crate::instance_types as x;
use crate::*;
use std::cell::RefCell;

/// The plugin's value in its instance. One call at a time enters an instance, and an instance has one thread.
#[doc(hidden)]
pub struct Instance<P>(RefCell<Option<P>>);

impl<P: Plugin> Instance<P> {
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    pub fn init(&self, config_json: &str) -> x::Answer<()> {
        // Without it the host sees a bare `unreachable`, and nobody learns what the panic said.
        std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string())));
        let plugin = config::parse(config_json)
            .map_err(|e| e.context("config"))
            .and_then(P::init)
            .map_err(|error| error.to_string())?;
        *self.0.borrow_mut() = Some(plugin);
        Ok(())
    }

    fn with<R>(&self, call: impl FnOnce(&mut P) -> Result<R>) -> x::Answer<R> {
        match self.0.borrow_mut().as_mut() {
            Some(plugin) => call(plugin).map_err(|error| error.to_string()),
            None => Err("the host called a hook before lifecycle.init".into()),
        }
    }
}

impl From<Verdict> for x::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Reject(reply) => Self::Reject(reply.into()),
            Verdict::Defer(reply) => Self::Defer(reply.into()),
        }
    }
}

impl From<AuthVerdict> for x::AuthVerdict {
    fn from(verdict: AuthVerdict) -> Self {
        match verdict {
            AuthVerdict::Accept(user) => Self::Accept(user),
            AuthVerdict::Reject(reply) => Self::Reject(reply.into()),
            AuthVerdict::Pass => Self::Pass,
        }
    }
}

impl From<SpamVerdict> for x::SpamVerdict {
    fn from(verdict: SpamVerdict) -> Self {
        match verdict {
            SpamVerdict::Accept => Self::Accept,
            SpamVerdict::Reject(reply) => Self::Reject(reply.into()),
            SpamVerdict::Defer(reply) => Self::Defer(reply.into()),
            SpamVerdict::Hold(reason) => Self::Hold(reason),
            SpamVerdict::Discard(reason) => Self::Discard(reason),
        }
    }
}

impl From<Decision> for x::Decision {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Go => Self::Go,
            Decision::Defer(reason) => Self::Defer(reason),
            Decision::Bounce(reply) => Self::Bounce(reply.into()),
        }
    }
}

/// The way in of one function: wraps its arguments, unwraps its answer.
macro_rules! way_in {
    ($hook:ident, $function:ident => $method:ident($($argument:ident: $type:ident),+) -> $answer:ty) => {
        impl<P: $hook> Instance<P> {
            pub fn $function(&self, $($argument: &x::$type),+) -> x::Answer<$answer> {
                self.with(|plugin| plugin.$method($($type::of($argument)),+).map(Into::into))
            }
        }
    };
}

way_in!(Connect, connect => connect(session: Session) -> x::Verdict);
way_in!(Auth, authenticate => authenticate(session: Session, credentials: Credentials) -> x::AuthVerdict);
way_in!(Mail, mail => mail(session: Session, envelope: Envelope) -> x::Verdict);
way_in!(Rcpt, rcpt => rcpt(session: Session, envelope: Envelope, recipient: Recipient) -> x::Verdict);
way_in!(Spam, check => check(session: Session, envelope: Envelope, message: Message) -> x::SpamVerdict);
way_in!(Rewrite, rewrite => rewrite(session: Session, envelope: Envelope, message: Message) -> ());
way_in!(RewritePart, select => select(session: Session, envelope: Envelope, message: Message, part: Part) -> bool);
way_in!(
    RewritePart,
    rewrite_part => rewrite_part(session: Session, envelope: Envelope, message: Message, part: Part) -> ()
);
way_in!(Route, route => route(session: Session, envelope: Envelope, message: Message, routing: Routing) -> ());
way_in!(Sign, sign => sign(delivery: Delivery, signing: Signing) -> ());
way_in!(DeliveryBefore, before => before(delivery: Delivery) -> x::Decision);
way_in!(Bounce, bounce => bounce(failures: Failures) -> ());
way_in!(Http, handle => handle(request: Request, response: Response) -> ());

impl<P: Events> Instance<P> {
    pub fn events(&self, batch: &[String]) -> x::Answer<()> {
        self.with(|plugin| plugin.events(&Batch::new(batch)))
    }
}
