//! Completion of a submitted message's header, as ZoneMTA's `default-headers` does it: what a submission must have and
//! lacks is added, what must not travel is removed (RFC 6409 section 8).

use super::{HeaderBlock, HeaderError, Position};
use crate::mail::{Address, Envelope, QueueId, ReversePath};
use crate::time::Timestamp;
use mail_parser::MessageParser;
use std::time::Duration;

/// A Date must be this far ahead to count as a wish for later delivery (ZoneMTA: 5 minutes).
const MIN_AHEAD: Duration = Duration::from_secs(300);
/// A Date further ahead than this is a mistake, not a wish (ZoneMTA: a year).
const MAX_AHEAD: Duration = Duration::from_secs(365 * 86_400);

/// What completion goes by.
#[derive(Clone, Copy, Debug)]
pub struct Completion<'a> {
    /// The server's name, for Message-ID.
    pub hostname: &'a str,
    /// The id the message will be queued under.
    pub queue_id: QueueId,
    /// When it came in.
    pub now: Timestamp,
    /// May the client choose zone (X-Sending-Zone)?
    pub trust_headers: bool,
    /// Does a Date in the future hold the message back?
    pub future_date: bool,
    /// More Received fields than this are a loop.
    pub max_hops: usize,
}

/// What the header asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completed {
    /// X-Sending-Zone, where it is trusted.
    pub zone: Option<String>,
    /// Not before this.
    pub deliver_at: Option<Timestamp>,
}

/// Why a message can't be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompleteError {
    /// It has been through too many hands (RFC 5321 section 6.3). 554 5.4.6.
    #[error("the message has {0} Received fields: it is in a loop")]
    Loop(usize),
    /// The header would grow too large.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

impl Completion<'_> {
    /// Completes `header` in place.
    ///
    /// # Errors
    /// See [`CompleteError`].
    pub fn apply(&self, header: &mut HeaderBlock, envelope: &Envelope) -> Result<Completed, CompleteError> {
        let hops = header.all("Received").count();
        if hops > self.max_hops {
            return Err(CompleteError::Loop(hops));
        }
        let zone = header.first("X-Sending-Zone").map(super::Field::value).filter(|zone| !zone.is_empty());
        header.remove("X-Sending-Zone");
        header.remove("Bcc");
        let deliver_at = self.date(header)?;
        self.originator(header, envelope)?;
        destination(header, envelope)?;
        if header.first("Message-ID").is_none() {
            let id = format!("<{}.{:x}@{}>", self.queue_id, self.now.0 & 0xffff, self.hostname);
            header.add(Position::Bottom, "Message-ID", &id)?;
        }
        if header.first("MIME-Version").is_none() && header.fields().any(is_content_field) {
            header.add(Position::Bottom, "MIME-Version", "1.0")?;
        }
        Ok(Completed { zone: zone.filter(|_| self.trust_headers), deliver_at })
    }

    /// A Date that is missing, or in which nobody could read one, becomes now. One that this server alone can't read
    /// stays: it is the sender's, and may be signed. One in the future is obeyed where that is wanted.
    fn date(&self, header: &mut HeaderBlock) -> Result<Option<Timestamp>, HeaderError> {
        let written = header.first("Date").map(super::Field::value).unwrap_or_default();
        let Some(date) = read_date(&written) else {
            if !resembles_date(&written) {
                header.set("Date", &self.now.to_rfc5322())?;
            }
            return Ok(None);
        };
        let ahead = date.since(self.now);
        Ok(Some(date).filter(|_| self.future_date && ahead > MIN_AHEAD && ahead <= MAX_AHEAD))
    }

    /// A From that is missing, or stands there more than once, becomes the reverse-path.
    fn originator(&self, header: &mut HeaderBlock, envelope: &Envelope) -> Result<(), HeaderError> {
        if header.all("From").count() == 1 {
            return Ok(());
        }
        match &envelope.reverse_path {
            ReversePath::Path(address) => header.set("From", &format!("<{address}>")),
            ReversePath::Null => header.set("From", &format!("<MAILER-DAEMON@{}>", self.hostname)),
        }
    }
}

/// A message for nobody in sight gets its one recipient, or says that there are several: naming them would tell each of
/// the others.
fn destination(header: &mut HeaderBlock, envelope: &Envelope) -> Result<(), HeaderError> {
    if ["To", "Cc"].iter().any(|name| header.first(name).is_some()) {
        return Ok(());
    }
    let to = match &envelope.recipients[..] {
        [one] => bracketed(&one.address),
        _ => "undisclosed-recipients:;".to_owned(),
    };
    header.add(Position::Bottom, "To", &to)
}

fn bracketed(address: &Address) -> String {
    format!("<{address}>")
}

fn is_content_field(field: &super::Field) -> bool {
    const CONTENT: &[u8] = b"content-";
    field.name().len() > CONTENT.len() && field.name()[..CONTENT.len()].eq_ignore_ascii_case(CONTENT)
}

/// A date as RFC 5322 writes it, if it is one.
fn read_date(text: &str) -> Option<Timestamp> {
    let message = format!("Date: {text}\r\n\r\n");
    let parsed = MessageParser::default().parse_headers(message.as_bytes())?;
    let date = parsed.date().filter(|date| date.is_valid())?;
    u64::try_from(date.to_timestamp()).ok().map(|seconds| Timestamp(seconds.saturating_mul(1000)))
}

/// Could people, or a reader more lenient than ours, find a day and a year or an hour in it? `Wed, 3 May 2006 00:09:22`
/// has no zone, and `April 03, 2002 5:56 AM` is no form of RFC 5322's, but both are dates.
fn resembles_date(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty()).nth(1).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Recipient;
    use bytes::Bytes;

    const NOW: Timestamp = Timestamp(1_795_428_000_000);

    fn completed(block: &str, to: &[&str]) -> Result<(String, Completed), CompleteError> {
        let mut envelope = Envelope::new(ReversePath::Path(Address::parse("a@b.example").unwrap()));
        envelope.recipients = to.iter().map(|to| Recipient::new(Address::parse(to).unwrap())).collect();
        let mut header = HeaderBlock::parse(&Bytes::copy_from_slice(block.as_bytes()));
        let completion = Completion {
            hostname: "mta.example.com",
            queue_id: QueueId(1),
            now: NOW,
            trust_headers: true,
            future_date: true,
            max_hops: 2,
        };
        let completed = completion.apply(&mut header, &envelope)?;
        Ok((String::from_utf8(header.to_bytes().to_vec()).unwrap(), completed))
    }

    #[test]
    fn a_complete_header_stays_as_it_is() {
        let block = "From: X <x@y.example>\r\nTo: z@y.example\r\nDate: Mon, 23 Nov 2026 09:00:00 +0100\r\nMessage-ID: <1@y>\r\n";
        assert_eq!(completed(block, &["c@d.example"]).unwrap(), (block.to_owned(), Completed::default()));
    }

    #[test]
    fn what_lacks_is_added_and_what_must_not_travel_removed() {
        let (block, _) =
            completed("Bcc: secret@d.example\r\nContent-Type: text/plain\r\nbcc: too\r\n", &["c@d.example"]).unwrap();
        assert_eq!(
            block,
            "Content-Type: text/plain\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nFrom: <a@b.example>\r\n\
             To: <c@d.example>\r\nMessage-ID: <000000000000000001.1b00@mta.example.com>\r\nMIME-Version: 1.0\r\n"
                .replace("1b00", &format!("{:x}", NOW.0 & 0xffff))
        );
        let (block, _) = completed("From: a@b\r\nFrom: c@d\r\n", &["c@d.example", "e@f.example"]).unwrap();
        assert!(block.starts_with("From: <a@b.example>\r\n") && !block.contains("c@d"), "{block}");
        assert!(block.contains("To: undisclosed-recipients:;\r\n"), "{block}");
    }

    #[test]
    fn zone_and_date_are_obeyed() {
        let check = |date: &str, ahead: Option<u64>| {
            let (block, completed) =
                completed(&format!("X-Sending-Zone: bulk\r\nDate: {date}\r\n"), &["c@d.example"]).unwrap();
            assert!(!block.contains("X-Sending-Zone"));
            assert_eq!(completed.zone.as_deref(), Some("bulk"));
            assert_eq!(completed.deliver_at.map(|at| at.since(NOW).as_secs()), ahead, "{date}");
        };
        check("Mon, 23 Nov 2026 11:00:00 +0000", Some(3600));
        check("Mon, 23 Nov 2026 10:04:00 +0000", None);
        check("Mon, 23 Nov 2026 09:00:00 +0000", None);
        check("Mon, 23 Nov 2028 10:00:00 +0000", None);
        check("not a date", None);
    }

    #[test]
    fn a_date_is_replaced_only_where_nobody_could_read_one() {
        for (date, stays) in [
            ("Wed, 3 May 2006 00:09:22", true),
            ("Mon,  2 Apr 101 04:20:10 CST", true),
            ("Wednesday, April 03, 2002 5:56 AM", true),
            ("Fri, May 09 2017 16:54:30 -0800", true),
            ("Whenever", false),
            ("2026", false),
            ("", false),
        ] {
            let (block, completed) = completed(&format!("Date: {date}\r\n"), &["c@d.example"]).unwrap();
            assert_eq!(block.starts_with(&format!("Date: {date}\r\n")), stays, "{block}");
            assert_eq!(block.starts_with("Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n"), !stays, "{block}");
            assert_eq!(completed.deliver_at, None);
        }
    }

    #[test]
    fn loops_end() {
        let received = "Received: from a by b\r\n";
        assert!(completed(&received.repeat(2), &["c@d.example"]).is_ok());
        assert_eq!(completed(&received.repeat(3), &["c@d.example"]).unwrap_err(), CompleteError::Loop(3));
    }
}
