//! STARTTLS (RFC 3207), AUTH (RFC 4954) and XCLIENT in a session: what is offered, and in which order things may be said.
//!
//! Nothing may follow STARTTLS in what was read: whoever stands between client and server could have put it there, and
//! it would count as said over TLS (CVE-2011-0411).

use super::{Asked, Event, Server, State};
use crate::hook::{Credentials, Protocol};
use crate::mail::{EnhancedCode, Reply};
use crate::smtp::auth::scram::Verifier;
use crate::smtp::auth::{ClientFirst, Exchange, Mechanism, Mechanisms, Step};
use crate::smtp::xclient::{self, Xclient};
use bytes::BytesMut;
use data_encoding::BASE64;

/// Longest line of an exchange in octets (RFC 4954 section 4).
pub(super) const MAX_AUTH_LINE: usize = 12_288;
/// After so many failed tries to authenticate a session is ended.
const MAX_FAILURES: u32 = 3;
/// What a client with a refused token is told before the reply (RFC 7628 section 3.2.2).
const TOKEN_REFUSED: &str = r#"{"status":"invalid_token","schemes":"bearer"}"#;

/// What a session is offered of TLS and AUTH, and whether it must authenticate. By default nothing, and it need not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// STARTTLS is offered.
    pub starttls: bool,
    /// AUTH is offered with these; with none it is not.
    pub mechanisms: Mechanisms,
    /// AUTH is offered without TLS, too.
    pub auth_in_clear: bool,
    /// MAIL is refused before AUTH.
    pub must_authenticate: bool,
    /// The client may say for whom it speaks.
    pub xclient: bool,
}

/// How far a session is with TLS and AUTH.
#[derive(Debug)]
pub(super) struct Security {
    access: Access,
    tls: bool,
    authenticated: bool,
    /// What the next line is for, in [`State::Auth`].
    turn: Option<Turn>,
    failures: u32,
}

#[derive(Debug)]
enum Turn {
    /// A response.
    Exchange(Exchange),
    /// A client whose token was refused sends whatever it likes, and gets the reply (RFC 7628 section 3.2.3).
    Refused(Reply),
}

impl Security {
    pub(super) fn new() -> Self {
        Self { access: Access::default(), tls: false, authenticated: false, turn: None, failures: 0 }
    }

    fn allows_auth(&self) -> bool {
        self.tls || self.access.auth_in_clear
    }

    /// The lines of EHLO.
    pub(super) fn offers(&self) -> String {
        let mut lines = String::new();
        if self.access.starttls && !self.tls {
            lines.push_str("\nSTARTTLS");
        }
        if !self.access.mechanisms.are_none() && self.allows_auth() {
            lines.push_str("\nAUTH ");
            lines.push_str(&self.access.mechanisms.names());
        }
        if self.access.xclient {
            lines.push_str("\nXCLIENT ");
            lines.push_str(xclient::ATTRIBUTES);
        }
        lines
    }

    /// The words for HELP.
    pub(super) fn commands(&self) -> &'static str {
        match (self.access.starttls && !self.tls, !self.access.mechanisms.are_none()) {
            (false, false) => "",
            (true, false) => " STARTTLS",
            (false, true) => " AUTH",
            (true, true) => " STARTTLS AUTH",
        }
    }

    /// Why MAIL is refused, if it is.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        if !self.access.must_authenticate || self.authenticated {
            None
        } else if self.allows_auth() {
            Some("Authentication required")
        } else {
            Some("Must issue a STARTTLS command first, and then authenticate")
        }
    }
}

impl Server {
    /// With STARTTLS and AUTH.
    #[must_use]
    pub fn with_access(mut self, access: Access) -> Self {
        self.security.access = access;
        self
    }

    /// The session is over TLS from now on. What was said before is forgotten (RFC 3207 section 4.2); a greeting that is
    /// in the output stays there.
    pub fn secured(&mut self) {
        self.reset();
        self.state = State::Fresh;
        self.extended = false;
        self.security.tls = true;
    }

    /// The session is somebody else's from now on, and begins anew with a greeting. It `is_authenticated` if XCLIENT named
    /// a user, and needs no EHLO if that has `said_hello`.
    pub fn speaks_for(&mut self, access: Access, is_authenticated: bool, said_hello: Option<Protocol>) {
        self.reset();
        self.state = if said_hello.is_some() { State::Ready } else { State::Fresh };
        self.extended = said_hello.is_some_and(|protocol| protocol != Protocol::Smtp);
        (self.security.access, self.security.authenticated) = (access, is_authenticated);
        self.greet();
    }

    pub(super) fn xclient(&mut self, client: Xclient) -> Option<Event> {
        if !self.security.access.xclient {
            self.refuse(550, EnhancedCode(5, 7, 0), "XCLIENT is not for this client");
        } else if self.in_transaction() {
            self.refuse(503, EnhancedCode(5, 5, 1), "A transaction is open already");
        } else {
            return Some(Event::Xclient(client));
        }
        None
    }

    /// Answers [`Event::Scram`]: what the server keeps of the user's password, and a nonce that nobody can guess.
    pub fn verifier(&mut self, first: ClientFirst, verifier: Verifier, nonce: &str) {
        debug_assert_eq!(self.asked, Some(Asked::Verifier), "no verifier was asked for");
        self.asked = None;
        // Of the steps of SCRAM this one is a challenge.
        if let Step::Challenge(text, next) = Exchange::scram(first, verifier, nonce) {
            self.challenge(&text, Turn::Exchange(next));
        }
    }

    pub(super) fn starttls(&mut self) -> Option<Event> {
        if !self.security.access.starttls {
            self.refuse(502, EnhancedCode(5, 5, 1), "Command not implemented");
        } else if self.security.tls {
            self.refuse(503, EnhancedCode(5, 5, 1), "TLS is active already");
        } else if self.in_transaction() || self.security.authenticated {
            self.refuse(503, EnhancedCode(5, 5, 1), "STARTTLS comes before AUTH and MAIL");
        } else {
            return Some(Event::StartTls);
        }
        None
    }

    /// The go-ahead to STARTTLS, unless something is there already.
    pub(super) fn go_ahead(&mut self, input: &mut BytesMut) -> Event {
        if input.is_empty() {
            self.reply(&Reply::new(220, EnhancedCode(2, 0, 0), "Ready to start TLS"));
            return Event::StartTls;
        }
        input.clear();
        self.log_and_reply("COMMAND", Reply::new(554, EnhancedCode(5, 5, 0), "Nothing may follow STARTTLS"));
        self.state = State::Closed;
        Event::Close
    }

    pub(super) fn auth(&mut self, mechanism: &str, initial: Option<&str>) -> Option<Event> {
        let security = &self.security;
        let mechanism = Mechanism::by_name(mechanism).filter(|one| security.access.mechanisms.have(*one));
        if security.access.mechanisms.are_none() {
            self.refuse(502, EnhancedCode(5, 5, 1), "Command not implemented");
        } else if !self.extended {
            self.refuse(503, EnhancedCode(5, 5, 1), "Say EHLO first");
        } else if self.in_transaction() || security.authenticated {
            self.refuse(503, EnhancedCode(5, 5, 1), "AUTH comes once, and before MAIL");
        } else if !security.allows_auth() {
            self.refuse(538, EnhancedCode(5, 7, 11), "Encryption required: STARTTLS comes first");
        } else if let Some(mechanism) = mechanism {
            let exchange = Exchange::First(mechanism);
            match initial {
                None => self.challenge(Exchange::first_challenge(mechanism), Turn::Exchange(exchange)),
                Some("=") => return self.step(exchange.respond(b"")),
                Some(initial) => return self.response(exchange, initial.as_bytes()),
            }
        } else {
            self.refuse(504, EnhancedCode(5, 5, 4), "Mechanism not supported");
        }
        None
    }

    /// A line of an exchange.
    pub(super) fn auth_line(&mut self, line: &[u8]) -> Option<Event> {
        self.state = State::Ready;
        match self.security.turn.take() {
            Some(Turn::Exchange(_)) if line == b"*" => {
                self.refuse(501, EnhancedCode(5, 7, 0), "Authentication cancelled");
                None
            }
            Some(Turn::Exchange(exchange)) => self.response(exchange, line),
            Some(Turn::Refused(reply)) => {
                self.auth_failed(&reply);
                None
            }
            None => None,
        }
    }

    /// The exchange is over without an outcome: a line was none.
    pub(super) fn abandon_exchange(&mut self) {
        if self.state == State::Auth {
            self.state = State::Ready;
            self.security.turn = None;
        }
    }

    fn response(&mut self, exchange: Exchange, base64: &[u8]) -> Option<Event> {
        match BASE64.decode(base64) {
            Ok(response) => self.step(exchange.respond(&response)),
            Err(_) => {
                self.refuse(501, EnhancedCode(5, 5, 2), "That is not base64");
                None
            }
        }
    }

    fn step(&mut self, step: Step) -> Option<Event> {
        match step {
            Step::Challenge(text, next) => self.challenge(&text, Turn::Exchange(next)),
            Step::NeedsVerifier(first) => {
                self.asked = Some(Asked::Verifier);
                return Some(Event::Scram(first));
            }
            Step::Credentials(credentials) => {
                self.asked = Some(Asked::Auth { token: credentials.has_token() });
                return Some(Event::Auth(credentials));
            }
            Step::Malformed => self.refuse(501, EnhancedCode(5, 5, 2), "That is not what the mechanism asks for"),
        }
        None
    }

    fn challenge(&mut self, text: &str, turn: Turn) {
        self.reply(&Reply::plain(334, BASE64.encode(text.as_bytes())));
        self.security.turn = Some(turn);
        self.state = State::Auth;
    }

    /// The answer to [`Event::Auth`]: 235 is yes.
    pub(super) fn authenticated(&mut self, reply: &Reply, token: bool) {
        match reply.code {
            235 => {
                self.security.authenticated = true;
                self.reply(reply);
            }
            421 => self.close(reply),
            500.. if token => self.challenge(TOKEN_REFUSED, Turn::Refused(reply.clone())),
            500.. => self.auth_failed(reply),
            // The server's fault.
            _ => self.reply(reply),
        }
    }

    fn auth_failed(&mut self, reply: &Reply) {
        self.reply(reply);
        self.count_error();
        self.security.failures += 1;
        if self.security.failures >= MAX_FAILURES && self.state != State::Closed {
            let text = format!("{} too many failed logins", self.hostname);
            self.log_and_reply("AUTH", Reply::new(421, EnhancedCode(4, 7, 0), text));
            self.state = State::Closed;
        }
    }
}

impl Credentials {
    fn has_token(&self) -> bool {
        matches!(self.proof, crate::hook::Proof::Token(_))
    }
}
