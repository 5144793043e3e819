//! Who is at a socket of ours, and how much it may do: what listeners of SMTP and the HTTP API have in common.
//!
//! TLS, logins, the guard against guessing, limits by address and by user. What a client says once it is in is not its
//! business.

mod guard;
mod limits;
mod login;
mod network;
mod section;
pub mod tls;

pub use guard::{Guard, Tally, WINDOW};
pub use limits::{Clients, Over, Seat};
pub use login::{Logins, unknown};
pub use section::{CertificateSection, Certificates, ClientLimits};
