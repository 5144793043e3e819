//! What hooks answer.

use crate::{Error, Result};
use std::fmt;

/// A reply to the client: code, enhanced code (RFC 3463) and text, `550 5.7.1 Not today`.
///
/// A text alone is a reply too; the code is then the default of the verdict. (A text that begins with three digits and a
/// space is read as one with a code: where it comes from elsewhere, use [`Reply::new`].) The text is one line of at most
/// 400 octets; a reply that breaks the rules counts as a failure of the plugin. One that comes from the config is best
/// checked there: `Reply` can be deserialized, which does what [`Reply::parse`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply(String);

impl Reply {
    /// Longest text in octets.
    pub const MAX_TEXT: usize = 400;

    /// Code, enhanced code and text: `Reply::new(550, "5.7.1", "Not today")`.
    #[must_use]
    pub fn new(code: u16, enhanced: &str, text: &str) -> Self {
        Self(format!("{code} {enhanced} {text}"))
    }

    /// Code and text, without an enhanced code.
    #[must_use]
    pub fn with_code(code: u16, text: &str) -> Self {
        Self(format!("{code} {text}"))
    }

    /// Code, enhanced code and a text from elsewhere: control characters become spaces, and what is too long is cut.
    #[must_use]
    pub fn lossy(code: u16, enhanced: &str, text: &str) -> Self {
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let line = line.trim();
        Self::new(code, enhanced, &line[..line.floor_char_boundary(Self::MAX_TEXT)])
    }

    /// Takes a reply as it would be written in a config, if it keeps the rules.
    ///
    /// # Errors
    /// It does not; the text says why.
    pub fn parse(text: &str) -> Result<Self> {
        let reply = Self(text.to_owned());
        match reply.class() {
            Some(4 | 5) | None => {}
            Some(_) => return Err(Error::new(format!("{text:?}: the code begins with 4 or 5"))),
        }
        reply.check().map(|()| reply)
    }

    /// As it goes to the host.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The code's first digit, if there is a code.
    #[must_use]
    pub fn class(&self) -> Option<u8> {
        self.split().0.map(|code| code.as_bytes()[0] - b'0')
    }

    /// Code, enhanced code and text.
    fn split(&self) -> (Option<&str>, Option<&str>, &str) {
        let is_code = |word: &str| word.len() == 3 && word.bytes().all(|b| b.is_ascii_digit());
        let Some((code, rest)) = self.0.split_once(' ').filter(|(code, _)| is_code(code)) else {
            return (None, None, &self.0);
        };
        match rest.split_once(' ').filter(|(word, _)| is_enhanced(word)) {
            Some((enhanced, text)) => (Some(code), Some(enhanced), text),
            None => (Some(code), None, rest),
        }
    }

    fn check(&self) -> Result<()> {
        let (code, enhanced, text) = self.split();
        let wrong = |what: &str| Err(Error::new(format!("reply {:?}: {what}", self.0)));
        if let (Some(code), Some(enhanced)) = (code, enhanced)
            && code.as_bytes()[0] != enhanced.as_bytes()[0]
        {
            return wrong("the enhanced code has another class than the code");
        }
        if text.len() > Self::MAX_TEXT {
            return wrong("the text has more than 400 octets");
        }
        if text.contains(char::is_control) {
            return wrong("the text contains a control character");
        }
        Ok(())
    }

    /// What the host checks of a reply in a verdict: `class` is 5 for a rejection and 4 for a deferral.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn check_class(&self, class: u8) -> Result<()> {
        if self.class().is_some_and(|own| own != class) {
            return Err(Error::new(format!("reply {:?}: its code does not begin with {class}", self.0)));
        }
        self.check()
    }
}

/// `5.7.1`: RFC 3463 section 2.
fn is_enhanced(word: &str) -> bool {
    let mut pieces = word.split('.');
    let mut number = |max: usize| {
        pieces.next().is_some_and(|piece| (1..=max).contains(&piece.len()) && piece.bytes().all(|b| b.is_ascii_digit()))
    };
    number(1) && number(3) && number(3) && pieces.next().is_none()
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<Reply> for String {
    fn from(reply: Reply) -> Self {
        reply.0
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Reply {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// What a hook of the dialogue says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on: the next plugin is asked.
    Pass,
    /// Refuse for good.
    Reject(Reply),
    /// Refuse for now.
    Defer(Reply),
}

impl Verdict {
    /// Refuses for good; 550 5.7.1 unless the reply says otherwise.
    pub fn reject(reply: impl Into<Reply>) -> Self {
        Self::Reject(reply.into())
    }

    /// Refuses for now; 451 4.7.1 unless the reply says otherwise.
    pub fn defer(reply: impl Into<Reply>) -> Self {
        Self::Defer(reply.into())
    }
}

/// What the hook `auth` says of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthVerdict {
    /// They are valid, and the session's user is this one.
    Accept(String),
    /// They are not.
    Reject(Reply),
    /// Not for this plugin: the next one is asked. If none knows them, they are refused.
    Pass,
}

impl AuthVerdict {
    /// The credentials are this user's.
    pub fn accept(user: impl Into<String>) -> Self {
        Self::Accept(user.into())
    }

    /// The credentials are wrong; 535 5.7.8 unless the reply says otherwise.
    pub fn reject(reply: impl Into<Reply>) -> Self {
        Self::Reject(reply.into())
    }
}

/// What the hook `spam` says of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpamVerdict {
    /// Go on: the next plugin is asked. Header edits stay.
    Accept,
    /// Refuse for good.
    Reject(Reply),
    /// Refuse for now.
    Defer(Reply),
    /// Take it and hold all recipients until an operator releases them; the text is the reason that is shown.
    Hold(String),
    /// Tell the client that it was queued and drop it; the text is the reason in the log.
    Discard(String),
}

impl SpamVerdict {
    /// Refuses for good; 550 5.7.1 unless the reply says otherwise.
    pub fn reject(reply: impl Into<Reply>) -> Self {
        Self::Reject(reply.into())
    }

    /// Refuses for now; 451 4.7.1 unless the reply says otherwise.
    pub fn defer(reply: impl Into<Reply>) -> Self {
        Self::Defer(reply.into())
    }

    /// Takes it and holds it.
    pub fn hold(reason: impl Into<String>) -> Self {
        Self::Hold(reason.into())
    }

    /// Takes it and drops it.
    pub fn discard(reason: impl Into<String>) -> Self {
        Self::Discard(reason.into())
    }
}

/// What becomes of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It begins: the next plugin is asked.
    Go,
    /// All its recipients are deferred, by the retry schedule, for this reason.
    Defer(String),
    /// All its recipients bounce with this reply, as if the next hop had said it.
    Bounce(Reply),
}

impl Decision {
    /// Defers all recipients.
    pub fn defer(reason: impl Into<String>) -> Self {
        Self::Defer(reason.into())
    }

    /// Bounces all recipients; the reply has the class 5.
    pub fn bounce(reply: impl Into<Reply>) -> Self {
        Self::Bounce(reply.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_what_the_host_reads() {
        assert_eq!(Reply::new(550, "5.7.1", "Not today").as_str(), "550 5.7.1 Not today");
        assert_eq!(Reply::with_code(421, "Busy").as_str(), "421 Busy");
        assert_eq!(Verdict::reject("No"), Verdict::Reject(Reply("No".into())));
        assert_eq!(Reply::lossy(550, "5.7.1", " No,\r\nnever\n").as_str(), "550 5.7.1 No,  never");
        Reply::parse(Reply::lossy(550, "5.7.1", &"ü".repeat(300)).as_str()).unwrap();
    }

    #[test]
    fn rules_of_replies() {
        for good in ["No", "550 No", "550 5.7.1 No", "451 4.7.1 5.7.1", "5.7.1 a text", "550 5.1 a text", ""] {
            assert_eq!(Reply::parse(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(401);
        for bad in ["250 Ok", "550 4.7.1 No", "No\r\n250 Ok", long.as_str()] {
            Reply::parse(bad).unwrap_err();
        }
        let check = |reply: &str, class: u8| Reply::from(reply).check_class(class).is_ok();
        assert!(check("550 5.7.1 a", 5) && check("a", 5) && check("a", 4) && check("451 a", 4));
        assert!(!check("451 a", 5) && !check("550 a", 4) && !check("550 4.0.0 a", 5));
    }

    #[test]
    fn a_reply_in_a_config_is_checked() {
        let error = serde_json::from_str::<Reply>(r#""200 fine""#).unwrap_err();
        assert!(error.to_string().contains("begins with 4 or 5"), "{error}");
    }
}
