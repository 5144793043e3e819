//! Hooks towards the world around the server: what happened, and HTTP.

use crate::{Batch, Plugin, Request, Response, Result};

/// The hook `event`: what happened to messages, after it is durable.
///
/// Posts bounces to a web service:
///
/// ```
/// use postern_plugin_sdk::prelude::*;
///
/// struct Webhook { url: String }
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config { url: String }
///
/// impl Plugin for Webhook {
///     type Config = Config;
///
///     fn init(config: Config) -> Result<Self> {
///         Ok(Self { url: config.url })
///     }
/// }
///
/// impl Events for Webhook {
///     fn events(&mut self, batch: &Batch<'_>) -> Result<()> {
///         let events = batch.iter().collect::<Result<Vec<Event>>>()?;
///         let bounces: Vec<_> = events.iter().filter(|event| event.kind == EventKind::Bounced).collect();
///         if !bounces.is_empty() {
///             // An error makes the server come again with the same events.
///             http::Request::post(&self.url).json(&bounces).send()?.success()?;
///         }
///         Ok(())
///     }
/// }
///
/// export_plugin!(Webhook: Events);
///
/// // The test:
/// use postern_plugin_sdk::testing::{self, Answer};
/// use serde_json::json;
/// let mut plugin = testing::init::<Webhook>(r#"{ "url": "https://hooks.example.com/mail" }"#)?;
/// let events = [json!({ "event": "delivered", "id": "1" }), json!({ "event": "bounced", "id": "2" })];
/// testing::http::respond(|_| Answer::new(503));
/// assert!(testing::events(&mut plugin, &events).is_err());
/// testing::http::respond(|_| Answer::new(204));
/// testing::events(&mut plugin, &events)?;
/// let sent: Vec<serde_json::Value> = testing::http::requests()[1].json();
/// assert_eq!((sent.len(), &sent[0]["id"]), (1, &json!("2")));
/// # Ok::<(), Error>(())
/// ```
pub trait Events: Plugin {
    /// One to 100 events, oldest first. They come at least once: until the plugin returns `Ok`, the same events come
    /// again, after a pause that grows.
    ///
    /// # Errors
    /// An error brings the events again.
    fn events(&mut self, batch: &Batch<'_>) -> Result<()>;
}

/// The hook `http`: answers requests to `/plugin/NAME/…` of the server's HTTP address.
///
/// Takes addresses to suppress from another program, and says which there are:
///
/// ```
/// use postern_plugin_sdk::prelude::*;
///
/// struct Suppressions;
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Add { address: String }
///
/// impl Plugin for Suppressions {
///     type Config = NoConfig;
///
///     fn init(_: NoConfig) -> Result<Self> {
///         Ok(Self)
///     }
/// }
///
/// impl Http for Suppressions {
///     fn handle(&mut self, request: &Request, response: &Response) -> Result<()> {
///         match (request.method().as_str(), request.path().as_str()) {
///             ("GET", "/list") => {
///                 let keys = kv::keys("gone/").collect::<Result<Vec<_>, _>>()?;
///                 let prefix = request.query_value("domain").map(|domain| format!("@{domain}")).unwrap_or_default();
///                 let addresses: Vec<_> =
///                     keys.iter().filter_map(|key| key.strip_prefix("gone/")).filter(|a| a.ends_with(&prefix)).collect();
///                 response.json(&addresses)
///             }
///             ("POST", "/list") => match request.json::<Add>() {
///                 Ok(add) => {
///                     kv::set(&format!("gone/{}", add.address), "1", None)?;
///                     Ok(response.set_status(201)?)
///                 }
///                 Err(error) => Ok(response.error(400, error.text())?),
///             },
///             _ => Ok(response.error(404, "There is only /list")?),
///         }
///     }
/// }
///
/// export_plugin!(Suppressions: Http);
///
/// // The test:
/// use postern_plugin_sdk::testing::{self, Exchange};
/// let mut plugin = testing::init::<Suppressions>("{}")?;
/// let add = Exchange::post("/list").with_body(r#"{ "address": "a@example.net" }"#);
/// assert_eq!(add.handle(&mut plugin)?.status, 201);
/// let list = Exchange::get("/list?domain=example.net").handle(&mut plugin)?;
/// assert_eq!(list.text(), r#"["a@example.net"]"#);
/// assert_eq!(Exchange::post("/list").with_body("{}").handle(&mut plugin)?.status, 400);
/// assert_eq!(Exchange::get("/").handle(&mut plugin)?.status, 404);
/// # Ok::<(), Error>(())
/// ```
pub trait Http: Plugin {
    /// Called for each request.
    ///
    /// # Errors
    /// An error is answered with 500.
    fn handle(&mut self, request: &Request, response: &Response) -> Result<()>;
}
