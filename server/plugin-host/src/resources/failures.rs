//! The resource `failures`.

use super::count;
use super::delivery::path;
use crate::bindings::postern::plugin::failures::{Host, HostFailures};
use crate::error::{HostResult, NOT_FOUND, NOT_NOW, error};
use crate::state::{FailuresHandle, GuestState};
use postern_core::hook::{Failed, FailureAction};
use wasmtime::Result;
use wasmtime::component::Resource;

impl Host for GuestState {}

impl HostFailures for GuestState {
    fn id(&mut self, _: Resource<FailuresHandle>) -> Result<String> {
        Ok(self.failures()?.id.to_string())
    }

    fn reverse_path(&mut self, _: Resource<FailuresHandle>) -> Result<String> {
        Ok(path(&self.failures()?.reverse_path))
    }

    fn zone(&mut self, _: Resource<FailuresHandle>) -> Result<String> {
        Ok(self.failures()?.zone.to_string())
    }

    fn next_hop(&mut self, _: Resource<FailuresHandle>) -> Result<String> {
        Ok(self.failures()?.next_hop.clone())
    }

    fn user(&mut self, _: Resource<FailuresHandle>) -> Result<Option<String>> {
        Ok(self.failures()?.user.as_deref().map(str::to_owned))
    }

    fn attribute(&mut self, _: Resource<FailuresHandle>, name: String) -> Result<Option<String>> {
        Ok(self.failures()?.attributes.get(&name).cloned())
    }

    fn count(&mut self, _: Resource<FailuresHandle>) -> Result<u32> {
        Ok(count(self.failures()?.failed.len()))
    }

    fn recipient(&mut self, _: Resource<FailuresHandle>, index: u32) -> Result<Option<String>> {
        Ok(self.failed(index)?.map(|failed| failed.recipient.as_str().to_owned()))
    }

    fn seq(&mut self, _: Resource<FailuresHandle>, index: u32) -> Result<Option<String>> {
        Ok(self.failed(index)?.map(|failed| failed.seq.to_string()))
    }

    fn action(&mut self, _: Resource<FailuresHandle>, index: u32) -> Result<Option<String>> {
        Ok(self.failed(index)?.map(|failed| failed.action.name().to_owned()))
    }

    fn status(&mut self, _: Resource<FailuresHandle>, index: u32) -> Result<Option<String>> {
        Ok(self.failed(index)?.map(|failed| failed.status.to_string()))
    }

    fn reply(&mut self, _: Resource<FailuresHandle>, index: u32) -> Result<Option<String>> {
        Ok(self.failed(index)?.and_then(|failed| failed.reply.as_ref()).map(ToString::to_string))
    }

    fn text(&mut self, _: Resource<FailuresHandle>, index: u32) -> Result<Option<String>> {
        Ok(self.failed(index)?.map(|failed| failed.text.clone()))
    }

    fn scope(&mut self, _: Resource<FailuresHandle>, index: u32) -> Result<Option<String>> {
        Ok(self.failed(index)?.map(|failed| failed.scope.name().to_owned()))
    }

    fn attempts(&mut self, _: Resource<FailuresHandle>, index: u32) -> Result<Option<u32>> {
        Ok(self.failed(index)?.map(|failed| failed.attempts))
    }

    fn defer(&mut self, _: Resource<FailuresHandle>, index: u32) -> Result<HostResult> {
        if self.failed(index)?.is_some_and(|failed| !failed.may_defer) {
            return Ok(Err(error(NOT_NOW, "the recipient is too old to be tried again")));
        }
        self.judge(index, "defer", |failed| failed.action = FailureAction::Defer)
    }

    fn bounce(&mut self, _: Resource<FailuresHandle>, index: u32) -> Result<HostResult> {
        self.judge(index, "bounce", |failed| failed.action = FailureAction::Bounce)
    }

    fn suppress_dsn(&mut self, _: Resource<FailuresHandle>, index: u32) -> Result<HostResult> {
        self.judge(index, "no DSN", |failed| failed.suppress_dsn = true)
    }

    fn drop(&mut self, _: Resource<FailuresHandle>) -> Result<()> {
        Ok(())
    }
}

impl GuestState {
    fn failed(&mut self, index: u32) -> Result<Option<&Failed>> {
        Ok(self.failures()?.failed.get(index as usize))
    }

    fn judge(&mut self, index: u32, what: &str, change: impl FnOnce(&mut Failed)) -> Result<HostResult> {
        if let Err(refused) = self.may_edit() {
            return Ok(Err(refused));
        }
        let Some(failed) = self.failures_mut()?.failed.get_mut(index as usize) else {
            return Ok(Err(error(NOT_FOUND, "there is no recipient at that index")));
        };
        let before = failed.clone();
        change(failed);
        if *failed != before {
            self.changed(format_args!("{}: {what}", before.recipient));
        }
        Ok(Ok(()))
    }
}
