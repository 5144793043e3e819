//! From a hook point to the guest's function, and from what it returns to an [`Answer`].

use crate::bindings::exports::postern::plugin::{auth::AuthVerdict, delivery_before::Decision, spam::SpamVerdict};
use crate::bindings::postern::plugin::types::Verdict;
use crate::instance::Instance;
use crate::meters::CpuMeter;
use crate::subject::{Answer, Subject};
use postern_core::hook::HookPoint;
use wasmtime::component::Resource;

type Entered = wasmtime::Result<Result<Answer, String>>;

/// A handle on the one thing of its kind that a call is about.
fn the<T: 'static>() -> Resource<T> {
    Resource::new_borrow(0)
}

impl Instance {
    /// Runs the guest's function of this hook. One that it does not have passes.
    pub(crate) async fn enter(&mut self, point: HookPoint) -> Entered {
        let pass = |returned: Result<(), String>| returned.map(|()| Answer::Pass);
        let Self { store, guests, .. } = self;
        Ok(match point {
            HookPoint::Connect => match &guests.connect {
                Some(hook) => hook.call_connect(store, the()).await?.map(Answer::from),
                None => Ok(Answer::Pass),
            },
            HookPoint::Auth => match &guests.auth {
                Some(hook) => hook.call_authenticate(store, the(), the()).await?.map(Answer::from),
                None => Ok(Answer::Pass),
            },
            HookPoint::Mail => match &guests.mail {
                Some(hook) => hook.call_mail(store, the(), the()).await?.map(Answer::from),
                None => Ok(Answer::Pass),
            },
            HookPoint::Rcpt => match &guests.rcpt {
                Some(hook) => hook.call_rcpt(store, the(), the(), the()).await?.map(Answer::from),
                None => Ok(Answer::Pass),
            },
            HookPoint::Spam => match &guests.spam {
                Some(hook) => hook.call_check(store, the(), the(), the()).await?.map(Answer::from),
                None => Ok(Answer::Pass),
            },
            HookPoint::Rewrite => match &guests.rewrite {
                Some(hook) => pass(hook.call_rewrite(store, the(), the(), the()).await?),
                None => Ok(Answer::Pass),
            },
            HookPoint::RewritePart => self.enter_parts().await?,
            HookPoint::Route => match &guests.route {
                Some(hook) => pass(hook.call_route(store, the(), the(), the(), the()).await?),
                None => Ok(Answer::Pass),
            },
            HookPoint::DeliveryBefore => match &guests.delivery_before {
                Some(hook) => hook.call_before(store, the()).await?.map(Answer::from),
                None => Ok(Answer::Pass),
            },
            HookPoint::Bounce => match &guests.bounce {
                Some(hook) => pass(hook.call_bounce(store, the()).await?),
                None => Ok(Answer::Pass),
            },
            HookPoint::Event => match (&guests.event, store.data().events()) {
                (Some(hook), Some(batch)) => pass(hook.call_events(store, &batch).await?),
                _ => Ok(Answer::Pass),
            },
            HookPoint::Http => match &guests.http {
                Some(hook) => pass(hook.call_handle(store, the(), the()).await?),
                None => Ok(Answer::Pass),
            },
            HookPoint::Sign => Ok(Answer::Pass),
        })
    }

    /// Every part that has content of its own, in order: chosen, then rewritten. Each function has the CPU limit for
    /// itself.
    async fn enter_parts(&mut self) -> Entered {
        let Self { store, guests, cpu_ticks, .. } = self;
        let Some(hook) = &guests.rewrite_part else { return Ok(Ok(Answer::Pass)) };
        if let Err(refused) = store.data_mut().load_parts().await? {
            return Ok(Err(refused));
        }
        for part in store.data().parts.leaves() {
            if store.data().parts.is_removed(part) {
                continue;
            }
            let handle = || Resource::new_borrow(part);
            CpuMeter::begin(store, *cpu_ticks);
            match hook.call_select(&mut *store, the(), the(), the(), handle()).await? {
                Ok(false) => continue,
                Ok(true) => {}
                Err(refused) => return Ok(Err(refused)),
            }
            CpuMeter::begin(store, *cpu_ticks);
            if let Err(refused) = hook.call_rewrite(&mut *store, the(), the(), the(), handle()).await? {
                return Ok(Err(refused));
            }
        }
        Ok(Ok(Answer::Pass))
    }
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Reject(reply) => Self::Reject(reply),
            Verdict::Defer(reply) => Self::Defer(reply),
        }
    }
}

impl From<AuthVerdict> for Answer {
    fn from(verdict: AuthVerdict) -> Self {
        match verdict {
            AuthVerdict::Pass => Self::Pass,
            AuthVerdict::Accept(user) => Self::Accept(user),
            AuthVerdict::Reject(reply) => Self::Reject(reply),
        }
    }
}

impl From<SpamVerdict> for Answer {
    fn from(verdict: SpamVerdict) -> Self {
        match verdict {
            SpamVerdict::Accept => Self::Pass,
            SpamVerdict::Reject(reply) => Self::Reject(reply),
            SpamVerdict::Defer(reply) => Self::Defer(reply),
            SpamVerdict::Hold(reason) => Self::Hold(reason),
            SpamVerdict::Discard(reason) => Self::Discard(reason),
        }
    }
}

impl From<Decision> for Answer {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Go => Self::Pass,
            Decision::Defer(reason) => Self::Defer(reason),
            Decision::Bounce(reply) => Self::Bounce(reply),
        }
    }
}

impl crate::state::GuestState {
    /// The events of the call.
    fn events(&self) -> Option<Vec<String>> {
        match self.subject() {
            Subject::Events(batch) => Some(batch.clone()),
            _ => None,
        }
    }
}
