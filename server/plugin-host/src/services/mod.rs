//! What is behind the plugins' capabilities: HTTP requests, lasting state, DNS, metrics, random numbers.
//!
//! Nothing here knows of WebAssembly: each service is for one plugin, says what it could not do in the words of the WIT
//! ([`ServiceError`]), and is bound to a guest's imports elsewhere. What needs the server (a store, a resolver) is a
//! trait that the server implements. Everything that a plugin or a peer can make grow has a limit, which the file that
//! has to keep it names at its top.

mod dns;
mod error;
mod http;
mod kv;
mod metrics;
mod random;
mod set;

pub use dns::{Dns, DnsRecords, MAX_DNS_RECORDS, MAX_DNS_TEXT, RecordKind};
pub use error::{GrantError, ServiceError};
pub use http::{
    Http, HttpClient, HttpGrant, HttpSetupError, Incoming, MAX_ANSWER, MAX_READ, MAX_REDIRECTS, Outgoing, RequestBody,
};
pub use kv::{
    Clock, DEFAULT_QUOTA, Kv, KvRegistry, KvRow, KvStore, KvStores, MAX_KEY, MAX_VALUE, kv_quota, memory_stores,
};
pub use metrics::{CustomMetrics, MAX_METRICS, MetricsRegistry};
pub use random::{MAX_RANDOM, Random};
pub use set::Services;
