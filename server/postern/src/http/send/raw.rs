//! `POST /send-raw`: content as it is (`message/rfc822`), streamed into the draft.
//!
//! LF becomes CRLF; a CR without LF and NUL are refused, since no SMTP server would take them. The envelope is the query's
//! `from` and `to` (repeated), or the fields `X-Envelope-From` and `X-Envelope-To` of the request, or that of the content's
//! own header (From or Sender; To, Cc and Bcc).

use super::super::body::Pieces;
use super::super::credentials::Caller;
use super::super::problem::Problem;
use super::idempotency::{Digest, Key};
use super::session::{Order, Sender, header};
use super::{Sent, Submission};
use crate::intake::Incoming;
use crate::spool::{Facts, Spool};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use postern_core::hook::{Attributes, Session};
use postern_core::mail::{Address, ReversePath};
use postern_core::message::compose::{Message, Object};
use postern_core::message::{HeaderBlock, HeaderSplitter, mailboxes};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// The types that a body may have.
const TYPES: [&str; 3] = ["message/rfc822", "message/global", "application/octet-stream"];
/// Longest header in which the envelope is looked for.
const MAX_HEADER: usize = 256 << 10;
/// Longest line, in octets.
const MAX_LINE: usize = 64 << 10;

type Envelope = (ReversePath, Vec<Address>);

/// The handler.
pub async fn send_raw<S: Spool + Facts>(
    State(submission): State<Arc<Submission<S>>>,
    Extension(caller): Extension<Caller>,
    Extension(session): Extension<Session>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    request: Request,
) -> Result<Json<Sent>, Problem> {
    let Query(query) = query?;
    let (parts, body) = request.into_parts();
    let sender = Sender::new(Arc::clone(&submission), &caller, session, &parts.headers).await?;
    let key = Key::of(&parts.headers, sender.user())?;
    let given = envelope(query, &parts.headers)?;
    let mut content = Content::new(&parts.headers, body, &given, submission.limits.max_size)?;
    let reserved = match key {
        Some(key) => Some(submission.reservations.reserve(key).await),
        None => None,
    };
    let (held, (from, to)) = content.with_envelope(given).await?;
    let mut incoming = sender.begin(order(&from, &to, &parts.headers)).await?;
    for piece in held {
        incoming.content(piece).await;
    }
    while let Some(piece) = content.next().await? {
        incoming.content(piece).await;
    }
    if content.is_eight_bit {
        incoming.is_eight_bit();
    }
    let noted = key.map(|key| (key, content.digest()));
    // The request is complete: it is worked off even if nobody waits for the answer.
    let work = tokio::spawn(async move {
        let _reserved = reserved;
        finish(&sender, incoming, noted, &from, &to).await
    });
    work.await.map_err(|ended| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, ended.to_string()))?
}

async fn finish<S: Spool + Facts>(
    sender: &Sender<S>,
    incoming: Incoming<S>,
    noted: Option<(Key, Digest)>,
    from: &ReversePath,
    to: &[Address],
) -> Result<Json<Sent>, Problem> {
    let submission = &sender.submission;
    if let Some((key, digest)) = &noted
        && let Some(id) = key.seen(&submission.facts, digest, (submission.clock)()).await?
    {
        return Ok(Json(Sent::new(id, from, to)));
    }
    let id = sender.finish(incoming, noted).await?;
    Ok(Json(Sent::new(id, from, to)))
}

fn order(from: &ReversePath, to: &[Address], headers: &HeaderMap) -> Order {
    let declared = headers.get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
    let size = declared.filter(|_| !headers.contains_key("content-encoding"));
    Order { from: from.clone(), to: to.to_vec(), international: false, attributes: Attributes::new(), size }
}

/// The content on its way, its lines made right.
struct Content {
    pieces: Pieces,
    lines: Lines,
    digest: Sha256,
    is_eight_bit: bool,
}

impl Content {
    fn new(headers: &HeaderMap, body: Body, given: &Option<Envelope>, limit: u64) -> Result<Self, Problem> {
        let pieces = Pieces::new(headers, body, &TYPES, limit)?;
        let mut digest = Sha256::new().chain_update(b"raw\0");
        if let Some((from, to)) = given {
            digest.update(from.as_str());
            for address in to {
                digest.update([0]);
                digest.update(address.as_str());
            }
        }
        digest.update(b"\0\0");
        Ok(Self { pieces, lines: Lines::default(), digest, is_eight_bit: false })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let Some(piece) = self.pieces.next().await? else {
            self.lines.end()?;
            return Ok(None);
        };
        self.digest.update(&piece);
        self.is_eight_bit |= !piece.is_ascii();
        self.lines.push(piece).map(Some)
    }

    fn digest(self) -> Digest {
        self.digest.finalize().into()
    }

    /// The envelope; where it is not given, that of the header, and the pieces that were read to find it.
    async fn with_envelope(&mut self, given: Option<Envelope>) -> Result<(Vec<Bytes>, Envelope), Problem> {
        if let Some(given) = given {
            return Ok((Vec::new(), given));
        }
        let mut splitter = HeaderSplitter::new(MAX_HEADER);
        let too_large = |_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the header is too large");
        loop {
            let (header, section) = match self.next().await? {
                Some(piece) => match splitter.push(&piece).map_err(too_large)? {
                    Some(split) => split,
                    None => continue,
                },
                None => splitter.finish().map_err(too_large)?,
            };
            let envelope = of_header(&header)?;
            return Ok((vec![header, section], envelope));
        }
    }
}

/// The envelope of the query, or of the request's fields.
fn envelope(query: Vec<(String, String)>, headers: &HeaderMap) -> Result<Option<Envelope>, Problem> {
    let (mut from, mut to) = (None, Vec::new());
    for (name, value) in query {
        match name.as_str() {
            "from" => from = Some(value),
            "to" => to.push(Value::String(value)),
            _ => {
                let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                return Err(Problem::field(
                    &shown,
                    format!("{shown}: there is no such parameter; there are from and to"),
                ));
            }
        }
    }
    if from.is_none()
        && let Some(value) = header(headers, "x-envelope-from")?
    {
        from = Some(value.to_owned());
    }
    if to.is_empty() {
        for value in headers.get_all("x-envelope-to") {
            let text = std::str::from_utf8(value.as_bytes());
            let text = text.map_err(|_| Problem::field("to", "X-Envelope-To: it is not UTF-8"))?;
            to.push(Value::String(text.to_owned()));
        }
    }
    match (from, to.is_empty()) {
        (None, true) => Ok(None),
        (None, false) => Err(Problem::field("from", "from: it is missing; empty, it is the null reverse-path")),
        (Some(_), true) => Err(Problem::field("to", "to: it is missing")),
        (Some(from), false) => of_fields(from, to).map(Some),
    }
}

/// By the same rules as in JSON.
fn of_fields(from: String, to: Vec<Value>) -> Result<Envelope, Problem> {
    let envelope = Map::from_iter([("from".to_owned(), Value::String(from)), ("to".to_owned(), Value::Array(to))]);
    let object = Map::from_iter([("envelope".to_owned(), Value::Object(envelope))]);
    let message = Object::new(Value::Object(object), "").and_then(Message::read);
    let envelope = message.and_then(|message| message.envelope());
    envelope.map_err(|error| {
        let field = error.field.strip_prefix("envelope.").unwrap_or(&error.field).to_owned();
        Problem::field(&field, format!("{field}: {}", error.why))
    })
}

fn of_header(header: &Bytes) -> Result<Envelope, Problem> {
    let block = HeaderBlock::parse(header);
    let all = |name| mailboxes(&block, name).into_iter().map(|mailbox| mailbox.address);
    let sender = all("From").chain(all("Sender")).next();
    let missing = "from: neither the request nor the content's header has an envelope";
    let sender = sender.ok_or_else(|| Problem::field("from", missing))?;
    let to = ["To", "Cc", "Bcc"].into_iter().flat_map(all).map(Value::String).collect();
    of_fields(sender, to)
}

/// Line ends made CRLF, across pieces.
#[derive(Default)]
struct Lines {
    after_cr: bool,
    length: usize,
}

impl Lines {
    fn push(&mut self, piece: Bytes) -> Result<Bytes, Problem> {
        let mut out: Option<Vec<u8>> = None;
        let mut done = 0;
        let mut at = 0;
        while let Some(found) = memchr::memchr3(b'\r', b'\n', 0, &piece[at..]) {
            let special = at + found;
            if self.after_cr && special > at {
                return Err(bare_cr());
            }
            self.length += found;
            match piece[special] {
                0 => return Err(wrong("the content has a NUL octet")),
                b'\r' if self.after_cr => return Err(bare_cr()),
                b'\r' => self.after_cr = true,
                _ => {
                    if !self.after_cr {
                        let out = out.get_or_insert_with(|| Vec::with_capacity(piece.len() + 64));
                        out.extend_from_slice(&piece[done..special]);
                        out.push(b'\r');
                        done = special;
                    }
                    self.after_cr = false;
                    self.length = 0;
                }
            }
            if self.length > MAX_LINE {
                return Err(wrong("the content has a line of more than 64 KiB"));
            }
            at = special + 1;
        }
        if at < piece.len() {
            if self.after_cr {
                return Err(bare_cr());
            }
            self.length += piece.len() - at;
            if self.length > MAX_LINE {
                return Err(wrong("the content has a line of more than 64 KiB"));
            }
        }
        Ok(match out {
            None => piece,
            Some(mut out) => {
                out.extend_from_slice(&piece[done..]);
                out.into()
            }
        })
    }

    fn end(&self) -> Result<(), Problem> {
        if self.after_cr { Err(bare_cr()) } else { Ok(()) }
    }
}

fn bare_cr() -> Problem {
    wrong("the content has a CR that no LF follows")
}

fn wrong(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_crlf() {
        let run = |text: &[u8], step: usize| {
            let mut lines = Lines::default();
            let mut out = Vec::new();
            for piece in text.chunks(step) {
                out.extend_from_slice(&lines.push(Bytes::copy_from_slice(piece)).ok()?);
            }
            lines.end().ok().map(|()| out)
        };
        let check = |text: &[u8], expected: Option<&[u8]>| {
            for step in 1..=text.len() {
                assert_eq!(run(text, step).as_deref(), expected, "{text:?} by {step}");
            }
        };
        check(b"a\nb\r\n\n\r\nc", Some(b"a\r\nb\r\n\r\n\r\nc"));
        check(b"\n", Some(b"\r\n"));
        check(b"a\rb", None);
        check(b"a\r", None);
        check(b"a\r\r\n", None);
        check(b"a\0", None);
        check(&[b'x'; MAX_LINE], Some(&[b'x'; MAX_LINE]));
        assert!(run(&[b'x'; MAX_LINE + 1], 1000).is_none());
    }

    #[test]
    fn envelopes() {
        let query = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            envelope(pairs, &HeaderMap::new()).map_err(|problem| problem.field.unwrap_or_default())
        };
        let (from, to) = query(&[("from", "a@b"), ("to", "c@d"), ("to", "e@f, c@d")]).unwrap().unwrap();
        assert_eq!((from.as_str(), to.len()), ("a@b", 2));
        assert!(query(&[("from", ""), ("to", "c@d")]).unwrap().unwrap().0.is_null());
        assert_eq!(query(&[]), Ok(None));
        assert_eq!(query(&[("to", "c@d")]).unwrap_err(), "from");
        assert_eq!(query(&[("from", "a@b")]).unwrap_err(), "to");
        assert_eq!(query(&[("from", "a@b\r\nRCPT TO:<v>"), ("to", "c@d")]).unwrap_err(), "from");
        assert_eq!(query(&[("form", "a@b")]).unwrap_err(), "form");
    }
}
