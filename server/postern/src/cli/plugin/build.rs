//! `postern plugin build DIR`: makes a component of a plugin's crate.
//!
//! cargo compiles the crate to a core module for `wasm32-unknown-unknown`; its component is encoded in this process, so
//! that an author needs nothing but Rust. That target has no WASI, so what the component imports is exactly what the
//! plugin's code asks of Postern. Plugins in other languages are built by `foreign`.
//!
//! The environment may say how cargo is run: `RUSTC` and the rest of cargo's own variables, `POSTERN_GUEST_CARGO_FLAGS`
//! (flags separated by spaces) and `POSTERN_GUEST_TARGET_DIR` (so that several plugins share what they depend on; the
//! default is `DIR/target`). `scripts/guest-toolchain` prints what is needed where rustc lacks the target.

use super::foreign;
use anyhow::{Context as _, bail};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TARGET: &str = "wasm32-unknown-unknown";

/// Builds the plugin whose crate is in `dir` and returns the path of its component, `DIR/<name>.wasm`. The file is left
/// alone if it would not change.
///
/// # Errors
/// There is no crate, the target is not installed, cargo fails, or what it made is no component.
pub fn build(dir: &Path) -> anyhow::Result<PathBuf> {
    if let Some(built) = foreign::build(dir) {
        return built;
    }
    let manifest = dir.join("Cargo.toml");
    let manifest =
        manifest.canonicalize().with_context(|| format!("{} has no Cargo.toml: is it a plugin?", dir.display()))?;
    let flags = env::var("POSTERN_GUEST_CARGO_FLAGS").unwrap_or_default();
    if !flags.contains("build-std") {
        check_target()?;
    }
    let artifact = compile(dir, &manifest, &flags)?;
    let module = fs::read(&artifact.file).with_context(|| format!("cannot read {}", artifact.file.display()))?;
    let component = encode(&module).with_context(|| format!("cannot make a component of {}", artifact.name))?;
    let path = dir.join(format!("{}.wasm", artifact.name));
    if fs::read(&path).is_ok_and(|old| old == component) {
        return Ok(path);
    }
    // A running server may load the file at any moment: it sees the old one or the new one.
    let fresh = dir.join(format!(".{}.wasm.new", artifact.name));
    fs::write(&fresh, &component).with_context(|| format!("cannot write {}", fresh.display()))?;
    fs::rename(&fresh, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The core module that cargo made.
struct Artifact {
    /// Name of the package, which names the component.
    name: String,
    file: PathBuf,
}

/// Asks rustc, so that the answer is one line to act on and not a page about a missing crate `core`.
fn check_target() -> anyhow::Result<()> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .args(["--print", "sysroot"])
        .output()
        .with_context(|| format!("cannot run {}: building plugins needs Rust", rustc.display()))?;
    let sysroot = String::from_utf8_lossy(&output.stdout);
    if Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib").is_dir() {
        return Ok(());
    }
    bail!(
        "this Rust cannot build for {TARGET}. Install the target with: rustup target add {TARGET}\n\
         or, in Postern's source tree: eval \"$(scripts/guest-toolchain)\""
    )
}

fn compile(dir: &Path, manifest: &Path, flags: &str) -> anyhow::Result<Artifact> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target_dir = match env::var_os("POSTERN_GUEST_TARGET_DIR") {
        Some(shared) if !shared.is_empty() => PathBuf::from(shared),
        _ => dir.join("target"),
    };
    let output = Command::new(&cargo)
        .args(["build", "--release", "--lib", "--target", TARGET, "--message-format=json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target_dir)
        .args(flags.split_whitespace())
        // Flags meant for the server (`-C target-cpu=native`) do not fit the guest.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", cargo.display()))?;
    if !output.status.success() {
        bail!("cargo could not build {} ({})", manifest.display(), output.status);
    }
    find_artifact(&output.stdout, manifest)
        .with_context(|| format!("{} makes no module: it needs `[lib] crate-type = [\"cdylib\"]`", manifest.display()))
}

/// Reads cargo's messages, one JSON object a line.
fn find_artifact(messages: &[u8], manifest: &Path) -> Option<Artifact> {
    messages.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).find_map(
        |message: serde_json::Value| {
            let ours = message["reason"] == "compiler-artifact"
                && message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest);
            let mut files = message["filenames"].as_array()?.iter().filter_map(|file| file.as_str());
            let file = files.find(|file| ours && file.ends_with(".wasm"))?;
            Some(Artifact { name: package_name(&message)?, file: file.into() })
        },
    )
}

/// The package's name: a package id ends in `#name@version`, or in `/name#version` where the folder has that name.
fn package_name(message: &serde_json::Value) -> Option<String> {
    let (path, fragment) = message["package_id"].as_str()?.rsplit_once('#')?;
    let name = match fragment.split_once('@') {
        Some((name, _)) => name,
        None => path.rsplit('/').next()?,
    };
    Some(name.to_owned())
}

fn encode(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    wit_component::ComponentEncoder::default().validate(true).module(module)?.encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_module_among_cargos_messages() {
        let check = |id: &str, expected: &str| {
            let messages = format!(
                "not json\n\
                 {{\"reason\":\"compiler-artifact\",\"manifest_path\":\"/dep/Cargo.toml\",\"filenames\":[\"/t/d.wasm\"]}}\n\
                 {{\"reason\":\"compiler-artifact\",\"manifest_path\":\"/p/Cargo.toml\",\"package_id\":\"{id}\",\
                  \"filenames\":[\"/t/libp.rlib\",\"/t/p.wasm\"]}}\n"
            );
            let found = find_artifact(messages.as_bytes(), Path::new("/p/Cargo.toml")).expect("an artifact");
            assert_eq!((found.name.as_str(), found.file.as_path()), (expected, Path::new("/t/p.wasm")));
        };
        check("path+file:///p#my-plugin@0.1.0", "my-plugin");
        check("path+file:///x/my-plugin#0.1.0", "my-plugin");
    }

    #[test]
    fn a_folder_without_a_crate_is_refused() {
        let error = build(Path::new("no/such/folder")).unwrap_err().to_string();
        assert!(error.starts_with("no/such/folder has no Cargo.toml"), "{error}");
    }
}
