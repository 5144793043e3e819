//! Everything of Postern that needs no I/O: values of mail, SMTP as state machines, message editing, routing,
//! retry schedules, the failure policy and the closed list of hook points.
//!
//! Invariants: no tokio, no sockets, no clock (time is an argument, see [`time::Timestamp`]), and nothing that a peer,
//! a plugin or a file can send panics.

pub mod bounce;
pub mod hook;
pub mod mail;
pub mod message;
pub mod route;
pub mod schedule;
pub mod smtp;
pub mod time;
pub mod zone;
