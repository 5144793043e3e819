//! Parts of a message: attachments, views and calendar events, with their content decoded.

use super::super::mime;
use super::fields::{self, Custom};
use super::media_types;
use super::object::{FieldError, Object, line, text};
use bytes::Bytes;
use data_encoding::{BASE64_NOPAD, Encoding, HEXLOWER_PERMISSIVE};
use serde_json::Value;
use std::sync::LazyLock;

/// One leaf of the tree.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// The field it was read from.
    pub(super) path: String,
    /// With parameters.
    pub(super) media_type: String,
    pub(super) content: Bytes,
    /// A part as it is, with its header.
    pub(super) raw: Option<Bytes>,
    pub(super) disposition: Option<String>,
    /// What Content-Transfer-Encoding was asked for.
    pub(super) transfer: Option<String>,
    pub(super) filename: Option<String>,
    pub(super) cid: Option<String>,
    pub(super) headers: Vec<Custom>,
}

impl Part {
    /// A view of the message.
    pub(super) fn view(path: &str, media_type: &str, content: Bytes) -> Self {
        Self {
            path: path.to_owned(),
            media_type: media_type.to_owned(),
            content,
            raw: None,
            disposition: None,
            transfer: None,
            filename: None,
            cid: None,
            headers: Vec::new(),
        }
    }

    pub(super) fn is(&self, prefix: &str) -> bool {
        self.media_type.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    }
}

/// `text`, `html` …: a text, or an object with content.
pub(super) fn view(value: Value, path: &str, media_type: &str) -> Result<Part, FieldError> {
    if !value.is_object() || is_buffer(&value) {
        return Ok(Part::view(path, media_type, decode(value, None, path)?));
    }
    let mut object = Object::new(value, path)?;
    let (content, _) = content(&mut object)?;
    let transfer = transfer(&mut object)?;
    object.finish()?;
    Ok(Part { transfer, ..Part::view(path, media_type, content) })
}

/// A further view.
pub(super) fn alternative(value: Value, path: &str) -> Result<Part, FieldError> {
    let mut object = Object::new(value, path)?;
    let filename = object.line("filename")?;
    let mut part = body(&mut object, path, filename.as_deref().unwrap_or("txt"))?;
    object.finish()?;
    part.filename = filename;
    if !part.is("text/") {
        part.disposition.get_or_insert_with(|| "attachment".to_owned());
    }
    Ok(part)
}

/// The attachment at `index`.
pub(super) fn attachment(value: Value, path: &str, index: usize) -> Result<Part, FieldError> {
    let mut object = Object::new(value, path)?;
    let nameless = object.is_false("filename");
    let filename = object.line("filename")?;
    let mut part = body(&mut object, path, filename.as_deref().unwrap_or("bin"))?;
    let cid = object.line("cid")?.map(|cid| cid.replace(['<', '>'], ""));
    object.finish()?;
    let is_message = part.is("message/");
    part.filename = filename.or_else(|| {
        let named = !is_message && !nameless;
        named.then(|| format!("attachment-{}.{}", index + 1, media_types::ending(&part.media_type)))
    });
    let is_inline = is_message || part.is("image/") && cid.is_some();
    part.disposition.get_or_insert_with(|| if is_inline { "inline" } else { "attachment" }.to_owned());
    if !is_message {
        part.transfer.get_or_insert_with(|| "base64".to_owned());
    }
    part.cid = cid;
    Ok(part)
}

/// `icalEvent`: a view of the message, and the same as a file.
pub(super) fn calendar(value: Value, path: &str) -> Result<(Part, Part), FieldError> {
    let (content, method, filename, headers) = if value.is_object() && !is_buffer(&value) {
        let mut object = Object::new(value, path)?;
        let (content, _) = content(&mut object)?;
        let (method_path, method) = (object.path("method"), object.line("method")?);
        let headers_path = object.path("headers");
        let headers = object.take("headers").map(|value| fields::custom(value, &headers_path, fields::OF_PART));
        let filename = object.line("filename")?;
        object.finish()?;
        let method = method.unwrap_or_else(|| "PUBLISH".to_owned()).trim().to_ascii_uppercase();
        if method.is_empty() || !method.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(FieldError::new(method_path, "it must be a word such as REQUEST"));
        }
        (content, method, filename, headers.transpose()?.unwrap_or_default())
    } else {
        (decode(value, None, path)?, "PUBLISH".to_owned(), None, Vec::new())
    };
    let view = Part::view(path, &format!("text/calendar; charset=utf-8; method={method}"), content.clone());
    let file = Part {
        disposition: Some("attachment".to_owned()),
        transfer: Some("base64".to_owned()),
        filename: Some(filename.unwrap_or_else(|| "invite.ics".to_owned())),
        headers: headers.clone(),
        ..Part::view(path, "application/ics", content)
    };
    Ok((Part { headers, ..view }, file))
}

/// The keys that alternatives and attachments share; `name` decides the type where none is given.
fn body(object: &mut Object, path: &str, name: &str) -> Result<Part, FieldError> {
    let type_path = object.path("contentType");
    let given = object.line("contentType")?;
    let raw_path = object.path("raw");
    let raw = object.take("raw").map(|value| decode(value, None, &raw_path)).transpose()?;
    let (content, data_type) = content(object)?;
    let media_type = given.or(data_type).unwrap_or_else(|| media_types::by_name(name).to_owned());
    let mut part = Part::view(path, &valid_type(&media_type, &type_path)?, content);
    part.raw = raw.map(|raw| as_it_is(&raw, &raw_path)).transpose()?;
    let disposition_path = object.path("contentDisposition");
    part.disposition = object.line("contentDisposition")?;
    if part.disposition.as_deref().is_some_and(|text| !is_token(text)) {
        return Err(FieldError::new(disposition_path, "it must be a word such as inline or attachment"));
    }
    part.transfer = transfer(object)?;
    let headers_path = object.path("headers");
    let headers = object.take("headers").map(|value| fields::custom(value, &headers_path, fields::OF_PART));
    part.headers = headers.transpose()?.unwrap_or_default();
    Ok(part)
}

fn transfer(object: &mut Object) -> Result<Option<String>, FieldError> {
    let path = object.path("contentTransferEncoding");
    object.line("contentTransferEncoding")?.map(|given| known_transfer(&given, &path)).transpose()
}

/// An encoding that is known, in lower case.
pub(super) fn known_transfer(given: &str, path: &str) -> Result<String, FieldError> {
    let given = given.trim().to_ascii_lowercase();
    if matches!(given.as_str(), "base64" | "quoted-printable" | "7bit" | "8bit") {
        return Ok(given);
    }
    Err(FieldError::new(path, "it must be base64, quoted-printable, 7bit or 8bit"))
}

fn valid_type(media_type: &str, path: &str) -> Result<String, FieldError> {
    let wrong = |why: &str| Err(FieldError::new(path, why));
    let (essence, _) = media_type.split_once(';').unwrap_or((media_type, ""));
    let is_type = essence.trim().split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub));
    if !is_type || !media_type.is_ascii() {
        return wrong("it must be a media type such as text/csv, in ASCII");
    }
    if essence.trim().get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/")) {
        return wrong("it must not be a multipart; a finished part can be given as `raw`");
    }
    Ok(media_type.trim().to_owned())
}

/// RFC 2045 section 5.1.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b))
}

/// `content`, or a `data:` URI in `path` or `href`; the type of the URI, if it has one. Files and URLs are never read.
fn content(object: &mut Object) -> Result<(Bytes, Option<String>), FieldError> {
    let encoding_path = object.path("encoding");
    let encoding = object.line("encoding")?;
    for key in ["path", "href"] {
        let path = object.path(key);
        if let Some(value) = object.take(key) {
            let uri = text(value, &path)?;
            return data_uri(&uri, &path).map(|(content, media_type)| (content, Some(media_type)));
        }
    }
    for key in ["httpHeaders", "tls"] {
        if object.take(key).is_some() {
            return Err(FieldError::new(object.path(key), "URLs are never fetched"));
        }
    }
    let path = object.path("content");
    let encoding = encoding.map(|given| Charset::named(&given, &encoding_path)).transpose()?;
    let content = object.take("content").map(|value| decode(value, encoding, &path)).transpose()?;
    Ok((content.unwrap_or_default(), None))
}

/// RFC 2397.
fn data_uri(uri: &str, path: &str) -> Result<(Bytes, String), FieldError> {
    let wrong = |why: &str| FieldError::new(path, why);
    let data = uri.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).map(|_| &uri[5..]);
    let data = data.ok_or_else(|| wrong("files and URLs are never read; put what is in them into `content`"))?;
    let (kind, data) = data.split_once(',').ok_or_else(|| wrong("a data: URI has a comma before its data"))?;
    let (media_type, is_base64) = match kind.rsplit_once(';') {
        Some((media_type, last)) if last.trim().eq_ignore_ascii_case("base64") => (media_type, true),
        _ => (kind, false),
    };
    let octets = percent_decoded(data).ok_or_else(|| wrong("a % in it has no two hex digits"))?;
    let octets = if is_base64 { base64(&octets).ok_or_else(|| wrong("it is not base64"))? } else { octets };
    let media_type = line(Value::String(media_type.to_owned()), path)?;
    let media_type = if media_type.contains('/') { media_type } else { "text/plain".to_owned() };
    Ok((octets.into(), valid_type(&media_type, path)?))
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let digit = |b: Option<u8>| char::from(b?).to_digit(16);
            out.push(u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?);
        } else {
            out.push(b);
        }
    }
    Some(out)
}

/// How octets stand in a text.
#[derive(Clone, Copy, Debug)]
enum Charset {
    Utf8,
    Base64,
    Hex,
    Latin1,
    Utf16,
}

impl Charset {
    fn named(given: &str, path: &str) -> Result<Self, FieldError> {
        let name: String = given.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).collect();
        Ok(match name.to_ascii_lowercase().as_str() {
            "utf8" | "ascii" | "usascii" => Self::Utf8,
            "base64" | "base64url" => Self::Base64,
            "hex" => Self::Hex,
            "binary" | "latin1" => Self::Latin1,
            "ucs2" | "utf16le" => Self::Utf16,
            _ => {
                return Err(FieldError::new(path, "it must be utf8, ascii, base64, base64url, hex, latin1 or utf16le"));
            }
        })
    }
}

fn is_buffer(value: &Value) -> bool {
    value.get("type").and_then(Value::as_str) == Some("Buffer") && value.get("data").is_some_and(Value::is_array)
}

/// The octets of a text, or of a Buffer as Node.js writes it in JSON.
fn decode(value: Value, charset: Option<Charset>, path: &str) -> Result<Bytes, FieldError> {
    let wrong = |why: &str| FieldError::new(path, why);
    if is_buffer(&value) {
        let data = value.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let octet = |value: &Value| value.as_u64().and_then(|octet| u8::try_from(octet).ok());
        let octets: Option<Vec<u8>> = data.iter().map(octet).collect();
        return octets.map(Bytes::from).ok_or_else(|| wrong("the data of a Buffer are numbers from 0 to 255"));
    }
    let text = match value {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        _ => return Err(wrong("it must be a text")),
    };
    Ok(match charset.unwrap_or(Charset::Utf8) {
        Charset::Utf8 => text.into(),
        Charset::Base64 => base64(text.as_bytes()).ok_or_else(|| wrong("it is not base64"))?.into(),
        Charset::Hex => HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).map_err(|_| wrong("it is not hex"))?.into(),
        Charset::Latin1 => {
            let octets: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
            octets.ok_or_else(|| wrong("it has characters that are not in latin1"))?.into()
        }
        Charset::Utf16 => text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>().into(),
    })
}

/// Both alphabets, with or without padding, white space between.
static LENIENT: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = BASE64_NOPAD.specification();
    specification.check_trailing_bits = false;
    specification.translate.from.push_str("-_");
    specification.translate.to.push_str("+/");
    specification.ignore.push_str(" \t\r\n");
    specification.encoding().unwrap_or(BASE64_NOPAD)
});

fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|b| !b"= \t\r\n".contains(b)).map_or(0, |last| last + 1);
    LENIENT.decode(&text[..end]).ok()
}

/// Content that is sent as it was given: its line ends become CRLF.
pub(super) fn as_it_is(content: &Bytes, path: &str) -> Result<Bytes, FieldError> {
    let wrong = |why: &str| Err(FieldError::new(path, why));
    let lines = with_crlf(content);
    if memchr::memchr(0, &lines).is_some() {
        return wrong("it must not contain NUL");
    }
    let mut rest = &lines[..];
    while let Some(at) = memchr::memchr(b'\r', rest) {
        if rest.get(at + 1) != Some(&b'\n') {
            return wrong("it must not contain a CR that no LF follows");
        }
        rest = &rest[at + 2..];
    }
    if lines.split(|b| *b == b'\n').any(|line| line.len() > 999) {
        return wrong("it has lines of more than 998 octets");
    }
    Ok(lines)
}

/// Bare LFs become CRLF.
fn with_crlf(content: &Bytes) -> Bytes {
    let mut out = Vec::new();
    let mut done = 0;
    for at in memchr::memchr_iter(b'\n', content) {
        if at == 0 || content[at - 1] != b'\r' {
            out.extend_from_slice(&content[done..at]);
            out.push(b'\r');
            done = at;
        }
    }
    if done == 0 && out.is_empty() {
        return content.clone();
    }
    out.extend_from_slice(&content[done..]);
    out.into()
}

/// As [`as_it_is`], for text whose line ends are whatever they are: a bare CR is one too.
pub(super) fn text_lines(content: &Bytes) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 16);
    let mut octets = content.iter().copied().peekable();
    while let Some(b) = octets.next() {
        match b {
            b'\r' => {
                octets.next_if_eq(&b'\n');
                out.extend_from_slice(b"\r\n");
            }
            b'\n' => out.extend_from_slice(b"\r\n"),
            b => out.push(b),
        }
    }
    out
}

/// Is it text that can be sent as it is: ASCII without control characters, in lines of at most `width` octets?
pub(super) fn is_plain(content: &[u8], width: usize) -> bool {
    content.split(|b| *b == b'\n').all(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.len() <= width && line.iter().all(|b| matches!(b, b'\t' | b' '..=b'~'))
    })
}

/// The charset that a media type names; UTF-16 and its kin can't be sent as lines.
pub(super) fn is_linewise(media_type: &str) -> bool {
    mime::charset_of(media_type).is_none_or(|charset| {
        let charset = charset.to_ascii_lowercase();
        !(charset.starts_with("utf-16") || charset.starts_with("utf-32") || charset.starts_with("ucs"))
    })
}
