//! A driver of the server's state machine that takes most of what it is asked, and notes what happens.

use bytes::BytesMut;
use postern_core::hook::{Credentials, Proof, Protocol};
use postern_core::mail::{EnhancedCode, Reply};
use postern_core::smtp::auth::Mechanisms;
use postern_core::smtp::auth::scram::Verifier;
use postern_core::smtp::server::{Access, Event, FutureRelease, Limits, Server};
use postern_core::smtp::xclient::Said;
use postern_core::time::Timestamp;
use std::num::NonZeroU32;
use std::time::Duration;

/// Recipients of one transaction.
pub const MAX_RECIPIENTS: usize = 3;

/// A session.
pub struct Session {
    server: Server,
    input: BytesMut,
    /// All that was sent.
    pub output: Vec<u8>,
    /// The contents of the messages that were taken.
    pub messages: Vec<Vec<u8>>,
    /// How many ends of content there were.
    pub ends: usize,
    content: Option<Vec<u8>>,
    recipients: usize,
    /// Nothing more is read.
    pub closed: bool,
    /// STARTTLS was obeyed.
    pub secured: bool,
    has_authenticated: bool,
    access: Access,
}

impl Session {
    /// One whose limits and offers are the bits of `kind`.
    pub fn new(kind: u8) -> Self {
        let bit = |index: u8| kind & (1 << index) != 0;
        let limits = Limits {
            max_size: if bit(0) { 100 } else { 100_000 },
            max_recipients: MAX_RECIPIENTS,
            max_line: if bit(1) { 20 } else { 1000 },
            max_errors: 20,
            future_release: bit(2)
                .then_some(FutureRelease { longest: Duration::from_secs(3600), latest: Timestamp(1_900_000_000_000) }),
            lmtp: bit(3),
        };
        let access = Access {
            starttls: bit(4),
            mechanisms: Mechanisms { passwords: bit(5), scram: bit(5), tokens: bit(5) },
            auth_in_clear: bit(6),
            must_authenticate: bit(5) && bit(7),
            xclient: !bit(5) && bit(7),
        };
        Self {
            server: Server::new("mta.example.com", limits).with_access(access),
            input: BytesMut::new(),
            output: Vec::new(),
            messages: Vec::new(),
            ends: 0,
            content: None,
            recipients: 0,
            closed: false,
            secured: false,
            has_authenticated: false,
            access,
        }
    }

    /// Takes octets from the client and does what there is to do.
    pub fn receive(&mut self, octets: &[u8]) {
        if self.closed {
            return;
        }
        self.input.extend_from_slice(octets);
        loop {
            let event = self.server.poll(&mut self.input);
            self.output.extend(self.server.take_output());
            self.server.take_refusals();
            match event {
                Event::Input => return,
                Event::Close => {
                    self.closed = true;
                    return;
                }
                event => self.act(event),
            }
            self.output.extend(self.server.take_output());
        }
    }

    /// Is content, or a chunk, on its way in?
    pub fn in_content(&self) -> bool {
        self.server.in_content()
    }

    fn act(&mut self, event: Event) {
        let reply = match event {
            Event::Input | Event::Close => return,
            Event::Hello { .. } => {
                self.content = None;
                self.recipients = 0;
                return;
            }
            Event::Abort => {
                self.content = None;
                return;
            }
            Event::StartTls => {
                assert!(self.input.is_empty(), "what was said in clear is read as if over TLS");
                self.secured = true;
                self.server.secured();
                return;
            }
            Event::Xclient(client) => {
                assert!(self.access.xclient, "XCLIENT by somebody else");
                let said_hello = matches!(client.helo, Said::Value(_)).then_some(Protocol::Esmtp);
                let is_known = matches!(client.login, Said::Value(_));
                return self.server.speaks_for(self.access, is_known, said_hello);
            }
            Event::Scram(first) => {
                let verifier = Verifier::decoy(&[7; 32], NonZeroU32::new(4096).expect("not zero"));
                return self.server.verifier(first, verifier, "n0nce");
            }
            Event::Auth(credentials) => {
                self.has_authenticated |= is_right(&credentials);
                if is_right(&credentials) {
                    Reply::new(235, EnhancedCode(2, 7, 0), "OK")
                } else {
                    Reply::new(535, EnhancedCode(5, 7, 8), "No")
                }
            }
            Event::Mail(mail) => {
                assert!(!self.access.must_authenticate || self.has_authenticated, "MAIL before AUTH");
                self.recipients = 0;
                self.content = None;
                judged(!mail.reverse_path.as_str().starts_with("no"))
            }
            Event::Rcpt(recipient) => {
                let accepted = !recipient.address.as_str().starts_with("no");
                self.recipients += usize::from(accepted);
                assert!(self.recipients <= MAX_RECIPIENTS);
                judged(accepted)
            }
            Event::Data => {
                assert!(self.recipients > 0 && self.content.is_none(), "content without a transaction");
                self.content = Some(Vec::new());
                Reply::plain(354, "Go ahead")
            }
            Event::Content(piece) => {
                self.content.as_mut().expect("content was asked for").extend_from_slice(&piece);
                return;
            }
            Event::ContentEnd => {
                let content = self.content.take().expect("content was asked for");
                self.ends += 1;
                self.recipients = 0;
                let accepted = !content.starts_with(b"no");
                if accepted {
                    self.messages.push(content);
                }
                judged(accepted)
            }
        };
        self.server.answer(&reply);
    }
}

fn judged(accepted: bool) -> Reply {
    if accepted { Reply::new(250, EnhancedCode(2, 0, 0), "OK") } else { Reply::new(550, EnhancedCode(5, 7, 1), "No") }
}

fn is_right(credentials: &Credentials) -> bool {
    match &credentials.proof {
        Proof::Password(text) | Proof::Token(text) => text == "yes",
        Proof::Exchange(proved) => *proved,
    }
}
