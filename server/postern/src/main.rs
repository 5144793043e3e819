//! The `postern` binary.
#![allow(missing_docs)]

fn main() {}
