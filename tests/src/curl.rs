//! curl as the client of the HTTP API.

use crate::Postern;
use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// What curl gets of a path of the server's HTTP address: the status and the body (with `-i` the header before it).
///
/// # Panics
/// There is no answer.
#[must_use]
pub fn curl(server: &Postern, path: &str, args: &[&str], body: Option<&[u8]>) -> (u16, String) {
    curl_url(&format!("http://127.0.0.1:{}{path}", server.http_port), args, body)
}

/// The same of a URL.
///
/// # Panics
/// There is no answer.
#[must_use]
pub fn curl_url(url: &str, args: &[&str], body: Option<&[u8]>) -> (u16, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "120", "-w", "\n%{http_code}"]).args(args);
    if body.is_some() {
        command.args(["--data-binary", "@-"]);
    }
    command.arg(url).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("curl runs");
    let mut stdin = child.stdin.take().expect("its input");
    // A refusal may come before all was taken.
    let _ = stdin.write_all(body.unwrap_or_default());
    drop(stdin);
    let output = child.wait_with_output().expect("its output");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{output:?}"));
    (status.parse().expect("a status"), body.to_owned())
}

/// What `POST /send` answers to a message.
///
/// # Panics
/// There is no answer, or none in JSON.
#[must_use]
pub fn send(server: &Postern, message: &Value, args: &[&str]) -> (u16, Value) {
    let args = [&["-H", "Content-Type: application/json"], args].concat();
    let (status, body) = curl(server, "/send", &args, Some(message.to_string().as_bytes()));
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{status} {body}: {error}")))
}
