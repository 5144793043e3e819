//! Imports the capability `clock`, which needs a grant.

use postern_plugin_sdk::prelude::*;

struct WantsClock;

impl Plugin for WantsClock {
    type Config = NoConfig;

    fn init(_: NoConfig) -> Result<Self, Error> {
        Ok(Self)
    }
}

impl Rewrite for WantsClock {
    fn rewrite(&mut self, _: &Session, _: &Envelope, message: &Message) -> Result<(), Error> {
        let (now, start) = (clock::now(), clock::monotonic());
        let went_on = clock::monotonic() >= start;
        message.append_header("X-Time", &format!("{} {went_on}", now.as_secs()))?;
        Ok(())
    }
}

export_plugin!(WantsClock: Rewrite);
