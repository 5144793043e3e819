//! A test that kills a child: the test binary itself, which runs its test `child` and prints what it has done.
#![allow(clippy::unwrap_used, reason = "tests")]

use postern_core::mail::QueueId;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// The child's part: what it has done, and to which message.
pub fn say(word: &str, id: QueueId) {
    writeln!(std::io::stdout().lock(), "{word} {id}").unwrap();
}

/// Runs the test `child` on the folder, which it finds in the variable `folder`, and kills it once it has printed so many
/// lines. Gives all lines that it had printed by then; the end of the last one may be torn.
pub fn lines_until_killed(folder: &str, dir: &Path, lines: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(folder, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut printed = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n').map_while(Result::ok) {
        printed.push(String::from_utf8_lossy(&line).into_owned());
        if printed.len() == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    printed
}
