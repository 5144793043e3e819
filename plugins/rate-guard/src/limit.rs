//! One limit: so many per window for each value of its key.

use crate::key::Word;
use postern_plugin_sdk::prelude::*;
use std::fmt;
use std::time::Duration;

/// A limit as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitConfig {
    key: OneOrMany,
    #[serde(default)]
    pub(crate) count: Count,
    limit: i64,
    window: Span,
    #[serde(default = "reply")]
    reply: Reply,
}

fn reply() -> Reply {
    Reply::new(450, "4.7.1", "Rate limit exceeded, try again later")
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "one or a list of user, peer, listener, reverse-path, sender-domain, recipient, recipient-domain"
)]
enum OneOrMany {
    One(Word),
    Many(Vec<Word>),
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Count {
    Messages,
    #[default]
    Recipients,
}

/// A limit as used.
#[derive(Debug)]
pub struct Limit {
    /// What distinguishes its counters from those of other limits.
    name: String,
    words: Vec<Word>,
    count: Count,
    limit: i64,
    window: Duration,
    reply: Reply,
}

impl Limit {
    /// Takes a limit as written; an error begins with the key that is wrong.
    pub(crate) fn new(config: LimitConfig) -> Result<Self> {
        let words = match config.key {
            OneOrMany::One(word) => vec![word],
            OneOrMany::Many(words) => words,
        };
        if words.is_empty() {
            return Err(Error::new("key: there is none"));
        }
        if let Some(word) = words.iter().find(|word| word.is_of_recipient() && config.count == Count::Messages) {
            return Err(Error::new(format!("key: a message has no {word} when it is counted; count = \"recipients\"")));
        }
        if config.limit < 1 {
            return Err(Error::new("limit: at least 1"));
        }
        if config.window.0 < Duration::from_secs(1) {
            return Err(Error::new("window: at least \"1s\""));
        }
        let names: Vec<String> = words.iter().map(ToString::to_string).collect();
        let count = if config.count == Count::Messages { "m" } else { "r" };
        Ok(Self {
            // A limit whose window changes begins anew; its number can change.
            name: format!("{count}/{}/{}", names.join("+"), config.window.0.as_secs()),
            words,
            count: config.count,
            limit: config.limit,
            window: config.window.0,
            reply: config.reply,
        })
    }

    pub(crate) fn max(&self) -> i64 {
        self.limit
    }

    /// The counter; none if a word has no value, as `user` in a session without one.
    pub(crate) fn key(&self, session: &Session, envelope: &Envelope, recipient: Option<&str>) -> Option<String> {
        let mut key = self.name.clone();
        for (at, word) in self.words.iter().enumerate() {
            // No value has a tab in it.
            key.push(if at == 0 { '/' } else { '\t' });
            key.push_str(&word.value(session, envelope, recipient)?);
        }
        Some(crate::key::shortened(key))
    }

    /// Adds to the counter, whose window begins with its first count, and gives the sum.
    pub(crate) fn add(&self, key: &str, by: i64) -> Result<i64> {
        kv::increment(key, by, Some(self.window)).map_err(|e| Error::from(e).context(format!("counter {key}")))
    }

    /// Deferred, or rejected if the reply's code begins with 5.
    pub(crate) fn verdict(&self) -> Verdict {
        let reply = self.reply.clone();
        if reply.class() == Some(5) { Verdict::Reject(reply) } else { Verdict::Defer(reply) }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.count == Count::Messages { "messages" } else { "recipients" };
        write!(f, "{} {what} in {:?}", self.limit, self.window)
    }
}
