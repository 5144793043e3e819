//! The resource `message`.

use super::{CONTENT, count, field_name, header_error, name_of, value, writable};
use crate::bindings::postern::plugin::message::{Host, HostMessage};
use crate::error::{HostError, HostResult, UNAVAILABLE, error};
use crate::state::{GuestState, MessageHandle, PartHandle};
use postern_core::message::{Field, Position, mailboxes};
use wasmtime::Result;
use wasmtime::component::Resource;

/// Octets of content that one call of a reading function gives.
pub(super) const MAX_READ: u32 = 256 << 10;

/// The body section begins with the empty line that ends the header.
const EMPTY_LINE: u64 = 2;

impl Host for GuestState {}

impl HostMessage for GuestState {
    fn id(&mut self, _: Resource<MessageHandle>) -> Result<String> {
        Ok(self.transaction()?.queue_id.map(|id| id.to_string()).unwrap_or_default())
    }

    fn size(&mut self, _: Resource<MessageHandle>) -> Result<u64> {
        let transaction = self.transaction()?;
        Ok(transaction.header.len() as u64 + transaction.body.len())
    }

    fn header(&mut self, _: Resource<MessageHandle>, name: String) -> Result<Option<String>> {
        Ok(self.transaction()?.header.first(&name).map(value))
    }

    fn header_all(&mut self, _: Resource<MessageHandle>, name: String) -> Result<Vec<String>> {
        Ok(self.transaction()?.header.all(&name).map(value).collect())
    }

    fn header_count(&mut self, _: Resource<MessageHandle>) -> Result<u32> {
        Ok(count(self.transaction()?.header.count()))
    }

    fn header_at(&mut self, _: Resource<MessageHandle>, index: u32) -> Result<Option<(String, String)>> {
        Ok(self.transaction()?.header.get(index as usize).map(|field| (name_of(field), value(field))))
    }

    fn raw_headers(&mut self, _: Resource<MessageHandle>) -> Result<Vec<(String, Vec<u8>)>> {
        let raw = |field: &Field| (name_of(field), field.raw_value().to_vec());
        Ok(self.transaction()?.header.fields().map(raw).collect())
    }

    fn mailboxes(&mut self, _: Resource<MessageHandle>, name: String) -> Result<Vec<(Option<String>, String)>> {
        let found = mailboxes(&self.transaction()?.header, &name);
        Ok(found.into_iter().map(|mailbox| (mailbox.name, mailbox.address)).collect())
    }

    fn prepend_header(&mut self, _: Resource<MessageHandle>, name: String, value: String) -> Result<HostResult> {
        self.add_header(Position::Top, &name, value)
    }

    fn append_header(&mut self, _: Resource<MessageHandle>, name: String, value: String) -> Result<HostResult> {
        self.add_header(Position::Bottom, &name, value)
    }

    fn set_header(&mut self, _: Resource<MessageHandle>, name: String, value: String) -> Result<HostResult> {
        if let Err(refused) = self.only_in(&CONTENT) {
            return Ok(Err(refused));
        }
        self.edit(format_args!("set {name}"), |transaction| {
            let value = writable(value, transaction.envelope.smtputf8)?;
            transaction.header.set(&name, &value).map_err(header_error)?;
            Ok(true)
        })
    }

    fn remove_header(&mut self, _: Resource<MessageHandle>, name: String) -> Result<HostResult<u32>> {
        if let Err(refused) = self.only_in(&CONTENT) {
            return Ok(Err(refused));
        }
        let mut removed = 0;
        let edited = self.edit(format_args!("remove {name}"), |transaction| {
            field_name(&name)?;
            removed = transaction.header.remove(&name);
            Ok(removed > 0)
        })?;
        Ok(edited.map(|()| count(removed)))
    }

    fn body_size(&mut self, _: Resource<MessageHandle>) -> Result<u64> {
        Ok(self.transaction()?.body.len().saturating_sub(EMPTY_LINE))
    }

    async fn read_body(&mut self, _: Resource<MessageHandle>, offset: u64, max: u32) -> Result<HostResult<Vec<u8>>> {
        let source = self.transaction()?.body.clone();
        let since = self.cpu.wait_begins();
        let read = source.read(offset.saturating_add(EMPTY_LINE), max.min(MAX_READ) as usize).await;
        self.cpu.waited(&since);
        Ok(read.map(|bytes| bytes.to_vec()).map_err(|error| self.unreadable(&error)))
    }

    async fn parts(&mut self, _: Resource<MessageHandle>) -> Result<HostResult<Vec<Resource<PartHandle>>>> {
        let found = match self.load_parts().await? {
            Ok(()) => self.parts.leaves(),
            Err(refused) => return Ok(Err(refused)),
        };
        self.parts_out += found.len();
        Ok(Ok(found.into_iter().map(Resource::new_own).collect()))
    }

    fn drop(&mut self, _: Resource<MessageHandle>) -> Result<()> {
        Ok(())
    }
}

impl GuestState {
    fn add_header(&mut self, position: Position, name: &str, value: String) -> Result<HostResult> {
        if let Err(refused) = self.only_in(&CONTENT) {
            return Ok(Err(refused));
        }
        self.edit(format_args!("add {name}"), |transaction| {
            let value = writable(value, transaction.envelope.smtputf8)?;
            transaction.header.add(position, name, &value).map_err(header_error)?;
            Ok(true)
        })
    }

    /// Content that the host could not read: the detail is for the operator alone.
    pub(crate) fn unreadable(&mut self, cause: &std::io::Error) -> HostError {
        if self.is_first_io_error() {
            let queue_id = self.queue_id().map(tracing::field::display);
            tracing::error!(plugin = &*self.identity.name, queue_id, error = %cause, "cannot read content for a plugin");
        }
        error(UNAVAILABLE, "the content could not be read")
    }
}
