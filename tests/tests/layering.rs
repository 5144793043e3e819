//! The layering of ARCHITECTURE.md, checked by reading the sources, and its code map checked for completeness.

#![allow(clippy::unwrap_used, reason = "tests")]

use postern_tests::root;
use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!files.is_empty(), "{folder}");
    files
}

/// Code without comments and without the tests at the file's end.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// No file of `folder` outside `but` contains one of `words` in its code.
fn absent(folder: &str, but: &str, words: &[&str]) {
    for (path, text) in sources(folder) {
        if !but.is_empty() && path.to_string_lossy().contains(but) {
            continue;
        }
        for word in words {
            assert!(!code(&text).contains(word), "{} must not know of `{word}`", path.display());
        }
    }
}

#[test]
fn each_library_has_one_home() {
    absent("server/postern/src", "/spool/embedded", &["redb::"]);
    absent("server/postern/src", "/http/", &["axum::"]);
    absent("server/postern/src", "/resolve/", &["hickory_"]);
    absent("server/postern/src", "", &["wasmtime::"]);
    absent("server/core/src", "", &["redb", "axum", "wasmtime", "hickory", "tokio"]);
    absent("server/plugin-host/src", "", &["redb", "axum", "smtp::", "tokio::net"]);
}

#[test]
fn the_core_is_pure() {
    absent(
        "server/core/src",
        "",
        &["std::net::Tcp", "std::fs", "std::time::Instant", "SystemTime", "std::thread", "std::env"],
    );
}

#[test]
fn lower_modules_know_nothing_of_higher_ones() {
    let src = |module: &str| format!("server/postern/src/{module}");
    absent(
        &src("spool"),
        "",
        &["crate::relay", "crate::intake", "crate::deliver", "crate::receive", "crate::http", "crate::config"],
    );
    absent(
        &src("deliver"),
        "",
        &["crate::relay", "crate::intake", "crate::receive", "crate::http", "spool::embedded", ".settle("],
    );
    absent(&src("intake"), "", &["crate::relay", "crate::receive", "crate::http", "crate::deliver", "spool::embedded"]);
    absent(
        &src("events"),
        "",
        &[
            "crate::relay",
            "crate::intake",
            "crate::deliver",
            "crate::receive",
            "crate::http",
            "spool::embedded",
            ".settle(",
        ],
    );
    absent(&src("receive"), "", &["crate::relay", "crate::http", "crate::deliver", "spool::embedded", ".commit("]);
    absent(&src("http"), "", &["crate::relay", "crate::receive", "spool::embedded"]);
    absent(
        &src("resolve"),
        "",
        &["crate::relay", "crate::intake", "crate::deliver", "crate::receive", "crate::http", "crate::spool"],
    );
    absent(&src("observe"), "", &["crate::relay", "crate::intake", "crate::receive", "crate::spool"]);
}

#[test]
fn wall_time_is_read_in_one_place() {
    absent("server/postern/src", "/relay/mod.rs", &["SystemTime::now"]);
}

#[test]
fn every_module_is_on_the_map() {
    let map = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let modules = |folder: &str, prefix: &str| {
        let listed = |path: PathBuf| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (!matches!(name.as_str(), "lib" | "main")).then(|| format!("`{prefix}{name}`"))
        };
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        entries.filter_map(|entry| listed(entry.unwrap().path())).collect::<Vec<_>>()
    };
    for module in [modules("server/core/src", "core::"), modules("server/postern/src", "postern::")].concat() {
        assert!(map.contains(&module), "{module} is not on the map in ARCHITECTURE.md");
    }
}

#[test]
fn each_file_says_what_it_is_for() {
    for folder in ["server", "plugin-sdk/src", "tests/src", "tests/tests"] {
        for (path, text) in sources(folder) {
            if path.components().any(|part| part.as_os_str() == "target") {
                continue;
            }
            assert!(text.starts_with("//!"), "{} has no //! at its top", Path::display(&path));
        }
    }
}
