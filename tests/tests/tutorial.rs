//! Follows `docs/tutorial.md` word for word in an empty folder, with the real binary, cargo and swaks.
//!
//! - In a `console` block lines that begin with `$ ` are run, and what stands below has to be printed; `…` stands for any
//!   text, and on a line of its own for any lines. A command that ends in `&` goes on in the background. A promise that
//!   ends with an error of `postern: …` is one of failure.
//! - A block with `file=PATH` is written there; what a block with `in=PATH` shows has to stand in that file.
//! - Ports are replaced by free ones.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::{binary, free_port, root, wait_for};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

struct Block<'a> {
    /// What stands behind the three backticks.
    info: &'a str,
    text: String,
}

fn blocks(document: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut is_open = false;
    for line in document.lines() {
        if let Some(info) = line.strip_prefix("```") {
            is_open = !is_open;
            if is_open {
                blocks.push(Block { info, text: String::new() });
            }
        } else if is_open {
            let text = &mut blocks.last_mut().unwrap().text;
            text.push_str(line);
            text.push('\n');
        }
    }
    assert!(!is_open, "the last block is not closed");
    blocks
}

/// Does `text` fit `pattern`, in which `…` stands for any text?
fn line_fits(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('…') else { return pattern == text };
    let Some(text) = text.strip_prefix(head) else { return false };
    (0..=text.len()).any(|at| text.is_char_boundary(at) && line_fits(rest, &text[at..]))
}

/// Do the lines fit those promised, in which `…` stands for any lines?
fn fits(promised: &[&str], lines: &[&str]) -> bool {
    match (promised.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((&"…", rest)), _) => (0..=lines.len()).any(|at| fits(rest, &lines[at..])),
        (Some((first, rest)), Some((line, others))) => line_fits(first, line) && fits(rest, others),
        _ => false,
    }
}

fn output_fits(promised: &str, output: &str) -> bool {
    let (promised, lines): (Vec<&str>, Vec<&str>) = (promised.lines().collect(), output.lines().collect());
    fits(&promised, &lines)
}

struct Reader {
    place: tempfile::TempDir,
    /// Holds a link named `postern`.
    programs: tempfile::TempDir,
    background: Vec<Child>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        for child in &mut self.background {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Reader {
    fn new() -> Self {
        let (place, programs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(fs::canonicalize(binary()).unwrap(), programs.path().join("postern")).unwrap();
        Self { place, programs, background: Vec::new() }
    }

    fn shell(&self, command: &str, output: &Path) -> Command {
        let path = format!("{}:{}", self.programs.path().display(), std::env::var("PATH").unwrap());
        let targets = fs::canonicalize(root()).unwrap().join("target/guests");
        // Only plugins are built by that toolchain.
        let script = if command.starts_with("postern plugin build") {
            format!("eval \"$({}/scripts/guest-toolchain)\" && exec {command}", root().display())
        } else {
            format!("exec {command}")
        };
        let out = File::create(output).unwrap();
        let mut shell = Command::new("bash");
        shell
            .args(["-c", &script])
            .current_dir(self.place.path())
            .env("PATH", path)
            .env("CARGO_NET_OFFLINE", "true")
            .env("POSTERN__HTTP__ENABLED", "false")
            .env("CARGO_TARGET_DIR", &targets)
            .env("POSTERN_GUEST_TARGET_DIR", &targets)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out);
        shell
    }

    fn run(&mut self, command: &str, promised: &str) {
        let output = self.programs.path().join("output");
        let read = |file: &Path| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
        if let Some(command) = command.strip_suffix(" &") {
            let output = self.programs.path().join(format!("background{}", self.background.len()));
            let child = self.shell(command, &output).spawn().unwrap();
            self.background.push(child);
            let is_server = command.starts_with("postern run");
            wait_for(&format!("what `{command}` promises:\n{promised}"), || {
                let said = read(&output);
                (output_fits(promised, &said) && (!is_server || said.contains(" ready "))).then_some(())
            });
            return;
        }
        let fails = promised.lines().last().is_some_and(|line| line.starts_with("postern: "));
        let run = || {
            let status = self.shell(command, &output).status().unwrap();
            let said = read(&output);
            (status.success() != fails && output_fits(promised, &said)).then_some(()).ok_or(said)
        };
        // Mail takes a moment to arrive.
        if command.starts_with("cat ") {
            wait_for(&format!("what `{command}` promises:\n{promised}"), || run().ok());
        } else if let Err(said) = run() {
            panic!("`{command}` promises:\n{promised}\nand says:\n{said}");
        }
    }

    fn console(&mut self, text: &str) {
        let mut commands: Vec<(&str, String)> = Vec::new();
        for line in text.lines() {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command, String::new())),
                (None, Some((_, promised))) => *promised += &format!("{line}\n"),
                (None, None) => panic!("what prints {line:?}?"),
            }
        }
        for (command, promised) in commands {
            self.run(command, &promised);
        }
    }

    fn file(&self, path: &str) -> PathBuf {
        self.place.path().join(path)
    }
}

#[test]
fn the_tutorial_works_word_for_word() {
    let document = fs::read_to_string(root().join("docs/tutorial.md")).unwrap();
    let (listener, sink) = (free_port().to_string(), free_port().to_string());
    let document = document.replace("2525", &listener).replace("2700", &sink);
    let mut reader = Reader::new();
    let mut counts = [0; 3];
    for Block { info, text } in blocks(&document) {
        if info == "console" {
            reader.console(&text);
            counts[0] += 1;
        } else if let Some((_, path)) = info.split_once(" file=") {
            fs::write(reader.file(path), text).unwrap();
            counts[1] += 1;
        } else if let Some((_, path)) = info.split_once(" in=") {
            let file = fs::read_to_string(reader.file(path)).unwrap();
            assert!(file.contains(&text), "{path} does not have\n{text}\nbut is\n{file}");
            counts[2] += 1;
        } else {
            panic!("what is to be done with a block `{info}`?");
        }
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn promises_are_compared_line_by_line() {
    let check = |promised: &str, output: &str, expected: bool| assert_eq!(output_fits(promised, output), expected);
    check("a\nb", "a\nb\n", true);
    check("a\nb", "a\nc\n", false);
    check("…\nb", "a\na\nb", true);
    check("a\n…", "a", true);
    check("a …c", "a bbc", true);
    check("a …c", "a bb", false);
    check("", "a", false);
}
