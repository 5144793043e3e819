//! STARTTLS and AUTH in the server's state machine, driven line by line.

#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::BytesMut;
use postern_core::hook::{Credentials, Proof};
use postern_core::mail::{EnhancedCode, Reply};
use postern_core::smtp::auth::Mechanisms;
use postern_core::smtp::auth::scram::Verifier;
use postern_core::smtp::server::{Access, Event, Limits, Server};

const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

const ALL: Mechanisms = Mechanisms { passwords: true, scram: true, tokens: true };
const OPEN: Access =
    Access { starttls: true, mechanisms: ALL, auth_in_clear: true, must_authenticate: true, xclient: false };
const STRICT: Access = Access { auth_in_clear: false, ..OPEN };

/// A session whose user is tim, with the password or token `right`.
struct Run {
    server: Server,
    input: BytesMut,
    closed: bool,
    tls: bool,
    tried: Vec<Credentials>,
}

impl Run {
    fn new(access: Access) -> Self {
        let limits = Limits {
            max_size: 1000,
            max_recipients: 10,
            max_line: 1000,
            max_errors: 20,
            future_release: None,
            lmtp: false,
        };
        let server = Server::new("mta.example.com", limits).with_access(access);
        let mut run = Self { server, input: BytesMut::new(), closed: false, tls: false, tried: Vec::new() };
        assert!(run.say("").starts_with("220 "));
        run
    }

    fn hello(access: Access) -> Self {
        let mut run = Self::new(access);
        run.say("EHLO client\r\n");
        run
    }

    /// Sends octets and gives what comes back.
    fn say(&mut self, octets: &str) -> String {
        self.input.extend_from_slice(octets.as_bytes());
        loop {
            match self.server.poll(&mut self.input) {
                Event::Input => break,
                Event::Close => {
                    self.closed = true;
                    break;
                }
                Event::StartTls => {
                    self.tls = true;
                    let output = String::from_utf8(self.server.take_output()).unwrap();
                    self.server.secured();
                    return output;
                }
                Event::Scram(first) => {
                    let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
                    self.server.verifier(first, Verifier::parse(VERIFIER).unwrap(), nonce);
                }
                Event::Auth(credentials) => {
                    let right = match &credentials.proof {
                        Proof::Password(text) | Proof::Token(text) => credentials.user == "tim" && text == "right",
                        Proof::Exchange(proved) => *proved,
                    };
                    self.tried.push(credentials);
                    self.server.answer(&if right {
                        Reply::new(235, EnhancedCode(2, 7, 0), "Welcome")
                    } else {
                        Reply::new(535, EnhancedCode(5, 7, 8), "No")
                    });
                }
                Event::Mail(_) => self.server.answer(&Reply::new(250, EnhancedCode(2, 1, 0), "OK")),
                Event::Hello { .. } | Event::Abort => {}
                other => panic!("{other:?}"),
            }
        }
        String::from_utf8(self.server.take_output()).unwrap()
    }

    /// Says lines one after the other; `expected` are the beginnings of the replies.
    fn dialogue(&mut self, lines: &[(&str, &str)]) {
        for (line, expected) in lines {
            let said = self.say(&format!("{line}\r\n"));
            assert!(said.starts_with(expected), "{line}: {said}");
        }
    }
}

#[test]
fn what_is_offered_and_when() {
    let mut run = Run::new(STRICT);
    let said = run.say("EHLO client\r\n");
    assert!(said.contains("250-STARTTLS\r\n") && !said.contains("AUTH"), "{said}");
    run.dialogue(&[
        ("AUTH PLAIN AHRpbQByaWdodA==", "538 5.7.11 "),
        ("MAIL FROM:<a@b>", "530 5.7.0 Must issue a STARTTLS"),
        ("STARTTLS", "220 2.0.0 "),
        ("AUTH PLAIN AHRpbQByaWdodA==", "503 5.5.1 "),
        ("MAIL FROM:<a@b>", "503 5.5.1 "),
    ]);
    let said = run.say("EHLO client\r\n");
    assert!(!said.contains("STARTTLS"), "{said}");
    assert!(said.contains("250-AUTH SCRAM-SHA-256 PLAIN LOGIN XOAUTH2 OAUTHBEARER\r\n"), "{said}");
    run.dialogue(&[
        ("STARTTLS", "503 5.5.1 "),
        ("MAIL FROM:<a@b>", "530 5.7.0 Authentication required"),
        ("NOOP", "250 "),
        ("AUTH PLAIN AHRpbQByaWdodA==", "235 2.7.0 "),
        ("AUTH PLAIN AHRpbQByaWdodA==", "503 5.5.1 "),
        ("MAIL FROM:<a@b> AUTH=<>", "250 "),
        ("RSET", "250 "),
        ("MAIL FROM:<a@b> AUTH=e+3Dmc2@example.com", "250 "),
    ]);
    let mut nothing = Run::new(Access::default());
    let said = nothing.say("EHLO client\r\n");
    assert!(!said.contains("STARTTLS") && !said.contains("AUTH"), "{said}");
    nothing.dialogue(&[("STARTTLS", "502 "), ("AUTH PLAIN", "502 "), ("MAIL FROM:<a@b>", "250 ")]);
}

/// CVE-2011-0411: commands that were put behind STARTTLS in clear are not obeyed over TLS.
#[test]
fn nothing_follows_starttls() {
    let mut run = Run::hello(STRICT);
    let said = run.say("STARTTLS\r\nRSET\r\n");
    assert!(said.starts_with("554 5.5.0 "), "{said}");
    assert!(run.closed && !run.tls);
    let mut run = Run::hello(STRICT);
    let said = run.say("NOOP\r\nSTARTTLS\r\nM");
    assert!(said.contains("554 5.5.0 ") && run.closed && !run.tls, "{said}");
}

#[test]
fn starttls_forgets_what_was_said() {
    let mut run = Run::hello(Access { must_authenticate: false, ..STRICT });
    run.dialogue(&[("MAIL FROM:<a@b>", "250 "), ("STARTTLS", "503 "), ("RSET", "250 "), ("STARTTLS", "220 ")]);
    run.dialogue(&[
        ("MAIL FROM:<a@b>", "503 5.5.1 Say EHLO first"),
        ("EHLO again", "250"),
        ("MAIL FROM:<a@b>", "250 "),
    ]);
    run.dialogue(&[("AUTH PLAIN", "503 ")]);
    let mut run = Run::hello(OPEN);
    run.dialogue(&[("AUTH PLAIN AHRpbQByaWdodA==", "235 "), ("STARTTLS", "503 ")]);
}

#[test]
fn exchanges() {
    let mut run = Run::hello(OPEN);
    run.dialogue(&[("AUTH LOGIN", "334 VXNlcm5hbWU6"), ("dGlt", "334 UGFzc3dvcmQ6"), ("cmlnaHQ=", "235 ")]);
    let mut run = Run::hello(OPEN);
    run.dialogue(&[("AUTH login dGlt", "334 UGFzc3dvcmQ6"), ("cmlnaHQ=", "235 ")]);
    let mut run = Run::hello(OPEN);
    run.dialogue(&[("AUTH PLAIN", "334 \r\n"), ("AHRpbQByaWdodA==", "235 ")]);
    // The exchange of RFC 7677 section 3.
    let mut run = Run::hello(OPEN);
    run.dialogue(&[
        ("AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=", "334 cj1yT3By"),
        ("Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU8laHZZRHBXVWEyUmFUQ0FmdXhGSWxqKWhObEYkazAscD1kSHpiWmFwV0lrNGpVaE4rVXRlOXl0YWc5empmTUhnc3FtbWl6N0FuZFZRPQ==",
         "334 dj02cnJpVFJCaTIzV3BSUi93dHVwK21NaFVaVW4vZEI1bkxUSlJzamw5NUc0PQ=="),
        ("", "235 "),
    ]);
    assert_eq!((&*run.tried[0].user, &run.tried[0].proof), ("user", &Proof::Exchange(true)));
    let mut run = Run::hello(OPEN);
    run.dialogue(&[
        ("AUTH SCRAM-SHA-256", "334 \r\n"),
        ("biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=", "334 "),
        ("Yz1iaXdzLHI9eCxwPXg=", "535 "),
    ]);
    // A refused token has one step more (RFC 7628 section 3.2.3).
    let mut run = Run::hello(OPEN);
    run.dialogue(&[
        ("AUTH XOAUTH2 dXNlcj10aW0BYXV0aD1CZWFyZXIgd3JvbmcBAQ==", "334 eyJzdGF0dXMi"),
        ("AQ==", "535 5.7.8 "),
        ("AUTH XOAUTH2 dXNlcj10aW0BYXV0aD1CZWFyZXIgcmlnaHQBAQ==", "235 "),
    ]);
}

#[test]
fn mistakes() {
    let mut run = Run::hello(OPEN);
    run.dialogue(&[
        ("AUTH CRAM-MD5", "504 5.5.4 "),
        ("AUTH PLAIN =", "501 5.5.2 "),
        ("AUTH PLAIN !", "501 5.5.2 "),
        ("AUTH PLAIN", "334 "),
        ("*", "501 5.7.0 "),
        ("AUTH PLAIN", "334 "),
        ("not base64", "501 5.5.2 "),
        ("NOOP", "250 "),
    ]);
    // What is too long ends the exchange; what is not is read, though it is longer than a command.
    let mut run = Run::hello(OPEN);
    let long = "A".repeat(12_000);
    run.dialogue(&[("AUTH PLAIN", "334 "), (&long, "501 5.5.2 "), ("AUTH PLAIN", "334 ")]);
    let longer = "A".repeat(12_288);
    run.dialogue(&[(&longer, "500 5.5.2 "), ("NOOP", "250 ")]);
    assert!(run.tried.is_empty());
    let mut helo = Run::new(OPEN);
    helo.dialogue(&[("HELO client", "250 "), ("AUTH PLAIN AHRpbQByaWdodA==", "503 ")]);
    // A bare LF ends no line of an exchange.
    let mut run = Run::hello(OPEN);
    run.dialogue(&[("AUTH PLAIN", "334 ")]);
    assert!(run.say("AHRpbQByaWdodA==\n").starts_with("500 "));
    run.dialogue(&[("NOOP", "250 ")]);
}

#[test]
fn three_failures_end_the_session() {
    let mut run = Run::hello(OPEN);
    run.dialogue(&[("AUTH PLAIN AHRpbQB3cm9uZw==", "535 "), ("AUTH PLAIN AHRpbQB3cm9uZw==", "535 ")]);
    let said = run.say("AUTH PLAIN AHRpbQB3cm9uZw==\r\nMAIL FROM:<a@b>\r\n");
    let codes: Vec<&str> = said.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["535", "421"]);
    assert!(run.closed);
}

/// What comes behind a line that ended the exchange is a command again, also in the same read.
#[test]
fn a_line_that_is_none_ends_the_exchange() {
    for bad in ["eA==\n".to_owned(), format!("{}\r\n", "x".repeat(20_000))] {
        let mut run = Run::hello(OPEN);
        let said = run.say(&format!("AUTH LOGIN\r\n{bad}NOOP\r\nRSET\r\n"));
        let codes: Vec<&str> = said.lines().map(|line| &line[..3]).collect();
        assert_eq!(codes, ["334", "500", "250", "250"], "{said}");
    }
}
