//! Postern's server: everything that does I/O, as a library so that tests and benches can reach it; the binary is a
//! shell around [`cli::main`].

pub mod cli;
pub mod clients;
pub mod config;
pub mod deliver;
pub mod events;
pub mod http;
pub mod intake;
pub mod observe;
pub mod receive;
pub mod relay;
pub mod resolve;
pub mod spool;
pub mod system;
pub mod users;
