//! The resource `part`.

use super::message::MAX_READ;
use super::{field_name, header_error, value, writable};
use crate::bindings::postern::plugin::message::HostPart;
use crate::error::{BAD_NAME, HostResult, TOO_LARGE, error};
use crate::part_edits::Writing;
use crate::state::{GuestState, PartHandle};
use postern_core::message::{HeaderBlock, mime};
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

    async fn write(&mut self, part: Handle, bytes: Vec<u8>) -> Result<HostResult> {
        self.write_part(part.rep(), Writing::Write(&bytes)).await
    }

    async fn set_text(&mut self, part: Handle, text: String) -> Result<HostResult> {
        self.write_part(part.rep(), Writing::SetText(&text)).await
    }

    async fn append(&mut self, part: Handle, bytes: Vec<u8>) -> Result<HostResult> {
        self.write_part(part.rep(), Writing::Append(&bytes)).await
    }

    async fn append_text(&mut self, part: Handle, text: String) -> Result<HostResult> {
        self.write_part(part.rep(), Writing::AppendText(&text)).await
    }

    fn remove(&mut self, part: Handle) -> Result<HostResult> {
        self.remove_part(part.rep())
    }

    fn set_header(&mut self, part: Handle, name: String, value: String) -> Result<HostResult> {
        let value = match self.editable_field(&part, &name)? {
            Ok(()) => writable(value, self.transaction()?.envelope.smtputf8),
            Err(refused) => return Ok(Err(refused)),
        };
        // As it will stand there.
        let fits = |value: String| match HeaderBlock::default().set(&name, &value) {
            Err(refused) => Err(header_error(refused)),
            Ok(()) if value.len() > mime::MAX_PART_HEADER => {
                Err(error(TOO_LARGE, "a part's header has at most 16 KiB"))
            }
            Ok(()) => Ok(value),
        };
        match value.and_then(fits) {
            Ok(value) => self.set_part_field(part.rep(), name, Some(value)),
            Err(refused) => Ok(Err(refused)),
        }
    }

    fn remove_header(&mut self, part: Handle, name: String) -> Result<HostResult> {
        match self.editable_field(&part, &name)? {
            Ok(()) => self.set_part_field(part.rep(), name, None),
            Err(refused) => Ok(Err(refused)),
        }
    }

    fn drop(&mut self, _: Handle) -> Result<()> {
        self.parts_out = self.parts_out.saturating_sub(1);
        Ok(())
    }
}

impl GuestState {
    /// May a plugin change the field of this name in the part's header?
    fn editable_field(&self, part: &Handle, name: &str) -> Result<HostResult> {
        let is_root = self.parts.get(part.rep())?.0.parent.is_none();
        let is_content = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"));
        Ok(if let Err(refused) = field_name(name) {
            Err(refused)
        } else if name.eq_ignore_ascii_case("Content-Transfer-Encoding") {
            Err(error(BAD_NAME, "the host keeps Content-Transfer-Encoding itself"))
        } else if is_root && !is_content {
            Err(error(BAD_NAME, "the part is the message: as a part's, only its Content-* fields are edited"))
        } else {
            Ok(())
        })
    }
}
