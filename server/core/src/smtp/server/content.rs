//! Content in a session, by DATA and by BDAT (RFC 3030): when it may come, what is wrong with it, what its reply is.

use super::{Asked, Event, Refused, Server, State};
use crate::mail::{EnhancedCode, Reply};
use crate::smtp::chunk::{Chunk, ChunkEnd, TextJudge};
use crate::smtp::data::{ContentFault, Decoded};
use bytes::{Bytes, BytesMut};

/// Content that is over the limit is read on, so that the client sees the reply, up to twice the limit and this many
/// octets more; then the connection is closed.
const MAX_EXCESS: u64 = 1 << 20;

impl Server {
    /// Is the content on its way in one that will be refused? What there is of it can be thrown away.
    #[must_use]
    pub fn discards_content(&self) -> bool {
        self.in_content() && (self.fault().is_some() || self.size > self.limits.max_size)
    }

    /// What is wrong with the content so far.
    fn fault(&self) -> Option<ContentFault> {
        if self.state == State::Content { self.decoder.fault() } else { self.judge.fault() }
    }

    /// The reply to content; LMTP has one for each recipient, in their order, and here all share one fate.
    pub(super) fn answer_content(&mut self, reply: &Reply, accepted: bool) {
        let times = if self.limits.lmtp { self.recipients } else { 1 };
        self.reset();
        (0..times).for_each(|_| self.reply(reply));
        if accepted {
            self.idle_commands = 0;
        }
    }

    pub(super) fn data(&mut self) -> Option<Event> {
        match self.state {
            State::Rcpt => {
                self.asked = Some(Asked::Data);
                return Some(Event::Data);
            }
            State::Mail => self.refuse(554, EnhancedCode(5, 5, 1), "No valid recipients"),
            State::Chunks => self.refuse(503, EnhancedCode(5, 5, 1), "The content comes by BDAT"),
            _ => self.refuse(503, EnhancedCode(5, 5, 1), "MAIL and RCPT come first"),
        }
        None
    }

    pub(super) fn bdat(&mut self, octets: u64, last: bool) -> Option<Event> {
        let so_far = if self.state == State::Chunks { self.size } else { 0 };
        let size = so_far.saturating_add(octets);
        if size > self.most_octets() {
            // So much is not read to tell it no.
            return Some(self.cut_off());
        }
        let refused = |code, text: &str| Reply::new(code, EnhancedCode(5, 5, 1), text);
        let refusal = match self.state {
            _ if !self.extended => refused(503, self.say_hello()),
            State::Mail => refused(554, "No valid recipients"),
            State::Rcpt | State::Chunks if size > self.limits.max_size => self.too_large_reply(),
            State::Rcpt | State::Chunks => {
                self.chunk = Some(Chunk { left: octets, end: if last { ChunkEnd::Last } else { ChunkEnd::More } });
                if self.state == State::Chunks {
                    return None;
                }
                (self.judge, self.size) = (TextJudge::new(self.limits.max_line), 0);
                self.asked = Some(Asked::Chunk);
                return Some(Event::Data);
            }
            _ => refused(503, "MAIL and RCPT come first"),
        };
        // Without this chunk there is no message: what is left of the transaction must not become one.
        let ends = matches!(self.state, State::Rcpt | State::Chunks);
        if ends {
            self.reset();
        }
        self.refusals.push(Refused { stage: "COMMAND", reply: refusal.clone() });
        self.chunk = Some(Chunk { left: octets, end: ChunkEnd::Refused(refusal) });
        ends.then_some(Event::Abort)
    }

    pub(super) fn content(&mut self, input: &mut BytesMut) -> Option<Event> {
        match self.decoder.decode(input) {
            Decoded::More => Some(Event::Input),
            Decoded::Content(piece) => {
                self.size += piece.len() as u64;
                if self.size > self.most_octets() {
                    return Some(self.cut_off());
                }
                (!self.discards_content()).then_some(Event::Content(piece))
            }
            Decoded::End => Some(self.content_ends()),
        }
    }

    /// The chunk on its way in: its content, then its reply.
    pub(super) fn chunk(&mut self, input: &mut BytesMut) -> Option<Event> {
        let chunk = self.chunk.as_mut()?;
        if chunk.left > 0 {
            if input.is_empty() {
                return Some(Event::Input);
            }
            let piece = chunk.take(input);
            if matches!(chunk.end, ChunkEnd::Refused(_)) {
                return None;
            }
            self.judge.judge(&piece);
            self.size += piece.len() as u64;
            return (!self.discards_content()).then_some(Event::Content(piece));
        }
        match self.chunk.take()?.end {
            ChunkEnd::Refused(reply) => {
                self.reply(&reply);
                self.count_error();
                None
            }
            ChunkEnd::More if self.judge.fault().is_none() => {
                let text = format!("{} octets so far", self.size);
                self.reply_to(250, EnhancedCode(2, 0, 0), &text)
            }
            ChunkEnd::More => {
                // Not the last: one reply for all recipients (RFC 3030 section 2), in LMTP as well.
                self.recipients = 1;
                Some(self.content_ends())
            }
            ChunkEnd::Last => match self.judge.finish() {
                Ok(missing) if !missing.is_empty() => {
                    self.judge.judge(missing);
                    self.chunk = Some(Chunk { left: 0, end: ChunkEnd::Last });
                    Some(Event::Content(Bytes::from_static(missing)))
                }
                _ => Some(self.content_ends()),
            },
        }
    }

    /// The most octets of content that are read.
    fn most_octets(&self) -> u64 {
        self.limits.max_size.saturating_mul(2).saturating_add(MAX_EXCESS)
    }

    /// The client was told the limit, and is far over it: there is nothing to wait for.
    fn cut_off(&mut self) -> Event {
        self.refusals.push(Refused { stage: "END-OF-DATA", reply: self.too_large_reply() });
        self.close(&self.too_large_reply());
        Event::Abort
    }

    fn content_ends(&mut self) -> Event {
        match self.content_refusal() {
            None => {
                self.asked = Some(Asked::ContentEnd);
                Event::ContentEnd
            }
            Some(reply) => {
                self.refusals.push(Refused { stage: "END-OF-DATA", reply: reply.clone() });
                self.answer_content(&reply, false);
                self.count_error();
                Event::Abort
            }
        }
    }

    fn content_refusal(&self) -> Option<Reply> {
        let text = match self.fault() {
            Some(ContentFault::BareLineEnd) => "The message has a bare CR or LF; lines must end with CR LF",
            Some(ContentFault::Nul) => "The message has a NUL octet",
            Some(ContentFault::LongLine) => "The message has a line that is too long",
            None if self.size > self.limits.max_size => {
                return Some(self.too_large_reply());
            }
            None => return None,
        };
        Some(Reply::new(550, EnhancedCode(5, 6, 0), text))
    }

    pub(super) fn too_large(&self) -> String {
        format!("The message is larger than {} octets", self.limits.max_size)
    }

    pub(super) fn too_large_reply(&self) -> Reply {
        Reply::new(552, EnhancedCode(5, 3, 4), self.too_large())
    }
}
