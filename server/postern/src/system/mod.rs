//! What the server has of the operating system from its start on: its sockets, and whom it runs as. Both come before the
//! first thread that serves anybody, and in this order: only root may have a port below 1024.

mod identity;
mod sockets;

pub use identity::{Identity, IdentityError, RunSection, is_root};
pub use sockets::{SocketError, Sockets};
