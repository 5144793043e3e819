//! The session itself.
//!
//! Commands of a transaction are written once into a buffer and then sent all together (PIPELINING) or one after the
//! other; either way replies are matched to commands by their order alone. A reply that is there before its command
//! has been taken for sending is an injection or a desync, and ends the session.

mod ending;
mod opening;

pub use opening::Terms;

use super::transaction::{Transaction, write_rcpt};
use super::{Cause, Extensions, Failure, Loss, ReplyParser, Stage, Unsupported};
use crate::mail::{BodyType, Recipient, Reply};
use ending::kept;
use opening::Opening;
use std::fmt;

/// What the session wants of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Octets from the peer (after what is in the output has been sent).
    Waiting,
    /// A TLS handshake on the connection, then [`Client::tls_established`] or [`Client::tls_failed`].
    WantsTls,
    /// [`Client::begin`] or [`Client::quit`].
    Ready,
    /// The content: encoded, with its final dot, then [`Client::content_sent`].
    WantsContent,
    /// [`Client::take_results`].
    Finished,
    /// Nothing: the session is over; [`Client::failure`] says why.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Handshake,
    Auth,
    Ready,
    Commands,
    Content,
    Dot,
    /// The dot after a 354 that no recipient was accepted for (RFC 2920 section 3.1).
    LoneDot,
    Quit,
    Closed,
}

#[derive(Clone, Copy, Debug)]
enum Command {
    Rset,
    Mail,
    Rcpt(usize),
    Data,
}

#[derive(Clone, Debug)]
enum Answer {
    Pending,
    Accepted,
    Final(Result<Reply, Failure>),
}

/// One session with a next hop.
pub struct Client {
    helo: String,
    opening: Opening,
    phase: Phase,
    parser: ReplyParser,
    extensions: Extensions,
    output: Vec<u8>,
    /// The transaction's commands, one after the other, and where each ends.
    commands: Vec<u8>,
    ends: Vec<usize>,
    sent: usize,
    answered: usize,
    /// Does the transaction begin with RSET?
    with_reset: bool,
    /// MAIL's refusal.
    mail_refused: Option<Failure>,
    answers: Vec<Answer>,
    results: Option<Vec<Result<Reply, Failure>>>,
    /// Was MAIL accepted and the transaction not ended by its content?
    needs_reset: bool,
    replies: u64,
    failure: Option<Failure>,
}

impl fmt::Debug for Client {
    /// Without the output, where a password may stand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, extensions, replies, failure, .. } = self;
        let mut shown = f.debug_struct("Client");
        shown.field("phase", phase).field("extensions", extensions).field("replies", replies);
        shown.field("failure", failure).finish_non_exhaustive()
    }
}

impl Client {
    /// A session that waits for the greeting and will call itself `helo` (a domain or address literal).
    #[must_use]
    pub fn new(helo: impl Into<String>, terms: Terms) -> Self {
        Self {
            helo: helo.into(),
            opening: Opening::new(terms),
            phase: Phase::Greeting,
            parser: ReplyParser::new(),
            extensions: Extensions::default(),
            output: Vec::new(),
            commands: Vec::new(),
            ends: Vec::new(),
            sent: 0,
            answered: 0,
            with_reset: false,
            mail_refused: None,
            answers: Vec::new(),
            results: None,
            needs_reset: false,
            replies: 0,
            failure: None,
        }
    }

    /// What it wants now.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.phase {
            _ if self.results.is_some() => Status::Finished,
            Phase::Handshake => Status::WantsTls,
            Phase::Ready => Status::Ready,
            Phase::Content => Status::WantsContent,
            Phase::Closed => Status::Closed,
            _ => Status::Waiting,
        }
    }

    /// Which reply it waits for: names the time limit.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.phase {
            Phase::Greeting => Stage::Greeting,
            Phase::Ehlo | Phase::Helo => Stage::Ehlo,
            Phase::StartTls => Stage::StartTls,
            Phase::Handshake => Stage::Handshake,
            Phase::Auth => Stage::Auth,
            Phase::Ready => Stage::Mail,
            Phase::Commands => match self.command(self.answered) {
                Command::Rset => Stage::Rset,
                Command::Mail => Stage::Mail,
                Command::Rcpt(_) => Stage::Rcpt,
                Command::Data => Stage::Data,
            },
            Phase::Content => Stage::Content,
            Phase::Dot | Phase::LoneDot => Stage::Dot,
            Phase::Quit | Phase::Closed => Stage::Quit,
        }
    }

    /// Replies so far. A time limit starts again when it rises.
    #[must_use]
    pub fn replies(&self) -> u64 {
        self.replies
    }

    /// What the server offers.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Why the session ended, unless it ended by QUIT.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Octets to send; the caller takes them out of the vector.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// What became of each recipient of the transaction, in order: the reply that took it, or why it was not taken.
    pub fn take_results(&mut self) -> Vec<Result<Reply, Failure>> {
        self.results.take().unwrap_or_default()
    }

    /// Starts a transaction. Only when [`Status::Ready`].
    ///
    /// # Errors
    /// The server does not offer what the message needs, and nothing was sent; or it is no time for a transaction.
    pub fn begin<'a>(
        &mut self,
        transaction: &Transaction<'a>,
        recipients: impl IntoIterator<Item = &'a Recipient>,
    ) -> Result<(), Failure> {
        if self.status() != Status::Ready {
            let lost = Failure::new(Stage::Mail, Cause::Lost(Loss::Unexpected));
            return Err(self.failure.clone().unwrap_or(lost));
        }
        if let Err(failure) = self.write_commands(transaction, recipients) {
            self.answers.clear();
            return Err(failure);
        }
        self.mail_refused = None;
        (self.sent, self.answered) = (0, 0);
        if self.answers.is_empty() {
            self.results = Some(Vec::new());
            return Ok(());
        }
        self.phase = Phase::Commands;
        self.send_commands();
        Ok(())
    }

    /// The content and its final dot have been sent.
    pub fn content_sent(&mut self) {
        if self.phase == Phase::Content {
            self.phase = Phase::Dot;
        }
    }

    /// Takes octets from the peer.
    pub fn receive(&mut self, mut input: &[u8]) {
        while !input.is_empty() && self.phase != Phase::Closed {
            if matches!(self.phase, Phase::Ready | Phase::Handshake) || !self.output.is_empty() {
                // Nothing was asked, or not yet sent: a farewell (421), or a desync. Its words are for the log. After
                // the 220 to STARTTLS it is what somebody would have us take for the server's first words over TLS
                // (CVE-2021-38371).
                let reply = self.parser.next(&mut input).ok().flatten();
                return self.unasked(reply);
            }
            match self.parser.next(&mut input) {
                Ok(Some(reply)) => {
                    self.replies += 1;
                    self.on_reply(reply);
                }
                Ok(None) => {}
                Err(error) => {
                    let failure = Failure::new(self.stage(), Cause::Lost(Loss::Malformed));
                    return self.end_session(failure.with_detail(error.to_string()));
                }
            }
        }
    }

    fn on_reply(&mut self, reply: Reply) {
        let stage = self.stage();
        if self.phase == Phase::Quit {
            self.phase = Phase::Closed;
            return;
        }
        if reply.code == 421 || self.phase == Phase::Content {
            // RFC 5321 section 3.8: 421 answers anything, and the server closes. A reply amid the content leaves no
            // way to end the content, so the session ends too; a positive one is a lie.
            let early = reply.code < 400;
            let cause = if early { Cause::Lost(Loss::Unexpected) } else { Cause::Reply(kept(reply)) };
            return self.end_session(Failure::new(stage, cause));
        }
        match self.phase {
            Phase::Greeting | Phase::Ehlo | Phase::Helo | Phase::StartTls | Phase::Auth => {
                self.on_opening_reply(stage, reply);
            }
            Phase::Commands => self.on_command_reply(stage, reply),
            Phase::Dot => self.on_dot_reply(reply),
            Phase::LoneDot => self.finish(),
            Phase::Handshake | Phase::Ready | Phase::Content | Phase::Quit | Phase::Closed => {}
        }
    }

    fn on_command_reply(&mut self, stage: Stage, reply: Reply) {
        let command = self.command(self.answered);
        // RFC 5321 section 4.3.2: the first digit is what counts.
        let class = reply.code / 100;
        let expected = if matches!(command, Command::Data) { 3 } else { 2 };
        if (class == 2 || class == 3) && class != expected || matches!(command, Command::Rset) && class != 2 {
            let failure = Failure::new(stage, Cause::Lost(Loss::Unexpected)).with_detail(reply.to_string());
            return self.end_session(failure);
        }
        self.answered += 1;
        let failure = |reply| Failure::new(stage, Cause::Reply(kept(reply)));
        match command {
            Command::Rset => self.needs_reset = false,
            Command::Mail if class == 2 => self.needs_reset = true,
            Command::Mail => self.mail_refused = Some(failure(reply)),
            Command::Rcpt(index) => {
                // After a refused MAIL the replies to pipelined RCPTs say only that.
                let answer = match &self.mail_refused {
                    None if class == 2 => Answer::Accepted,
                    None => Answer::Final(Err(failure(reply))),
                    Some(refused) => Answer::Final(Err(refused.clone())),
                };
                self.answers[index] = answer;
            }
            Command::Data if class == 3 => return self.on_go_ahead(),
            Command::Data => {
                let refused = failure(reply);
                self.resolve(&refused);
                return self.finish();
            }
        }
        self.send_commands();
    }

    fn on_go_ahead(&mut self) {
        self.needs_reset = false;
        if self.accepted() {
            self.phase = Phase::Content;
        } else {
            self.output.extend_from_slice(b".\r\n");
            self.phase = Phase::LoneDot;
        }
    }

    fn on_dot_reply(&mut self, reply: Reply) {
        if reply.code / 100 == 3 {
            let failure = Failure::new(Stage::Dot, Cause::Lost(Loss::Unexpected));
            return self.end_session(failure.with_detail(reply.to_string()));
        }
        let positive = reply.is_positive();
        let reply = kept(reply);
        for answer in &mut self.answers {
            if matches!(answer, Answer::Accepted) {
                let refused = || Failure::new(Stage::Dot, Cause::Reply(reply.clone()));
                *answer = Answer::Final(if positive { Ok(reply.clone()) } else { Err(refused()) });
            }
        }
        self.finish();
    }

    /// Sends the next command, or all of them; ends the transaction where there is no use in going on.
    fn send_commands(&mut self) {
        if self.answered < self.sent {
            return;
        }
        if self.sent == self.ends.len() {
            return;
        }
        if self.extensions.pipelining {
            self.output.extend_from_slice(&self.commands);
            self.sent = self.ends.len();
            return;
        }
        if let Some(refused) = self.mail_refused.take() {
            self.resolve(&refused);
            return self.finish();
        }
        if matches!(self.command(self.sent), Command::Data) && !self.accepted() {
            return self.finish();
        }
        let start = self.sent.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.output.extend_from_slice(&self.commands[start..self.ends[self.sent]]);
        self.sent += 1;
    }

    fn write_commands<'a>(
        &mut self,
        transaction: &Transaction<'a>,
        recipients: impl IntoIterator<Item = &'a Recipient>,
    ) -> Result<(), Failure> {
        let unsupported = |what| Err(Failure::new(Stage::Mail, Cause::Unsupported(what)));
        let offered = self.extensions;
        self.commands.clear();
        self.ends.clear();
        self.answers.clear();
        let mut rcpts = Vec::with_capacity(64);
        let mut utf8 = transaction.smtputf8 || !transaction.reverse_path.as_str().is_ascii();
        for recipient in recipients {
            utf8 |= recipient.address.is_international();
            write_rcpt(&mut rcpts, recipient, &offered);
            self.ends.push(rcpts.len());
            self.answers.push(Answer::Pending);
        }
        if let Some(limit) = offered.size.filter(|limit| transaction.size > *limit) {
            return unsupported(Unsupported::Size(limit));
        }
        if utf8 && !offered.smtputf8 {
            return unsupported(Unsupported::SmtpUtf8);
        }
        let eight_bit = transaction.body == BodyType::EightBit;
        if eight_bit && !offered.eight_bit_mime {
            return unsupported(Unsupported::EightBit);
        }
        self.with_reset = self.needs_reset;
        if self.with_reset {
            self.commands.extend_from_slice(b"RSET\r\n");
        }
        let reset_end = self.commands.len();
        transaction.write_mail(&mut self.commands, &offered, utf8);
        let mail_end = self.commands.len();
        self.commands.extend_from_slice(&rcpts);
        self.commands.extend_from_slice(b"DATA\r\n");
        self.ends.iter_mut().for_each(|end| *end += mail_end);
        let before = if self.with_reset { &[reset_end, mail_end][..] } else { &[mail_end][..] };
        self.ends.splice(..0, before.iter().copied());
        self.ends.push(self.commands.len());
        Ok(())
    }

    /// Which command stands at `index` of the transaction.
    fn command(&self, index: usize) -> Command {
        match (self.with_reset, index) {
            (true, 0) => Command::Rset,
            (true, 1) | (false, 0) => Command::Mail,
            _ if index + 1 >= self.ends.len() => Command::Data,
            _ => Command::Rcpt(index - 1 - usize::from(self.with_reset)),
        }
    }

    fn accepted(&self) -> bool {
        self.answers.iter().any(|answer| matches!(answer, Answer::Accepted))
    }

    /// Gives every recipient that has no final answer this failure.
    fn resolve(&mut self, failure: &Failure) {
        for answer in &mut self.answers {
            if !matches!(answer, Answer::Final(_)) {
                *answer = Answer::Final(Err(failure.clone()));
            }
        }
    }

    /// Ends the transaction; every recipient has its final answer.
    fn finish(&mut self) {
        let missing = || Err(Failure::new(Stage::Dot, Cause::Lost(Loss::Unexpected)));
        let results = self.answers.drain(..).map(|answer| match answer {
            Answer::Final(result) => result,
            Answer::Pending | Answer::Accepted => missing(),
        });
        self.results = Some(results.collect());
        self.phase = Phase::Ready;
    }
}
