//! The targets, and what each reads.

mod address;
mod bdat;
mod client;
mod command;
mod compose;
mod data;
mod dsn;
mod header;
mod mime;
mod proxied;
mod reply;
mod sasl;
mod server;

/// All of them by their names.
pub const ALL: [(&str, fn(&[u8])); 13] = [
    ("address", address::run),
    ("bdat", bdat::run),
    ("client", client::run),
    ("command", command::run),
    ("compose", compose::run),
    ("data", data::run),
    ("dsn", dsn::run),
    ("header", header::run),
    ("mime", mime::run),
    ("proxied", proxied::run),
    ("reply", reply::run),
    ("sasl", sasl::run),
    ("server", server::run),
];
