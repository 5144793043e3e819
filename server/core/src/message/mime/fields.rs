//! What the Content-* fields of a header say (RFC 2045, 2183, 2231). Of a field that stands twice, the first counts.

use super::{MAX_PART_HEADER, TransferEncoding};
use crate::message::{Field, HeaderBlock};
use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, HeaderValue};
use std::fmt::Write as _;

/// Parameters of one field that are kept.
const MAX_PARAMETERS: usize = 64;

/// The Content-* fields that tell of structure.
pub(super) struct ContentFields {
    pub(super) media_type: String,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) disposition: Option<String>,
    pub(super) file_name: Option<String>,
    pub(super) encoding: TransferEncoding,
    pub(super) content_id: Option<String>,
}

impl ContentFields {
    /// Reads them from a header; none if one of them is longer than a part's header may be. A part without a usable
    /// Content-Type is of `default` type.
    pub(super) fn read(header: &HeaderBlock, default: &str) -> Option<Self> {
        let names = ["Content-Type", "Content-Disposition", "Content-Transfer-Encoding", "Content-ID"];
        let [kind, disposition, encoding, id] = names.map(|name| header.first(name));
        if [kind, disposition, encoding, id].iter().flatten().any(|field| field.raw_value().len() > MAX_PART_HEADER) {
            return None;
        }
        let (media_type, parameters) = kind
            .and_then(|field| with_parameters(field.raw_value()))
            .map_or_else(|| (default.to_owned(), Vec::new()), |value| (media_type(&value), parameters(&value)));
        let disposition = disposition.and_then(|field| with_parameters(field.raw_value()));
        let file_name = disposition
            .as_ref()
            .and_then(|value| value.attribute("filename").map(str::to_owned))
            .or_else(|| parameters.iter().find(|(name, _)| name == "name").map(|(_, value)| value.clone()));
        Some(Self {
            media_type,
            parameters,
            file_name,
            disposition: disposition.map(|value| value.ctype().to_ascii_lowercase()),
            encoding: encoding.map_or(TransferEncoding::SevenBit, transfer_encoding),
            content_id: id.and_then(content_id),
        })
    }

    /// multipart/* and message/*, whose content must not be encoded (RFC 2045 section 6.4).
    pub(super) fn is_composite(&self) -> bool {
        is_composite(&self.media_type)
    }
}

/// multipart/* and message/*.
pub(super) fn is_composite(media_type: &str) -> bool {
    media_type.starts_with("multipart/") || media_type.starts_with("message/")
}

/// multipart/signed, multipart/encrypted, application/pkcs7-mime.
pub(super) fn is_seal(media_type: &str) -> bool {
    const SEALS: [&str; 4] =
        ["multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"];
    SEALS.contains(&media_type)
}

fn with_parameters(raw_value: &[u8]) -> Option<ContentType<'static>> {
    // The parser wants a line end.
    let line = [raw_value.trim_ascii(), b"\r\n"].concat();
    match MessageStream::new(&line).parse_content_type().into_owned() {
        HeaderValue::ContentType(value) => Some(value),
        _ => None,
    }
}

/// RFC 2045 section 5.2: what is not understood is plain text. Types without a subtype are taken at their word where
/// it is clear what was meant.
fn media_type(value: &ContentType<'_>) -> String {
    let kind = value.ctype().trim().to_ascii_lowercase();
    match value.subtype().map(str::trim).filter(|subtype| !subtype.is_empty()) {
        Some(subtype) => format!("{kind}/{}", subtype.to_ascii_lowercase()),
        None if kind == "multipart" => "multipart/mixed".into(),
        None if ["application", "image", "audio", "video"].contains(&kind.as_str()) => {
            "application/octet-stream".into()
        }
        None => "text/plain".into(),
    }
}

fn parameters(value: &ContentType<'_>) -> Vec<(String, String)> {
    let all = value.attributes().unwrap_or_default().iter().take(MAX_PARAMETERS);
    all.map(|parameter| (parameter.name.to_ascii_lowercase(), parameter.value.clone().into_owned())).collect()
}

/// A Content-Type field's value with the parameter charset set to `charset`, the others kept but those of `format=flowed`
/// (RFC 3676), which say how lines of the old text were to be joined.
#[must_use]
pub fn with_charset(content_type: &str, charset: &str) -> String {
    let value = with_parameters(content_type.as_bytes());
    let (kind, kept) =
        value.map_or_else(|| ("text/plain".to_owned(), Vec::new()), |value| (media_type(&value), parameters(&value)));
    let mut out = format!("{kind}; charset={charset}");
    for (name, value) in kept.iter().filter(|(name, _)| !["charset", "format", "delsp"].contains(&name.as_str())) {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$&+-.^_`{|}~".contains(&b);
        if !name.bytes().all(is_token) {
            continue;
        }
        if !value.is_empty() && value.bytes().all(is_token) {
            let _ = write!(out, "; {name}={value}");
        } else if value.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            let _ = write!(out, "; {name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
        } else {
            // RFC 2231 section 4.
            let _ = write!(out, "; {name}*=utf-8''");
            for b in value.bytes() {
                let _ = if is_token(b) { write!(out, "{}", char::from(b)) } else { write!(out, "%{b:02X}") };
            }
        }
    }
    out
}

/// The media type of a Content-Type field's value, in lower case; `text/plain` where nothing usable is said.
#[must_use]
pub fn media_type_of(content_type: &str) -> String {
    with_parameters(content_type.as_bytes()).map_or_else(|| "text/plain".to_owned(), |value| media_type(&value))
}

/// The parameter charset of a Content-Type field's value.
#[must_use]
pub fn charset_of(content_type: &str) -> Option<String> {
    with_parameters(content_type.as_bytes())?.attribute("charset").map(str::to_owned)
}

/// The first word, comments and what else follows left out.
pub(super) fn transfer_encoding(field: &Field) -> TransferEncoding {
    let value = field.value();
    let word = value.split([' ', '\t', ';', '(']).next().unwrap_or_default();
    if word.is_empty() { TransferEncoding::SevenBit } else { TransferEncoding::from_name(word.trim_matches('"')) }
}

fn content_id(field: &Field) -> Option<String> {
    let value = field.value();
    let id = value.trim_start_matches('<').trim_end_matches('>').trim();
    (!id.is_empty()).then(|| id.to_owned())
}
