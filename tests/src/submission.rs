//! A server that takes submissions over TLS, with one user.

use crate::{Postern, Setup, binary, free_port};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// The user's password. It is not ASCII.
pub const PASSWORD: &str = "öpen sesame";
/// Keys of listeners on which everybody must authenticate, and over TLS.
pub const REQUIRED: &str = "auth = 'required'\nauth_in_clear = false";

/// What `postern user hash` makes of [`PASSWORD`]: keys of `[user.NAME]`. It takes a while, so tests share it.
pub static APP: LazyLock<String> = LazyLock::new(|| {
    let mut command = Command::new(binary());
    command.args(["user", "hash"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(format!("{PASSWORD}\n").as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("its output");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
});

/// A certificate for these names, signed by itself, as `FILE.pem` and `FILE.key`.
///
/// # Panics
/// The folder can't be written to.
pub fn write_certificate(dir: &Path, file: &str, names: &[&str]) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    fs::write(dir.join(format!("{file}.key")), made.signing_key.serialize_pem()).expect("a file");
    fs::write(dir.join(format!("{file}.pem")), made.cert.pem()).expect("a file");
}

/// A server with two listeners, `feeder` with STARTTLS and `tls` with implicit TLS on the port that is given back, both
/// with these keys more. Its user is `app`; its certificates are `own.pem` for localhost, and `other.pem` for
/// `other.example` and `*.wild.example`.
#[must_use]
pub fn server(next_hop: u16, keys: &str) -> (Postern, u16) {
    let tls = free_port();
    let pair = "certificate = 'own.pem'\nkey = 'own.key'\n\
                certificates = [{ certificate = 'other.pem', key = 'other.key' }]";
    let config =
        format!("[listener.tls]\naddress = '127.0.0.1:{tls}'\ntls = 'implicit'\n{pair}\n{keys}\n[user.app]\n{}", *APP);
    let listener = format!("tls = 'starttls'\n{pair}\n{keys}");
    let mut server = Postern::prepare(next_hop, Setup { listener, config, ..Setup::default() });
    write_certificate(server.dir(), "own", &["localhost", "127.0.0.1"]);
    write_certificate(server.dir(), "other", &["other.example", "*.wild.example"]);
    server.restart();
    (server, tls)
}
