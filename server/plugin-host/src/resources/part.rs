//! The resource `part`: read here; this version has no hook in which parts are rewritten.

use super::message::MAX_READ;
use super::value;
use crate::bindings::postern::plugin::message::HostPart;
use crate::error::{HostResult, NOT_NOW, error};
use crate::state::{GuestState, PartHandle};
use wasmtime::Result;
use wasmtime::component::Resource;

type Handle = Resource<PartHandle>;

impl HostPart for GuestState {
    fn section(&mut self, part: Handle) -> Result<String> {
        Ok(self.parts.get(part.rep())?.0.section.clone())
    }

    fn content_type(&mut self, part: Handle) -> Result<String> {
        Ok(self.parts.get(part.rep())?.0.media_type.clone())
    }

    fn parameter(&mut self, part: Handle, name: String) -> Result<Option<String>> {
        Ok(self.parts.get(part.rep())?.0.parameter(&name).map(str::to_owned))
    }

    fn disposition(&mut self, part: Handle) -> Result<Option<String>> {
        Ok(self.parts.get(part.rep())?.0.disposition.clone())
    }

    fn file_name(&mut self, part: Handle) -> Result<Option<String>> {
        Ok(self.parts.get(part.rep())?.0.file_name.clone())
    }

    fn containers(&mut self, part: Handle) -> Result<Vec<String>> {
        Ok(self.parts.get(part.rep())?.1.iter().map(|around| around.media_type.clone()).collect())
    }

    fn is_sealed(&mut self, part: Handle) -> Result<bool> {
        Ok(self.parts.get(part.rep())?.0.is_sealed)
    }

    fn header(&mut self, part: Handle, name: String) -> Result<Option<String>> {
        let (part, _) = self.parts.get(part.rep())?;
        if part.parent.is_none() {
            // The header of a message without MIME is its part's.
            return Ok(self.transaction()?.header.first(&name).map(value));
        }
        Ok(part.header_block().first(&name).map(value))
    }

    fn encoded_size(&mut self, part: Handle) -> Result<u64> {
        let (part, _) = self.parts.get(part.rep())?;
        Ok(part.body.end.saturating_sub(part.body.start))
    }

    async fn read(&mut self, part: Handle, offset: u64, max: u32) -> Result<HostResult<Vec<u8>>> {
        self.read_part(part.rep(), offset, max.min(MAX_READ) as usize).await
    }

    async fn text(&mut self, part: Handle) -> Result<HostResult<String>> {
        self.part_text(part.rep()).await
    }

    async fn write(&mut self, _: Handle, _: Vec<u8>) -> Result<HostResult> {
        Ok(Err(read_only()))
    }

    async fn set_text(&mut self, _: Handle, _: String) -> Result<HostResult> {
        Ok(Err(read_only()))
    }

    async fn append(&mut self, _: Handle, _: Vec<u8>) -> Result<HostResult> {
        Ok(Err(read_only()))
    }

    fn remove(&mut self, _: Handle) -> Result<HostResult> {
        Ok(Err(read_only()))
    }

    fn set_header(&mut self, _: Handle, _: String, _: String) -> Result<HostResult> {
        Ok(Err(read_only()))
    }

    fn remove_header(&mut self, _: Handle, _: String) -> Result<HostResult> {
        Ok(Err(read_only()))
    }

    fn drop(&mut self, _: Handle) -> Result<()> {
        Ok(())
    }
}

fn read_only() -> String {
    error(NOT_NOW, "this version does not call the hook rewrite-part, in which parts are edited")
}
