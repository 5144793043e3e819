//! AUTH (RFC 4954): the mechanisms PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login), as lines to send.

use crate::zone::Credentials;
use data_encoding::BASE64;
use std::fmt;

/// Longest AUTH command with an initial response, line end included (RFC 4954 section 4).
const MAX_COMMAND: usize = 512;

/// Mechanisms that a server offers, of those that are known here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms {
    /// RFC 4616.
    pub plain: bool,
    /// Without a standard, and all that some servers offer.
    pub login: bool,
}

impl Mechanisms {
    /// Adds those that stand among the words after AUTH.
    pub(super) fn add<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for word in words {
            self.plain |= word.eq_ignore_ascii_case("PLAIN");
            self.login |= word.eq_ignore_ascii_case("LOGIN");
        }
    }
}

/// What is left to answer to challenges, the next one last. `Debug` does not show it.
pub(super) struct Exchange {
    answers: Vec<String>,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

impl Exchange {
    /// The line that answers the next challenge, whatever that says: the order is the mechanism's. None if there is
    /// nothing left to say.
    pub(super) fn answer(&mut self) -> Option<String> {
        self.answers.pop()
    }
}

/// The AUTH command, with CRLF, and what follows it. None if nothing is offered that these credentials can be used with.
pub(super) fn begin(credentials: &Credentials, offered: Mechanisms) -> Option<(String, Exchange)> {
    let Credentials { user, password } = credentials;
    // NUL parts the fields of PLAIN.
    if offered.plain && !user.contains('\0') && !password.contains('\0') {
        let response = plain(credentials);
        let command = format!("AUTH PLAIN {response}\r\n");
        if command.len() <= MAX_COMMAND {
            return Some((command, Exchange { answers: Vec::new() }));
        }
        return Some(("AUTH PLAIN\r\n".to_owned(), Exchange { answers: vec![format!("{response}\r\n")] }));
    }
    let line = |text: &str| format!("{}\r\n", base64(text.as_bytes()));
    let exchange = || Exchange { answers: vec![line(password), line(user)] };
    offered.login.then(|| ("AUTH LOGIN\r\n".to_owned(), exchange()))
}

/// Does a text of the server repeat the password, in clear or as it was sent?
pub(super) fn tells(text: &str, credentials: &Credentials) -> bool {
    let secrets = [credentials.password.clone(), base64(credentials.password.as_bytes()), plain(credentials)];
    // The server may have cut what it repeats, so a beginning of it counts too.
    let start = |secret: &str| secret[..secret.floor_char_boundary(24)].to_owned();
    secrets.iter().any(|secret| !secret.is_empty() && text.contains(&start(secret)))
}

fn plain(credentials: &Credentials) -> String {
    base64(format!("\0{}\0{}", credentials.user, credentials.password).as_bytes())
}

fn base64(octets: &[u8]) -> String {
    BASE64.encode(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(user: &str, password: &str) -> Credentials {
        Credentials { user: user.to_owned(), password: password.to_owned() }
    }

    const BOTH: Mechanisms = Mechanisms { plain: true, login: true };

    #[test]
    fn base64_as_in_rfc_4648_section_10() {
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }

    /// The example of RFC 4616 section 4: user tim, password tanstaaftanstaaf.
    #[test]
    fn plain_before_login() {
        let (command, mut rest) = begin(&credentials("tim", "tanstaaftanstaaf"), BOTH).unwrap();
        assert_eq!(command, "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n");
        assert_eq!(rest.answer(), None);
    }

    #[test]
    fn a_long_response_waits_for_its_challenge() {
        let (command, mut rest) = begin(&credentials("tim", &"x".repeat(500)), BOTH).unwrap();
        assert_eq!(command, "AUTH PLAIN\r\n");
        assert!(rest.answer().unwrap().starts_with("AHRpbQB4eHh4"));
        assert_eq!(rest.answer(), None);
    }

    #[test]
    fn login_asks_for_one_after_the_other() {
        let only = Mechanisms { plain: false, login: true };
        let (command, mut rest) = begin(&credentials("tim", "secret"), only).unwrap();
        assert_eq!(command, "AUTH LOGIN\r\n");
        assert_eq!(rest.answer().as_deref(), Some("dGlt\r\n"));
        assert_eq!(rest.answer().as_deref(), Some("c2VjcmV0\r\n"));
        assert_eq!(rest.answer(), None);
        // A NUL can't be said in PLAIN.
        assert_eq!(begin(&credentials("tim", "a\0b"), BOTH).unwrap().0, "AUTH LOGIN\r\n");
        assert!(begin(&credentials("tim", "secret"), Mechanisms::default()).is_none());
    }

    #[test]
    fn nothing_shows_the_password() {
        let credentials = credentials("tim", "tanstaaftanstaaf");
        let (_, exchange) = begin(&credentials, Mechanisms { plain: false, login: true }).unwrap();
        for shown in [format!("{exchange:?}"), format!("{credentials:?}")] {
            assert!(!shown.contains("tanst") && !shown.contains("dGFuc3"), "{shown}");
        }
        assert!(tells("502 what is AHRpbQB0YW5zdGFhZnRhbnN0YWFm", &credentials));
        assert!(tells("what is dGFuc3RhYWZ0YW5zdGFhZg==?", &credentials));
        assert!(tells("wrong password: tanstaaftanstaaf", &credentials));
        assert!(!tells("authentication failed for tim", &credentials));
    }
}
