//! The capability `http-client`.

use crate::bindings::postern::plugin::http_client::{Host, HostRequest, HostResponse};
use crate::error::{BAD_VALUE, HostResult, TOO_LARGE, error};
use crate::part_reader::PartSource;
use crate::services::{Incoming, Outgoing, RequestBody, ServiceError};
use crate::state::{GuestState, MessageHandle, PartHandle};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::Result;
use wasmtime::component::Resource;

/// A request as a guest puts it together; what was wrong with its method or URL is told when it is sent.
pub struct HttpRequest(Result<Outgoing, ServiceError>);

/// Octets of bodies that come from the guest, of all requests of one call.
const MAX_BODIES: usize = 16 << 20;
const TOO_MANY: &str = "a plugin holds at most 64 requests and answers at once";
/// A request ends so long before its call has to: the plugin can still decide.
const MARGIN: Duration = Duration::from_millis(50);

impl HostRequest for GuestState {
    fn new(&mut self, method: String, url: String) -> Result<Resource<HttpRequest>> {
        let pushed = self.handles.push(HttpRequest(Outgoing::new(&method, &url)));
        pushed.ok_or_else(|| wasmtime::Error::msg(TOO_MANY))
    }

    fn header(&mut self, this: Resource<HttpRequest>, name: String, value: String) -> Result<HostResult> {
        self.request(&this, |request| request.header(&name, &value))
    }

    fn body(&mut self, this: Resource<HttpRequest>, bytes: Vec<u8>) -> Result<HostResult> {
        let octets = self.body_octets.saturating_add(bytes.len());
        if octets > MAX_BODIES {
            return Ok(Err(error(TOO_LARGE, "bodies from a plugin have at most 16 MiB in one call")));
        }
        self.body_octets = octets;
        self.set_body(&this, RequestBody::Bytes(bytes.into()))
    }

    fn body_message(&mut self, this: Resource<HttpRequest>, _: Resource<MessageHandle>) -> Result<HostResult> {
        let transaction = self.transaction()?;
        let body = RequestBody::Source(transaction.header.to_bytes(), Arc::clone(&transaction.body));
        self.set_body(&this, body)
    }

    async fn body_part(&mut self, this: Resource<HttpRequest>, part: Resource<PartHandle>) -> Result<HostResult> {
        let section = self.parts.section()?;
        let part = self.parts.get(part.rep())?.0.clone();
        let since = self.cpu.wait_begins();
        let source = PartSource::new(section, &part).await;
        self.cpu.waited(&since);
        match source {
            Ok(source) => self.set_body(&this, RequestBody::Source(bytes::Bytes::new(), Arc::new(source))),
            Err(cause) => Ok(Err(self.unreadable(&cause))),
        }
    }

    fn timeout(&mut self, this: Resource<HttpRequest>, milliseconds: u32) -> Result<HostResult> {
        self.request(&this, |request| request.timeout(Duration::from_millis(milliseconds.into())))
    }

    fn drop(&mut self, this: Resource<HttpRequest>) -> Result<()> {
        self.handles.dropped(&this);
        Ok(())
    }
}

impl HostResponse for GuestState {
    fn status(&mut self, this: Resource<Incoming>) -> Result<u16> {
        Ok(self.handles.get_mut(&this)?.status())
    }

    fn header(&mut self, this: Resource<Incoming>, name: String) -> Result<Option<String>> {
        Ok(self.handles.get_mut(&this)?.header(&name))
    }

    async fn read(&mut self, this: Resource<Incoming>, max: u32) -> Result<HostResult<Vec<u8>>> {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        if max == 0 {
            return Ok(Err(error(BAD_VALUE, "a read of at most 0 octets")));
        }
        let since = self.cpu.wait_begins();
        let read = self.handles.get_mut(&this)?.read(max).await;
        self.cpu.waited(&since);
        Ok(read.map(Vec::from).map_err(|error| error.to_string()))
    }

    async fn body(&mut self, this: Resource<Incoming>) -> Result<HostResult<Vec<u8>>> {
        let since = self.cpu.wait_begins();
        let read = self.handles.get_mut(&this)?.body().await;
        self.cpu.waited(&since);
        Ok(read.map(Vec::from).map_err(|error| error.to_string()))
    }

    fn drop(&mut self, this: Resource<Incoming>) -> Result<()> {
        self.handles.dropped(&this);
        Ok(())
    }
}

impl Host for GuestState {
    async fn send(&mut self, request: Resource<HttpRequest>) -> Result<HostResult<Resource<Incoming>>> {
        let request = match self.handles.take(&request)?.0 {
            Ok(request) => request,
            Err(wrong) => return Ok(Err(wrong.to_string())),
        };
        let identity = Arc::clone(&self.identity);
        let http = identity.reach.http.as_ref();
        let http = http.ok_or_else(|| wasmtime::Error::msg("http-client was linked without a grant"))?;
        let now = Instant::now();
        let left = self.deadline.map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(now));
        let deadline = now + left.saturating_sub(MARGIN.min(left / 10));
        let since = self.cpu.wait_begins();
        let sent = http.send(request, deadline.into()).await;
        self.cpu.waited(&since);
        Ok(match sent {
            Ok(response) => self.handles.push(response).ok_or_else(|| error(TOO_LARGE, TOO_MANY)),
            Err(failed) => Err(failed.to_string()),
        })
    }
}

impl GuestState {
    fn request(
        &mut self,
        handle: &Resource<HttpRequest>,
        act: impl FnOnce(&mut Outgoing) -> Result<(), ServiceError>,
    ) -> Result<HostResult> {
        Ok(match &mut self.handles.get_mut(handle)?.0 {
            Ok(request) => act(request).map_err(|error| error.to_string()),
            Err(wrong) => Err(wrong.to_string()),
        })
    }

    fn set_body(&mut self, handle: &Resource<HttpRequest>, body: RequestBody) -> Result<HostResult> {
        self.request(handle, |request| {
            request.body(body);
            Ok(())
        })
    }
}
