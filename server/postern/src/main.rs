//! The `postern` binary.
#![allow(missing_docs)]

mod deliver;
mod spool;

fn main() {}
