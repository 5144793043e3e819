//! `postern plugin new NAME`: a folder with a plugin that works, and the SDK and the interfaces that it is built with.

use crate::cli::Usage;
use crate::cli::out::print;
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use std::fs;
use std::path::Path;

/// The SDK's sources and the interfaces, by their paths in the source tree: `plugin-sdk/src/lib.rs`, `wit/types.wit`.
const SDK: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk_files.rs"));

/// Longest name, as for `[[plugin]] name`.
const MAX_NAME: usize = 64;
/// Names that cargo or Rust keeps for itself, among those that the rule would let through.
const RESERVED: [&str; 14] = [
    "alloc",
    "core",
    "crate",
    "fn",
    "impl",
    "mod",
    "postern-plugin-sdk",
    "proc-macro",
    "pub",
    "self",
    "serde",
    "std",
    "super",
    "test",
];

/// Interpreters need more than the default of 16 MiB.
const INTERPRETED: &str = "[plugin]\nmemory = \"128MiB\"\n\n";

/// `postern plugin new`
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Name of the plugin, and of the folder that is made for it
    name: String,
    /// What it is written in
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
}

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Rust, with the SDK
    Rust,
    /// Python, through componentize-py
    Python,
    /// JavaScript, through componentize-js
    Js,
}

/// A file of a template: its path in the new folder, and its text, in which `{name}` stands for the plugin's name.
type File = (&'static str, &'static str);

macro_rules! template {
    ($($path:literal: $source:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("templates/", $source)))),+]
    };
}

const RUST: &[File] = template! {
    "Cargo.toml": "rust/Cargo.toml.in",
    "src/lib.rs": "rust/src/lib.rs",
    "README.md": "rust/README.md",
    ".gitignore": "rust/gitignore",
};
const PYTHON: &[File] = template! {
    "pyproject.toml": "python/pyproject.toml",
    "plugin.py": "python/plugin.py",
    "build.sh": "python/build.sh",
    "README.md": "python/README.md",
    ".gitignore": "python/gitignore",
};
const JS: &[File] = template! {
    "package.json": "js/package.json",
    "plugin.js": "js/plugin.js",
    "build.mjs": "js/build.mjs",
    "README.md": "js/README.md",
    ".gitignore": "js/gitignore",
};
const FIXTURES: &[File] = template! {
    "tests/hello.toml": "tests/hello.toml",
    "tests/hello.eml": "tests/hello.eml",
};

/// Makes the folder.
pub fn run(args: &NewArgs) -> anyhow::Result<()> {
    let NewArgs { name, lang } = args;
    check_name(name).map_err(Usage)?;
    let dir = Path::new(name);
    match fs::create_dir(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("{name} is there already; nothing was changed")
        }
        Err(error) => return Err(error).with_context(|| format!("can't make {name}")),
    }
    let (template, plugin) = match lang {
        Language::Rust => (RUST, ""),
        Language::Python => (PYTHON, INTERPRETED),
        Language::Js => (JS, INTERPRETED),
    };
    for (path, text) in template.iter().chain(FIXTURES) {
        write(&dir.join(path), &text.replace("{name}", name).replace("{plugin}", plugin))?;
    }
    for (path, text) in SDK {
        // Only Rust uses the SDK; the others read the interfaces themselves.
        if path.starts_with("wit/") || *lang == Language::Rust {
            write(&dir.join(".sdk").join(path), text)?;
        }
    }
    if *lang == Language::Rust {
        write(&dir.join("Cargo.lock"), &lock(name))?;
    }
    let install = match lang {
        Language::Rust => "",
        Language::Python => "  install  pip install componentize-py==0.25.0\n",
        Language::Js => &format!("  install  (cd {name} && npm install)\n"),
    };
    print(&format!(
        "{name} is made. What to do next:\n\
         {install}\
         \x20 edit     {name}/{}\n\
         \x20 build    postern plugin build {name}\n\
         \x20 test     postern plugin test {name}\n",
        match lang {
            Language::Rust => "src/lib.rs",
            Language::Python => "plugin.py",
            Language::Js => "plugin.js",
        }
    ))
}

/// The rule of names: fit for a crate, a file, and `[[plugin]] name`.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.len() > MAX_NAME
        || !name.chars().all(plain)
        || !name.starts_with(|c: char| c.is_ascii_lowercase())
        || name.ends_with('-')
    {
        return Err(format!(
            "NAME: `{name}` must be 1 to {MAX_NAME} of a-z, 0-9 and `-`, begin with a letter and not end with `-`"
        ));
    }
    if RESERVED.contains(&name) {
        return Err(format!("NAME: `{name}` is a name that Rust keeps for itself"));
    }
    Ok(())
}

/// The SDK's lock file with the new crate in it: the plugin is built with the versions that the SDK was tested with.
fn lock(name: &str) -> String {
    let text = SDK.iter().find(|(path, _)| *path == "plugin-sdk/Cargo.lock").map_or("", |(_, text)| text);
    let entry = format!(
        "[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\ndependencies = [\n \"postern-plugin-sdk\",\n \"serde\",\n]\n"
    );
    format!("{}\n\n{entry}", text.trim_end())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let place = || format!("can't write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(place)?;
    }
    fs::write(path, text).with_context(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_for_a_crate_and_a_file() {
        let check = |name: &str, expected: bool| assert_eq!(check_name(name).is_ok(), expected, "{name}");
        check("tagger", true);
        check("my-plugin2", true);
        check("", false);
        check("Tagger", false);
        check("2fast", false);
        check("a_b", false);
        check("a-", false);
        check("../a", false);
        check("std", false);
        check(&"a".repeat(65), false);
    }

    #[test]
    fn the_sdk_and_every_interface_are_embedded() {
        let has = |path: &str| SDK.iter().any(|(name, _)| *name == path);
        for path in ["plugin-sdk/Cargo.toml", "plugin-sdk/src/lib.rs", "wit/worlds.wit", "wit/message.wit"] {
            assert!(has(path), "{path}");
        }
        assert!(!SDK.iter().any(|(name, _)| name.contains("target/")));
    }
}
