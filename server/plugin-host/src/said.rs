//! What a plugin says, checked: replies of the right class, one line, no control characters.

use crate::instance::CallError;
use crate::subject::Answer;
use postern_core::hook::HookPoint;
use postern_core::mail::{EnhancedCode, Reply};
use std::sync::Arc;

/// Longest text of a reply or a reason, in octets.
const MAX_TEXT: usize = 400;
/// Longest name of a user, in octets.
const MAX_USER: usize = 255;

/// A verdict that is not "go on".
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Credentials are valid, and this user's.
    User(Arc<str>),
    /// The client, or the recipients of an attempt, get this reply.
    Refuse(Reply),
    /// An attempt is put off, for this reason.
    PutOff(String),
    Hold(String),
    Discard(String),
}

/// The verdict of a plugin at a hook; none is "go on".
pub(crate) fn check(point: HookPoint, answer: Answer) -> Result<Option<Said>, CallError> {
    let said = match answer {
        Answer::Pass => return Ok(None),
        Answer::Defer(reason) if point == HookPoint::DeliveryBefore => Said::PutOff(line(reason)?),
        Answer::Accept(user) => Said::User(self::user(user)?),
        Answer::Reject(text) if point == HookPoint::Auth => Said::Refuse(no_user(&text)?),
        Answer::Reject(text) => Said::Refuse(reply(&text, 5, "Message refused")?),
        Answer::Bounce(text) => Said::Refuse(reply(&text, 5, "Message refused")?),
        Answer::Defer(text) => Said::Refuse(reply(&text, 4, "Try again later")?),
        Answer::Hold(reason) => Said::Hold(line(reason)?),
        Answer::Discard(reason) => Said::Discard(line(reason)?),
    };
    Ok(Some(match said {
        // Before the greeting there are only these two (RFC 5321 section 4.3.2), and the connection ends.
        Said::Refuse(reply) if point == HookPoint::Connect => Said::Refuse(Reply {
            code: match reply.code {
                code @ (421 | 500..) => code,
                _ => 421,
            },
            ..reply
        }),
        said => said,
    }))
}

fn line(text: String) -> Result<String, CallError> {
    if text.len() > MAX_TEXT {
        return Err(CallError::Verdict(format!("a text of {} octets, of at most {MAX_TEXT}", text.len())));
    }
    if text.contains(char::is_control) {
        return Err(CallError::Verdict("a text with control characters".into()));
    }
    Ok(text)
}

/// The name stands in the log, in Received and in the queue.
fn user(name: String) -> Result<Arc<str>, CallError> {
    if name.is_empty() || name.len() > MAX_USER {
        return Err(CallError::Verdict(format!("a user's name of {} octets, of 1 to {MAX_USER}", name.len())));
    }
    Ok(line(name)?.into())
}

/// 535 5.7.8 (RFC 4954 section 6) where the reply says nothing else.
fn no_user(text: &str) -> Result<Reply, CallError> {
    let given = reply(text, 5, "Authentication failed")?;
    let has_code = split_code(text.trim()).is_some();
    let has_enhanced = text.split(' ').any(|word| EnhancedCode::parse(word).is_some());
    let code = if has_code { given.code } else { 535 };
    let enhanced = if has_enhanced { given.enhanced } else { Some(EnhancedCode(5, 7, 8)) };
    Ok(Reply { code, enhanced, ..given })
}

/// Reads `[code [enhanced]] text`; `class` is 4 or 5, what is not said is 451 4.7.1 or 550 5.7.1 and `default`.
fn reply(text: &str, class: u8, default: &str) -> Result<Reply, CallError> {
    let text = line(text.to_owned())?;
    let wrong = |what: &str| CallError::Verdict(format!("{what} where the class is {class}"));
    let (mut code, mut enhanced) = if class == 5 { (550, EnhancedCode(5, 7, 1)) } else { (451, EnhancedCode(4, 7, 1)) };
    let mut rest = text.trim();
    if let Some((first, after)) = split_code(rest) {
        if first / 100 != u16::from(class) {
            return Err(wrong(&format!("the code {first}")));
        }
        (code, rest) = (first, after);
        // A code of its own with another meaning than policy: nothing is known of the detail.
        enhanced = EnhancedCode(class, 0, 0);
    }
    let word = rest.split(' ').next().unwrap_or_default();
    if let Some(given) = EnhancedCode::parse(word) {
        if given.0 != class {
            return Err(wrong(&format!("the enhanced code {word}")));
        }
        enhanced = given;
        rest = rest[word.len()..].trim_start();
    } else if (550..=554).contains(&code) || code == 451 || code == 421 {
        enhanced = EnhancedCode(class, 7, 1);
    }
    Ok(Reply::new(code, enhanced, if rest.is_empty() { default } else { rest }))
}

/// Three digits, then a space or the end.
fn split_code(text: &str) -> Option<(u16, &str)> {
    let digits = text.get(..3).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    let after = &text[3..];
    let code = digits.parse().ok()?;
    (after.is_empty() || after.starts_with(' ')).then(|| (code, after.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_and_their_class_checked() {
        let check = |text: &str, class: u8, expected: &str| {
            assert_eq!(reply(text, class, "No").unwrap().to_string(), expected, "{text}");
        };
        check("", 5, "550 5.7.1 No");
        check("Not today", 5, "550 5.7.1 Not today");
        check("554 Not today", 5, "554 5.7.1 Not today");
        check("552 5.3.4 Too big", 5, "552 5.3.4 Too big");
        check("5.1.1 Nobody", 5, "550 5.1.1 Nobody");
        check("550", 5, "550 5.7.1 No");
        check("450 4.2.1 Later", 4, "450 4.2.1 Later");
        check("450 Later", 4, "450 4.0.0 Later");
        check("5500 is a number", 5, "550 5.7.1 5500 is a number");
        for (text, class) in [
            ("250 OK", 5),
            ("451 Later", 5),
            ("550 No", 4),
            ("550 4.7.1 No", 5),
            ("5.7.1 No", 4),
            ("No\r\n250 OK", 5),
            ("No\0", 5),
            (&"x".repeat(401), 5),
        ] {
            assert!(matches!(reply(text, class, "No"), Err(CallError::Verdict(_))), "{text}");
        }
    }

    #[test]
    fn users_and_their_refusals() {
        let refused = |text: &str| no_user(text).unwrap().to_string();
        assert_eq!(refused(""), "535 5.7.8 Authentication failed");
        assert_eq!(refused("Not you"), "535 5.7.8 Not you");
        assert_eq!(refused("534 5.7.9 Too weak"), "534 5.7.9 Too weak");
        let accepted = |name: &str| check(HookPoint::Auth, Answer::Accept(name.into()));
        assert_eq!(accepted("app1").unwrap(), Some(Said::User("app1".into())));
        for name in ["", "a\nb", &"x".repeat(256)] {
            assert!(matches!(accepted(name), Err(CallError::Verdict(_))), "{name}");
        }
    }

    #[test]
    fn greetings_have_two_codes() {
        let refused = |answer| match check(HookPoint::Connect, answer).unwrap() {
            Some(Said::Refuse(reply)) => reply.code,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(Answer::Reject("554 5.7.1 Go away".into())), 554);
        assert_eq!(refused(Answer::Defer(String::new())), 421);
        assert_eq!(refused(Answer::Reject(String::new())), 550);
    }
}
