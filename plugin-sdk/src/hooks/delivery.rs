//! Hooks of an attempt.

use crate::{Decision, Delivery, Failures, Plugin, Result, Signing};

/// The hook `sign`: which DKIM keys sign this message. Called before an attempt.
///
/// Signs with keys that stand in the grants, in the customer's name and in one's own:
///
/// ```
/// use postern_plugin_sdk::prelude::*;
/// use std::time::Duration;
///
/// struct Keys;
///
/// impl Plugin for Keys {
///     type Config = NoConfig;
///
///     fn init(_: NoConfig) -> Result<Self> {
///         Ok(Self)
///     }
/// }
///
/// impl Sign for Keys {
///     fn sign(&mut self, _: &Delivery, signing: &Signing) -> Result<()> {
///         if let Some(domain) = signing.from_domain()
///             && let Some(pem) = secrets::get(&domain)
///         {
///             signing.use_private_key(&domain, "s1", &pem, Duration::from_secs(600))?;
///         }
///         signing.use_key("relay.example", "2026")?;
///         Ok(())
///     }
/// }
///
/// export_plugin!(Keys: Sign);
///
/// // The test:
/// use postern_plugin_sdk::testing;
/// let mut plugin = testing::init::<Keys>("{}")?;
/// testing::secrets::set("example.com", "-----BEGIN PRIVATE KEY-----\n…\n-----END PRIVATE KEY-----\n");
/// let mut signing = testing::Signing::new(Some("example.com")).with_key("relay.example", "2026");
/// testing::Delivery::new().sign(&mut plugin, &mut signing)?;
/// let domains: Vec<_> = signing.signatures.iter().map(|signature| signature.domain.as_str()).collect();
/// assert_eq!(domains, ["example.com", "relay.example"]);
/// # Ok::<(), Error>(())
/// ```
pub trait Sign: Plugin {
    /// Names the keys through `signing`.
    ///
    /// # Errors
    /// An error defers the recipients.
    fn sign(&mut self, delivery: &Delivery, signing: &Signing) -> Result<()>;
}

/// The hook `delivery-before`: an attempt is about to begin, nothing has been looked up or connected to.
///
/// Asks for TLS where mail was marked as confidential, and gives up on mail that came too late to be useful:
///
/// ```
/// use postern_plugin_sdk::prelude::*;
/// use std::time::Duration;
///
/// struct Careful;
///
/// impl Plugin for Careful {
///     type Config = NoConfig;
///
///     fn init(_: NoConfig) -> Result<Self> {
///         Ok(Self)
///     }
/// }
///
/// impl DeliveryBefore for Careful {
///     fn before(&mut self, delivery: &Delivery) -> Result<Decision> {
///         if delivery.attribute("confidential").is_some() {
///             delivery.set_tls(Tls::Verify)?;
///         }
///         let is_login_code = delivery.header("X-Kind")?.is_some_and(|kind| kind == "login-code");
///         if is_login_code && clock::now() > delivery.accepted() + Duration::from_secs(900) {
///             return Ok(Decision::bounce("550 5.4.7 The code in it has expired"));
///         }
///         Ok(Decision::Go)
///     }
/// }
///
/// export_plugin!(Careful: DeliveryBefore);
///
/// // The test:
/// use postern_plugin_sdk::testing;
/// let mut plugin = testing::init::<Careful>("{}")?;
/// let mut delivery = testing::Delivery::new().with_header("X-Kind", "login-code").with_attribute("confidential", "1");
/// assert_eq!(delivery.before(&mut plugin)?, Decision::Go);
/// assert_eq!(delivery.tls, "verify");
/// testing::clock::advance(Duration::from_secs(1000));
/// assert!(matches!(delivery.before(&mut plugin)?, Decision::Bounce(_)));
/// # Ok::<(), Error>(())
/// ```
pub trait DeliveryBefore: Plugin {
    /// Called for the recipients of one message that one attempt would reach.
    ///
    /// # Errors
    /// An error leads to the plugin's `on_error`: defer and reject defer the recipients, skip goes on.
    fn before(&mut self, delivery: &Delivery) -> Result<Decision>;
}

/// The hook `bounce`: recipients have failed, for now or for good, and what it means has been decided.
///
/// Keeps trying where a next hop calls a full mailbox permanent, and keeps a list of addresses that don't exist:
///
/// ```
/// use postern_plugin_sdk::prelude::*;
/// use std::time::Duration;
///
/// struct Suppressions;
///
/// impl Plugin for Suppressions {
///     type Config = NoConfig;
///
///     fn init(_: NoConfig) -> Result<Self> {
///         Ok(Self)
///     }
/// }
///
/// impl Bounce for Suppressions {
///     fn bounce(&mut self, failures: &Failures) -> Result<()> {
///         for failure in failures.iter().filter(|failure| failure.action() == "bounce") {
///             match failure.status().as_str() {
///                 "5.2.2" if failure.attempts() < 10 => failure.defer()?,
///                 "5.1.1" => {
///                     let month = Some(Duration::from_secs(30 * 24 * 3600));
///                     kv::set(&format!("gone/{}", failure.recipient()), "1", month)?;
///                 }
///                 _ => {}
///             }
///         }
///         Ok(())
///     }
/// }
///
/// export_plugin!(Suppressions: Bounce);
///
/// // The test:
/// use postern_plugin_sdk::testing::{self, Failure};
/// let mut plugin = testing::init::<Suppressions>("{}")?;
/// let mut failures = testing::Failures::new()
///     .with(Failure::bounce("full@example.net", "552 5.2.2 Mailbox full"))
///     .with(Failure::bounce("gone@example.net", "550 5.1.1 No such user"));
/// failures.bounce(&mut plugin)?;
/// assert_eq!(failures.list[0].action, "defer");
/// assert_eq!(failures.list[1].action, "bounce");
/// assert_eq!(kv::keys("gone/").next().transpose()?.as_deref(), Some("gone/gone@example.net"));
/// # Ok::<(), Error>(())
/// ```
pub trait Bounce: Plugin {
    /// Called once for each attempt that failed for any recipient, before the outcome is recorded.
    ///
    /// # Errors
    /// If the plugin fails, the decision stands, whatever `on_error` says.
    fn bounce(&mut self, failures: &Failures) -> Result<()>;
}
