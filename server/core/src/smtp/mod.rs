//! SMTP without I/O: commands, the data codec, the state machines of server and client.
//!
//! Bytes and time are arguments; what to do next is the return value. So each of them can be driven by tokio, by a
//! transcript or by a fuzzer alike.
//!
//! Commands and replies are parsed here and not by the crate `smtp-proto`: that one drops the quotes of a quoted local
//! part, so that `<"a@evil x"@good>` could be routed as another address than the client meant.

pub mod auth;
pub mod chunk;
pub mod client;
pub mod command;
pub mod data;
mod line;
pub mod proxied;
pub mod server;
pub mod xclient;
