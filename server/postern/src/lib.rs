//! The parts of the `postern` server, and the library that its binary, tests and benches share.
//!
//! Not an interface for others: what is public here may change with every version.

pub mod deliver;
pub mod spool;
