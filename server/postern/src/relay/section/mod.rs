//! `[queue]`, `[zone.NAME]`, `[pool.NAME]`, `[domain."NAME"]`, `[dsn]`, `[hooks]` and `[[plugin]]`: as written, and checked into what is used.

mod dsn;
mod plugin;
mod pool;
mod queue;
mod rates;
mod zone;

pub use dsn::{DsnSection, ZoneDsnSection};
pub use plugin::{BreakerSection, GrantsSection, HooksSection, OnError, PluginSection, WhenSection};
pub use pool::{DomainLimits, PoolAddressSection, PoolSection};
pub use queue::{Engine, QueueSection};
pub use rates::{DomainSection, RatesSection};
pub use zone::{Ip, SmartHostSection, Tls, ZoneSection};
