//! The resource `routing`.

use super::{count, delay, word};
use crate::bindings::postern::plugin::routing::{Host, HostRouting};
use crate::error::{BAD_ADDRESS, BAD_VALUE, HostError, HostResult, NOT_FOUND, error};
use crate::state::{GuestState, RoutingHandle};
use postern_core::hook::{Routed, Routing};
use postern_core::route::NextHop;
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::Resource;

/// Longest reason for holding a recipient, in octets.
const MAX_REASON: usize = 400;

impl Host for GuestState {}

impl HostRouting for GuestState {
    fn recipient_count(&mut self, _: Resource<RoutingHandle>) -> Result<u32> {
        Ok(count(self.routing_mut()?.recipients.len()))
    }

    fn recipient(&mut self, _: Resource<RoutingHandle>, index: u32) -> Result<Option<String>> {
        Ok(self.routed(index)?.map(|routed| routed.address.as_str().to_owned()))
    }

    fn zone(&mut self, _: Resource<RoutingHandle>, index: u32) -> Result<Option<String>> {
        Ok(self.routed(index)?.map(|routed| routed.queue.zone.to_string()))
    }

    fn next_hop(&mut self, _: Resource<RoutingHandle>, index: u32) -> Result<Option<String>> {
        Ok(self.routed(index)?.map(|routed| NextHop::shown(&routed.queue.destination).to_owned()))
    }

    fn set_zone(&mut self, _: Resource<RoutingHandle>, index: u32, name: String) -> Result<HostResult> {
        self.reroute(index, format_args!("zone {name}"), |routing, at| {
            let routed = &mut routing.recipients[at];
            let queue = routing.places.queue(&routed.address, &name);
            routed.queue = queue.ok_or_else(|| error(NOT_FOUND, "the config has no such zone"))?;
            Ok(())
        })
    }

    fn set_next_hop(&mut self, _: Resource<RoutingHandle>, index: u32, host: String) -> Result<HostResult> {
        self.reroute(index, format_args!("next hop {host}"), |routing, at| {
            let next_hop = NextHop::parse(&host).ok_or_else(not_a_host)?;
            routing.recipients[at].queue.destination = next_hop.destination().into();
            Ok(())
        })
    }

    fn set_pool(&mut self, _: Resource<RoutingHandle>, index: u32, name: String) -> Result<HostResult> {
        self.reroute(index, format_args!("pool {name}"), |routing, at| {
            word(&name)?;
            if !routing.places.has_pool(&name) {
                return Err(error(NOT_FOUND, "the config has no such pool"));
            }
            routing.recipients[at].pool = Some(name.as_str().into());
            Ok(())
        })
    }

    fn set_delay(&mut self, _: Resource<RoutingHandle>, index: u32, wanted: u64) -> Result<HostResult> {
        self.reroute(index, format_args!("delay {wanted} ms"), |routing, at| {
            routing.recipients[at].delay = Some(delay(wanted)?);
            Ok(())
        })
    }

    fn hold(&mut self, _: Resource<RoutingHandle>, index: u32, reason: String) -> Result<HostResult> {
        self.reroute(index, format_args!("hold: {reason}"), |routing, at| {
            routing.recipients[at].hold = Some(held_for(&reason)?);
            Ok(())
        })
    }

    fn drop(&mut self, _: Resource<RoutingHandle>) -> Result<()> {
        Ok(())
    }
}

impl GuestState {
    fn routed(&mut self, index: u32) -> Result<Option<&Routed>> {
        Ok(self.routing_mut()?.recipients.get(index as usize))
    }

    fn reroute(
        &mut self,
        index: u32,
        what: std::fmt::Arguments<'_>,
        change: impl FnOnce(&mut Routing, usize) -> HostResult,
    ) -> Result<HostResult> {
        if let Err(refused) = self.may_edit() {
            return Ok(Err(refused));
        }
        let routing = self.routing_mut()?;
        let at = index as usize;
        let Some(address) = routing.recipients.get(at).map(|routed| routed.address.clone()) else {
            return Ok(Err(error(NOT_FOUND, "there is no recipient at that index")));
        };
        let changed = change(routing, at);
        if changed.is_ok() {
            self.changed(format_args!("{address}: {what}"));
        }
        Ok(changed)
    }
}

pub(super) fn not_a_host() -> HostError {
    error(BAD_ADDRESS, "a next hop is host, host:port, [192.0.2.1]:25 or [2001:db8::1]:25")
}

/// A reason that an operator is shown.
pub(crate) fn held_for(reason: &str) -> HostResult<Arc<str>> {
    if reason.len() > MAX_REASON || reason.contains(char::is_control) {
        return Err(error(BAD_VALUE, "a reason is one line of at most 400 octets"));
    }
    Ok(if reason.is_empty() { "held by a plugin" } else { reason }.into())
}
