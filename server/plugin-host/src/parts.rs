//! The MIME parts of the message of a call, and reading them decoded. Editing them is in `part_edits`.

use crate::error::{HostResult, TOO_LARGE, error};
use crate::part_edits::PartEdits;
use crate::part_reader::{PIECE, PartReader};
use crate::state::GuestState;
use postern_core::message::ContentSource;
use postern_core::message::mime::{self, Kind, Part, Structure};
use std::io;
use std::sync::Arc;

/// Longest part that is given as one text, in octets.
const MAX_TEXT: usize = 1 << 20;

/// What is known of the parts once somebody has asked.
#[derive(Default)]
pub(crate) struct Parts {
    loaded: Option<Loaded>,
}

pub(crate) struct Loaded {
    pub(crate) structure: Structure,
    pub(crate) section: Arc<dyn ContentSource>,
    pub(crate) edits: PartEdits,
    /// The part that was read last, so that reading on is cheap.
    reader: Option<(u32, PartReader)>,
}

impl Parts {
    pub(crate) fn clear(&mut self) {
        self.loaded = None;
    }

    /// The content that the parts are ranges of.
    pub(crate) fn section(&self) -> wasmtime::Result<Arc<dyn ContentSource>> {
        Ok(Arc::clone(&self.loaded.as_ref().ok_or_else(gone)?.section))
    }

    /// The numbers of the parts that have content of their own, without those that the call has removed.
    pub(crate) fn leaves(&self) -> Vec<u32> {
        let Some(loaded) = &self.loaded else { return Vec::new() };
        let parts = (0..).zip(loaded.structure.parts()).filter(|(_, part)| part.kind != Kind::Multipart);
        parts.map(|(number, _)| number).filter(|number| !loaded.edits.is_removed(*number)).collect()
    }

    /// Has the call removed it?
    pub(crate) fn is_removed(&self, number: u32) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| loaded.edits.is_removed(number))
    }

    pub(crate) fn loaded_mut(&mut self) -> wasmtime::Result<&mut Loaded> {
        self.loaded.as_mut().ok_or_else(gone)
    }

    /// The parts, if there is anything to be changed; nobody can ask for them any more then.
    pub(crate) fn take_edited(&mut self) -> Option<Loaded> {
        self.loaded.take_if(|loaded| !loaded.edits.is_empty())
    }

    /// A part and the multiparts around it, outermost first. A guest has no handle on one that is not there.
    pub(crate) fn get(&self, number: u32) -> wasmtime::Result<(&Part, Vec<&Part>)> {
        let loaded = self.loaded.as_ref().ok_or_else(gone)?;
        let part = loaded.part(number)?;
        let mut around = Vec::new();
        let mut parent = part.parent;
        while let Some(at) = parent.and_then(|at| loaded.structure.get(at)) {
            around.insert(0, at);
            parent = at.parent;
        }
        Ok((part, around))
    }
}

fn gone() -> wasmtime::Error {
    wasmtime::Error::msg("the message that this part belongs to is gone")
}

impl GuestState {
    /// Reads the structure of the message, once a call.
    pub(crate) async fn load_parts(&mut self) -> wasmtime::Result<HostResult> {
        if self.parts.loaded.is_some() {
            return Ok(Ok(()));
        }
        let (header, section) = {
            let transaction = self.transaction()?;
            (transaction.header.clone(), transaction.body.clone())
        };
        let since = self.cpu.wait_begins();
        let scanned = mime::scan(&header, &*section).await;
        self.cpu.waited(&since);
        Ok(match scanned {
            Ok(structure) => {
                self.parts.loaded = Some(Loaded { structure, section, edits: PartEdits::default(), reader: None });
                Ok(())
            }
            Err(cause) => Err(self.unreadable(&cause)),
        })
    }

    /// Octets of a part, decoded.
    pub(crate) async fn read_part(
        &mut self,
        number: u32,
        offset: u64,
        max: usize,
    ) -> wasmtime::Result<HostResult<Vec<u8>>> {
        let since = self.cpu.wait_begins();
        let loaded = self.parts.loaded.as_mut().ok_or_else(gone)?;
        let read = loaded.read(number, offset, max).await;
        self.cpu.waited(&since);
        Ok(read.map_err(|cause| self.unreadable(&cause)))
    }

    /// A whole part as text.
    pub(crate) async fn part_text(&mut self, number: u32) -> wasmtime::Result<HostResult<String>> {
        let label = self.parts.get(number)?.0.parameter("charset").map(str::to_owned);
        let mut octets = Vec::new();
        loop {
            let piece = match self.read_part(number, octets.len() as u64, PIECE as usize).await? {
                Ok(piece) => piece,
                Err(refused) => return Ok(Err(refused)),
            };
            if piece.is_empty() {
                break;
            }
            octets.extend_from_slice(&piece);
            if octets.len() > MAX_TEXT {
                return Ok(Err(error(TOO_LARGE, "a part is read as text up to 1 MiB")));
            }
        }
        let text = mime::to_text(&octets, label.as_deref());
        Ok(text.map(|text| text.text).map_err(|cause| error(TOO_LARGE, cause)))
    }
}

impl Loaded {
    /// A guest has no handle on a part that is not there.
    pub(crate) fn part(&self, number: u32) -> wasmtime::Result<&Part> {
        self.structure.get(number as usize).ok_or_else(gone)
    }

    async fn read(&mut self, number: u32, offset: u64, max: usize) -> io::Result<Vec<u8>> {
        let Some(part) = self.structure.get(number as usize) else { return Ok(Vec::new()) };
        let last = self.reader.take().filter(|(last, _)| *last == number);
        let mut reader = last.map_or_else(|| PartReader::new(part), |(_, reader)| reader);
        let octets = reader.read(&*self.section, offset, max).await?;
        self.reader = Some((number, reader));
        Ok(octets.into())
    }
}
