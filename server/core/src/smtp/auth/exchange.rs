//! The exchanges of the mechanisms: responses of the client in, challenges and credentials out. PLAIN (RFC 4616), LOGIN
//! (draft-murchison-sasl-login), SCRAM-SHA-256 (RFC 7677), XOAUTH2 (Google's), OAUTHBEARER (RFC 7628).

use super::Mechanism;
use super::proof::{ClientFirst, Waiting, challenge};
use super::scram::Verifier;
use crate::hook::{Credentials, Proof};

/// Longest name, in octets.
const MAX_NAME: usize = 255;

/// An exchange that waits for the client's next response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// For the only one, or SCRAM's first.
    First(Mechanism),
    /// LOGIN: for the password.
    LoginPassword {
        /// Who it said it was.
        user: String,
    },
    /// SCRAM: for the proof.
    ScramFinal(Box<Waiting>),
    /// SCRAM: for the empty response to the server's last message.
    ScramDone {
        /// Who it is.
        user: String,
    },
}

/// What a response leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This is sent, and the exchange goes on.
    Challenge(String, Exchange),
    /// SCRAM: goes on once it is known what the server keeps of the user's password, with [`Exchange::scram`].
    NeedsVerifier(ClientFirst),
    /// The client has said all.
    Credentials(Credentials),
    /// That is not what the mechanism asks for.
    Malformed,
}

impl Exchange {
    /// What is sent if the client gave no initial response.
    #[must_use]
    pub fn first_challenge(mechanism: Mechanism) -> &'static str {
        if mechanism == Mechanism::Login { "Username:" } else { "" }
    }

    /// Goes on with a SCRAM exchange; `nonce` must be new.
    #[must_use]
    pub fn scram(first: ClientFirst, verifier: Verifier, nonce: &str) -> Step {
        let (text, waiting) = challenge(first, verifier, nonce);
        Step::Challenge(text, Self::ScramFinal(Box::new(waiting)))
    }

    /// The client's response, decoded.
    #[must_use]
    pub fn respond(self, response: &[u8]) -> Step {
        let step = match self {
            Self::First(Mechanism::Plain) => plain(response).map(Step::Credentials),
            Self::First(Mechanism::Login) => text(response).filter(|user| is_name(user)).map(|user| {
                let user = user.to_owned();
                Step::Challenge("Password:".to_owned(), Self::LoginPassword { user })
            }),
            Self::First(Mechanism::ScramSha256) => ClientFirst::parse(response).map(Step::NeedsVerifier),
            Self::First(Mechanism::XOAuth2) => xoauth2(response).map(Step::Credentials),
            Self::First(Mechanism::OAuthBearer) => oauthbearer(response).map(Step::Credentials),
            Self::LoginPassword { user } => text(response).map(|password| {
                Step::Credentials(credentials(Mechanism::Login, &user, None, Proof::Password(password.to_owned())))
            }),
            Self::ScramFinal(waiting) => Some(match waiting.finish(response) {
                Some(last) => Step::Challenge(last, Self::ScramDone { user: waiting.user }),
                None => scram(&waiting.user, false),
            }),
            Self::ScramDone { user } => response.is_empty().then(|| scram(&user, true)),
        };
        step.unwrap_or(Step::Malformed)
    }
}

fn scram(user: &str, proved: bool) -> Step {
    Step::Credentials(credentials(Mechanism::ScramSha256, user, None, Proof::Exchange(proved)))
}

fn credentials(mechanism: Mechanism, user: &str, authorization: Option<&str>, proof: Proof) -> Credentials {
    let authorization = authorization.filter(|other| *other != user).map(str::to_owned);
    Credentials { mechanism: mechanism.name(), user: user.to_owned(), authorization, proof }
}

fn text(octets: &[u8]) -> Option<&str> {
    std::str::from_utf8(octets).ok()
}

/// Names stand in the log and in Received.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control)
}

/// `authzid NUL authcid NUL password`
fn plain(response: &[u8]) -> Option<Credentials> {
    let fields: Vec<&str> = text(response)?.split('\0').collect();
    let [authorization, user, password] = fields[..] else { return None };
    let authorization = (!authorization.is_empty()).then_some(authorization);
    if !is_name(user) || !authorization.is_none_or(is_name) || password.is_empty() {
        return None;
    }
    Some(credentials(Mechanism::Plain, user, authorization, Proof::Password(password.to_owned())))
}

/// `user=…^Aauth=Bearer …^A^A`
fn xoauth2(response: &[u8]) -> Option<Credentials> {
    let fields = text(response)?.strip_suffix("\u{1}\u{1}")?;
    let (user, token) = fields.split_once('\u{1}')?;
    let user = user.strip_prefix("user=").filter(|user| is_name(user))?;
    let token = bearer(token.strip_prefix("auth=")?)?;
    Some(credentials(Mechanism::XOAuth2, user, None, Proof::Token(token)))
}

/// `n,a=…,^Ahost=…^Aport=…^Aauth=Bearer …^A^A`
fn oauthbearer(response: &[u8]) -> Option<Credentials> {
    let fields = text(response)?.strip_suffix("\u{1}\u{1}")?;
    let (header, pairs) = fields.split_once('\u{1}')?;
    let (binding, name) = header.strip_suffix(',')?.split_once(',')?;
    if !matches!(binding, "n" | "y") {
        return None;
    }
    let user = match name {
        "" => String::new(),
        name => name.strip_prefix("a=")?.replace("=2C", ",").replace("=3D", "="),
    };
    if !user.is_empty() && !is_name(&user) {
        return None;
    }
    let token = bearer(pairs.split('\u{1}').find_map(|pair| pair.strip_prefix("auth="))?)?;
    Some(credentials(Mechanism::OAuthBearer, &user, None, Proof::Token(token)))
}

fn bearer(value: &str) -> Option<String> {
    let (scheme, token) = value.split_once(' ')?;
    let sound = scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty() && !token.chars().any(char::is_control);
    sound.then(|| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(mechanism: Mechanism, response: &str) -> Option<Credentials> {
        match Exchange::First(mechanism).respond(response.as_bytes()) {
            Step::Credentials(credentials) => Some(credentials),
            Step::Malformed => None,
            other => panic!("{other:?}"),
        }
    }

    fn password(user: &str, authorization: Option<&str>, password: &str) -> Credentials {
        credentials(Mechanism::Plain, user, authorization, Proof::Password(password.into()))
    }

    /// The examples of RFC 4616 section 4, and what is none.
    #[test]
    fn plain_messages() {
        let check = |text: &str, expected| assert_eq!(only(Mechanism::Plain, text), expected, "{text:?}");
        check("\0tim\0tanstaaftanstaaf", Some(password("tim", None, "tanstaaftanstaaf")));
        check("Ursel\0Kurt\0xipj3plmq", Some(password("Kurt", Some("Ursel"), "xipj3plmq")));
        check("tim\0tim\0p", Some(password("tim", None, "p")));
        for wrong in ["", "\0", "tim", "\0tim", "\0tim\0", "\0\0p", "\0tim\0p\0", "\0t\nm\0p"] {
            check(wrong, None);
        }
        assert_eq!(Exchange::First(Mechanism::Plain).respond(b"\0tim\0\xff"), Step::Malformed);
    }

    #[test]
    fn login_has_two_steps() {
        let step = Exchange::First(Mechanism::Login).respond(b"tim");
        let Step::Challenge(text, next) = step else { panic!("{step:?}") };
        assert_eq!(text, "Password:");
        let Step::Credentials(credentials) = next.respond(b"s3cret") else { panic!("not at its end") };
        assert_eq!((&*credentials.user, credentials.proof.clone()), ("tim", Proof::Password("s3cret".into())));
        assert!(!format!("{credentials:?}").contains("s3cret"));
        assert_eq!(Exchange::First(Mechanism::Login).respond(b"a\0b"), Step::Malformed);
    }

    /// The examples of RFC 7628 section 4.1 and of Google's page on XOAUTH2.
    #[test]
    fn tokens() {
        let text = "n,a=user@example.com,\u{1}host=server.example.com\u{1}port=143\u{1}\
                    auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\u{1}\u{1}";
        let token = || Proof::Token("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==".into());
        let wanted = credentials(Mechanism::OAuthBearer, "user@example.com", None, token());
        assert_eq!(only(Mechanism::OAuthBearer, text), Some(wanted));
        let anonymous = only(Mechanism::OAuthBearer, "n,,\u{1}auth=Bearer t\u{1}\u{1}").unwrap();
        assert_eq!(anonymous.user, "");
        for wrong in ["", "n,,\u{1}\u{1}", "n,,\u{1}auth=Basic t\u{1}\u{1}", "p=x,,\u{1}auth=Bearer t\u{1}\u{1}"] {
            assert_eq!(only(Mechanism::OAuthBearer, wrong), None, "{wrong:?}");
        }
        let text = "user=someuser@example.com\u{1}auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\u{1}\u{1}";
        let got = only(Mechanism::XOAuth2, text).unwrap();
        let token = Proof::Token("ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg".into());
        assert_eq!(got, credentials(Mechanism::XOAuth2, "someuser@example.com", None, token));
        assert_eq!(only(Mechanism::XOAuth2, "user=\u{1}auth=Bearer t\u{1}\u{1}"), None);
    }
}
