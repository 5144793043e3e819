//! Capabilities: what a plugin can do beyond the call. A component imports those that its code uses, and the server
//! refuses one that was not granted.

pub mod clock;
pub mod config;
pub mod dns;
pub mod http;
pub mod kv;
pub mod log;
pub mod metrics;
pub mod random;
pub mod secrets;
