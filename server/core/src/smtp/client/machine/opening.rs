//! How a session opens: greeting, EHLO or HELO, STARTTLS (RFC 3207) and AUTH (RFC 4954), until it is ready for mail.
//!
//! A password is sent over TLS, or in clear where the terms say that there is to be no TLS; never in clear because TLS
//! happened not to be offered, for whoever stands between could see to that.

use super::{Client, Phase, kept};
use crate::mail::Reply;
use crate::route::Unroutable;
use crate::smtp::client::auth::{self, Exchange};
use crate::smtp::client::{AuthFault, Cause, Extensions, Failure, Loss, ReplyParser, Stage, TlsFault};
use crate::zone::{Credentials, TlsMode};
use std::sync::Arc;

/// What has to be so before mail is handed over in a session.
#[derive(Clone, Debug)]
pub struct Terms {
    /// TLS. That a certificate is valid under [`TlsMode::Verify`] is for the caller to see to, who does the handshake.
    pub tls: TlsMode,
    /// AUTH with these, or no mail.
    pub credentials: Option<Credentials>,
    /// Names that the server must not call itself in its reply to EHLO, in any case of letters: it would be us.
    pub own_names: Arc<[String]>,
}

impl Terms {
    /// In clear, without AUTH, with whomever.
    #[must_use]
    pub fn none() -> Self {
        Self { tls: TlsMode::Off, credentials: None, own_names: Arc::new([]) }
    }
}

/// Where the opening stands.
#[derive(Debug)]
pub(super) struct Opening {
    terms: Terms,
    /// TLS is up.
    secure: bool,
    auth: Option<Exchange>,
}

impl Opening {
    pub(super) fn new(terms: Terms) -> Self {
        Self { terms, secure: false, auth: None }
    }
}

impl Client {
    /// The TLS handshake that [`Status::WantsTls`](super::Status::WantsTls) asked for is done. What the server said
    /// before it is forgotten (RFC 3207 section 4.2), so that nothing that was said in clear counts.
    pub fn tls_established(&mut self) {
        if self.phase == Phase::Handshake {
            self.opening.secure = true;
            self.extensions = Extensions::default();
            self.parser = ReplyParser::new();
            self.say_ehlo();
        }
    }

    /// The TLS handshake failed; `detail` is for the log.
    pub fn tls_failed(&mut self, fault: TlsFault, detail: impl Into<String>) {
        if self.phase == Phase::Handshake {
            self.end_session(Failure::new(Stage::Handshake, Cause::Tls(fault)).with_detail(detail));
        }
    }

    /// Is TLS up?
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.opening.secure
    }

    pub(super) fn on_opening_reply(&mut self, stage: Stage, reply: Reply) {
        match self.phase {
            Phase::Greeting if reply.is_positive() => self.say_ehlo(),
            Phase::Ehlo if reply.is_positive() => {
                self.extensions = Extensions::parse(&reply.text);
                self.on_hello(&reply);
            }
            // RFC 5321 section 3.2: a server without extensions. Any other refusal is about us.
            Phase::Ehlo if matches!(reply.code, 500..=502 | 504) => {
                self.output.extend_from_slice(format!("HELO {}\r\n", self.helo).as_bytes());
                self.phase = Phase::Helo;
            }
            Phase::Helo if reply.is_positive() => self.on_hello(&reply),
            // 220 and no other: what follows is the server's first octet of TLS, so there must be no doubt.
            Phase::StartTls if reply.code == 220 => self.phase = Phase::Handshake,
            Phase::StartTls if reply.code >= 400 && self.opening.terms.tls == TlsMode::Opportunistic => {
                self.authenticate();
            }
            Phase::Auth if reply.is_positive() => {
                self.opening.auth = None;
                self.phase = Phase::Ready;
            }
            Phase::Auth if reply.code / 100 == 3 => self.on_challenge(),
            Phase::Auth => {
                let reply = self.without_password(reply);
                self.refused_session(stage, reply);
            }
            _ => self.refused_session(stage, reply),
        }
    }

    fn say_ehlo(&mut self) {
        self.output.extend_from_slice(format!("EHLO {}\r\n", self.helo).as_bytes());
        self.phase = Phase::Ehlo;
    }

    /// The server has named itself and what it offers.
    fn on_hello(&mut self, reply: &Reply) {
        let name = reply.text.split([' ', '\n']).next().unwrap_or_default().trim_end_matches('.');
        let terms = &self.opening.terms;
        if terms.own_names.iter().any(|own| own.trim_end_matches('.').eq_ignore_ascii_case(name)) {
            let failure = Failure::new(Stage::Ehlo, Cause::Unroutable(Unroutable::Loop));
            return self.end_session(failure.with_detail(kept(reply.clone()).to_string()));
        }
        match terms.tls {
            _ if self.opening.secure => self.authenticate(),
            TlsMode::Off => self.authenticate(),
            _ if self.extensions.starttls => {
                self.output.extend_from_slice(b"STARTTLS\r\n");
                self.phase = Phase::StartTls;
            }
            TlsMode::Opportunistic => self.authenticate(),
            TlsMode::Require | TlsMode::Verify => {
                self.end_session(Failure::new(Stage::StartTls, Cause::Tls(TlsFault::NotOffered)));
            }
        }
    }

    /// AUTH, where there are credentials: the last step before the session is ready.
    fn authenticate(&mut self) {
        let Some(credentials) = &self.opening.terms.credentials else {
            self.phase = Phase::Ready;
            return;
        };
        let fault = |fault| Failure::new(Stage::Auth, Cause::Auth(fault));
        if !self.opening.secure && self.opening.terms.tls != TlsMode::Off {
            return self.end_session(fault(AuthFault::InClear));
        }
        let Some((command, exchange)) = auth::begin(credentials, self.extensions.auth) else {
            return self.end_session(fault(AuthFault::NotOffered));
        };
        self.output.extend_from_slice(command.as_bytes());
        self.opening.auth = Some(exchange);
        self.phase = Phase::Auth;
    }

    fn on_challenge(&mut self) {
        match self.opening.auth.as_mut().and_then(Exchange::answer) {
            Some(line) => self.output.extend_from_slice(line.as_bytes()),
            None => {
                let failure = Failure::new(Stage::Auth, Cause::Lost(Loss::Unexpected));
                self.end_session(failure.with_detail("it asks for more than the mechanism has to say"));
            }
        }
    }

    /// The reply, unless it repeats what is secret: servers quote commands that they did not understand.
    fn without_password(&self, mut reply: Reply) -> Reply {
        let told = |credentials: &Credentials| auth::tells(&reply.text, credentials);
        if self.opening.terms.credentials.as_ref().is_some_and(told) {
            "(its text repeats the password)".clone_into(&mut reply.text);
        }
        reply
    }
}
