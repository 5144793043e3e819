//! `[queue]`, `[zone.NAME]`, `[dsn]` and `[[plugin]]`: as written, and checked into what is used.

mod dsn;
mod plugin;
mod queue;
mod zone;

pub use dsn::{DsnSection, ZoneDsnSection};
pub use plugin::{OnError, PluginSection};
pub use queue::{Engine, QueueSection};
pub use zone::{SmartHostSection, Tls, ZoneSection};
