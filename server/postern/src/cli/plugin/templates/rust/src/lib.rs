//! Adds a header field to each message.

use postern_plugin_sdk::prelude::*;

/// The plugin. What it keeps here lives as long as its instance, which the server may drop after any call.
pub struct Tagger;

impl Plugin for Tagger {
    /// What `[plugin.config]` may hold: nothing. A type of your own with `#[derive(Deserialize)]` takes keys.
    type Config = NoConfig;

    fn init(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }
}

/// A hook: called for each message before it is queued.
impl Rewrite for Tagger {
    fn rewrite(&mut self, _: &Session, _: &Envelope, message: &Message) -> Result<()> {
        message.append_header("X-Tagged", "yes")?;
        Ok(())
    }
}

// Exactly the hooks that are named here are exported, and only they are called.
export_plugin!(Tagger: Rewrite);

#[cfg(test)]
mod tests {
    use super::*;
    use postern_plugin_sdk::testing::{self, Transaction};

    #[test]
    fn messages_are_tagged() {
        let mut plugin: Tagger = testing::init("{}").expect("a config");
        let mut transaction = Transaction::from_eml(b"Subject: hello\r\n\r\nHello.\r\n");
        transaction.rewrite(&mut plugin).expect("a message that is taken");
        assert_eq!(transaction.header_all("X-Tagged"), ["yes"]);
    }
}
