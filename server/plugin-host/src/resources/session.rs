//! The resource `session`.

use super::set_attribute;
use crate::bindings::postern::plugin::session::{Host, HostSession};
use crate::error::HostResult;
use crate::state::{GuestState, SessionHandle, no_call};
use postern_core::hook::HookPoint;
use wasmtime::Result;
use wasmtime::component::Resource;

impl Host for GuestState {}

impl HostSession for GuestState {
    fn id(&mut self, _: Resource<SessionHandle>) -> Result<String> {
        Ok(self.session()?.id.to_string())
    }

    fn listener(&mut self, _: Resource<SessionHandle>) -> Result<String> {
        Ok(self.session()?.listener.to_string())
    }

    fn peer_address(&mut self, _: Resource<SessionHandle>) -> Result<String> {
        Ok(self.session()?.peer_addr.ip().to_string())
    }

    fn peer_port(&mut self, _: Resource<SessionHandle>) -> Result<u16> {
        Ok(self.session()?.peer_addr.port())
    }

    fn peer_name(&mut self, _: Resource<SessionHandle>) -> Result<Option<String>> {
        Ok(self.session()?.peer_name.as_deref().map(str::to_owned))
    }

    fn helo(&mut self, _: Resource<SessionHandle>) -> Result<String> {
        Ok(self.session()?.helo.to_string())
    }

    fn protocol(&mut self, _: Resource<SessionHandle>) -> Result<String> {
        Ok(self.session()?.with().to_owned())
    }

    fn user(&mut self, _: Resource<SessionHandle>) -> Result<Option<String>> {
        Ok(self.session()?.user.as_deref().map(str::to_owned))
    }

    fn attribute(&mut self, _: Resource<SessionHandle>, name: String) -> Result<Option<String>> {
        Ok(self.session()?.attributes.get(&name).cloned())
    }

    fn attribute_names(&mut self, _: Resource<SessionHandle>) -> Result<Vec<String>> {
        Ok(self.session()?.attributes.keys().cloned().collect())
    }

    fn set_attribute(&mut self, _: Resource<SessionHandle>, name: String, value: Option<String>) -> Result<HostResult> {
        if let Err(refused) = self.only_in(&[HookPoint::Connect, HookPoint::Auth]).and_then(|()| self.may_edit()) {
            return Ok(Err(refused));
        }
        let session = self.session_mut().ok_or_else(no_call)?;
        Ok(set_attribute(&mut session.attributes, &name, value).map(|changed| {
            if changed {
                self.changed(format_args!("session attribute {name}"));
            }
        }))
    }

    fn drop(&mut self, _: Resource<SessionHandle>) -> Result<()> {
        Ok(())
    }
}
