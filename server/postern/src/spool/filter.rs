//! Which recipients an operator means: [`Filter`], and the language that it is written in, the same on the command line
//! and in the API.
//!
//! ```text
//! zone=bulk domain=example.org          all terms must fit
//! recipient="\"odd name\"@example.org"  a value in quotes, with \" and \\ in it
//! 0019a2b3c4d5e6f708                    a queue id alone is id=…; so is a recipient's (….001)
//! ```
//!
//! Addresses and domains are compared without regard to case, since an operator looks for people, not for octets.
//! Other operators, `or`, `not` and parentheses are for later: they are refused by name, so that no text changes its
//! meaning when they come.

use super::{State, StoredMessage};
use postern_core::mail::{QueueId, RecipientId, Seq};
use std::str::FromStr;

/// Longest filter, in octets.
const MAX_LEN: usize = 8192;

/// Which recipients an admin action is about; a term that is None fits all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this message.
    pub message: Option<QueueId>,
    /// This one of it.
    pub seq: Option<Seq>,
    /// In this zone.
    pub zone: Option<String>,
    /// For this destination.
    pub destination: Option<String>,
    /// In this state.
    pub state: Option<State>,
    /// Whose address has this domain.
    pub domain: Option<String>,
    /// Of messages with this reverse-path; the empty text is `<>`.
    pub sender: Option<String>,
    /// With this address.
    pub recipient: Option<String>,
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "at character {at}: {what} (known so far: KEY=VALUE with spaces between, all must fit; keys are id, zone, domain, \
     destination, sender, recipient, state; a queue id alone is id=…)"
)]
pub struct FilterError {
    /// Where, in characters from 1.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
}

impl Filter {
    /// Does every recipient fit?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Is the message's row needed to say whether a recipient fits?
    #[must_use]
    pub fn needs_row(&self) -> bool {
        self.domain.is_some() || self.sender.is_some() || self.recipient.is_some()
    }

    /// Do the terms fit that are about the message's row?
    #[must_use]
    pub fn fits_row(&self, message: &StoredMessage, seq: Seq) -> bool {
        let Some(recipient) = message.envelope.recipients.get(seq.index()) else { return false };
        let fits = |term: &Option<String>, value: &str| term.as_deref().is_none_or(|term| same(term, value));
        fits(&self.domain, recipient.address.domain())
            && fits(&self.recipient, recipient.address.as_str())
            && fits(&self.sender, message.envelope.reverse_path.as_str())
    }

    /// Sets a term; gives it back if there was one.
    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        let twice = match key {
            "id" => {
                let id = id(&value).ok_or_else(|| format!("`{value}` is not a queue id"))?;
                let before = self.message.replace(id.0);
                self.seq = id.1;
                before.is_some()
            }
            "state" => {
                let state = State::from_name(&value)
                    .ok_or_else(|| format!("there is no state `{value}`; there are pending, attempt, held"))?;
                self.state.replace(state).is_some()
            }
            "zone" => self.zone.replace(value).is_some(),
            "destination" => self.destination.replace(value).is_some(),
            "domain" => self.domain.replace(value).is_some(),
            "sender" => self.sender.replace(bare(&value)).is_some(),
            "recipient" => self.recipient.replace(bare(&value)).is_some(),
            _ => return Err(format!("there is no key `{key}`")),
        };
        if twice { Err(format!("`{key}` is given twice")) } else { Ok(()) }
    }
}

impl State {
    /// As operators see and write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InAttempt => "attempt",
            Self::Held => "held",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Pending, Self::InAttempt, Self::Held].into_iter().find(|state| state.name() == name)
    }
}

fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (!a.is_ascii() && a.to_lowercase() == b.to_lowercase())
}

/// A path without its angle brackets.
fn bare(path: &str) -> String {
    path.strip_prefix('<').and_then(|path| path.strip_suffix('>')).unwrap_or(path).to_owned()
}

fn id(text: &str) -> Option<(QueueId, Option<Seq>)> {
    let message = text.parse().ok().map(|id| (id, None));
    message.or_else(|| text.parse().ok().map(|RecipientId { message, seq }| (message, Some(seq))))
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        if text.len() > MAX_LEN {
            return Err(FilterError { at: 1, what: format!("it is longer than {MAX_LEN} octets") });
        }
        let mut filter = Self::default();
        let mut reader = Reader { rest: text, at: 1 };
        while let Some((at, key, value)) = reader.term()? {
            filter.set(&key, value).map_err(|what| FilterError { at, what })?;
        }
        Ok(filter)
    }
}

/// What is left of the text, and which character of it comes next.
struct Reader<'a> {
    rest: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn error<T>(&self, what: impl Into<String>) -> Result<T, FilterError> {
        Err(FilterError { at: self.at, what: what.into() })
    }

    /// The next characters that `wanted` takes.
    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.at += taken.chars().count();
        self.rest = rest;
        taken
    }

    /// The next term: where its key or value begins, key and value.
    fn term(&mut self) -> Result<Option<(usize, String, String)>, FilterError> {
        self.take(char::is_whitespace);
        let (start, before) = (self.at, self.rest);
        let word = self.take(|c| !c.is_whitespace() && !"=!~<>\"()".contains(c));
        let next = self.rest.chars().next().filter(|c| !c.is_whitespace());
        match next {
            None if word.is_empty() => Ok(None),
            None if id(word).is_some() => Ok(Some((start, "id".to_owned(), word.to_owned()))),
            None => {
                (self.rest, self.at) = (before, start);
                match word {
                    "or" | "and" | "not" => self.error(format!("`{word}` is not known yet")),
                    _ => self.error(format!("`{word}` is neither KEY=VALUE nor a queue id")),
                }
            }
            Some('(' | ')') => self.error("parentheses are not known yet"),
            Some('"') => self.error("a quoted value stands after KEY="),
            Some(_) => {
                let operator = self.rest.split_at(self.rest.find(|c| !"=!~<>".contains(c)).unwrap_or(self.rest.len()));
                // `sender=<>` and `sender=<a@b>` are the operator `=`.
                if !operator.0.starts_with('=') || operator.0.starts_with("==") {
                    return self.error(format!("the operator `{}` is not known yet", operator.0));
                }
                if word.is_empty() {
                    return self.error("there is no key before `=`");
                }
                (self.rest, self.at) = (&self.rest[1..], self.at + 1);
                let value = self.value(word)?;
                Ok(Some((start, word.to_owned(), value)))
            }
        }
    }

    fn value(&mut self, key: &str) -> Result<String, FilterError> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let value = self.take(|c| !c.is_whitespace() && !"\"()".contains(c));
            return match self.rest.chars().next().filter(|c| !c.is_whitespace()) {
                Some(c) => self.error(format!("a value with `{c}` in it must be quoted")),
                None if value.is_empty() => self.error(format!("`{key}=` has no value (the null reverse-path is <>)")),
                None => Ok(value.to_owned()),
            };
        };
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        while let Some((place, c)) = chars.next() {
            match c {
                '"' => {
                    let taken = &self.rest[..place + 2];
                    (self.rest, self.at) = (&self.rest[taken.len()..], self.at + taken.chars().count());
                    let end = self.rest.chars().next().is_none_or(char::is_whitespace);
                    return if end { Ok(value) } else { self.error("a space is missing after the quotes") };
                }
                '\\' => match chars.next() {
                    Some((_, c @ ('"' | '\\'))) => value.push(c),
                    _ => return self.error("in quotes `\\` stands before `\"` or `\\` only"),
                },
                c => value.push(c),
            }
        }
        self.error("the quotes are not closed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Filter) {
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }

    #[test]
    fn terms() {
        let id = QueueId(0x12);
        let text = |value: &str| Some(value.to_owned());
        check(" ", Filter::default());
        check("000000000000000012", Filter { message: Some(id), ..Filter::default() });
        let recipient = Filter { message: Some(id), seq: Some(Seq(16)), ..Filter::default() };
        check("000000000000000012.010", recipient.clone());
        check("id=000000000000000012.010", recipient);
        check(
            "zone=bulk  state=held\tdestination=mx.example:25 ",
            Filter {
                zone: text("bulk"),
                state: Some(State::Held),
                destination: text("mx.example:25"),
                ..Filter::default()
            },
        );
        check("sender=<> domain=Näide.ee", Filter { sender: text(""), domain: text("Näide.ee"), ..Filter::default() });
        check("sender=\"\"", Filter { sender: text(""), ..Filter::default() });
        check(r#"recipient="\"a b\\\"@c""#, Filter { recipient: text(r#""a b\"@c"#), ..Filter::default() });
        check(
            "recipient=<a@b> sender=a=b@c",
            Filter { recipient: text("a@b"), sender: text("a=b@c"), ..Filter::default() },
        );
    }

    #[test]
    fn mistakes_name_their_place() {
        let check = |text: &str, at: usize, part: &str| {
            let error = text.parse::<Filter>().unwrap_err();
            assert!(error.at == at && error.what.contains(part), "{text}: {error}");
            assert!(error.to_string().contains("id, zone, domain"), "{error}");
        };
        check("zone=a or zone=b", 8, "`or` is not known yet");
        check("not zone=a", 1, "`not`");
        check("(zone=a)", 1, "parentheses");
        check("zone=(a)", 6, "quoted");
        check("zone!=a", 5, "`!=`");
        check("zone==a", 5, "`==`");
        check("ä zone~a", 1, "`ä`");
        check("age>1h", 4, "`>`");
        check("zon=a", 1, "no key `zon`");
        check("state=held zone=", 17, "no value");
        check("=a", 1, "no key before");
        check("zone=a zone=b", 8, "twice");
        check("state=lost", 1, "pending, attempt, held");
        check("id=5", 1, "`5` is not a queue id");
        check("5", 1, "neither");
        check("000000000000000012.000", 1, "neither");
        check("zone=\"a", 6, "not closed");
        check("zone=\"a\"b", 9, "space");
        check("zone=\"a\\n\"", 6, "`\\`");
        check("zone=a\"b", 7, "quoted");
        check("\"a\"", 1, "after KEY=");
        check(&"x".repeat(9000), 1, "longer");
    }
}
