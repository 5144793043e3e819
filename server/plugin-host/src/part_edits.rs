//! What a call does to parts, until the call ends well and the message gets it.

use crate::error::{BAD_VALUE, HostError, HostResult, NOT_FOUND, TOO_LARGE, UNAVAILABLE, error};
use crate::new_content::{Begun, Content, Decoded, Log, is_utf8};
use crate::parts::Loaded;
use crate::state::GuestState;
use postern_core::hook::{HookPoint, Scratch};
use postern_core::message::mime::{
    self, Charset, Coding, Edit, Encoder, Part, Replacement, SpliceBuilder, ToUtf8, TransferEncoding,
};
use postern_core::message::{ContentSource, HeaderBlock};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// The hooks in which parts can be edited.
pub(crate) const EDITABLE: [HookPoint; 2] = [HookPoint::Rewrite, HookPoint::RewritePart];

const CONTENT_TYPE: &str = "Content-Type";

/// Edits of parts by one call.
#[derive(Default)]
pub(crate) struct PartEdits {
    parts: BTreeMap<u32, PartEdit>,
    log: Log,
}

/// What becomes of one part.
#[derive(Default)]
struct PartEdit {
    removed: bool,
    content: Option<Content>,
    /// Fields to set, or to remove where there is no value, in order.
    fields: Vec<(String, Option<String>)>,
}

impl PartEdit {
    /// The value of Content-Type as the part will have it; none if it is as it was.
    fn content_type(&self) -> Option<&str> {
        let is_type = |(name, _): &&(String, Option<String>)| name.eq_ignore_ascii_case(CONTENT_TYPE);
        self.fields.iter().rev().find(is_type).map(|(_, value)| value.as_deref().unwrap_or("text/plain"))
    }

    /// Type and charset that content written now is in.
    fn kind(&self, part: &Part) -> (String, Charset) {
        match self.content_type() {
            Some(value) => (mime::media_type_of(value), Charset::new(mime::charset_of(value).as_deref())),
            None => (part.media_type.clone(), Charset::new(part.parameter("charset"))),
        }
    }
}

impl PartEdits {
    /// Is there nothing to be changed?
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.values().all(|edit| !edit.removed && edit.content.is_none() && edit.fields.is_empty())
    }

    pub(crate) fn is_removed(&self, number: u32) -> bool {
        self.parts.get(&number).is_some_and(|edit| edit.removed)
    }
}

/// The part, if its content and header can be edited.
fn editable(loaded: &Loaded, number: u32) -> wasmtime::Result<HostResult<&Part>> {
    let part = loaded.part(number)?;
    Ok(if loaded.edits.is_removed(number) {
        Err(error(NOT_FOUND, "the part was removed"))
    } else if !part.can_be_changed() {
        Err(error(
            TOO_LARGE,
            "the part was not read, as the message or its header is too large: it can only be removed",
        ))
    } else {
        Ok(part)
    })
}

fn coding_of(media_type: &str, charset: Charset) -> HostResult<Coding> {
    let coding = mime::choose(media_type).map_err(|cause| error(BAD_VALUE, cause))?;
    Ok(if charset.is_wide() { Coding::Base64 } else { coding })
}

fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/")
}

impl Loaded {
    /// Begins new content with what the part has, turned into UTF-8 if it is to be.
    async fn copied(&mut self, number: u32, to_utf8: bool, scratch: &dyn Scratch) -> io::Result<HostResult<Content>> {
        let Ok(part) = self.part(number).cloned() else { return Err(io::ErrorKind::NotFound.into()) };
        if part.encoding == TransferEncoding::Unknown {
            return Ok(Err(error(BAD_VALUE, "the part's transfer encoding is not known: it can only be replaced")));
        }
        let (media_type, charset) = self.edits.parts.entry(number).or_default().kind(&part);
        let mut coding = match coding_of(&media_type, charset) {
            Ok(coding) => coding,
            Err(refused) => return Ok(Err(refused)),
        };
        // Text that came in base64 may have line ends that are not to be touched.
        if part.encoding == TransferEncoding::Base64 && !to_utf8 {
            coding = Coding::Base64;
        }
        let mut content = Content::new(coding, Begun::Append, charset);
        let mut text = None;
        if to_utf8 {
            let is_utf8 = charset == Charset::Ascii && is_utf8(&*self.section, &part).await?;
            let Some(decoder) = ToUtf8::new(charset, is_utf8) else {
                return Ok(Err(error(BAD_VALUE, "the part's charset is not known")));
            };
            content.coding = coding_of(&media_type, Charset::Ascii).unwrap_or(coding);
            content.encoder = Encoder::new(content.coding);
            (content.is_utf8, text) = (true, Some(decoder));
        }
        let mut before = Decoded::new(&*self.section, &part);
        while let Some(octets) = before.next().await? {
            match &mut text {
                None => content.write(&mut self.edits.log, scratch, &octets).await?,
                Some(to_utf8) => {
                    let mut converted = String::new();
                    to_utf8.push(&octets, before.is_over(), &mut converted);
                    content.write(&mut self.edits.log, scratch, converted.as_bytes()).await?;
                }
            }
        }
        Ok(Ok(content))
    }

    /// Puts `octets` behind the content that the call has given the part.
    async fn put(&mut self, number: u32, octets: &[u8], scratch: &dyn Scratch) -> io::Result<()> {
        let PartEdits { parts, log } = &mut self.edits;
        match parts.get_mut(&number).and_then(|edit| edit.content.as_mut()) {
            Some(content) => content.write(log, scratch, octets).await,
            None => Ok(()),
        }
    }

    /// The edits as [`mime::edit()`] takes them.
    async fn edits(&mut self, header: &HeaderBlock, scratch: &dyn Scratch) -> io::Result<Vec<(usize, Edit)>> {
        let PartEdits { mut parts, mut log } = std::mem::take(&mut self.edits);
        for content in parts.values_mut().filter_map(|edit| edit.content.as_mut()) {
            content.finish(&mut log, scratch).await?;
        }
        let written = log.seal().await?;
        let mut edits = Vec::new();
        for (number, mut edit) in parts {
            let index = number as usize;
            if edit.removed {
                edits.push((index, Edit::Remove));
                continue;
            }
            let Some(part) = self.structure.get(index) else { continue };
            if let Some(content) = edit.content.take() {
                let mut content_type = None;
                if content.is_utf8 {
                    let own = if part.parent.is_none() { header.clone() } else { part.header_block() };
                    let own = own.first(CONTENT_TYPE).map(|field| field.value());
                    let value = edit.content_type().or(own.as_deref()).unwrap_or("text/plain");
                    content_type = Some(mime::with_charset(value, "utf-8"));
                    edit.fields.retain(|(name, _)| !name.eq_ignore_ascii_case(CONTENT_TYPE));
                }
                let spliced = content.ranges.into_iter().fold(SpliceBuilder::new(), |splice, range| match &written {
                    Some(written) => splice.range(written, range),
                    None => splice,
                });
                let encoded: Arc<dyn ContentSource> = Arc::new(spliced.build());
                let encoding = content.coding.into();
                edits.push((index, Edit::Replace(Replacement { encoded, encoding, content_type })));
            }
            for (name, value) in edit.fields {
                let edit = match value {
                    Some(value) => Edit::SetHeader { name, value },
                    None => Edit::RemoveHeader { name },
                };
                edits.push((index, edit));
            }
        }
        Ok(edits)
    }
}

/// How content of a part is changed.
pub(crate) enum Writing<'a> {
    /// Replaced by this and what follows.
    Write(&'a [u8]),
    /// Replaced by a text.
    SetText(&'a str),
    /// Followed by octets.
    Append(&'a [u8]),
    /// Followed by a text.
    AppendText(&'a str),
}

impl Writing<'_> {
    fn verb(&self) -> &'static str {
        match self {
            Self::Write(_) | Self::SetText(_) => "write",
            Self::Append(_) | Self::AppendText(_) => "append to",
        }
    }
}

impl GuestState {
    /// Changes the content of a part.
    pub(crate) async fn write_part(&mut self, number: u32, writing: Writing<'_>) -> wasmtime::Result<HostResult> {
        if let Err(refused) = self.only_in(&EDITABLE) {
            return Ok(Err(refused));
        }
        let scratch = Arc::clone(&self.transaction()?.scratch);
        let may_edit = self.may_edit();
        let since = self.cpu.wait_begins();
        let loaded = self.parts.loaded_mut()?;
        let section = match editable(loaded, number)? {
            Ok(part) => part.section.clone(),
            Err(refused) => return Ok(Err(refused)),
        };
        let written = loaded.write(number, &writing, may_edit, &*scratch).await;
        self.cpu.waited(&since);
        Ok(match written {
            Ok(Ok(is_edit)) => {
                if is_edit {
                    self.changed(format_args!("{} part {section}", writing.verb()));
                }
                Ok(())
            }
            Ok(Err(refused)) => Err(refused),
            Err(cause) => Err(self.unwritable(&cause)),
        })
    }

    /// Takes a part out.
    pub(crate) fn remove_part(&mut self, number: u32) -> wasmtime::Result<HostResult> {
        if let Err(refused) = self.only_in(&EDITABLE).and_then(|()| self.may_edit()) {
            return Ok(Err(refused));
        }
        let loaded = self.parts.loaded_mut()?;
        let section = loaded.part(number)?.section.clone();
        let edit = loaded.edits.parts.entry(number).or_default();
        if edit.removed {
            return Ok(Err(error(NOT_FOUND, "the part was removed")));
        }
        *edit = PartEdit { removed: true, ..PartEdit::default() };
        self.changed(format_args!("remove part {section}"));
        Ok(Ok(()))
    }

    /// Sets a field of a part's header, or removes it if there is no value. Name and value have been checked.
    pub(crate) fn set_part_field(
        &mut self,
        number: u32,
        name: String,
        value: Option<String>,
    ) -> wasmtime::Result<HostResult> {
        if let Err(refused) = self.only_in(&EDITABLE).and_then(|()| self.may_edit()) {
            return Ok(Err(refused));
        }
        let loaded = self.parts.loaded_mut()?;
        let section = match editable(loaded, number)? {
            Ok(part) => part.section.clone(),
            Err(refused) => return Ok(Err(refused)),
        };
        let what = if value.is_some() { "set" } else { "remove" };
        let what = format!("{what} {name} of part {section}");
        let fields = &mut loaded.edits.parts.entry(number).or_default().fields;
        fields.retain(|(field, _)| !field.eq_ignore_ascii_case(&name));
        let octets = |name: &str, value: Option<&String>| name.len() + value.map_or(0, String::len);
        let held: usize = fields.iter().map(|(name, value)| octets(name, value.as_ref())).sum();
        if held + octets(&name, value.as_ref()) > mime::MAX_PART_HEADER {
            return Ok(Err(error(TOO_LARGE, "the edits of a part's header have at most 16 KiB together")));
        }
        fields.push((name, value));
        self.changed(format_args!("{what}"));
        Ok(Ok(()))
    }

    /// The call has succeeded: its edits of parts are made. Their text is the plugin's failure.
    pub(crate) async fn apply_part_edits(&mut self) -> wasmtime::Result<HostResult> {
        let Some(mut loaded) = self.parts.take_edited() else { return Ok(Ok(())) };
        let transaction = self.transaction()?;
        let (header, scratch) = (transaction.header.clone(), Arc::clone(&transaction.scratch));
        let since = self.cpu.wait_begins();
        let mut is_of_body = false;
        let edited = match loaded.edits(&header, &*scratch).await {
            Ok(edits) => {
                is_of_body = edits.iter().any(|(index, edit)| *index > 0 || !edit.is_of_header());
                mime::edit(&loaded.structure, &header, &loaded.section, edits).await
            }
            Err(cause) => Err(cause.into()),
        };
        self.cpu.waited(&since);
        Ok(match edited {
            Ok(edited) => {
                let transaction = self.transaction_mut()?;
                transaction.header = edited.header;
                if is_of_body {
                    (transaction.body, transaction.body_is_edited) = (Arc::new(edited.section), true);
                }
                Ok(())
            }
            Err(mime::EditError::Io(cause)) => Err(self.unwritable(&cause)),
            Err(cause) => {
                let source = std::error::Error::source(&cause).map(|source| format!(": {source}")).unwrap_or_default();
                Err(error(BAD_VALUE, format_args!("the edits of parts can't be made: {cause}{source}")))
            }
        })
    }

    /// What was written has no place: the detail is for the operator alone.
    fn unwritable(&mut self, cause: &io::Error) -> HostError {
        if self.is_first_io_error() {
            let queue_id = self.queue_id().map(tracing::field::display);
            tracing::error!(plugin = &*self.identity.name, queue_id, error = %cause, "cannot keep what a plugin writes");
        }
        match cause.kind() {
            io::ErrorKind::StorageFull => error(TOO_LARGE, "there is no room for what plugins write"),
            _ => error(UNAVAILABLE, "what was written could not be kept"),
        }
    }
}

impl Loaded {
    /// Changes the content of a part. True if that is an edit of its own, and no continuation of one.
    async fn write(
        &mut self,
        number: u32,
        writing: &Writing<'_>,
        may_edit: HostResult,
        scratch: &dyn Scratch,
    ) -> io::Result<HostResult<bool>> {
        Ok(match writing {
            Writing::Write(octets) if self.begun(number) == Some(Begun::Write) => {
                self.put(number, octets, scratch).await?;
                Ok(false)
            }
            Writing::Write(octets) => self.replace(number, Begun::Write, octets, may_edit, scratch).await?,
            Writing::SetText(text) => self.replace(number, Begun::Text, text.as_bytes(), may_edit, scratch).await?,
            Writing::Append(octets) => self.append(number, octets, false, may_edit, scratch).await?,
            Writing::AppendText(text) => self.append_text(number, text, may_edit, scratch).await?,
        })
    }

    async fn replace(
        &mut self,
        number: u32,
        begun: Begun,
        octets: &[u8],
        may_edit: HostResult,
        scratch: &dyn Scratch,
    ) -> io::Result<HostResult<bool>> {
        if let Err(refused) = may_edit.and_then(|()| self.begin(number, begun)) {
            return Ok(Err(refused));
        }
        self.put(number, octets, scratch).await?;
        Ok(Ok(true))
    }

    fn begun(&self, number: u32) -> Option<Begun> {
        self.edits.parts.get(&number)?.content.as_ref().map(|content| content.begun)
    }

    /// Begins content in the place of what the part has.
    fn begin(&mut self, number: u32, begun: Begun) -> HostResult {
        let Some(part) = self.structure.get(number as usize) else { return Err(error(NOT_FOUND, "no such part")) };
        let edit = self.edits.parts.entry(number).or_default();
        let (media_type, charset) = edit.kind(part);
        let is_utf8 = begun == Begun::Text;
        if is_utf8 && !is_text(&media_type) {
            return Err(error(BAD_VALUE, "the part is no text: set its Content-Type first, or write octets"));
        }
        let charset = if is_utf8 { Charset::new(Some("utf-8")) } else { charset };
        let content = Content::new(coding_of(&media_type, charset)?, begun, charset);
        edit.content = Some(Content { is_utf8, ..content });
        Ok(())
    }

    async fn append(
        &mut self,
        number: u32,
        octets: &[u8],
        to_utf8: bool,
        may_edit: HostResult,
        scratch: &dyn Scratch,
    ) -> io::Result<HostResult<bool>> {
        let goes_on = self.begun(number).is_some();
        if !goes_on {
            if let Err(refused) = may_edit {
                return Ok(Err(refused));
            }
            match self.copied(number, to_utf8, scratch).await? {
                Ok(content) => self.edits.parts.entry(number).or_default().content = Some(content),
                Err(refused) => return Ok(Err(refused)),
            }
        }
        self.put(number, octets, scratch).await?;
        Ok(Ok(!goes_on))
    }

    async fn append_text(
        &mut self,
        number: u32,
        text: &str,
        may_edit: HostResult,
        scratch: &dyn Scratch,
    ) -> io::Result<HostResult<bool>> {
        let Some(part) = self.structure.get(number as usize) else { return Err(io::ErrorKind::NotFound.into()) };
        let edit = self.edits.parts.entry(number).or_default();
        let (media_type, charset) = edit.kind(part);
        let begun = edit.content.as_ref().map(|content| (content.is_utf8, content.charset));
        if !is_text(&media_type) {
            return Ok(Err(error(BAD_VALUE, "the part is no text: append octets")));
        }
        let (encoded, to_utf8) = match begun {
            Some((true, _)) => (text.as_bytes().to_vec(), false),
            Some((false, charset)) => match charset.encode(text) {
                Some(octets) => (octets, false),
                None => return Ok(Err(error(BAD_VALUE, "the charset of what was written does not have this text"))),
            },
            None => match charset.encode(text) {
                Some(octets) => (octets, false),
                None => (text.as_bytes().to_vec(), true),
            },
        };
        self.append(number, &encoded, to_utf8, may_edit, scratch).await
    }
}
