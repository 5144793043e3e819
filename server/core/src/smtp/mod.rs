//! SMTP without I/O.

pub mod client;
