//! Postern's server side: everything that does I/O, as a library so that it can be tested; the binary is a shell
//! around it.

pub mod cli;
pub mod deliver;
pub mod spool;
