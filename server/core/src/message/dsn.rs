//! Delivery status notifications: a `multipart/report` (RFC 6522) of human text, `message/delivery-status` (RFC 3464)
//! and the header of the original.
//!
//! Written by hand rather than with mail-builder, which has no `report-type` parts without MIME encodings of its own
//! choice: what stands here must be 7-bit, and texts of remote hosts must stay on their line.
//!
//! Everything that comes from outside (replies, addresses, the original header) is made printable ASCII or encoded:
//! in fields other characters become `\x{HEX}` (RFC 6533 section 3), in the other parts quoted-printable.

use super::{HeaderBlock, Position};
use crate::mail::{Address, Envelope, QueueId, Reason, Recipient, ReversePath};
use crate::time::Timestamp;
use bytes::Bytes;
use std::fmt::Write as _;

/// At most this much of the original is returned, in octets.
pub const MAX_ORIGINAL: usize = 50 * 1024;

/// Who reports, to whom and about which message.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Name of this server.
    pub hostname: &'a str,
    /// Name in From, `[dsn] name`.
    pub from_name: &'a str,
    /// Address in From, `[dsn] address`.
    pub from: &'a Address,
    /// Whom to tell: the original's reverse-path.
    pub to: &'a Address,
    /// Id of the original.
    pub queue_id: QueueId,
    /// When the original was accepted.
    pub arrival: Timestamp,
    /// Now: date of the report and of the last attempt.
    pub now: Timestamp,
    /// The recipients that failed; there must be one.
    pub failed: &'a [FailedRecipient<'a>],
    /// Header block of the original.
    pub original: &'a HeaderBlock,
}

/// One recipient that was not delivered to.
#[derive(Clone, Copy, Debug)]
pub struct FailedRecipient<'a> {
    /// Who.
    pub address: &'a Address,
    /// Why; for an expired one, why it was deferred last.
    pub reason: &'a Reason,
    /// Given up because it was too old: its status is 5.4.7 (delivery time expired).
    pub expired: bool,
    /// Host name of the next hop, if there was a session.
    pub remote_mta: Option<&'a str>,
}

/// A report, ready for a draft.
#[derive(Clone, Debug)]
pub struct Dsn {
    /// From `<>` to the original's reverse-path.
    pub envelope: Envelope,
    /// Header block.
    pub header: Bytes,
    /// Body section (begins with the empty line).
    pub body: Bytes,
}

/// May a failure of this message be reported at all? Not for a null reverse-path (RFC 5321 section 4.5.5), for what
/// was sent automatically (RFC 3834), for what asks not to be answered, or for a report.
#[must_use]
pub fn wanted(envelope: &Envelope, header: &HeaderBlock) -> bool {
    let has =
        |name, unwanted: fn(&str) -> bool| header.all(name).any(|field| unwanted(&field.value().to_ascii_lowercase()));
    !envelope.reverse_path.is_null()
        && !has("Auto-Submitted", |value| {
            value.split([';', '(', ' ']).find(|word| !word.is_empty()).is_some_and(|word| word != "no")
        })
        && !has("X-Auto-Response-Suppress", |value| {
            value.split(',').any(|word| matches!(word.trim(), "all" | "dr" | "ndr"))
        })
        && !has("Content-Type", |value| value.starts_with("multipart/report"))
}

impl Report<'_> {
    /// Writes the report.
    #[must_use]
    pub fn compose(&self) -> Dsn {
        let text = encode_text(&self.text());
        let status = self.delivery_status();
        let original = cut_original(self.original);
        let is_utf8 = !original.is_ascii() && std::str::from_utf8(&original).is_ok();
        let charset = if is_utf8 { "; charset=utf-8" } else { "" };
        let original = encode_bytes(&original);
        let boundary = self.boundary(&[&text.1, &status, &original.1]);
        let mut body = String::with_capacity(1024 + text.1.len() + status.len() + original.1.len());
        // Writing to a String does not fail.
        let _ = write!(
            body,
            "\r\nThis is a report in MIME format.\r\n\r\n--{boundary}\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {}\r\n\r\n{}\r\n\
             --{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n{status}\r\n\
             --{boundary}\r\nContent-Type: text/rfc822-headers{charset}\r\nContent-Transfer-Encoding: {}\r\n\r\n{}\r\n\
             --{boundary}--\r\n",
            text.0, text.1, original.0, original.1,
        );
        let to = ReversePath::Path(self.to.clone());
        let mut envelope = Envelope::new(ReversePath::Null);
        envelope.recipients.push(Recipient::new(self.to.clone()));
        envelope.smtputf8 = !to.as_str().is_ascii() || !self.from.as_str().is_ascii();
        Dsn { envelope, header: self.header(&boundary), body: body.into() }
    }

    fn header(&self, boundary: &str) -> Bytes {
        let mut block = HeaderBlock::default();
        // Two settlements of one message may fall into one millisecond; not for the same recipient.
        let first = self.failed.first().map_or("", |failed| failed.address.as_str());
        let seed =
            first.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let fields = [
            ("From", format!("{} <{}>", display_name(self.from_name), self.from)),
            ("To", format!("<{}>", self.to)),
            ("Subject", "Delivery Status Notification (Failure)".to_owned()),
            ("Date", self.now.to_rfc5322()),
            ("Message-ID", format!("<{}.{:x}.{seed:x}@{}>", self.queue_id, self.now.0, self.hostname)),
            ("Auto-Submitted", "auto-replied".to_owned()),
            ("MIME-Version", "1.0".to_owned()),
            ("Content-Type", format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"")),
        ];
        for (name, value) in fields {
            // Values are ours or were validated; a name in the config that has line ends is cleaned above.
            let _ = block.add(Position::Bottom, name, &value);
        }
        block.to_bytes()
    }

    fn text(&self) -> String {
        let mut text = format!(
            "This is the mail system at {}.\r\n\r\nYour message of {} could not be delivered to {}:\r\n",
            self.hostname,
            self.arrival.to_rfc5322(),
            if self.failed.len() == 1 { "this recipient" } else { "these recipients" },
        );
        for failed in self.failed {
            let _ = write!(text, "\r\n<{}>\r\n    ", failed.address);
            if failed.expired {
                text.push_str("It was tried for too long; the last attempt: ");
            }
            text.extend(failed.reason.public.chars().map(|c| if c.is_control() { ' ' } else { c }));
            text.push_str("\r\n");
        }
        text.push_str("\r\nNothing more will be tried. The header of your message follows.\r\n");
        text
    }

    fn delivery_status(&self) -> String {
        let mut out = String::with_capacity(512 * self.failed.len() + 256);
        field(&mut out, "Reporting-MTA", &format!("dns; {}", self.hostname));
        field(&mut out, "X-Postern-Queue-ID", &self.queue_id.to_string());
        field(&mut out, "Arrival-Date", &self.arrival.to_rfc5322());
        for failed in self.failed {
            let reason = failed.reason;
            out.push_str("\r\n");
            // RFC 6533 section 3: the type says that the address is written with escapes.
            let kind = if failed.address.is_international() { "utf-8" } else { "rfc822" };
            field(&mut out, "Final-Recipient", &format!("{kind}; {}", failed.address));
            field(&mut out, "Action", "failed");
            let status = reason.status;
            let status = if failed.expired { "5.4.7".to_owned() } else { format!("5.{}.{}", status.1, status.2) };
            field(&mut out, "Status", &status);
            if let Some(host) = failed.remote_mta {
                field(&mut out, "Remote-MTA", &format!("dns; {host}"));
            }
            match &reason.remote_reply {
                Some(reply) => field(&mut out, "Diagnostic-Code", &format!("smtp; {reply}")),
                None => field(&mut out, "Diagnostic-Code", &format!("x-postern; {}", reason.public)),
            }
            field(&mut out, "Last-Attempt-Date", &self.now.to_rfc5322());
        }
        out
    }

    /// A boundary that stands in none of the parts: who writes a header that has it gets another.
    fn boundary(&self, parts: &[&str]) -> String {
        let named = |n: u32| format!("=_postern_{}_{:x}_{n}", self.queue_id, self.now.0);
        let free = |boundary: &String| parts.iter().all(|part| !part.contains(boundary.as_str()));
        (0..).map(named).find(free).unwrap_or_default()
    }
}

/// Appends `Name: value`, printable ASCII, folded within 78 characters where it can be and always within 998.
fn field(out: &mut String, name: &str, value: &str) {
    const LINE: usize = 78;
    const WORD: usize = 900;
    let mut clean = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            ' '..='~' => clean.push(c),
            c if c.is_control() => clean.push(' '),
            c => {
                let _ = write!(clean, "\\x{{{:X}}}", u32::from(c));
            }
        }
    }
    let _ = write!(out, "{name}:");
    let mut column = name.len() + 1;
    for word in clean.split(' ').filter(|word| !word.is_empty()) {
        let mut rest = word;
        while !rest.is_empty() {
            // All of it is ASCII, so any index is a boundary.
            let (piece, after) = rest.split_at(rest.len().min(WORD));
            if column + 1 + piece.len() > LINE && column > name.len() + 1 {
                out.push_str("\r\n");
                column = 0;
            }
            out.push(' ');
            out.push_str(piece);
            column += 1 + piece.len();
            rest = after;
        }
    }
    out.push_str("\r\n");
}

/// A display name (RFC 5322 section 3.2.5): quoted, or as encoded words (RFC 2047) if it is not ASCII.
fn display_name(name: &str) -> String {
    let clean: String = name.chars().filter(|c| !c.is_control()).collect();
    if clean.is_ascii() {
        return format!("\"{}\"", clean.replace('\\', "\\\\").replace('"', "\\\""));
    }
    let mut words = Vec::new();
    let mut word = String::new();
    for c in clean.chars() {
        let mut encoded = String::new();
        if c.is_ascii_alphanumeric() {
            encoded.push(c);
        } else {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| {
                let _ = write!(encoded, "={b:02X}");
            });
        }
        // RFC 2047 section 2: 75 characters, and no character split between words.
        if word.len() + encoded.len() > 60 {
            words.push(std::mem::take(&mut word));
        }
        word.push_str(&encoded);
    }
    words.push(word);
    words.iter().map(|word| format!("=?utf-8?Q?{word}?=")).collect::<Vec<_>>().join(" ")
}

/// As many whole fields from the top as fit.
fn cut_original(header: &HeaderBlock) -> Vec<u8> {
    let block = header.to_bytes();
    if block.len() <= MAX_ORIGINAL {
        return block.to_vec();
    }
    let end = memchr::memmem::rfind(&block[..MAX_ORIGINAL], b"\r\n").map_or(MAX_ORIGINAL, |end| end + 2);
    block[..end].to_vec()
}

/// The transfer encoding and the text in it.
fn encode_text(text: &str) -> (&'static str, String) {
    encode_bytes(text.as_bytes())
}

fn encode_bytes(bytes: &[u8]) -> (&'static str, String) {
    let short = |line: &[u8]| line.len() <= 900;
    let ends = memchr::memmem::find_iter(bytes, b"\r\n").count();
    let plain = bytes.iter().all(|b| matches!(b, b' '..=b'~' | b'\t' | b'\r' | b'\n'))
        && memchr::memchr2_iter(b'\r', b'\n', bytes).count() == 2 * ends;
    match std::str::from_utf8(bytes) {
        Ok(text) if plain && bytes.split(|b| *b == b'\n').all(short) => ("7bit", text.to_owned()),
        _ => ("quoted-printable", quoted_printable(bytes)),
    }
}

/// RFC 2045 section 6.7, for content with CRLF line ends.
fn quoted_printable(bytes: &[u8]) -> String {
    const LINE: usize = 72;
    let mut out = String::with_capacity(bytes.len() * 2);
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let (line, end) = match line.strip_suffix(b"\r\n") {
            Some(line) => (line, "\r\n"),
            None => (line, ""),
        };
        let mut column = 0;
        for (at, b) in line.iter().enumerate() {
            if column >= LINE {
                out.push_str("=\r\n");
                column = 0;
            }
            let blank_at_end = matches!(b, b' ' | b'\t') && at + 1 == line.len();
            if matches!(b, b' '..=b'~' | b'\t') && *b != b'=' && !blank_at_end {
                out.push(char::from(*b));
                column += 1;
            } else {
                let _ = write!(out, "={b:02X}");
                column += 3;
            }
        }
        out.push_str(end);
    }
    out
}

#[cfg(test)]
#[path = "dsn_tests.rs"]
mod tests;
