//! Delivery status notifications: a `multipart/report` (RFC 6522) of human text, `message/delivery-status` (RFC 3464)
//! and the original or its header.
//!
//! Written by hand rather than with mail-builder, which has no `report-type` parts without MIME encodings of its own
//! choice: texts of remote hosts must stay on their line.
//!
//! Everything that comes from outside (replies, addresses, the original header) is made printable ASCII or encoded:
//! in fields other characters become `\x{HEX}` (RFC 6533 section 3), in the other parts quoted-printable. Two things
//! are 8-bit as they are. One is a DSN that needs SMTPUTF8 anyway, since its own address is international. The other is
//! an original that is returned whole: `message/rfc822` can't be encoded (RFC 2046 section 5.2.1), so an 8-bit one is
//! returned only if it came as BODY=8BITMIME, over a way that takes such; else its header is.
//!
//! The form of RFC 6533 (`message/global-delivery-status` and its kin) is for originals that came with SMTPUTF8 and have
//! something international in envelope or header; everybody else gets RFC 3464's.

mod encode;
#[cfg(test)]
mod tests;
mod wanted;

pub use wanted::wanted;

use super::{HeaderBlock, Position};
use crate::mail::{
    Address, BodyType, EnhancedCode, Envelope, QueueId, Reason, Recipient, Reply, Ret, ReversePath, utf8_encode,
};
use crate::time::Timestamp;
use bytes::Bytes;
use encode::{clear_or_encoded, cut_original, display_name, encode_bytes, field, utf8_field};
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
    /// Envelope of the original.
    pub envelope: &'a Envelope,
    /// When the original was accepted.
    pub arrival: Timestamp,
    /// Now: date of the report and of the last attempt.
    pub now: Timestamp,
    /// The recipients that there is something to say of; at least one.
    pub recipients: &'a [Reported<'a>],
    /// Header block of the original.
    pub header: &'a HeaderBlock,
    /// The whole original, if [`returns_whole`] says so.
    pub content: Option<&'a Bytes>,
}

/// One recipient and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Reported<'a> {
    /// Who.
    pub recipient: &'a Recipient,
    /// What.
    pub action: Action<'a>,
    /// Host name or address of the next hop, if there was a session.
    pub remote_mta: Option<&'a str>,
}

/// What became of a recipient (RFC 3464 section 2.3.3). This server delivers to no mailbox and expands no list, so there
/// are no others.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// It will not be delivered.
    Failed {
        /// Why; for an expired one, why it was deferred last.
        reason: &'a Reason,
        /// Given up because it was too old: its status is 5.4.7 (delivery time expired).
        expired: bool,
    },
    /// It was not delivered yet.
    Delayed {
        /// Why not.
        reason: &'a Reason,
        /// How long it will be tried.
        until: Timestamp,
    },
    /// A next hop took it that does not send DSNs (RFC 3461 section 5.2.2).
    Relayed {
        /// With these words.
        reply: &'a Reply,
    },
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

/// Is the whole original, of `len` octets, to be returned? RFC 3461 section 4.3: only where it was asked for, and only
/// if some recipient `failed`.
#[must_use]
pub fn returns_whole(envelope: &Envelope, failed: bool, len: u64) -> bool {
    failed && envelope.ret == Some(Ret::Full) && len <= MAX_ORIGINAL as u64
}

/// The original as it is returned.
struct Returned {
    content_type: String,
    encoding: &'static str,
    text: Vec<u8>,
    /// For the human reader.
    note: &'static str,
}

impl Report<'_> {
    /// Writes the report.
    #[must_use]
    pub fn compose(&self) -> Dsn {
        let global = self.is_global();
        let mut envelope = Envelope::new(ReversePath::Null);
        envelope.recipients.push(Recipient::new(self.to.clone()));
        envelope.smtputf8 = self.to.is_international() || self.from.is_international();
        // SMTPUTF8 comes with 8BITMIME (RFC 6531 section 3.1), so nothing needs encoding then.
        let clear = global && envelope.smtputf8;
        let returned = self.returned(global, clear);
        let human = clear_or_encoded(self.human_text(returned.note).as_bytes(), clear);
        let status = clear_or_encoded(self.delivery_status(global).as_bytes(), clear);
        let boundary = self.boundary(&[&human.1, &status.1, &returned.text]);
        let kind = if global { "global-delivery-status" } else { "delivery-status" };
        let mut body = Vec::with_capacity(1024 + human.1.len() + status.1.len() + returned.text.len());
        body.extend_from_slice(b"\r\nThis is a report in MIME format.\r\n");
        let mut part = |content_type: &str, encoding: &str, text: &[u8]| {
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
            );
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(text);
        };
        part("text/plain; charset=utf-8", human.0, &human.1);
        part(&format!("message/{kind}"), status.0, &status.1);
        part(&returned.content_type, returned.encoding, &returned.text);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        if !body.is_ascii() {
            envelope.body = BodyType::EightBit;
        }
        Dsn { header: self.header(&boundary, envelope.body), envelope, body: body.into() }
    }

    /// Is it written in the form of RFC 6533?
    fn is_global(&self) -> bool {
        let spoken = |recipient: &Recipient| {
            recipient.address.is_international() || recipient.orcpt.as_ref().is_some_and(|o| o.is_international())
        };
        self.envelope.smtputf8
            && (self.to.is_international()
                || self.recipients.iter().any(|reported| spoken(reported.recipient))
                || self.header.fields().any(|field| !field.raw_value().is_ascii()))
    }

    fn failed(&self) -> bool {
        self.recipients.iter().any(|reported| matches!(reported.action, Action::Failed { .. }))
    }

    fn returned(&self, global: bool, clear: bool) -> Returned {
        let asked = self.failed() && self.envelope.ret == Some(Ret::Full);
        let mut note = "The header of your message follows.";
        match self.content.filter(|content| asked && content.len() <= MAX_ORIGINAL) {
            Some(content) => {
                let whole = |content_type: &str, (encoding, text)| {
                    let note = "Your message follows.";
                    Returned { content_type: content_type.to_owned(), encoding, text, note }
                };
                let plain = encode_bytes(content);
                if plain.0 == "7bit" {
                    return whole("message/rfc822", plain);
                }
                if global && self.header.fields().any(|field| !field.raw_value().is_ascii()) {
                    // RFC 6533 section 4.3: unlike message/rfc822 it may be encoded.
                    return whole("message/global", if clear { clear_or_encoded(content, clear) } else { plain });
                }
                // The next hop need not take it, and a report that is refused is lost: it has no sender.
                note = "Only the header of your message follows, as it has 8-bit text or very long lines.";
            }
            None if asked => note = "Only the header of your message follows, as it is too large to be returned.",
            None => {}
        }
        let header = cut_original(self.header);
        let is_utf8 = !header.is_ascii() && std::str::from_utf8(&header).is_ok();
        let content_type = match is_utf8 {
            true if global => "message/global-headers",
            true => "text/rfc822-headers; charset=utf-8",
            false => "text/rfc822-headers",
        };
        let (encoding, text) = clear_or_encoded(&header, clear && is_utf8);
        Returned { content_type: content_type.to_owned(), encoding, text, note }
    }

    fn header(&self, boundary: &str, body: BodyType) -> Bytes {
        let mut block = HeaderBlock::default();
        let has = |wanted: fn(&Action<'_>) -> bool| self.recipients.iter().any(|reported| wanted(&reported.action));
        let subject = match () {
            () if self.failed() => "Failure",
            () if has(|action| matches!(action, Action::Delayed { .. })) => "Delay",
            () => "Relayed",
        };
        // Two settlements of one message may fall into one millisecond; not for the same recipient.
        let first = self.recipients.first().map_or("", |reported| reported.recipient.address.as_str());
        let seed =
            first.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let mut fields = vec![
            ("From", format!("{} <{}>", display_name(self.from_name), self.from)),
            ("To", format!("<{}>", self.to)),
            ("Subject", format!("Delivery Status Notification ({subject})")),
            ("Date", self.now.to_rfc5322()),
            ("Message-ID", format!("<{}.{:x}.{seed:x}@{}>", self.queue_id, self.now.0, self.hostname)),
            ("Auto-Submitted", "auto-replied".to_owned()),
            ("MIME-Version", "1.0".to_owned()),
            ("Content-Type", format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"")),
        ];
        if body == BodyType::EightBit {
            // RFC 2045 section 6.4: no part says more than what it is in.
            fields.push(("Content-Transfer-Encoding", "8bit".to_owned()));
        }
        for (name, value) in fields {
            // Values are ours or were validated; a name in the config that has line ends is cleaned above.
            let _ = block.add(Position::Bottom, name, &value);
        }
        block.to_bytes()
    }

    fn human_text(&self, note: &str) -> String {
        let mut text = format!("This is the mail system at {}.\r\n", self.hostname);
        let of: fn(&Action<'_>) -> u8 = |action| match action {
            Action::Failed { .. } => 0,
            Action::Delayed { .. } => 1,
            Action::Relayed { .. } => 2,
        };
        for (kind, what) in
            (0..).zip(["could not be delivered to", "has not been delivered yet to", "was handed on for"])
        {
            let group: Vec<_> = self.recipients.iter().filter(|reported| of(&reported.action) == kind).collect();
            let Some(first) = group.first() else { continue };
            let whom = if group.len() == 1 { "this recipient" } else { "these recipients" };
            let _ = write!(text, "\r\nYour message of {} {what} {whom}:\r\n", self.arrival.to_rfc5322());
            group.iter().for_each(|reported| reported.tell(&mut text));
            text.push_str(&match first.action {
                Action::Failed { .. } => "\r\nNothing more will be tried.\r\n".to_owned(),
                Action::Delayed { until, .. } => {
                    format!("\r\nIt will be tried until {}. You need not send it again.\r\n", until.to_rfc5322())
                }
                Action::Relayed { .. } => {
                    "\r\nThe mail system that took it does not tell what becomes of it, so this is \
                     the last that you will hear of it from here.\r\n"
                        .to_owned()
                }
            });
        }
        let _ = write!(text, "\r\n{note}\r\n");
        text
    }

    fn delivery_status(&self, global: bool) -> String {
        let mut out = String::with_capacity(512 * self.recipients.len() + 256);
        if let Some(envid) = &self.envelope.envid {
            field(&mut out, "Original-Envelope-Id", envid.as_str());
        }
        field(&mut out, "Reporting-MTA", &format!("dns; {}", self.hostname));
        field(&mut out, "X-Postern-Queue-ID", &self.queue_id.to_string());
        field(&mut out, "Arrival-Date", &self.arrival.to_rfc5322());
        for reported in self.recipients {
            out.push_str("\r\n");
            reported.write_status(&mut out, global, self.now);
        }
        out
    }

    /// A boundary that stands in none of the parts: who writes a header that has it gets another.
    fn boundary(&self, parts: &[&[u8]]) -> String {
        let named = |n: u32| format!("=_postern_{}_{:x}_{n}", self.queue_id, self.now.0);
        let free =
            |boundary: &String| parts.iter().all(|part| memchr::memmem::find(part, boundary.as_bytes()).is_none());
        (0..).map(named).find(free).unwrap_or_default()
    }
}

impl Reported<'_> {
    /// Its lines in the text for people.
    fn tell(&self, text: &mut String) {
        let Recipient { address, orcpt, .. } = self.recipient;
        let _ = write!(text, "\r\n<{address}>");
        if let Some(original) = orcpt.as_ref().filter(|original| original.address() != address.as_str()) {
            let _ = write!(text, " (you wrote to {})", original.address());
        }
        text.push_str("\r\n    ");
        let said = match &self.action {
            Action::Failed { reason, expired: true } => {
                format!("It was tried for too long; the last attempt: {}", reason.public)
            }
            Action::Failed { reason, .. } | Action::Delayed { reason, .. } => reason.public.clone(),
            Action::Relayed { reply } => format!("{} said: {reply}", self.remote_mta.unwrap_or("the next hop")),
        };
        text.extend(said.chars().map(|c| if c.is_control() { ' ' } else { c }));
        text.push_str("\r\n");
    }

    /// Its group of fields (RFC 3464 section 2.3).
    fn write_status(&self, out: &mut String, global: bool, now: Timestamp) {
        let Recipient { address, orcpt, .. } = self.recipient;
        if let Some(original) = orcpt {
            recipient_field(out, "Original-Recipient", original.kind(), original.address(), global);
        }
        let kind = if address.is_international() { "utf-8" } else { "rfc822" };
        recipient_field(out, "Final-Recipient", kind, address.as_str(), global);
        let (action, status, reply, local) = match &self.action {
            Action::Failed { reason, expired } => {
                let status = EnhancedCode(5, reason.status.1, reason.status.2);
                let status = if *expired { EnhancedCode(5, 4, 7) } else { status };
                ("failed", status, reason.remote_reply.as_ref(), Some(&reason.public))
            }
            Action::Delayed { reason, .. } => {
                let status = EnhancedCode(4, reason.status.1, reason.status.2);
                ("delayed", status, reason.remote_reply.as_ref(), Some(&reason.public))
            }
            Action::Relayed { reply } => {
                let given = reply.enhanced.filter(|enhanced| enhanced.0 == 2);
                ("relayed", given.unwrap_or(EnhancedCode(2, 0, 0)), Some(*reply), None)
            }
        };
        field(out, "Action", action);
        field(out, "Status", &status.to_string());
        if let Some(host) = self.remote_mta {
            field(out, "Remote-MTA", &format!("dns; {}", domain(host)));
        }
        match (reply, local) {
            (Some(reply), _) => field(out, "Diagnostic-Code", &format!("smtp; {reply}")),
            (None, Some(local)) => field(out, "Diagnostic-Code", &format!("x-postern; {local}")),
            (None, None) => {}
        }
        field(out, "Last-Attempt-Date", &now.to_rfc5322());
        if let Action::Delayed { until, .. } = self.action {
            field(out, "Will-Retry-Until", &until.to_rfc5322());
        }
    }
}

/// An address with its type: in UTF-8, or in ASCII by RFC 6533 section 3.
fn recipient_field(out: &mut String, name: &str, kind: &str, address: &str, global: bool) {
    match kind.eq_ignore_ascii_case("utf-8") {
        true if global => utf8_field(out, name, &format!("{kind}; {address}")),
        true => field(out, name, &format!("{kind}; {}", utf8_encode(address))),
        false => field(out, name, &format!("{kind}; {address}")),
    }
}

/// A host as a domain: an address becomes a literal (RFC 5321 section 4.1.3).
fn domain(host: &str) -> String {
    match host.parse() {
        Ok(std::net::IpAddr::V4(ip)) => format!("[{ip}]"),
        Ok(std::net::IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
        Err(_) => host.to_owned(),
    }
}
