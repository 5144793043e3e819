//! Changes to parts: their content replaced, their header fields set, whole parts removed. All other octets stay.
//!
//! New content is read once before it is taken: it must not bring delimiters of the multiparts around it, nor octets
//! that can't be sent. An edit within a part that is itself removed or replaced has nothing to change and is skipped.
//! Seals are not looked at: whether a sealed part may be changed is the caller's to say ([`super::Part::is_sealed`]).

use super::check::check;
use super::fields::{ContentFields, transfer_encoding};
use super::part::default_type;
use super::{Kind, MAX_PART_HEADER, Part, Splice, SpliceBuilder, Structure, TransferEncoding};
use crate::message::{ContentSource, HeaderBlock, HeaderError, Position};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// One change to a part.
#[derive(Clone)]
pub enum Edit {
    /// Gives it other content.
    Replace(Replacement),
    /// Takes it out of its multipart. If no part is left in there, an empty text/plain part stands in; if it is the
    /// root, the body is empty.
    Remove,
    /// Sets a header field, as [`HeaderBlock::set`] does. For the root, Content-* fields only.
    SetHeader {
        /// The field's name.
        name: String,
        /// Its value, on one line.
        value: String,
    },
    /// Removes all header fields of this name. For the root, Content-* fields only.
    RemoveHeader {
        /// The fields' name.
        name: String,
    },
}

impl Edit {
    /// Does it change header fields alone?
    #[must_use]
    pub fn is_of_header(&self) -> bool {
        matches!(self, Self::SetHeader { .. } | Self::RemoveHeader { .. })
    }
}

/// Other content for a part.
#[derive(Clone)]
pub struct Replacement {
    /// The content, already in `encoding`. A line end at its end is content.
    pub encoded: Arc<dyn ContentSource>,
    /// The encoding it is in.
    pub encoding: TransferEncoding,
    /// The value of Content-Type from now on; none leaves that field as it is.
    pub content_type: Option<String>,
}

/// A message with its parts changed.
#[derive(Clone, Debug)]
pub struct Edited {
    /// The message's header block. Edited only if the root was.
    pub header: HeaderBlock,
    /// The body section.
    pub section: Splice,
}

/// Why an edit can't be made. `part` is its index.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The structure is not that of this body section: it is of another length.
    #[error("the structure is that of another message")]
    OtherMessage,
    /// The structure has no such part.
    #[error("there is no part {part}")]
    NoSuchPart {
        /// The index asked for.
        part: usize,
    },
    /// Two replacements.
    #[error("part {part} is replaced twice")]
    ReplacedTwice {
        /// Which part.
        part: usize,
    },
    /// Past a limit: its header is not known. It can only be removed.
    #[error("part {part} was not read, because the message or its header is too large")]
    Opaque {
        /// Which part.
        part: usize,
    },
    /// A name or value that can't stand in a header, or a header grown too long.
    #[error("a header field of part {part} can't be changed")]
    Header {
        /// Which part.
        part: usize,
        /// Why.
        source: HeaderError,
    },
    /// The root's other fields are the message's, and not edited as a part's.
    #[error("only Content-* fields of part {part} can be changed")]
    NotContentField {
        /// Which part.
        part: usize,
    },
    /// Content-Transfer-Encoding, or a multipart's Content-Type, without new content to go with it.
    #[error("the header field of part {part} says how its content is to be read: replace the content")]
    Structural {
        /// Which part.
        part: usize,
    },
    /// RFC 2045 section 6.4.
    #[error("the content of part {part}, multipart/* or message/*, must not be encoded")]
    Composite {
        /// Which part.
        part: usize,
    },
    /// The encoding is unknown, or the content can't be in it, or has NUL, bare CR or bare LF.
    #[error("the new content of part {part} is not in its transfer encoding, or has NUL, bare CR or bare LF")]
    NotInEncoding {
        /// Which part.
        part: usize,
    },
    /// The content would end its part early.
    #[error("the new content of part {part} has a line that is a delimiter in this message")]
    Delimiter {
        /// Which part.
        part: usize,
    },
    /// New content can't be read.
    #[error("the new content of a part can't be read")]
    Io(#[from] io::Error),
}

/// Applies `edits` (part index, change; in order for each part) to a message: `structure` is what [`super::scan()`] gave
/// for `header` and `section`.
///
/// # Errors
/// An edit that can't be made, and then none is; or new content can't be read.
pub async fn edit(
    structure: &Structure,
    header: &HeaderBlock,
    section: &Arc<dyn ContentSource>,
    edits: Vec<(usize, Edit)>,
) -> Result<Edited, EditError> {
    if structure.len != section.len() {
        return Err(EditError::OtherMessage);
    }
    let wishes = collect(structure, edits)?;
    let mut draft = Draft { structure, header: header.clone(), changes: Vec::new() };
    for (part, wish) in wishes.iter().enumerate() {
        if structure.ancestors(part).any(|outer| wishes[outer].is_gone()) {
            continue;
        }
        if wish.remove {
            draft.remove(part, &wishes);
        } else {
            draft.rewrite(part, wish).await?;
        }
    }
    Ok(Edited { section: draft.splice(section), header: draft.header })
}

/// All that is to be done to one part.
#[derive(Default)]
struct Wish {
    remove: bool,
    replacement: Option<Replacement>,
    /// Fields to set, or to remove where there is no value.
    fields: Vec<(String, Option<String>)>,
}

impl Wish {
    /// Nothing within the part stays.
    fn is_gone(&self) -> bool {
        self.remove || self.replacement.is_some()
    }

    fn changes_field(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, _)| field.eq_ignore_ascii_case(name))
    }
}

/// One wish for each part.
fn collect(structure: &Structure, edits: Vec<(usize, Edit)>) -> Result<Vec<Wish>, EditError> {
    let mut wishes: Vec<Wish> = structure.parts().iter().map(|_| Wish::default()).collect();
    for (part, edit) in edits {
        let wish = wishes.get_mut(part).ok_or(EditError::NoSuchPart { part })?;
        match edit {
            Edit::Remove => wish.remove = true,
            Edit::SetHeader { name, value } => wish.fields.push((name, Some(value))),
            Edit::RemoveHeader { name } => wish.fields.push((name, None)),
            Edit::Replace(replacement) => {
                if wish.replacement.replace(replacement).is_some() {
                    return Err(EditError::ReplacedTwice { part });
                }
            }
        }
    }
    Ok(wishes)
}

/// What stands in for a range of the body section.
struct Change {
    range: Range<u64>,
    with: SpliceBuilder,
}

struct Draft<'a> {
    structure: &'a Structure,
    header: HeaderBlock,
    /// By where they start; none overlaps another.
    changes: Vec<Change>,
}

impl Draft<'_> {
    fn change(&mut self, range: Range<u64>, with: SpliceBuilder) {
        self.changes.push(Change { range, with });
    }

    fn splice(&self, section: &Arc<dyn ContentSource>) -> Splice {
        let mut splice = SpliceBuilder::new();
        let mut at = 0;
        for change in &self.changes {
            splice = splice.range(section, at..change.range.start).append(&change.with);
            at = change.range.end;
        }
        splice.range(section, at..section.len()).build()
    }

    /// Takes out the lines from the delimiter before the part to the one after it, so that the line end before the
    /// first serves the second.
    fn remove(&mut self, index: usize, wishes: &[Wish]) {
        let structure = self.structure;
        let part = &structure.parts[index];
        let Some(parent) = part.parent else {
            return self.remove_root();
        };
        let mut with = SpliceBuilder::new();
        let mut start = part.delimiter;
        let mut siblings = structure.children(parent);
        if siblings.next() == Some(index) && siblings.all(|sibling| wishes[sibling].remove) {
            start = part.header.start;
            with = with.octets(&b"Content-Type: text/plain\r\n\r\n\r\n"[..]);
        }
        if part.next.is_none()
            && let Some(boundary) = structure.parts[parent].boundary()
        {
            // The multipart was never closed: without a delimiter, the part before would get a line more.
            with = with.octets(format!("--{boundary}--\r\n"));
        }
        self.change(start..part.next.unwrap_or(structure.len), with);
    }

    fn remove_root(&mut self) {
        let names = ["Type", "Transfer-Encoding", "Disposition", "ID", "Description", "MD5", "Length"];
        for name in names {
            self.header.remove(&format!("Content-{name}"));
        }
        self.change(0..self.structure.len, SpliceBuilder::new().octets(&b"\r\n"[..]));
    }

    async fn rewrite(&mut self, index: usize, wish: &Wish) -> Result<(), EditError> {
        if wish.replacement.is_none() && wish.fields.is_empty() {
            return Ok(());
        }
        let structure = self.structure;
        let part = &structure.parts[index];
        let is_root = part.parent.is_none();
        let before = if is_root { self.header.clone() } else { part.header_block() };
        let parent = part.parent.map(|parent| &structure.parts[parent]);
        let after = new_header(index, part, default_type(parent), before, wish)?;
        if is_root {
            self.header = after;
        } else if after.len() > MAX_PART_HEADER {
            return Err(EditError::Header { part: index, source: HeaderError::TooLarge });
        } else {
            // With its empty line, which a malformed part may have lacked.
            let lines = SpliceBuilder::new().octets(after.to_bytes()).octets(&b"\r\n"[..]);
            self.change(part.header.start..part.body.start, lines);
        }
        if let Some(replacement) = &wish.replacement {
            self.replace(index, replacement).await?;
        }
        Ok(())
    }

    async fn replace(&mut self, index: usize, replacement: &Replacement) -> Result<(), EditError> {
        let structure = self.structure;
        let part = &structure.parts[index];
        let boundaries: Vec<_> =
            structure.ancestors(index).filter_map(|outer| structure.parts[outer].boundary()).collect();
        let found = check(&*replacement.encoded, &boundaries).await?;
        let is_8bit_fine = matches!(replacement.encoding, TransferEncoding::EightBit | TransferEncoding::Binary);
        if found.bad_octets || found.is_8bit && !is_8bit_fine {
            return Err(EditError::NotInEncoding { part: index });
        }
        if found.delimiter {
            return Err(EditError::Delimiter { part: index });
        }
        let mut with = SpliceBuilder::new();
        if part.parent.is_none() && part.body.start == 0 {
            // The message had no body at all, not even the empty line.
            with = with.octets(&b"\r\n"[..]);
        }
        with = with.all(&replacement.encoded);
        // Before a delimiter stands a line end that is not content; at the end of the content there must be one.
        let wants_line_end = part.next.map_or(!found.ends_with_line_end, |next| next == part.body.end);
        if wants_line_end && !replacement.encoded.is_empty() {
            with = with.octets(&b"\r\n"[..]);
        }
        self.change(part.body.clone(), with);
        Ok(())
    }
}

/// The header of a part (the message's, for the root) with its fields changed; `default` is its type if it says none.
fn new_header(
    index: usize,
    part: &Part,
    default: &str,
    before: HeaderBlock,
    wish: &Wish,
) -> Result<HeaderBlock, EditError> {
    if !part.header_is_known {
        return Err(EditError::Opaque { part: index });
    }
    let is_multipart = part.kind == Kind::Multipart && wish.replacement.is_none();
    if wish.changes_field("Content-Transfer-Encoding") || is_multipart && wish.changes_field("Content-Type") {
        return Err(EditError::Structural { part: index });
    }
    let failed = |source| EditError::Header { part: index, source };
    let mut header = before;
    if let Some(replacement) = &wish.replacement {
        if replacement.encoding == TransferEncoding::Unknown {
            return Err(EditError::NotInEncoding { part: index });
        }
        describe_content(&mut header, replacement).map_err(failed)?;
    }
    for (name, value) in &wish.fields {
        let is_content = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"));
        if part.parent.is_none() && !is_content {
            return Err(EditError::NotContentField { part: index });
        }
        match value {
            Some(value) => header.set(name, value).map_err(failed)?,
            None => {
                header.remove(name);
            }
        }
    }
    let is_new = wish.replacement.is_some() || wish.changes_field("Content-Type");
    let fields = ContentFields::read(&header, default).ok_or(failed(HeaderError::TooLarge))?;
    if is_new && fields.is_composite() && !fields.encoding.is_identity() {
        return Err(EditError::Composite { part: index });
    }
    if part.parent.is_none() && header.is_edited() && header.first("MIME-Version").is_none() {
        header.add(Position::Bottom, "MIME-Version", "1.0").map_err(failed)?;
    }
    Ok(header)
}

/// Says what new content is, and drops what was said of the old.
fn describe_content(header: &mut HeaderBlock, new: &Replacement) -> Result<(), HeaderError> {
    const ENCODING: &str = "Content-Transfer-Encoding";
    if let Some(content_type) = &new.content_type {
        header.set("Content-Type", content_type)?;
    }
    let is_said = match header.all(ENCODING).count() {
        0 => new.encoding == TransferEncoding::SevenBit,
        // The message's own header may have been changed since it was scanned.
        1 => header.first(ENCODING).is_some_and(|field| new.encoding == transfer_encoding(field)),
        _ => false,
    };
    if !is_said {
        header.set(ENCODING, new.encoding.name())?;
    }
    header.remove("Content-MD5");
    header.remove("Content-Length");
    Ok(())
}
