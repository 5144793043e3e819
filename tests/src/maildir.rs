//! What the peers have in common: the Maildir they deliver to, and a certificate that nobody has signed.

use crate::run;
use std::path::{Path, PathBuf};

/// A Maildir of a peer.
pub struct Maildir {
    dir: PathBuf,
}

/// One message in it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The reverse-path, without brackets.
    pub reverse_path: String,
    /// The whole file: the peer's own header fields, then what came in; LF as line end.
    pub octets: Vec<u8>,
}

impl Maildir {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The messages that are delivered wholly.
    ///
    /// # Panics
    /// One can't be read.
    #[must_use]
    pub fn messages(&self) -> Vec<Stored> {
        // There is no folder before the first message.
        let Ok(entries) = std::fs::read_dir(self.dir.join("new")) else { return Vec::new() };
        let files = entries.map(|entry| std::fs::read(entry.expect("a file").path()).expect("a file"));
        files.map(Stored::new).collect()
    }
}

impl Stored {
    fn new(octets: Vec<u8>) -> Self {
        let reverse_path = text_of(&octets, "Return-path").unwrap_or_default();
        Self { reverse_path: reverse_path.trim_matches(['<', '>']).to_owned(), octets }
    }

    /// The value of the first line that begins with `name` and a colon.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        text_of(&self.octets, name)
    }

    /// What follows the first empty line, with CR LF as line end.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let start = self.octets.windows(2).position(|two| two == b"\n\n").map_or(self.octets.len(), |at| at + 2);
        let mut body = Vec::with_capacity(self.octets.len());
        for octet in &self.octets[start..] {
            if *octet == b'\n' {
                body.push(b'\r');
            }
            body.push(*octet);
        }
        body
    }
}

fn text_of(octets: &[u8], name: &str) -> Option<String> {
    let is_it = |line: &&[u8]| {
        line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
            && line.get(name.len()) == Some(&b':')
    };
    let line = octets.split(|octet| *octet == b'\n').take_while(|line| !line.is_empty()).find(is_it)?;
    Some(String::from_utf8_lossy(&line[name.len() + 1..]).trim().to_owned())
}

/// Makes `cert.pem` and `key.pem` for the name localhost in `dir`.
pub(crate) fn certificate(dir: &Path) {
    let path = |name: &str| dir.join(name).to_str().expect("a path").to_owned();
    let (key, cert) = (path("key.pem"), path("cert.pem"));
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let about = ["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", &key, "-out", &cert];
    let _ = run("openssl", &[&about[..], &curve[..]].concat());
}
