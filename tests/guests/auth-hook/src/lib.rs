//! The hook `auth` with every verdict and failure: what it says goes by the user's name. What it noted of a user stands in
//! each message of the session.

use postern_plugin_sdk::prelude::*;

struct AuthHook;

impl Plugin for AuthHook {
    type Config = NoConfig;

    fn init(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }
}

impl Auth for AuthHook {
    fn authenticate(&mut self, session: &Session, credentials: &Credentials) -> Result<AuthVerdict> {
        session.set_attribute("by", Some(credentials.mechanism().as_str()))?;
        let user = credentials.user();
        if let Some(token) = credentials.token() {
            return Ok(match token.strip_prefix("token-of-") {
                Some(owner) => AuthVerdict::accept(owner),
                None => AuthVerdict::reject("No such token"),
            });
        }
        match user.as_str() {
            "good" if credentials.password().as_deref() == Some("right") => Ok(AuthVerdict::accept("account-good")),
            "deputy" => Ok(AuthVerdict::accept(credentials.authorization().unwrap_or(user))),
            "bad" => Ok(AuthVerdict::reject("Not here")),
            "weak" => Ok(AuthVerdict::reject("534 5.7.9 Too weak")),
            "wrong-class" => Ok(AuthVerdict::reject("250 2.0.0 Welcome")),
            "error" => Err(Error::new("the directory is gone")),
            "trap" => panic!("as told"),
            "nameless" => Ok(AuthVerdict::accept("")),
            _ => Ok(AuthVerdict::Pass),
        }
    }
}

impl Rewrite for AuthHook {
    fn rewrite(&mut self, session: &Session, envelope: &Envelope, message: &Message) -> Result<()> {
        let (user, by) = (session.user().unwrap_or_default(), envelope.attribute("by").unwrap_or_default());
        message.append_header("X-User", &format!("{user} by {by} with {}", session.protocol()))?;
        Ok(())
    }
}

export_plugin!(AuthHook: Auth, Rewrite);
