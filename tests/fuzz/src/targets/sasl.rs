//! The exchanges of AUTH. The first octet chooses the mechanism; the client's responses are the lines that follow.

use postern_core::hook::{Credentials, Proof};
use postern_core::smtp::auth::scram::Verifier;
use postern_core::smtp::auth::{Exchange, Mechanism, Step};
use std::num::NonZeroU32;

const MECHANISMS: [Mechanism; 5] =
    [Mechanism::Plain, Mechanism::Login, Mechanism::ScramSha256, Mechanism::XOAuth2, Mechanism::OAuthBearer];

pub fn run(input: &[u8]) {
    let Some((first, responses)) = input.split_first() else { return };
    let mut exchange = Exchange::First(MECHANISMS[usize::from(*first) % MECHANISMS.len()]);
    let mut steps = 0;
    for response in responses.split(|octet| *octet == b'\n') {
        steps += 1;
        let step = match exchange.clone().respond(response) {
            Step::NeedsVerifier(first) => {
                assert_name(&first.user);
                let iterations = NonZeroU32::new(4096).expect("not zero");
                Exchange::scram(first, Verifier::decoy(&[7; 32], iterations), "n0nce")
            }
            step => step,
        };
        match step {
            Step::Challenge(text, next) => {
                // Nobody knows the keys: the exchange never gets to its last step.
                assert!(!matches!(next, Exchange::ScramDone { .. }), "a proof of nothing");
                assert!(!text.contains(char::is_control), "{text:?}");
                exchange = next;
            }
            Step::Credentials(credentials) => return check(&credentials),
            Step::Malformed => return,
            Step::NeedsVerifier(_) => panic!("asked twice"),
        }
        assert!(steps <= 3, "{exchange:?}");
    }
}

fn check(credentials: &Credentials) {
    let may_be_empty = credentials.mechanism == Mechanism::OAuthBearer.name();
    if !(may_be_empty && credentials.user.is_empty()) {
        assert_name(&credentials.user);
    }
    credentials.authorization.iter().for_each(|name| assert_name(name));
    match &credentials.proof {
        Proof::Exchange(proved) => assert!(!proved, "nobody knows the keys"),
        Proof::Token(token) => assert!(!token.contains(char::is_control)),
        Proof::Password(_) => {}
    }
}

fn assert_name(name: &str) {
    assert!(!name.is_empty() && !name.contains(char::is_control), "{name:?}");
}
