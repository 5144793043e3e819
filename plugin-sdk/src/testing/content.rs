//! Behind the message of a call and its parts.

use super::mime::{self, Part as Data, decoded};
use super::rules::{self, HostResult, error};
use super::transaction::{Hook, Shared};

/// Header fields by name.
type Fields = Vec<(String, String)>;

fn first(fields: &Fields, name: &str) -> Option<String> {
    fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| decoded(value))
}

fn set(fields: &mut Fields, name: &str, value: &str) {
    let at = fields.iter().position(|(n, _)| n.eq_ignore_ascii_case(name)).unwrap_or(fields.len());
    fields.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    fields.insert(at, (name.into(), value.into()));
}

fn remove(fields: &mut Fields, name: &str) -> usize {
    let before = fields.len();
    fields.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    before - fields.len()
}

fn octets(fields: &Fields) -> usize {
    fields.iter().map(|(name, value)| name.len() + value.len() + 4).sum()
}

/// Counts an edit of the message, if this hook may make it.
fn begin_edit(shared: &Shared, of_part: bool) -> HostResult {
    let mut call = shared.borrow_mut();
    match (call.hook, of_part) {
        (Hook::Rewrite | Hook::RewritePart, _) | (Hook::Spam, false) => {}
        (_, false) => return error("not-now", "messages can be edited in spam, rewrite and rewrite-part"),
        (_, true) => return error("not-now", "parts can be edited in rewrite and rewrite-part"),
    }
    if call.edits == rules::MAX_EDITS {
        return error("too-large", "one call makes 10,000 edits at most");
    }
    call.edits += 1;
    Ok(())
}

pub(crate) struct Message(pub(super) Shared);

impl Message {
    fn edit<T>(&self, name: &str, value: &str, edit: impl FnOnce(&mut Fields) -> T) -> HostResult<T> {
        rules::header_name(name)?;
        rules::header_value(value)?;
        begin_edit(&self.0, false)?;
        let fields = &mut self.0.borrow_mut().transaction.headers;
        if octets(fields) + name.len() + value.len() > rules::MAX_HEADER {
            return error("too-large", "the header block has 1 MiB at most");
        }
        Ok(edit(fields))
    }

    fn fields(&self) -> Fields {
        self.0.borrow().transaction.headers.clone()
    }

    /// Header fields, empty line and body.
    pub(super) fn content(&self) -> Vec<u8> {
        self.0.borrow().transaction.content()
    }

    pub fn id(&self) -> String {
        self.0.borrow().transaction.id.clone()
    }
    pub fn size(&self) -> u64 {
        (octets(&self.fields()) + 2) as u64 + self.body_size()
    }
    pub fn header(&self, name: &str) -> Option<String> {
        first(&self.0.borrow().transaction.headers, name)
    }
    pub fn header_all(&self, name: &str) -> Vec<String> {
        self.0.borrow().transaction.header_all(name).into_iter().map(decoded).collect()
    }
    pub fn header_count(&self) -> u32 {
        rules::count(&self.0.borrow().transaction.headers)
    }
    pub fn header_at(&self, index: u32) -> Option<(String, String)> {
        let call = self.0.borrow();
        call.transaction.headers.get(index as usize).map(|(name, value)| (name.clone(), decoded(value)))
    }
    pub fn raw_headers(&self) -> Vec<(String, Vec<u8>)> {
        self.fields().into_iter().map(|(name, value)| (name, format!(" {value}\r\n").into_bytes())).collect()
    }
    pub fn mailboxes(&self, name: &str) -> Vec<(Option<String>, String)> {
        self.0.borrow().transaction.header_all(name).into_iter().flat_map(mime::mailboxes).collect()
    }
    pub fn prepend_header(&self, name: &str, value: &str) -> HostResult {
        self.edit(name, value, |fields| fields.insert(0, (name.into(), value.into())))
    }
    pub fn append_header(&self, name: &str, value: &str) -> HostResult {
        self.edit(name, value, |fields| fields.push((name.into(), value.into())))
    }
    pub fn set_header(&self, name: &str, value: &str) -> HostResult {
        self.edit(name, value, |fields| set(fields, name, value))
    }
    pub fn remove_header(&self, name: &str) -> HostResult<u32> {
        self.edit(name, "", |fields| u32::try_from(remove(fields, name)).unwrap_or(u32::MAX))
    }
    pub fn body_size(&self) -> u64 {
        self.0.borrow().transaction.body.len() as u64
    }
    pub fn read_body(&self, offset: u64, max: u32) -> HostResult<Vec<u8>> {
        Ok(rules::piece(&self.0.borrow().transaction.body, offset, max))
    }
    pub fn parts(&self) -> HostResult<Vec<Part>> {
        let mut call = self.0.borrow_mut();
        let transaction = &call.transaction;
        let parts = transaction.parts();
        let edits = call.parts.get_or_insert_with(|| PartEdits::of(parts));
        let there = edits.slots.iter().enumerate().filter(|(_, slot)| !slot.removed);
        Ok(there.map(|(index, _)| Part { call: self.0.clone(), index }).collect())
    }
}

/// The parts of a message during a call.
pub(crate) struct PartEdits {
    slots: Vec<Slot>,
    pub(super) edited: bool,
}

struct Slot {
    /// As it was when the call began: what is read.
    before: Data,
    /// As it will be.
    after: Data,
    begun: Option<Begun>,
    removed: bool,
}

/// What began new content: a write goes on with its own only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    Write,
    Text,
    Append,
}

impl PartEdits {
    fn of(parts: Vec<Data>) -> Self {
        let slot = |part: Data| Slot { before: part.clone(), after: part, begun: None, removed: false };
        let slots = parts.into_iter().map(slot);
        Self { slots: slots.collect(), edited: false }
    }

    /// The parts that are still there.
    pub(super) fn kept(self) -> Vec<Data> {
        self.slots.into_iter().filter(|slot| !slot.removed).map(|slot| slot.after).collect()
    }
}

/// The multipart that a section is in: `2` of `2.1`.
fn parent(section: &str) -> &str {
    section.rsplit_once('.').map_or("", |(parent, _)| parent)
}

pub(crate) struct Part {
    call: Shared,
    index: usize,
}

impl Part {
    fn with<R>(&self, look: impl FnOnce(&Data) -> R) -> R {
        let call = self.call.borrow();
        let parts = call.parts.as_ref().expect("a part is made of them");
        look(&parts.slots[self.index].before)
    }

    /// Has the runner to ask for it still?
    pub(super) fn is_removed(&self) -> bool {
        self.call.borrow().parts.as_ref().is_some_and(|parts| parts.slots[self.index].removed)
    }

    fn begun(&self) -> Option<Begun> {
        self.call.borrow().parts.as_ref().and_then(|parts| parts.slots[self.index].begun)
    }

    /// Makes an edit; one that goes on with content that was begun does not count.
    fn edit(&self, goes_on: bool, edit: impl FnOnce(&mut PartEdits, usize) -> HostResult) -> HostResult {
        if !goes_on {
            begin_edit(&self.call, true)?;
        }
        let mut call = self.call.borrow_mut();
        let parts = call.parts.as_mut().expect("a part is made of them");
        if parts.slots[self.index].removed {
            return error("not-found", "the part was removed");
        }
        parts.edited = true;
        edit(parts, self.index)
    }

    pub(super) fn content(&self) -> Vec<u8> {
        self.with(|part| part.content.clone())
    }

    pub fn section(&self) -> String {
        self.with(|part| part.section.clone())
    }
    pub fn content_type(&self) -> String {
        self.with(|part| part.content_type.clone())
    }
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.with(|part| part.parameter(name).map(str::to_owned))
    }
    pub fn disposition(&self) -> Option<String> {
        self.with(|part| part.disposition.clone())
    }
    pub fn file_name(&self) -> Option<String> {
        self.with(|part| part.file_name.clone())
    }
    pub fn containers(&self) -> Vec<String> {
        self.with(|part| part.containers.clone())
    }
    pub fn is_sealed(&self) -> bool {
        self.with(|part| part.is_sealed)
    }
    pub fn header(&self, name: &str) -> Option<String> {
        self.with(|part| first(&part.headers, name))
    }
    pub fn encoded_size(&self) -> u64 {
        self.with(|part| part.encoded_size)
    }
    pub fn read(&self, offset: u64, max: u32) -> HostResult<Vec<u8>> {
        Ok(self.with(|part| rules::piece(&part.content, offset, max)))
    }
    pub fn text(&self) -> HostResult<String> {
        if self.with(|part| part.content.len()) > rules::MAX_TEXT {
            return error("too-large", "a part as text has 1 MiB at most");
        }
        Ok(self.with(Data::text))
    }
    pub fn write(&self, bytes: &[u8]) -> HostResult {
        let goes_on = self.begun() == Some(Begun::Write);
        self.edit(goes_on, |parts, index| {
            let slot = &mut parts.slots[index];
            can_be_encoded(&slot.after)?;
            if !goes_on {
                (slot.begun, slot.after.content) = (Some(Begun::Write), Vec::new());
            }
            slot.after.content.extend_from_slice(bytes);
            Ok(())
        })
    }
    pub fn set_text(&self, text: &str) -> HostResult {
        self.edit(false, |parts, index| {
            let slot = &mut parts.slots[index];
            is_text(&slot.after)?;
            (slot.begun, slot.after.content) = (Some(Begun::Text), text.into());
            slot.after.set_charset("utf-8");
            Ok(())
        })
    }
    pub fn append(&self, bytes: &[u8]) -> HostResult {
        self.edit(self.begun().is_some(), |parts, index| {
            let slot = &mut parts.slots[index];
            can_be_encoded(&slot.after)?;
            slot.begun.get_or_insert(Begun::Append);
            slot.after.content.extend_from_slice(bytes);
            Ok(())
        })
    }
    pub fn append_text(&self, text: &str) -> HostResult {
        self.edit(self.begun().is_some(), |parts, index| {
            let slot = &mut parts.slots[index];
            is_text(&slot.after)?;
            let octets = match mime::in_charset(text, slot.after.parameter("charset")) {
                Some(octets) => octets,
                None if slot.begun.is_some() => {
                    return error("bad-value", "the charset of what was written does not have this text");
                }
                None => {
                    slot.after.content = slot.after.text().into_bytes();
                    slot.after.set_charset("utf-8");
                    text.into()
                }
            };
            slot.begun.get_or_insert(Begun::Append);
            slot.after.content.extend_from_slice(&octets);
            Ok(())
        })
    }
    pub fn remove(&self) -> HostResult {
        self.edit(false, |parts, index| {
            let section = parts.slots[index].before.section.clone();
            let around = parent(&section);
            let is_last = !parts.slots.iter().enumerate().any(|(at, other)| {
                at != index
                    && !other.removed
                    && (around.is_empty() || other.before.section.starts_with(&format!("{around}.")))
            });
            let slot = &mut parts.slots[index];
            if is_last {
                let containers = std::mem::take(&mut slot.after.containers);
                slot.after = Data { containers, ..mime::empty(&section) };
            } else {
                slot.removed = true;
            }
            Ok(())
        })
    }
    pub fn set_header(&self, name: &str, value: &str) -> HostResult {
        rules::header_value(value)?;
        self.edit_field(name, |part| {
            set(&mut part.headers, name, value);
            if name.eq_ignore_ascii_case("Content-Type") {
                part.set_type(value);
            }
        })
    }
    pub fn remove_header(&self, name: &str) -> HostResult {
        self.edit_field(name, |part| {
            remove(&mut part.headers, name);
        })
    }

    fn edit_field(&self, name: &str, edit: impl FnOnce(&mut Data)) -> HostResult {
        rules::header_name(name)?;
        if name.eq_ignore_ascii_case("Content-Transfer-Encoding") {
            return error("bad-name", "the host keeps Content-Transfer-Encoding itself");
        }
        let is_content = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"));
        if !is_content && self.with(|part| part.containers.is_empty()) {
            return error("bad-name", "the part is the message: as a part's, only its Content-* fields are edited");
        }
        self.edit(false, |parts, index| {
            edit(&mut parts.slots[index].after);
            Ok(())
        })
    }
}

fn can_be_encoded(part: &Data) -> HostResult {
    if ["multipart/", "message/"].iter().any(|kind| part.content_type.starts_with(kind)) {
        return error("bad-value", "multipart/* and message/* can't be encoded");
    }
    Ok(())
}

fn is_text(part: &Data) -> HostResult {
    if part.content_type.starts_with("text/") { Ok(()) } else { error("bad-value", "the part is no text") }
}
