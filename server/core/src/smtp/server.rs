//! The server's side of an SMTP session as a state machine (RFC 5321, RFC 2920 PIPELINING, RFC 1870 SIZE, RFC 6152
//! 8BITMIME, RFC 6531 SMTPUTF8, RFC 2034 ENHANCEDSTATUSCODES, RFC 3461 DSN, RFC 3030 CHUNKING, RFC 4865 FUTURERELEASE,
//! RFC 9422 LIMITS, and in [`security`] STARTTLS, AUTH and XCLIENT).
//!
//! The driver feeds input to [`Server::poll`] and acts on the [`Event`]s; events that ask for a decision are answered
//! with [`Server::answer`] before the next poll. Replies gather in [`Server::take_output`] and go out when there is no
//! more input, so that a pipelined group costs one write.

mod content;
mod limits;
mod refusal;
mod security;

pub use limits::{FutureRelease, Limits};
pub use security::Access;

use super::auth::ClientFirst;
use super::chunk::{Chunk, ChunkEnd, TextJudge};
use super::command::{Command, CommandError, Mail};
use super::data::DataDecoder;
use super::xclient::Xclient;
use crate::hook::{Credentials, Protocol};
use crate::mail::{EnhancedCode, Recipient, Reply};
use bytes::{Buf, Bytes, BytesMut};
use security::{MAX_AUTH_LINE, Security};
use std::fmt::Write as _;
use std::time::Duration;

/// Longest command line in octets. RFC 5321 section 4.5.3.1.4 asks for 512, extensions for some more.
pub const MAX_COMMAND_LINE: usize = 2048;
/// How long a server waits for a command or a piece of content (RFC 5321 section 4.5.3.2.7).
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);

/// Commands that lead to no message (NOOP, RSET, VRFY, HELP, EHLO) which a session may send before and between messages;
/// each one more counts as an error (Postfix: `smtpd_junk_command_limit`).
const MAX_IDLE_COMMANDS: usize = 100;
/// Recipients beyond the limit that a transaction may have; each one more counts as an error (Postfix:
/// `smtpd_recipient_overshoot_limit`).
const MAX_OVERSHOOT: usize = 1000;
/// What TLS begins with (RFC 8446 section 5.1: a record of type handshake), and no command.
const TLS_HANDSHAKE: u8 = 0x16;

/// What the driver is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Send the output, then read more input.
    Input,
    /// The client said who it is.
    Hello {
        /// EHLO or HELO.
        protocol: Protocol,
        /// What it calls itself.
        name: String,
    },
    /// Send the output, do the TLS handshake, and say [`Server::secured`]; or close the connection.
    StartTls,
    /// What does the server keep of this user's password? To be answered with [`Server::verifier`].
    Scram(ClientFirst),
    /// Are these valid? To be answered; 235 is yes, 421 ends the session.
    Auth(Credentials),
    /// A trusted host speaks for somebody else. To be followed by [`Server::speaks_for`], or [`Server::close`].
    Xclient(Xclient),
    /// A transaction begins. To be answered.
    Mail(Mail),
    /// One more recipient. To be answered.
    Rcpt(Recipient),
    /// Content is about to come. To be answered; 354 lets it come, which the client is told after DATA alone.
    Data,
    /// A piece of content.
    Content(Bytes),
    /// The content is complete and well-formed. To be answered.
    ContentEnd,
    /// The transaction is over without a message: RSET, a new EHLO or content at fault. Not to be answered.
    Abort,
    /// Send the output and close the connection.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before EHLO or HELO.
    Fresh,
    /// Between transactions.
    Ready,
    /// In an exchange of AUTH.
    Auth,
    /// MAIL was taken.
    Mail,
    /// At least one RCPT was taken.
    Rcpt,
    /// After 354.
    Content,
    /// After a chunk, with more to come.
    Chunks,
    /// Nothing more is read.
    Closed,
}

/// Which event waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Verifier,
    Auth { token: bool },
    Mail,
    Rcpt,
    Data,
    Chunk,
    ContentEnd,
}

/// One session, from greeting to QUIT.
#[derive(Debug)]
pub struct Server {
    hostname: String,
    limits: Limits,
    state: State,
    asked: Option<Asked>,
    out: Vec<u8>,
    errors: usize,
    /// Fewer errors than `limits` has.
    patience: usize,
    /// Since the last message.
    idle_commands: usize,
    recipients: usize,
    /// Recipients of the transaction beyond the limit.
    overshoot: usize,
    smtputf8: bool,
    /// The client said EHLO: extensions were offered.
    extended: bool,
    decoder: DataDecoder,
    /// The chunk of BDAT on its way in, and what the content so far is like.
    chunk: Option<Chunk>,
    judge: TextJudge,
    size: u64,
    /// The rest of a command line that was too long is skipped.
    skipping: bool,
    refusals: Vec<Refused>,
    security: Security,
}

/// What the state machine refused by itself, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// `COMMAND` or `END-OF-DATA`.
    pub stage: &'static str,
    /// What the client was told.
    pub reply: Reply,
}

impl Server {
    /// A session whose greeting is in the output.
    #[must_use]
    pub fn new(hostname: &str, limits: Limits) -> Self {
        let mut server = Self {
            hostname: hostname.to_owned(),
            state: State::Fresh,
            asked: None,
            out: Vec::with_capacity(256),
            errors: 0,
            patience: usize::MAX,
            idle_commands: 0,
            recipients: 0,
            overshoot: 0,
            smtputf8: false,
            extended: false,
            decoder: DataDecoder::new(limits.max_line),
            chunk: None,
            judge: TextJudge::new(limits.max_line),
            size: 0,
            skipping: false,
            refusals: Vec::new(),
            security: Security::new(),
            limits,
        };
        server.greet();
        server
    }

    fn greet(&mut self) {
        self.reply(&Reply::plain(220, format!("{} ESMTP Postern", self.hostname)));
    }

    /// What is to be sent, taken out.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Is there something to be sent?
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Ends the session with a reply of the server's own: a time limit, a shutdown.
    pub fn close(&mut self, reply: &Reply) {
        self.reply(reply);
        self.state = State::Closed;
    }

    /// Ends the session after so many refused commands, those before included, if that is less than its limit; None is its
    /// limit again.
    pub fn bear_errors(&mut self, most: Option<usize>) {
        self.patience = most.unwrap_or(usize::MAX);
    }

    /// What was refused since this was last asked, at most one for each command.
    pub fn take_refusals(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.refusals)
    }

    /// Is content on its way in?
    #[must_use]
    pub fn in_content(&self) -> bool {
        self.state == State::Content || self.chunk.is_some()
    }

    /// Is a transaction open?
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        matches!(self.state, State::Mail | State::Rcpt | State::Content | State::Chunks)
    }

    /// Takes what it can off the front of `input` and says what to do.
    pub fn poll(&mut self, input: &mut BytesMut) -> Event {
        debug_assert!(self.asked.is_none(), "the last event was not answered");
        loop {
            let event = match self.state {
                State::Closed => Some(Event::Close),
                State::Content => self.content(input),
                _ if self.chunk.is_some() => self.chunk(input),
                _ => match self.line(input) {
                    Some(line) if self.state == State::Auth => self.auth_line(&line),
                    Some(line) => match self.command(&line) {
                        Some(Event::StartTls) => Some(self.go_ahead(input)),
                        event => event,
                    },
                    // One line too many was none.
                    None if self.state == State::Closed => None,
                    None => Some(Event::Input),
                },
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    /// Answers the event that asked for it.
    pub fn answer(&mut self, reply: &Reply) {
        let Some(asked) = self.asked.take() else {
            debug_assert!(false, "no event was to be answered");
            return;
        };
        let accepted = matches!(reply.code / 100, 2 | 3);
        match asked {
            Asked::Auth { token } => return self.authenticated(reply, token),
            Asked::Mail if accepted => self.state = State::Mail,
            Asked::Rcpt if accepted => {
                self.state = State::Rcpt;
                self.recipients += 1;
            }
            Asked::Data if accepted => {
                self.state = State::Content;
                self.decoder = DataDecoder::new(self.limits.max_line);
                self.size = 0;
            }
            Asked::Chunk if accepted => {
                self.state = State::Chunks;
                return;
            }
            Asked::Chunk => {
                if let Some(chunk) = &mut self.chunk {
                    chunk.end = ChunkEnd::Refused(reply.clone());
                }
                return;
            }
            Asked::ContentEnd => return self.answer_content(reply, accepted),
            Asked::Mail => self.smtputf8 = false,
            Asked::Rcpt | Asked::Data | Asked::Verifier => {}
        }
        self.reply(reply);
        if !accepted {
            self.count_error();
        }
    }

    /// The next command line without its line end; a line that is not one is answered here.
    fn line(&mut self, input: &mut BytesMut) -> Option<Bytes> {
        loop {
            if self.state == State::Fresh && input.first() == Some(&TLS_HANDSHAKE) && !self.skipping {
                // There may never be a line end.
                input.clear();
                self.refuse_command(&CommandError::Foreign);
                return None;
            }
            let Some(end) = memchr::memchr(b'\n', input) else {
                if input.len() > self.max_line(input) {
                    input.clear();
                    self.skipping = true;
                }
                return None;
            };
            if std::mem::take(&mut self.skipping) || end >= self.max_line(input) {
                input.advance(end + 1);
                self.abandon_exchange();
                self.refuse(500, EnhancedCode(5, 5, 2), "Line too long");
            } else if end == 0 || input[end - 1] != b'\r' {
                // A line that a bare LF ends: answered, so that the client need not wait, and never obeyed.
                input.advance(end + 1);
                self.abandon_exchange();
                self.refuse(500, EnhancedCode(5, 5, 2), "A line must end with CR LF");
            } else {
                let mut line = input.split_to(end + 1).freeze();
                line.truncate(end - 1);
                return Some(line);
            }
            if self.state == State::Closed {
                return None;
            }
        }
    }

    /// The longest line that may come next, in octets.
    fn max_line(&self, input: &[u8]) -> usize {
        let is_auth = input.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "));
        if is_auth || self.state == State::Auth { MAX_AUTH_LINE } else { MAX_COMMAND_LINE }
    }

    fn command(&mut self, line: &[u8]) -> Option<Event> {
        let command = Command::parse(line, self.smtputf8);
        let event = self.obey(command);
        if self.idle_commands > MAX_IDLE_COMMANDS {
            self.count_error();
        }
        event
    }

    fn obey(&mut self, command: Result<Command, CommandError>) -> Option<Event> {
        if command.as_ref().is_ok_and(Command::is_idle) {
            self.idle_commands += 1;
        }
        match command {
            Ok(Command::Lhlo(name)) if self.limits.lmtp => Some(self.hello(Protocol::Lmtp, name)),
            Ok(Command::Ehlo(_) | Command::Helo(_)) if self.limits.lmtp => {
                self.refuse(500, EnhancedCode(5, 5, 1), "This is LMTP: say LHLO");
                None
            }
            Ok(Command::Ehlo(name)) => Some(self.hello(Protocol::Esmtp, name)),
            Ok(Command::Helo(name)) => Some(self.hello(Protocol::Smtp, name)),
            Ok(Command::Lhlo(_)) => {
                self.refuse(500, EnhancedCode(5, 5, 1), "This is SMTP: say EHLO");
                None
            }
            Ok(Command::StartTls) => self.starttls(),
            Ok(Command::Auth { mechanism, initial }) => self.auth(&mechanism, initial.as_deref()),
            Ok(Command::Xclient(client)) => self.xclient(client),
            Ok(Command::Mail(mail)) => self.mail(mail),
            Ok(Command::Rcpt(recipient)) => self.rcpt(recipient),
            Ok(Command::Data) => self.data(),
            Ok(Command::Bdat { octets, last }) => self.bdat(octets, last),
            Ok(Command::Rset) => {
                let open = self.in_transaction();
                self.reset();
                self.reply(&Reply::new(250, EnhancedCode(2, 0, 0), "Flushed"));
                open.then_some(Event::Abort)
            }
            Ok(Command::Noop) => self.reply_to(250, EnhancedCode(2, 0, 0), "OK"),
            Ok(Command::Vrfy) => {
                self.reply_to(252, EnhancedCode(2, 5, 0), "Not verified here; send some mail, and it will be tried")
            }
            Ok(Command::Help) => self.reply_to(
                214,
                EnhancedCode(2, 0, 0),
                &format!(
                    "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT{} (RFC 5321)",
                    self.security.commands()
                ),
            ),
            Ok(Command::Quit) => {
                self.close(&Reply::new(221, EnhancedCode(2, 0, 0), format!("{} closes the connection", self.hostname)));
                None
            }
            Err(error) => {
                self.refuse_command(&error);
                None
            }
        }
    }

    fn say_hello(&self) -> &'static str {
        if self.limits.lmtp { "Say LHLO first" } else { "Say EHLO first" }
    }

    fn hello(&mut self, protocol: Protocol, name: String) -> Event {
        self.reset();
        self.state = State::Ready;
        self.extended = protocol != Protocol::Smtp;
        let text = match protocol {
            Protocol::Smtp => self.hostname.clone(),
            Protocol::Esmtp | Protocol::Lmtp | Protocol::Http => self.extensions(),
        };
        self.reply(&Reply::plain(250, text));
        Event::Hello { protocol, name }
    }

    /// The lines of the reply to EHLO.
    fn extensions(&self) -> String {
        let Self { hostname, limits: Limits { max_size, max_recipients, future_release, .. }, .. } = self;
        let mut text = format!(
            "{hostname}\nPIPELINING\nSIZE {max_size}\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES\nDSN\nCHUNKING\n\
             LIMITS RCPTMAX={max_recipients}"
        );
        if let Some(FutureRelease { longest, latest }) = future_release {
            // Writing to a String does not fail.
            let _ = write!(text, "\nFUTURERELEASE {} {}", longest.as_secs(), latest.to_rfc3339());
        }
        text.push_str(&self.security.offers());
        text.push_str("\nHELP");
        text
    }

    fn mail(&mut self, mail: Mail) -> Option<Event> {
        let offered = self.limits.future_release.filter(|_| self.extended);
        match self.state {
            State::Fresh => self.refuse(503, EnhancedCode(5, 5, 1), self.say_hello()),
            State::Ready if let Some(why) = self.security.refusal() => {
                self.refuse(530, EnhancedCode(5, 7, 0), why);
            }
            State::Ready if mail.size.is_some_and(|size| size > self.limits.max_size) => {
                self.refuse(552, EnhancedCode(5, 3, 4), self.too_large());
            }
            State::Ready if mail.ret.is_some() && !self.extended => self.not_offered("RET"),
            State::Ready if mail.envid.is_some() && !self.extended => self.not_offered("ENVID"),
            State::Ready => match (mail.hold, offered) {
                (Some(hold), None) => self.not_offered(hold.parameter()),
                (Some(hold), Some(bounds)) if !bounds.allows(hold) => {
                    self.refuse(501, EnhancedCode(5, 5, 4), "Delivery can't be put off for so long");
                }
                _ => {
                    self.smtputf8 = mail.smtputf8;
                    self.asked = Some(Asked::Mail);
                    return Some(Event::Mail(mail));
                }
            },
            _ => self.refuse(503, EnhancedCode(5, 5, 1), "A transaction is open already"),
        }
        None
    }

    fn rcpt(&mut self, recipient: Recipient) -> Option<Event> {
        if !self.in_transaction() {
            self.refuse(503, EnhancedCode(5, 5, 1), "MAIL comes first");
        } else if self.state == State::Chunks {
            self.refuse(503, EnhancedCode(5, 5, 1), "The content has begun already");
        } else if self.recipients >= self.limits.max_recipients {
            // Not counted as an error: RFC 5321 section 4.5.3.1.10 has the client send the rest later. Up to a point.
            self.log_and_reply("COMMAND", Reply::new(452, EnhancedCode(4, 5, 3), "Too many recipients"));
            self.overshoot += 1;
            if self.overshoot > MAX_OVERSHOOT {
                self.count_error();
            }
        } else if recipient.notify.is_some() && !self.extended {
            self.not_offered("NOTIFY");
        } else if recipient.orcpt.is_some() && !self.extended {
            self.not_offered("ORCPT");
        } else {
            self.asked = Some(Asked::Rcpt);
            return Some(Event::Rcpt(recipient));
        }
        None
    }

    /// Back to between transactions, or to before EHLO.
    fn reset(&mut self) {
        if self.state != State::Fresh {
            self.state = State::Ready;
        }
        (self.recipients, self.overshoot) = (0, 0);
        self.smtputf8 = false;
    }
}
