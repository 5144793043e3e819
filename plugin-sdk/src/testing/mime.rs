//! Content taken apart: header fields, body, parts.

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::parsers::MessageStream;
use mail_parser::{Encoding, Message, MessageParser, MessagePart, MimeHeaders as _, PartType};

/// One part of a message, as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its number, `1`, `2.1`.
    pub section: String,
    /// Type and subtype in lower case.
    pub content_type: String,
    /// Parameters of Content-Type, names in lower case.
    pub parameters: Vec<(String, String)>,
    /// `inline` or `attachment`.
    pub disposition: Option<String>,
    /// Its file name.
    pub file_name: Option<String>,
    /// The types of the multiparts around it, outermost first.
    pub containers: Vec<String>,
    /// Is it signed or encrypted?
    pub is_sealed: bool,
    /// Fields of its own header, as [`Transaction::headers`](super::Transaction::headers).
    pub headers: Vec<(String, String)>,
    /// The content, decoded.
    pub content: Vec<u8>,
    /// Octets as encoded, when it came.
    pub encoded_size: u64,
}

impl Part {
    /// A parameter of Content-Type.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Content-Type has this charset from now on.
    pub(crate) fn set_charset(&mut self, charset: &str) {
        self.parameters.retain(|(name, _)| name != "charset");
        self.parameters.push(("charset".into(), charset.into()));
    }

    /// Type and parameters are those of this Content-Type from now on.
    pub(crate) fn set_type(&mut self, value: &str) {
        let header = format!("Content-Type: {value}\r\n\r\n");
        if let Some(one) = parts(header.as_bytes()).into_iter().next() {
            (self.content_type, self.parameters) = (one.content_type, one.parameters);
        }
    }

    /// The content decoded from its charset.
    #[must_use]
    pub fn text(&self) -> String {
        match self.parameter("charset").and_then(|charset| charset_decoder(charset.as_bytes())) {
            Some(decode) => decode(&self.content),
            None => String::from_utf8_lossy(&self.content).into_owned(),
        }
    }
}

/// Header fields and body. A value is what stands between colon and line end, without the first space.
pub(crate) fn split(content: &[u8]) -> (Vec<(String, String)>, Vec<u8>) {
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut rest = content;
    while !rest.is_empty() {
        let end = rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        let line = String::from_utf8_lossy(line);
        let text = line.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return (fields, after.to_vec());
        }
        match (text.starts_with([' ', '\t']), fields.last_mut(), text.split_once(':')) {
            (true, Some((_, value)), _) => {
                value.push_str("\r\n");
                value.push_str(text);
            }
            (false, _, Some((name, value))) => {
                fields.push((name.trim_end().to_owned(), value.strip_prefix(' ').unwrap_or(value).to_owned()));
            }
            // No header field: the body begins here.
            _ => break,
        }
        rest = after;
    }
    (fields, rest.to_vec())
}

pub(crate) fn join(fields: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(body.len() + 64 * fields.len());
    for (name, value) in fields {
        content.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    content.extend_from_slice(b"\r\n");
    content.extend_from_slice(body);
    content
}

/// A value as hooks see it: on one line, trimmed, encoded words decoded, control characters shown as spaces.
pub(crate) fn decoded(value: &str) -> String {
    let mut text = value.replace("\r\n", "").trim().to_owned();
    if text.contains("=?") {
        text.push('\n');
        if let Some(decoded) = MessageStream::new(text.as_bytes()).parse_unstructured().into_text() {
            text = decoded.into_owned();
        }
    }
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The mailboxes in a field's value. The host reads more strictly.
pub(crate) fn mailboxes(value: &str) -> Vec<(Option<String>, String)> {
    let line = format!("{value}\r\n");
    let mailbox = |one: &mail_parser::Addr<'_>| {
        let address = one.address.as_deref().filter(|address| address.contains('@'))?;
        Some((one.name.as_deref().map(str::to_owned), address.to_owned()))
    };
    match MessageStream::new(line.as_bytes()).parse_address() {
        mail_parser::HeaderValue::Address(address) => address.iter().filter_map(mailbox).collect(),
        _ => Vec::new(),
    }
}

/// A text in a charset; none if it does not have all of it. The host knows more of them.
pub(crate) fn in_charset(text: &str, charset: Option<&str>) -> Option<Vec<u8>> {
    match charset.unwrap_or("us-ascii").to_ascii_lowercase().as_str() {
        "utf-8" => Some(text.into()),
        "iso-8859-1" => text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect(),
        _ => text.is_ascii().then(|| text.into()),
    }
}

/// The parts that have content of their own.
pub(crate) fn parts(content: &[u8]) -> Vec<Part> {
    let Some(message) = MessageParser::default().parse(content) else { return vec![empty("1")] };
    let mut all = Vec::new();
    collect(&message, 0, "", &[], &mut all);
    all
}

/// A part without content: what a multipart keeps when its last part is removed.
pub(crate) fn empty(section: &str) -> Part {
    Part { section: section.into(), content_type: "text/plain".into(), ..Part::default() }
}

fn collect(message: &Message<'_>, id: u32, section: &str, containers: &[String], all: &mut Vec<Part>) {
    let Some(part) = message.parts.get(id as usize) else { return };
    let PartType::Multipart(children) = &part.body else {
        let section = if section.is_empty() { "1" } else { section };
        all.push(leaf(message, part, section, containers));
        return;
    };
    let mut containers = containers.to_vec();
    containers.push(content_type(part));
    for (at, child) in children.iter().enumerate() {
        let number = at + 1;
        let section = if section.is_empty() { number.to_string() } else { format!("{section}.{number}") };
        collect(message, *child, &section, &containers, all);
    }
}

fn leaf(message: &Message<'_>, part: &MessagePart<'_>, section: &str, containers: &[String]) -> Part {
    let raw = message.raw_message();
    let slice = |from: u32, to: u32| raw.get(from as usize..to as usize).unwrap_or_default();
    let encoded = slice(part.offset_body, part.offset_end);
    let content = match part.encoding {
        Encoding::None => None,
        Encoding::QuotedPrintable => quoted_printable_decode(encoded),
        Encoding::Base64 => base64_decode(encoded),
    };
    let parameters = part.content_type().and_then(|kind| kind.attributes.as_ref()).into_iter().flatten();
    let content_type = content_type(part);
    let seals = ["multipart/signed", "multipart/encrypted"];
    Part {
        section: section.into(),
        parameters: parameters.map(|one| (one.name.to_ascii_lowercase(), one.value.to_string())).collect(),
        disposition: part.content_disposition().map(|disposition| disposition.c_type.to_ascii_lowercase()),
        file_name: part.attachment_name().map(str::to_owned),
        is_sealed: containers.iter().any(|kind| seals.contains(&kind.as_str()))
            || matches!(content_type.as_str(), "application/pkcs7-mime" | "application/x-pkcs7-mime"),
        content_type,
        containers: containers.to_vec(),
        headers: split(slice(part.offset_header, part.offset_body)).0,
        content: content.unwrap_or_else(|| encoded.to_vec()),
        encoded_size: encoded.len() as u64,
    }
}

fn content_type(part: &MessagePart<'_>) -> String {
    let kind = match (part.content_type(), &part.body) {
        (Some(kind), _) => format!("{}/{}", kind.c_type, kind.c_subtype.as_deref().unwrap_or("plain")),
        (None, PartType::Message(_)) => "message/rfc822".into(),
        (None, _) => "text/plain".into(),
    };
    kind.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NESTED: &[u8] = b"Subject: =?utf-8?Q?J=C3=B5e?=\r\n one\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n\
        --a\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n\
        --b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nJ=F5e\r\n\
        --b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b--\r\n\
        --a\r\nContent-Type: Application/PDF; name=\"x.pdf\"\r\nContent-Disposition: Attachment\r\n\
        Content-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--a--\r\n";

    #[test]
    fn content_is_split_and_joined() {
        let (fields, body) = split(NESTED);
        assert_eq!(fields[0], ("Subject".into(), "=?utf-8?Q?J=C3=B5e?=\r\n one".into()));
        assert_eq!(decoded(&fields[0].1), "Jõe one");
        assert!(body.starts_with(b"--a\r\n"));
        assert_eq!(join(&fields, &body), NESTED);
        assert_eq!(split(b""), (vec![], vec![]));
        assert_eq!(split(b"A: b").0, [("A".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn parts_have_numbers_types_and_content() {
        let parts = parts(NESTED);
        let seen: Vec<_> = parts.iter().map(|p| (p.section.as_str(), p.content_type.as_str(), p.text())).collect();
        let expected = [
            ("1.1", "text/plain", "Jõe".to_owned()),
            ("1.2", "text/html", "<p>".to_owned()),
            ("2", "application/pdf", "\0\x01\x02".to_owned()),
        ];
        assert_eq!(seen, expected);
        assert_eq!(parts[0].containers, ["multipart/mixed", "multipart/alternative"]);
        assert_eq!(parts[0].content, b"J\xf5e");
        assert_eq!(parts[2].file_name.as_deref(), Some("x.pdf"));
        assert_eq!((parts[2].disposition.as_deref(), parts[2].encoded_size), (Some("attachment"), 4));
    }

    #[test]
    fn without_mime_there_is_one_part() {
        let one = parts(b"Subject: hi\r\n\r\nHello.\r\n");
        assert_eq!((one.len(), one[0].section.as_str(), one[0].text().as_str()), (1, "1", "Hello.\r\n"));
        assert_eq!(parts(b"\r\n").len(), 1);
    }
}
