//! Which hooks a component implements: read from its exports, without running any of it.

use crate::bindings::exports::postern::plugin as api;
use crate::grants;
use crate::load::LoadError;
use crate::state::GuestState;
use postern_core::hook::HookPoint;
use wasmtime::component::{Component, Instance, InstancePre};
use wasmtime::{Engine, Store};

/// The interface that is no hook.
const LIFECYCLE: &str = "lifecycle";

macro_rules! hooks {
    ($($field:ident: $module:ident, $point:pat => $value:expr;)+) => {
        /// Where to find each hook's functions in an instance.
        #[derive(Default)]
        pub(crate) struct HookIndices {
            lifecycle: Option<api::lifecycle::GuestIndices>,
            $($field: Option<api::$module::GuestIndices>,)+
        }

        /// The hooks' functions in one instance.
        pub(crate) struct Guests {
            pub(crate) lifecycle: Option<api::lifecycle::Guest>,
            $(pub(crate) $field: Option<api::$module::Guest>,)+
        }

        impl HookIndices {
            fn set(&mut self, point: HookPoint, pre: &InstancePre<GuestState>) -> wasmtime::Result<()> {
                match point {
                    $($point => self.$field = Some(api::$module::GuestIndices::new(pre)?),)+
                    _ => {}
                }
                Ok(())
            }

            /// Does the component implement the hook?
            pub(crate) fn has(&self, point: HookPoint) -> bool {
                match point {
                    $($point => self.$field.is_some(),)+
                    _ => false,
                }
            }

            /// Looks the functions up and checks their signatures.
            pub(crate) fn load(&self, store: &mut Store<GuestState>, instance: &Instance) -> wasmtime::Result<Guests> {
                let wrong = |name: &str, error: &wasmtime::Error| {
                    let text = format!("the functions of its {name} have other types than the server's: {error:#}");
                    wasmtime::Error::msg(text)
                };
                let lifecycle = self.lifecycle.as_ref().map(|hook| hook.load(&mut *store, instance));
                Ok(Guests {
                    lifecycle: lifecycle.transpose().map_err(|error| wrong(LIFECYCLE, &error))?,
                    $($field: {
                        let loaded = self.$field.as_ref().map(|hook| hook.load(&mut *store, instance));
                        loaded.transpose().map_err(|error| wrong($value.name(), &error))?
                    },)+
                })
            }
        }
    };
}

hooks! {
    connect: connect, HookPoint::Connect => HookPoint::Connect;
    auth: auth, HookPoint::Auth => HookPoint::Auth;
    mail: mail, HookPoint::Mail => HookPoint::Mail;
    rcpt: rcpt, HookPoint::Rcpt => HookPoint::Rcpt;
    spam: spam, HookPoint::Spam => HookPoint::Spam;
    rewrite: rewrite, HookPoint::Rewrite => HookPoint::Rewrite;
    rewrite_part: rewrite_part, HookPoint::RewritePart => HookPoint::RewritePart;
    route: route, HookPoint::Route => HookPoint::Route;
    delivery_before: delivery_before, HookPoint::DeliveryBefore => HookPoint::DeliveryBefore;
    bounce: bounce, HookPoint::Bounce => HookPoint::Bounce;
    event: event, HookPoint::Event => HookPoint::Event;
    http: http, HookPoint::Http => HookPoint::Http;
}

impl HookIndices {
    /// Reads the exports. One of our package that this host does not know, or knows with other functions, is an error:
    /// its author expects to be called. Exports of other packages are not our business.
    pub(crate) fn read(
        engine: &Engine,
        component: &Component,
        pre: &InstancePre<GuestState>,
        plugin: &str,
    ) -> Result<Self, LoadError> {
        let mut hooks = Self::default();
        for (name, _) in component.component_type().exports(engine).filter(|(name, _)| grants::is_of_package(name)) {
            let half = |source| LoadError::HalfExport { plugin: plugin.into(), interface: name.into(), source };
            let unknown = || LoadError::UnknownExport { plugin: plugin.into(), interface: name.into() };
            let own = grants::ours(name).ok_or_else(unknown)?;
            if own == LIFECYCLE {
                hooks.lifecycle = Some(api::lifecycle::GuestIndices::new(pre).map_err(half)?);
                continue;
            }
            let point = HookPoint::by_name(own).ok_or_else(unknown)?;
            if !point.is_called() {
                return Err(LoadError::NotCalled { plugin: plugin.into(), hook: point.name() });
            }
            hooks.set(point, pre).map_err(half)?;
        }
        if hooks.points().is_empty() {
            return Err(LoadError::NoHook { plugin: plugin.into() });
        }
        Ok(hooks)
    }

    /// Does the component take its config?
    pub(crate) fn has_lifecycle(&self) -> bool {
        self.lifecycle.is_some()
    }

    /// The hook points that are subscribed to.
    pub(crate) fn points(&self) -> Vec<HookPoint> {
        HookPoint::ALL.into_iter().filter(|point| self.has(*point)).collect()
    }
}
