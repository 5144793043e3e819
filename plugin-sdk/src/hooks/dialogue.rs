//! Hooks of the dialogue with the client.

use crate::{AuthVerdict, Credentials, Envelope, Plugin, Recipient, Result, Session, Verdict};

/// The hook `connect`: a client has connected and has not been greeted yet.
///
/// Refuses clients that a DNS block list has:
///
/// ```
/// use postern_plugin_sdk::prelude::*;
/// use std::net::{IpAddr, Ipv4Addr};
///
/// struct BlockList { zone: String, reply: Reply }
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config { zone: String, reply: Reply }
///
/// impl Plugin for BlockList {
///     type Config = Config;
///
///     fn init(config: Config) -> Result<Self> {
///         Ok(Self { zone: config.zone, reply: config.reply })
///     }
/// }
///
/// impl Connect for BlockList {
///     fn connect(&mut self, session: &Session) -> Result<Verdict> {
///         let Ok(IpAddr::V4(peer)) = session.peer_address().parse() else { return Ok(Verdict::Pass) };
///         let [a, b, c, d] = peer.octets();
///         let name = format!("{}.{}", Ipv4Addr::new(d, c, b, a), self.zone);
///         if dns::lookup(&name, "A")?.is_empty() {
///             return Ok(Verdict::Pass);
///         }
///         metrics::count("listed", 1);
///         Ok(Verdict::Reject(self.reply.clone()))
///     }
/// }
///
/// export_plugin!(BlockList: Connect);
///
/// // The test:
/// use postern_plugin_sdk::testing;
/// let config = r#"{ "zone": "list.example", "reply": "554 5.7.1 Listed" }"#;
/// let mut plugin = testing::init::<BlockList>(config)?;
/// testing::dns::records("66.2.0.192.list.example", "A", &["127.0.0.2"]);
/// let mut listed = testing::Session { peer_address: "192.0.2.66".into(), ..testing::Session::new() };
/// assert_eq!(listed.connect(&mut plugin)?, Verdict::reject("554 5.7.1 Listed"));
/// assert_eq!(testing::Session::new().connect(&mut plugin)?, Verdict::Pass);
/// assert_eq!(testing::metrics::counter("listed"), 1);
/// # Ok::<(), Error>(())
/// ```
pub trait Connect: Plugin {
    /// The first verdict that is not [`Verdict::Pass`] ends the session: 554 (or the reply's own 5yz) or 421 instead of
    /// a greeting.
    ///
    /// # Errors
    /// An error leads to the plugin's `on_error`: defer is 421, reject is 554.
    fn connect(&mut self, session: &Session) -> Result<Verdict>;
}

/// The hook `auth`: who is this client? Called for SMTP AUTH, and for HTTP credentials that the config does not know.
///
/// Asks a web service, and remembers its answer for a minute:
///
/// ```
/// use postern_plugin_sdk::prelude::*;
/// use std::collections::HashMap;
/// use std::time::Duration;
///
/// struct Accounts { url: String, known: HashMap<(String, String), Duration> }
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config { url: String }
///
/// impl Plugin for Accounts {
///     type Config = Config;
///
///     fn init(config: Config) -> Result<Self> {
///         Ok(Self { url: config.url, known: HashMap::new() })
///     }
/// }
///
/// impl Auth for Accounts {
///     fn authenticate(&mut self, _: &Session, credentials: &Credentials) -> Result<AuthVerdict> {
///         let user = credentials.user();
///         let Some(password) = credentials.password() else { return Ok(AuthVerdict::Pass) };
///         let pair = (user, password);
///         let now = clock::now();
///         self.known.retain(|_, until| *until > now);
///         if self.known.contains_key(&pair) {
///             return Ok(AuthVerdict::accept(pair.0));
///         }
///         let answer = http::Request::post(&self.url)
///             .form(&[("user", &pair.0), ("password", &pair.1)])
///             .timeout(Duration::from_secs(5))
///             .send()?;
///         match answer.status() {
///             200 => {
///                 let user = pair.0.clone();
///                 self.known.insert(pair, now + Duration::from_secs(60));
///                 Ok(AuthVerdict::accept(user))
///             }
///             403 => Ok(AuthVerdict::reject("535 5.7.8 Wrong user or password")),
///             status => Err(Error::new(format!("{} answered {status}", self.url))),
///         }
///     }
/// }
///
/// export_plugin!(Accounts: Auth);
///
/// // The test:
/// use postern_plugin_sdk::testing::{self, Answer, Credentials as Try};
/// let mut plugin = testing::init::<Accounts>(r#"{ "url": "https://accounts.example.com/check" }"#)?;
/// testing::http::respond(|request| {
///     Answer::new(if request.text() == "user=app1&password=right" { 200 } else { 403 })
/// });
/// let mut session = testing::Session::new();
/// for _ in 0..2 {
///     let verdict = session.authenticate(&mut plugin, &Try::plain("app1", "right"))?;
///     assert_eq!(verdict, AuthVerdict::accept("app1"));
/// }
/// assert_eq!(testing::http::requests().len(), 1);
/// let verdict = session.authenticate(&mut plugin, &Try::plain("app1", "wrong"))?;
/// assert!(matches!(verdict, AuthVerdict::Reject(_)));
/// assert_eq!(session.authenticate(&mut plugin, &Try::token("XOAUTH2", "app1", "t"))?, AuthVerdict::Pass);
/// # Ok::<(), Error>(())
/// ```
pub trait Auth: Plugin {
    /// Says whose credentials they are.
    ///
    /// # Errors
    /// Whatever goes wrong ends closed, with 454 4.7.0, whatever `on_error` says.
    fn authenticate(&mut self, session: &Session, credentials: &Credentials) -> Result<AuthVerdict>;
}

/// The hook `mail`: MAIL FROM, or the sender of an HTTP submission.
///
/// Lets each user send from its own domains only:
///
/// ```
/// use postern_plugin_sdk::prelude::*;
/// use std::collections::BTreeMap;
///
/// struct Senders(BTreeMap<String, Vec<String>>);
///
/// impl Plugin for Senders {
///     type Config = BTreeMap<String, Vec<String>>;
///
///     fn init(domains: Self::Config) -> Result<Self> {
///         Ok(Self(domains))
///     }
/// }
///
/// impl Mail for Senders {
///     fn mail(&mut self, session: &Session, envelope: &Envelope) -> Result<Verdict> {
///         let Some(user) = session.user() else { return Ok(Verdict::Pass) };
///         let path = envelope.reverse_path();
///         let domain = path.rsplit_once('@').map_or("", |(_, domain)| domain);
///         let allowed = self.0.get(&user).is_some_and(|all| all.iter().any(|one| one.eq_ignore_ascii_case(domain)));
///         if allowed || path.is_empty() {
///             envelope.set_attribute("account", Some(&user))?;
///             return Ok(Verdict::Pass);
///         }
///         Ok(Verdict::reject(Reply::new(553, "5.7.1", "This sender is not yours")))
///     }
/// }
///
/// export_plugin!(Senders: Mail);
///
/// // The test:
/// use postern_plugin_sdk::testing::{self, Transaction};
/// let mut plugin = testing::init::<Senders>(r#"{ "app1": ["example.com"] }"#)?;
/// let mut transaction = Transaction::new().with_user("app1");
/// assert_eq!(transaction.mail(&mut plugin)?, Verdict::Pass);
/// assert_eq!(transaction.attributes["account"], "app1");
/// transaction.reverse_path = "somebody@example.org".into();
/// assert!(matches!(transaction.mail(&mut plugin)?, Verdict::Reject(_)));
/// # Ok::<(), Error>(())
/// ```
pub trait Mail: Plugin {
    /// The first verdict that is not [`Verdict::Pass`] is the reply to MAIL. The envelope has no recipients yet; its
    /// reverse-path, zone, delay and attributes may be set.
    ///
    /// # Errors
    /// An error leads to the plugin's `on_error`.
    fn mail(&mut self, session: &Session, envelope: &Envelope) -> Result<Verdict>;
}

/// The hook `rcpt`: one RCPT TO, or one recipient of an HTTP submission.
///
/// Defers recipients beyond a number per user and hour:
///
/// ```
/// use postern_plugin_sdk::prelude::*;
/// use std::time::Duration;
///
/// struct Quota { hourly: i64 }
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config { hourly: i64 }
///
/// impl Plugin for Quota {
///     type Config = Config;
///
///     fn init(config: Config) -> Result<Self> {
///         if config.hourly < 1 {
///             return Err(Error::new("hourly: at least 1"));
///         }
///         Ok(Self { hourly: config.hourly })
///     }
/// }
///
/// impl Rcpt for Quota {
///     fn rcpt(&mut self, session: &Session, _: &Envelope, _: &Recipient) -> Result<Verdict> {
///         let who = session.user().unwrap_or_else(|| session.peer_address());
///         let sent = kv::increment(&format!("hour/{who}"), 1, Some(Duration::from_secs(3600)))?;
///         Ok(if sent > self.hourly { Verdict::defer("452 4.5.3 Too many recipients this hour") } else { Verdict::Pass })
///     }
/// }
///
/// export_plugin!(Quota: Rcpt);
///
/// // The test:
/// use postern_plugin_sdk::testing::{self, Transaction};
/// let mut plugin = testing::init::<Quota>(r#"{ "hourly": 1 }"#)?;
/// let mut transaction = Transaction::new().with_user("app1");
/// assert_eq!(transaction.rcpt(&mut plugin, "a@example.net")?, Verdict::Pass);
/// assert!(matches!(transaction.rcpt(&mut plugin, "b@example.net")?, Verdict::Defer(_)));
/// testing::clock::advance(Duration::from_secs(3600));
/// assert_eq!(transaction.rcpt(&mut plugin, "b@example.net")?, Verdict::Pass);
/// # Ok::<(), Error>(())
/// ```
pub trait Rcpt: Plugin {
    /// The first verdict that is not [`Verdict::Pass`] is the reply to this RCPT; the transaction goes on. The envelope
    /// has the recipients that were taken before; its zone, delay and attributes may be set.
    ///
    /// # Errors
    /// An error leads to the plugin's `on_error`.
    fn rcpt(&mut self, session: &Session, envelope: &Envelope, recipient: &Recipient) -> Result<Verdict>;
}
