//! temp
pub mod config;
pub mod http;
pub mod intake;
pub mod observe;
pub mod receive;
pub mod relay;
pub mod spool;
