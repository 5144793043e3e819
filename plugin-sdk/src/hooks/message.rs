//! Hooks of a message that was sealed and is not queued yet.

use crate::{Envelope, Message, Part, Plugin, Result, Routing, Session, SpamVerdict};

/// The hook `spam`: is this message wanted? Called for each sealed message before the hooks that rewrite.
///
/// Asks a scanner, which gets the message from the host:
///
/// ```
/// use postern_plugin_sdk::prelude::*;
///
/// struct Scanner { url: String }
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config { url: String }
///
/// /// What the scanner answers.
/// #[derive(Deserialize)]
/// struct Report { action: String, score: f64 }
///
/// impl Plugin for Scanner {
///     type Config = Config;
///
///     fn init(config: Config) -> Result<Self> {
///         Ok(Self { url: config.url })
///     }
/// }
///
/// impl Spam for Scanner {
///     fn check(&mut self, session: &Session, envelope: &Envelope, message: &Message) -> Result<SpamVerdict> {
///         let mut request = http::Request::post(&self.url)
///             .header("IP", &session.peer_address())
///             .header("From", &envelope.reverse_path());
///         for recipient in envelope.recipients() {
///             request = request.header("Rcpt", &recipient);
///         }
///         let report: Report = request.body_message(message).send()?.success()?.json()?;
///         message.set_header("X-Spam-Score", &report.score.to_string())?;
///         Ok(match report.action.as_str() {
///             "reject" => SpamVerdict::reject("550 5.7.1 This looks like spam"),
///             "quarantine" => SpamVerdict::hold("the scanner is not sure"),
///             _ => SpamVerdict::Accept,
///         })
///     }
/// }
///
/// export_plugin!(Scanner: Spam);
///
/// // The test:
/// use postern_plugin_sdk::testing::{self, Answer, Transaction};
/// let mut plugin = testing::init::<Scanner>(r#"{ "url": "http://127.0.0.1:11333/check" }"#)?;
/// testing::http::respond(|request| {
///     let action = if request.text().contains("prize") { "reject" } else { "no action" };
///     Answer::json(200, &serde_json::json!({ "action": action, "score": 4.5 }))
/// });
/// let mut wanted = Transaction::from_eml(b"Subject: hi\r\n\r\nHello.\r\n");
/// assert_eq!(wanted.spam(&mut plugin)?, SpamVerdict::Accept);
/// assert_eq!(wanted.header_all("X-Spam-Score"), ["4.5"]);
/// let mut unwanted = Transaction::from_eml(b"Subject: hi\r\n\r\nYour prize!\r\n");
/// assert!(matches!(unwanted.spam(&mut plugin)?, SpamVerdict::Reject(_)));
/// # Ok::<(), Error>(())
/// ```
pub trait Spam: Plugin {
    /// The first verdict that is not [`SpamVerdict::Accept`] ends the hook; after [`SpamVerdict::Hold`] the message goes
    /// on to the next hooks.
    ///
    /// # Errors
    /// An error drops the edits of this call and leads to the plugin's `on_error`.
    fn check(&mut self, session: &Session, envelope: &Envelope, message: &Message) -> Result<SpamVerdict>;
}

/// The hook `rewrite`: edits sealed messages before they are queued.
///
/// Sends bulk mail through a zone of its own:
///
/// ```
/// use postern_plugin_sdk::prelude::*;
///
/// struct Bulk;
///
/// impl Plugin for Bulk {
///     type Config = NoConfig;
///
///     fn init(_: NoConfig) -> Result<Self> {
///         Ok(Self)
///     }
/// }
///
/// impl Rewrite for Bulk {
///     fn rewrite(&mut self, _: &Session, envelope: &Envelope, message: &Message) -> Result<()> {
///         if message.header("List-Unsubscribe").is_some() {
///             envelope.set_zone(Some("bulk"))?;
///             message.set_header("Precedence", "bulk")?;
///         }
///         if let Some(sender) = message.mailboxes("From").first() {
///             message.prepend_header("X-Sender-Domain", sender.domain())?;
///         }
///         Ok(())
///     }
/// }
///
/// export_plugin!(Bulk: Rewrite);
///
/// // The test:
/// use postern_plugin_sdk::testing::{self, Transaction};
/// let mut plugin = testing::init::<Bulk>("{}")?;
/// let mut transaction = Transaction::new()
///     .with_header("From", "\"News, daily\" <news@example.com>")
///     .with_header("List-Unsubscribe", "<https://example.com/out>");
/// transaction.rewrite(&mut plugin)?;
/// assert_eq!(transaction.zone.as_deref(), Some("bulk"));
/// assert_eq!(transaction.headers[0], ("X-Sender-Domain".into(), "example.com".into()));
/// # Ok::<(), Error>(())
/// ```
pub trait Rewrite: Plugin {
    /// Called for each message. Edits are kept only if it returns `Ok`.
    ///
    /// # Errors
    /// Any error drops the edits of this call and leads to the plugin's `on_error`.
    fn rewrite(&mut self, session: &Session, envelope: &Envelope, message: &Message) -> Result<()>;
}

/// The hook `rewrite-part`: edits MIME parts, after the hook `rewrite` of all plugins.
///
/// Adds a line under texts, and takes programs out:
///
/// ```
/// use postern_plugin_sdk::prelude::*;
///
/// struct Footer { line: String }
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config { line: String }
///
/// impl Plugin for Footer {
///     type Config = Config;
///
///     fn init(config: Config) -> Result<Self> {
///         Ok(Self { line: config.line })
///     }
/// }
///
/// fn is_program(part: &Part) -> bool {
///     part.file_name().is_some_and(|name| name.to_ascii_lowercase().ends_with(".exe"))
/// }
///
/// impl RewritePart for Footer {
///     fn select(&mut self, _: &Session, _: &Envelope, _: &Message, part: &Part) -> Result<bool> {
///         Ok(!part.is_sealed() && (is_program(part) || part.content_type() == "text/plain" && !part.is_attachment()))
///     }
///
///     fn rewrite_part(&mut self, _: &Session, _: &Envelope, _: &Message, part: &Part) -> Result<()> {
///         if is_program(part) {
///             part.remove()?;
///         } else {
///             part.append_text(&format!("\r\n-- \r\n{}\r\n", self.line))?;
///         }
///         Ok(())
///     }
/// }
///
/// export_plugin!(Footer: RewritePart);
///
/// // The test:
/// use postern_plugin_sdk::testing::{self, Transaction};
/// let mut plugin = testing::init::<Footer>(r#"{ "line": "Example Inc." }"#)?;
/// let mut transaction = Transaction::from_eml(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n\
///     --b\r\n\r\nHello.\r\n\
///     --b\r\nContent-Type: application/x-dosexec; name=a.exe\r\n\r\nMZ\r\n--b--\r\n");
/// transaction.rewrite_parts(&mut plugin)?;
/// let parts = transaction.parts();
/// assert_eq!(parts.len(), 1);
/// assert_eq!(parts[0].text(), "Hello.\r\n-- \r\nExample Inc.\r\n");
/// # Ok::<(), Error>(())
/// ```
pub trait RewritePart: Plugin {
    /// Asked for each part that has content of its own, in order, after [`RewritePart::rewrite_part`] for those before it: is
    /// it to be rewritten? Not asked for a part that the plugin has removed meanwhile.
    ///
    /// # Errors
    /// Any error drops the plugin's edits of all parts of the message and leads to its `on_error`.
    fn select(&mut self, session: &Session, envelope: &Envelope, message: &Message, part: &Part) -> Result<bool>;

    /// Called for each chosen part, and may edit others as well.
    ///
    /// # Errors
    /// As [`RewritePart::select`].
    fn rewrite_part(&mut self, session: &Session, envelope: &Envelope, message: &Message, part: &Part) -> Result<()>;
}

/// The hook `route`: where each recipient's mail goes. The last hook before the message is queued.
///
/// Sends some domains to a partner's host, and holds what a note asks to hold:
///
/// ```
/// use postern_plugin_sdk::prelude::*;
/// use std::collections::BTreeMap;
///
/// /// Hosts by domain.
/// struct Partners(BTreeMap<String, String>);
///
/// impl Plugin for Partners {
///     type Config = BTreeMap<String, String>;
///
///     fn init(hosts: Self::Config) -> Result<Self> {
///         Ok(Self(hosts))
///     }
/// }
///
/// impl Route for Partners {
///     fn route(&mut self, _: &Session, envelope: &Envelope, _: &Message, routing: &Routing) -> Result<()> {
///         let hold = envelope.attribute("hold");
///         for destination in routing.destinations() {
///             let domain = destination.recipient().rsplit_once('@').map_or("", |(_, domain)| domain);
///             if let Some(host) = self.0.get(&domain.to_ascii_lowercase()) {
///                 destination.set_next_hop(host)?;
///             }
///             if let Some(reason) = &hold {
///                 destination.hold(reason)?;
///             }
///         }
///         Ok(())
///     }
/// }
///
/// export_plugin!(Partners: Route);
///
/// // The test:
/// use postern_plugin_sdk::testing::{self, Transaction};
/// let mut plugin = testing::init::<Partners>(r#"{ "example.net": "[192.0.2.7]:2525" }"#)?;
/// let transaction = Transaction::new().with_recipients(&["a@example.net", "b@example.org"]);
/// let mut routing = testing::Routing::of(&transaction);
/// transaction.route(&mut plugin, &mut routing)?;
/// let hops: Vec<_> = routing.destinations.iter().map(|destination| destination.next_hop.as_str()).collect();
/// assert_eq!(hops, ["[192.0.2.7]:2525", "example.org"]);
/// # Ok::<(), Error>(())
/// ```
pub trait Route: Plugin {
    /// Called once for each message with all its recipients. Nothing but the routing can be changed.
    ///
    /// # Errors
    /// An error leads to the plugin's `on_error`.
    fn route(&mut self, session: &Session, envelope: &Envelope, message: &Message, routing: &Routing) -> Result<()>;
}
