//! The resource `delivery`.

use super::routing::not_a_host;
use super::{count, field_name, header_error, value, writable};
use crate::bindings::postern::plugin::delivery::{Host, HostDelivery};
use crate::error::{BAD_ADDRESS, BAD_VALUE, HostResult, NOT_FOUND, TOO_LARGE, error};
use crate::state::{DeliveryHandle, GuestState};
use postern_core::hook::Delivery;
use postern_core::mail::ReversePath;
use postern_core::message::{HeaderBlock, Position};
use postern_core::route::NextHop;
use postern_core::zone::TlsMode;
use std::net::IpAddr;
use wasmtime::Result;
use wasmtime::component::Resource;

/// Octets that plugins may put above a message in one attempt.
const MAX_TOP: usize = 64 << 10;
/// A header block is read for a plugin up to this size, in octets; intake takes none that is larger before edits.
const MAX_HEADER: u64 = 2 << 20;

impl Host for GuestState {}

impl HostDelivery for GuestState {
    fn id(&mut self, _: Resource<DeliveryHandle>) -> Result<String> {
        Ok(self.delivery()?.id.to_string())
    }

    fn reverse_path(&mut self, _: Resource<DeliveryHandle>) -> Result<String> {
        Ok(path(&self.delivery()?.reverse_path))
    }

    fn recipient_count(&mut self, _: Resource<DeliveryHandle>) -> Result<u32> {
        Ok(count(self.delivery()?.recipients.len()))
    }

    fn recipient(&mut self, _: Resource<DeliveryHandle>, index: u32) -> Result<Option<String>> {
        Ok(self.delivery()?.recipients.get(index as usize).map(|address| address.as_str().to_owned()))
    }

    fn zone(&mut self, _: Resource<DeliveryHandle>) -> Result<String> {
        Ok(self.delivery()?.zone.to_string())
    }

    fn next_hop(&mut self, _: Resource<DeliveryHandle>) -> Result<String> {
        let delivery = self.delivery()?;
        Ok(NextHop::shown(delivery.redirected.as_ref().unwrap_or(&delivery.next_hop)).to_owned())
    }

    fn sources(&mut self, _: Resource<DeliveryHandle>) -> Result<Vec<String>> {
        Ok(self.delivery()?.sources.iter().map(ToString::to_string).collect())
    }

    fn tls(&mut self, _: Resource<DeliveryHandle>) -> Result<String> {
        Ok(self.delivery()?.tls().name().to_owned())
    }

    fn attempts(&mut self, _: Resource<DeliveryHandle>) -> Result<u32> {
        Ok(self.delivery()?.attempts)
    }

    fn accepted(&mut self, _: Resource<DeliveryHandle>) -> Result<u64> {
        Ok(self.delivery()?.accepted.0)
    }

    fn user(&mut self, _: Resource<DeliveryHandle>) -> Result<Option<String>> {
        Ok(self.delivery()?.user.as_deref().map(str::to_owned))
    }

    fn attribute(&mut self, _: Resource<DeliveryHandle>, name: String) -> Result<Option<String>> {
        Ok(self.delivery()?.attributes.get(&name).cloned())
    }

    async fn header(&mut self, _: Resource<DeliveryHandle>, name: String) -> Result<HostResult<Option<String>>> {
        let (content, len) = {
            let delivery = self.delivery()?;
            (delivery.content.clone(), delivery.header_len.min(MAX_HEADER))
        };
        let since = self.cpu.wait_begins();
        let read = read_whole(&*content, len).await;
        self.cpu.waited(&since);
        Ok(match read {
            Ok(block) => Ok(HeaderBlock::parse(&block.into()).first(&name).map(value)),
            Err(cause) => Err(self.unreadable(&cause)),
        })
    }

    fn set_source(&mut self, _: Resource<DeliveryHandle>, ip: String) -> Result<HostResult> {
        self.direct(format_args!("source {ip}"), |delivery| {
            let ip: IpAddr = ip.parse().map_err(|_| error(BAD_ADDRESS, "not an IP address"))?;
            let at = delivery.sources.iter().position(|source| *source == ip);
            let at = at.ok_or_else(|| error(NOT_FOUND, "the pool has no such address"))?;
            // The others keep their order.
            delivery.sources[..=at].rotate_right(1);
            Ok(())
        })
    }

    fn set_tls(&mut self, _: Resource<DeliveryHandle>, mode: String) -> Result<HostResult> {
        self.direct(format_args!("tls {mode}"), |delivery| {
            let wrong = || error(BAD_VALUE, "a TLS mode is off, opportunistic, require or verify");
            let mode = TlsMode::by_name(&mode).ok_or_else(wrong)?;
            if mode < delivery.least_tls() {
                return Err(error(BAD_VALUE, "a smart host with credentials needs its own TLS mode at least"));
            }
            delivery.chosen_tls = Some(mode);
            Ok(())
        })
    }

    fn set_next_hop(&mut self, _: Resource<DeliveryHandle>, host: String) -> Result<HostResult> {
        self.direct(format_args!("next hop {host}"), |delivery| {
            let next_hop = NextHop::parse(&host).ok_or_else(not_a_host)?;
            delivery.redirected = Some(next_hop.destination().into());
            Ok(())
        })
    }

    fn prepend_header(&mut self, _: Resource<DeliveryHandle>, name: String, value: String) -> Result<HostResult> {
        self.direct(format_args!("add {name}"), |delivery| {
            field_name(&name)?;
            let mut block = HeaderBlock::default();
            // What the stored content needs was declared when it came in: this must not need more.
            let value = writable(value, false)?;
            block.add(Position::Top, &name, &value).map_err(header_error)?;
            let mut top = block.to_bytes().to_vec();
            if top.len() + delivery.top.len() > MAX_TOP {
                return Err(error(TOO_LARGE, "plugins add at most 64 KiB above a message"));
            }
            top.extend_from_slice(&delivery.top);
            delivery.top = top;
            Ok(())
        })
    }

    fn drop(&mut self, _: Resource<DeliveryHandle>) -> Result<()> {
        Ok(())
    }
}

impl GuestState {
    fn direct(
        &mut self,
        what: std::fmt::Arguments<'_>,
        change: impl FnOnce(&mut Delivery) -> HostResult,
    ) -> Result<HostResult> {
        if let Err(refused) = self.may_edit() {
            return Ok(Err(refused));
        }
        let changed = change(self.delivery_mut()?);
        if changed.is_ok() {
            self.changed(what);
        }
        Ok(changed)
    }
}

/// As guests read a reverse-path.
pub(super) fn path(path: &ReversePath) -> String {
    path.as_str().to_owned()
}

async fn read_whole(source: &dyn postern_core::message::ContentSource, len: u64) -> std::io::Result<Vec<u8>> {
    let mut whole = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
    while (whole.len() as u64) < len {
        let wanted = usize::try_from(len - whole.len() as u64).unwrap_or(usize::MAX);
        let piece = source.read(whole.len() as u64, wanted).await?;
        if piece.is_empty() {
            break;
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}
