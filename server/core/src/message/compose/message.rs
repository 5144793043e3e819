//! A message as JSON describes it.

use super::super::mime::Coding;
use super::super::{HeaderBlock, words};
use super::address::{self, Entry, persons};
use super::content::{Content, Piece};
use super::fields::{self, Custom};
use super::object::{FieldError, Object, items, one_line};
use super::part::{self, Part, as_it_is};
use super::template::Substitutions;
use super::tree::{Writer, add, tree};
use crate::mail::{Address, ReversePath};
use crate::time::Timestamp;
use bytes::Bytes;
use mail_parser::DateTime;
use serde_json::Value;

/// What a message gets that its JSON does not say.
#[derive(Clone, Copy, Debug)]
pub struct Fresh<'a> {
    /// Random: of letters and digits, at most 40. Boundaries and the Message-ID are made of it.
    pub unique: &'a str,
    /// The domain of the Message-ID where From has none.
    pub hostname: &'a str,
    /// For Date.
    pub now: Timestamp,
}

/// A message that was read.
#[derive(Clone, Debug)]
pub struct Message {
    from: Vec<Entry>,
    sender: Vec<Entry>,
    to: Vec<Entry>,
    cc: Vec<Entry>,
    bcc: Vec<Entry>,
    reply_to: Vec<Entry>,
    in_reply_to: Option<String>,
    references: Option<String>,
    subject: Option<String>,
    message_id: Option<String>,
    date: Option<Timestamp>,
    priority: &'static [(&'static str, &'static str)],
    list: Vec<(String, String)>,
    headers: Vec<Custom>,
    views: Vec<Part>,
    attachments: Vec<Part>,
    encoding: Option<String>,
    text_coding: Option<Coding>,
    raw: Option<Bytes>,
    envelope: Option<(ReversePath, Vec<Address>)>,
}

impl Message {
    /// Reads what is left of `object`.
    ///
    /// # Errors
    /// Names the first field that is wrong or not known.
    pub fn read(mut object: Object) -> Result<Self, FieldError> {
        let message = Self::fields(&mut object)?;
        object.finish()?;
        Ok(message)
    }

    fn fields(object: &mut Object) -> Result<Self, FieldError> {
        let addresses = |object: &mut Object, key| {
            let path = object.path(key);
            object.take(key).map_or_else(|| Ok(Vec::new()), |value| address::read(value, &path))
        };
        let ids = |object: &mut Object, key| {
            let path = object.path(key);
            object.take(key).map_or(Ok(None), |value| fields::message_ids(value, &path))
        };
        let mut message = Self {
            from: addresses(object, "from")?,
            sender: addresses(object, "sender")?,
            to: addresses(object, "to")?,
            cc: addresses(object, "cc")?,
            bcc: addresses(object, "bcc")?,
            reply_to: addresses(object, "replyTo")?,
            in_reply_to: ids(object, "inReplyTo")?,
            references: ids(object, "references")?,
            subject: object.line("subject")?.filter(|subject| !subject.is_empty()),
            message_id: ids(object, "messageId")?,
            date: date(object)?,
            priority: &[],
            list: Vec::new(),
            headers: Vec::new(),
            views: Vec::new(),
            attachments: Vec::new(),
            encoding: None,
            text_coding: None,
            raw: None,
            envelope: envelope(object)?,
        };
        if message.message_id.as_ref().is_some_and(|id| id.contains(' ')) {
            return Err(FieldError::new(object.path("messageId"), "it must be one message id"));
        }
        let path = object.path("priority");
        if let Some(priority) = object.line("priority")? {
            message.priority = fields::priority(&priority, &path)?;
        }
        let path = object.path("list");
        message.list = object.take("list").map(|value| fields::list(value, &path)).transpose()?.unwrap_or_default();
        let path = object.path("headers");
        let headers = object.take("headers").map(|value| fields::custom(value, &path, fields::OF_MESSAGE));
        message.headers = headers.transpose()?.unwrap_or_default();
        let path = object.path("encoding");
        message.encoding = object.line("encoding")?.map(|given| part::known_transfer(&given, &path)).transpose()?;
        message.text_coding = text_coding(object)?;
        message.parts(object)?;
        message.raw(object)?;
        // They are always so.
        for always in ["disableFileAccess", "disableUrlAccess"] {
            object.take(always);
        }
        Ok(message)
    }

    fn parts(&mut self, object: &mut Object) -> Result<(), FieldError> {
        for (key, media_type) in [
            ("text", "text/plain; charset=utf-8"),
            ("watchHtml", "text/watch-html; charset=utf-8"),
            ("amp", "text/x-amp-html; charset=utf-8"),
            ("html", "text/html; charset=utf-8"),
        ] {
            let path = object.path(key);
            if let Some(value) = object.take(key).filter(|value| *value != Value::String(String::new())) {
                self.views.push(part::view(value, &path, media_type)?);
            }
        }
        let path = object.path("icalEvent");
        let event = object.take("icalEvent").map(|value| part::calendar(value, &path)).transpose()?;
        let (view, file) = event.unzip();
        self.views.extend(view);
        let path = object.path("alternatives");
        for (path, value) in object.take("alternatives").map(|value| items(value, &path)).unwrap_or_default() {
            self.views.push(part::alternative(value, &path)?);
        }
        let path = object.path("attachments");
        let attachments = object.take("attachments").map(|value| items(value, &path)).unwrap_or_default();
        for (index, (path, value)) in attachments.into_iter().enumerate() {
            self.attachments.push(part::attachment(value, &path, index)?);
        }
        self.attachments.extend(file);
        Ok(())
    }

    fn raw(&mut self, object: &mut Object) -> Result<(), FieldError> {
        let path = object.path("raw");
        let Some(value) = object.take("raw") else { return Ok(()) };
        let part = part::view(value, &path, "message/rfc822")?;
        let has_others = self.subject.is_some()
            || !(self.views.is_empty() && self.attachments.is_empty() && self.headers.is_empty());
        if has_others {
            return Err(FieldError::new(
                path,
                "it is the whole message: subject, headers and parts can't stand beside it",
            ));
        }
        self.raw = Some(as_it_is(&part.content, &path)?);
        Ok(())
    }

    /// The envelope: `envelope` where it is given, else the addresses of the header. Each recipient once.
    ///
    /// # Errors
    /// There is no sender.
    pub fn envelope(&self) -> Result<(ReversePath, Vec<Address>), FieldError> {
        let (reverse_path, addresses) = match &self.envelope {
            Some(given) => given.clone(),
            None => {
                let sender = [&self.from, &self.sender].into_iter().find_map(|entries| persons(entries).next());
                let sender = sender.ok_or_else(|| FieldError::new("from", "it is missing"))?;
                let to = [&self.to, &self.cc, &self.bcc].into_iter().flat_map(|entries| persons(entries));
                (ReversePath::Path(sender.address.clone()), to.map(|person| person.address.clone()).collect())
            }
        };
        let mut seen = std::collections::HashSet::new();
        let recipients = addresses.into_iter().filter(|address| seen.insert(address.clone())).collect();
        Ok((reverse_path, recipients))
    }

    /// Has it recipients of its own?
    #[must_use]
    pub fn has_recipients(&self) -> bool {
        [&self.to, &self.cc, &self.bcc].into_iter().any(|entries| !entries.is_empty())
            || self.envelope.is_some()
            || self.raw.is_some()
    }

    /// Does its header have addresses that need SMTPUTF8?
    #[must_use]
    pub fn is_international(&self) -> bool {
        let all = [&self.from, &self.sender, &self.to, &self.cc, &self.reply_to];
        all.into_iter().flat_map(|entries| persons(entries)).any(|person| person.address.is_international())
    }

    /// The message for one of many: to these, with placeholders filled in.
    ///
    /// # Errors
    /// Names the field that can't be filled in.
    pub fn filled(&self, to: Vec<Entry>, values: &Substitutions) -> Result<Self, FieldError> {
        let fill = |text: &str, field: &str, is_html| {
            values.fill(text, is_html).map_err(|error| FieldError::new(field, error.to_string()))
        };
        let mut message = Self { to, ..self.clone() };
        if let Some(subject) = &mut message.subject {
            *subject = fill(subject, "subject", false)?;
            one_line(subject, "subject")?;
        }
        for header in &mut message.headers {
            let path = format!("headers.{}", header.name);
            header.value = fill(&header.value, &path, false)?;
            one_line(&header.value, &path)?;
        }
        for view in &mut message.views {
            if let Ok(text) = std::str::from_utf8(&view.content) {
                let is_html = view.is("text/html") || view.is("text/x-amp-html") || view.is("text/watch-html");
                view.content = fill(text, &view.path, is_html)?.into();
            }
        }
        Ok(message)
    }

    /// Octets of its texts: what a copy with other values takes in memory.
    #[must_use]
    pub fn text_octets(&self) -> usize {
        self.views.iter().map(|view| view.content.len()).sum()
    }

    /// Writes the content.
    ///
    /// # Errors
    /// Names a field that no header can hold.
    pub fn compose(&self, fresh: &Fresh<'_>) -> Result<Content, FieldError> {
        if let Some(raw) = &self.raw {
            return Ok(Content::new(vec![Piece::Written(raw.clone())], !raw.is_ascii()));
        }
        let empty = Part::view("text", "text/plain; charset=utf-8", Bytes::new());
        let mut writer = Writer {
            unique: fresh.unique,
            text_coding: self.text_coding,
            encoding: self.encoding.as_deref(),
            boundaries: 0,
            pieces: Vec::new(),
            written: Vec::new(),
            eight_bit: false,
        };
        writer.node(&tree(&self.views, &self.attachments, &empty), self.header(fresh)?)?;
        if !writer.written.ends_with(b"\r\n") {
            writer.written.extend_from_slice(b"\r\n");
        }
        writer.pieces.push(Piece::Written(writer.written.into()));
        Ok(Content::new(writer.pieces, writer.eight_bit))
    }

    fn header(&self, fresh: &Fresh<'_>) -> Result<HeaderBlock, FieldError> {
        let mut header = HeaderBlock::default();
        for (name, entries, path) in [
            ("From", &self.from, "from"),
            ("Sender", &self.sender, "sender"),
            ("To", &self.to, "to"),
            ("Cc", &self.cc, "cc"),
            ("Reply-To", &self.reply_to, "replyTo"),
        ] {
            if !entries.is_empty() {
                add(&mut header, name, &address::write(entries), path)?;
            }
        }
        for (name, value, path) in [
            ("In-Reply-To", &self.in_reply_to, "inReplyTo"),
            ("References", &self.references, "references"),
            ("Subject", &self.subject.as_deref().map(words::encode_words), "subject"),
            ("Message-ID", &self.message_id, "messageId"),
            ("Date", &self.date.map(Timestamp::to_rfc5322), "date"),
        ] {
            if let Some(value) = value {
                add(&mut header, name, value, path)?;
            }
        }
        for (name, value) in self.priority {
            add(&mut header, name, value, "priority")?;
        }
        for (name, value) in &self.list {
            add(&mut header, name, value, "list")?;
        }
        // Keys of the message win over its `headers`.
        let given: Vec<Vec<u8>> = header.fields().map(|field| field.name().to_ascii_lowercase()).collect();
        for field in &self.headers {
            let name = field.name.to_ascii_lowercase();
            if !given.contains(&name.into_bytes()) {
                add(&mut header, &field.name, &field.written(), &format!("headers.{}", field.name))?;
            }
        }
        if header.first("Message-ID").is_none() {
            let domain = persons(&self.from).next().map_or(fresh.hostname, |person| person.address.domain());
            let domain = domain.trim_matches(['[', ']']);
            add(&mut header, "Message-ID", &format!("<{}@{domain}>", fresh.unique), "messageId")?;
        }
        if header.first("Date").is_none() {
            add(&mut header, "Date", &fresh.now.to_rfc5322(), "date")?;
        }
        add(&mut header, "MIME-Version", "1.0", "headers")?;
        Ok(header)
    }
}

/// `textEncoding`
fn text_coding(object: &mut Object) -> Result<Option<Coding>, FieldError> {
    let path = object.path("textEncoding");
    let Some(given) = object.line("textEncoding")? else { return Ok(None) };
    match given.to_ascii_lowercase().as_str() {
        "base64" | "b" => Ok(Some(Coding::Base64)),
        "quoted-printable" | "q" => Ok(Some(Coding::QuotedPrintable)),
        _ => Err(FieldError::new(path, "it must be base64 or quoted-printable")),
    }
}

/// `date`: milliseconds since 1970, or a text as RFC 5322 or RFC 3339 (ISO 8601) writes it.
fn date(object: &mut Object) -> Result<Option<Timestamp>, FieldError> {
    let path = object.path("date");
    let Some(value) = object.take("date") else { return Ok(None) };
    let of_seconds = |seconds: i64| u64::try_from(seconds).ok().map(|seconds| Timestamp(seconds.saturating_mul(1000)));
    let read = match &value {
        Value::Number(number) => number.as_u64().map(Timestamp),
        Value::String(text) => DateTime::parse_rfc3339(text)
            .or_else(|| DateTime::parse_rfc822(text))
            .filter(DateTime::is_valid)
            .and_then(|date| of_seconds(date.to_timestamp())),
        _ => None,
    };
    let read = read.filter(|date| date.0 < 253_402_300_800_000);
    read.map(Some).ok_or_else(|| FieldError::new(path, "it must be a date such as 2026-11-23T10:00:00Z"))
}

/// `envelope`: `{from, to, cc, bcc}`.
fn envelope(object: &mut Object) -> Result<Option<(ReversePath, Vec<Address>)>, FieldError> {
    let path = object.path("envelope");
    let Some(value) = object.take("envelope") else { return Ok(None) };
    let mut inner = Object::new(value, &path)?;
    let is_null = inner.is_false("from");
    let from_path = inner.path("from");
    let reverse_path = match inner.take("from") {
        None if is_null => ReversePath::Null,
        None => return Err(FieldError::new(from_path, "it is missing; \"\" is the null reverse-path")),
        Some(Value::String(text)) if text.is_empty() || text == "<>" => ReversePath::Null,
        Some(value) => {
            let entries = address::read(value, &from_path)?;
            let first = persons(&entries).next().map(|person| person.address.clone());
            ReversePath::Path(first.ok_or_else(|| FieldError::new(from_path, "it has no address"))?)
        }
    };
    let mut recipients = Vec::new();
    for key in ["to", "cc", "bcc"] {
        let path = inner.path(key);
        if let Some(value) = inner.take(key) {
            let entries = address::read(value, &path)?;
            recipients.extend(persons(&entries).map(|person| person.address.clone()));
        }
    }
    inner.finish()?;
    Ok(Some((reverse_path, recipients)))
}
