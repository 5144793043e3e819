//! The tree of a message's parts, and its octets.

use super::super::mime::{Coding, charset_of};
use super::super::{HeaderBlock, HeaderError, Position, words};
use super::content::Piece;
use super::fields::parameter;
use super::object::FieldError;
use super::part::{Part, as_it_is, is_linewise, is_plain, text_lines};
use bytes::Bytes;

/// Longest line that is not encoded.
const WIDTH: usize = 76;

/// A node of the tree.
pub(super) enum Node<'a> {
    Leaf(&'a Part),
    /// The subtype with its parameters, and the children.
    Multipart(&'static str, Vec<Node<'a>>),
}

/// Nodemailer's tree: mixed around alternative around related.
pub(super) fn tree<'a>(views: &'a [Part], attachments: &'a [Part], empty: &'a Part) -> Node<'a> {
    let html = views.iter().rposition(|part| part.is("text/html"));
    let (related, attached): (Vec<&Part>, Vec<&Part>) =
        attachments.iter().partition(|part| html.is_some() && part.cid.is_some());
    let view = |(index, part): (usize, &'a Part)| {
        if Some(index) == html && !related.is_empty() {
            let children = std::iter::once(part).chain(related.iter().copied()).map(Node::Leaf).collect();
            return Node::Multipart("related; type=\"text/html\"", children);
        }
        Node::Leaf(part)
    };
    let mut nodes: Vec<Node<'a>> = views.iter().enumerate().map(view).collect();
    if nodes.len() > 1 {
        nodes = vec![Node::Multipart("alternative", nodes)];
    }
    nodes.extend(attached.into_iter().map(Node::Leaf));
    match nodes.len() {
        0 => Node::Leaf(empty),
        1 => nodes.remove(0),
        _ => Node::Multipart("mixed", nodes),
    }
}

/// Writes nodes.
pub(super) struct Writer<'a> {
    /// Makes boundaries that no content has.
    pub(super) unique: &'a str,
    /// How text is encoded where it has to be; by its content if there is no wish.
    pub(super) text_coding: Option<Coding>,
    /// What Content-Transfer-Encoding was asked for text.
    pub(super) encoding: Option<&'a str>,
    pub(super) boundaries: usize,
    pub(super) pieces: Vec<Piece>,
    pub(super) written: Vec<u8>,
    pub(super) eight_bit: bool,
}

impl Writer<'_> {
    /// Writes a node; the fields that say what it is follow those of `header`.
    pub(super) fn node(&mut self, node: &Node<'_>, mut header: HeaderBlock) -> Result<(), FieldError> {
        match node {
            Node::Leaf(part) => self.leaf(part, header),
            Node::Multipart(subtype, children) => {
                self.boundaries += 1;
                let boundary = format!("=_{}-{}", self.unique, self.boundaries);
                let value = format!("multipart/{subtype}; boundary=\"{boundary}\"");
                add(&mut header, "Content-Type", &value, "")?;
                self.header(&header);
                for child in children {
                    self.written.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
                    self.node(child, HeaderBlock::default())?;
                    self.written.extend_from_slice(b"\r\n");
                }
                self.written.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
                Ok(())
            }
        }
    }

    fn header(&mut self, header: &HeaderBlock) {
        self.written.extend_from_slice(&header.to_bytes());
        self.written.extend_from_slice(b"\r\n");
    }

    fn leaf(&mut self, part: &Part, mut header: HeaderBlock) -> Result<(), FieldError> {
        if let Some(raw) = &part.raw {
            // Its header follows the one that is there.
            self.written.extend_from_slice(&header.to_bytes());
            self.eight_bit |= !raw.is_ascii();
            self.written.extend_from_slice(raw);
            return Ok(());
        }
        for field in &part.headers {
            add(&mut header, &field.name, &field.written(), &part.path)?;
        }
        let mut media_type = part.media_type.clone();
        let is_utf8 = || !part.content.is_ascii() && std::str::from_utf8(&part.content).is_ok();
        if part.is("text/plain") && charset_of(&media_type).is_none() && is_utf8() {
            media_type += "; charset=utf-8";
        }
        if let Some(filename) = &part.filename {
            // Readers that don't know RFC 2231 look here, and expect encoded words.
            let name = if filename.is_ascii() { filename.clone() } else { words::encoded(filename) };
            if name.len() <= 500 {
                parameter(&mut media_type, "name", &name);
            }
        }
        add(&mut header, "Content-Type", &media_type, &part.path)?;
        if let Some(cid) = &part.cid {
            self.eight_bit |= !cid.is_ascii();
            add(&mut header, "Content-ID", &format!("<{cid}>"), &part.path)?;
        }
        if let Some(disposition) = &part.disposition {
            let mut value = disposition.clone();
            if let Some(filename) = &part.filename {
                parameter(&mut value, "filename", filename);
            }
            add(&mut header, "Content-Disposition", &value, &part.path)?;
        }
        let body = self.body(part)?;
        let name = match &body {
            Body::Lines(lines) if lines.is_ascii() => "7bit",
            Body::Lines(_) => "8bit",
            Body::Encode(Coding::Base64, _) => "base64",
            Body::Encode(Coding::QuotedPrintable, _) => "quoted-printable",
        };
        add(&mut header, "Content-Transfer-Encoding", name, &part.path)?;
        self.header(&header);
        match body {
            Body::Lines(lines) => {
                self.eight_bit |= !lines.is_ascii();
                self.written.extend_from_slice(&lines);
            }
            Body::Encode(coding, content) => {
                self.pieces.push(Piece::Written(std::mem::take(&mut self.written).into()));
                self.pieces.push(Piece::Encode(coding, content));
            }
        }
        Ok(())
    }

    fn body(&self, part: &Part) -> Result<Body, FieldError> {
        let is_text = part.is("text/") && is_linewise(&part.media_type);
        if part.is("message/") {
            // It must not be encoded (RFC 2046 section 5.2.1).
            return as_it_is(&part.content, &format!("{}.content", part.path)).map(Body::Lines);
        }
        let asked = part.transfer.as_deref().or(if is_text { self.encoding } else { None });
        let plain = |width| is_text && is_plain(&part.content, width);
        Ok(match asked {
            Some("base64") => Body::Encode(Coding::Base64, part.content.clone()),
            Some("quoted-printable") if is_text => Body::Encode(Coding::QuotedPrintable, part.content.clone()),
            Some("quoted-printable") => Body::Encode(Coding::Base64, part.content.clone()),
            // As wished where it can be; what is not ASCII is encoded all the same, for next hops without 8BITMIME.
            Some("7bit" | "8bit") if plain(998) => Body::Lines(text_lines(&part.content).into()),
            _ if !is_text => Body::Encode(Coding::Base64, part.content.clone()),
            _ if plain(WIDTH) => Body::Lines(text_lines(&part.content).into()),
            _ => Body::Encode(self.text_coding.unwrap_or_else(|| shorter(&part.content)), part.content.clone()),
        })
    }
}

enum Body {
    /// As it is.
    Lines(Bytes),
    Encode(Coding, Bytes),
}

/// Text that is mostly Latin stays readable in quoted-printable; other scripts are shorter in base64.
fn shorter(content: &[u8]) -> Coding {
    let text = String::from_utf8_lossy(content);
    let foreign = text.chars().filter(|c| !c.is_ascii()).count();
    let latin = text.chars().filter(char::is_ascii_alphabetic).count();
    if foreign == 0 || foreign < latin { Coding::QuotedPrintable } else { Coding::Base64 }
}

/// Adds a field at the bottom; an error names `path`.
pub(super) fn add(header: &mut HeaderBlock, name: &str, value: &str, path: &str) -> Result<(), FieldError> {
    header.add(Position::Bottom, name, value).map_err(|error| {
        let field = if path.is_empty() { name } else { path };
        let why = match error {
            HeaderError::LineTooLong => format!("{name} has a word that is too long for a line of a header"),
            error => format!("{name}: {error}"),
        };
        FieldError::new(field, why)
    })
}
