//! Which hooks a component implements: read from its exports, without running any of it.

use crate::bindings::exports::postern::plugin as api;
use crate::grants;
use crate::load::LoadError;
use crate::state::GuestState;
use postern_core::hook::HookPoint;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre};

/// Where to find each hook's functions in an instance.
pub(crate) struct HookIndices {
    pub(crate) lifecycle: Option<api::lifecycle::GuestIndices>,
    pub(crate) rewrite: Option<api::rewrite::GuestIndices>,
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
        let mut hooks = Self { lifecycle: None, rewrite: None };
        for (name, _) in component.component_type().exports(engine).filter(|(name, _)| grants::is_of_package(name)) {
            let half = |source| LoadError::HalfExport { plugin: plugin.into(), interface: name.into(), source };
            match grants::ours(name) {
                Some("lifecycle") => hooks.lifecycle = Some(api::lifecycle::GuestIndices::new(pre).map_err(half)?),
                Some("rewrite") => hooks.rewrite = Some(api::rewrite::GuestIndices::new(pre).map_err(half)?),
                _ => return Err(LoadError::UnknownExport { plugin: plugin.into(), interface: name.into() }),
            }
        }
        if hooks.points().is_empty() {
            return Err(LoadError::NoHook { plugin: plugin.into() });
        }
        Ok(hooks)
    }

    /// The hook points that are subscribed to.
    pub(crate) fn points(&self) -> Vec<HookPoint> {
        HookPoint::ALL.into_iter().filter(|point| self.has(*point)).collect()
    }

    fn has(&self, point: HookPoint) -> bool {
        match point {
            HookPoint::Rewrite => self.rewrite.is_some(),
        }
    }
}
