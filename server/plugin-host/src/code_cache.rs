//! Compiled code by component and engine: `<cache_dir>/<sha256 of the component>-<engine hash>.cwasm`.
//!
//! A small plugin compiles in tens of milliseconds, an interpreter in a minute; loading either from here takes less
//! than one. A cache that can't be used is a warning, never an error.

use crate::precompiled;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::hash::{Hash as _, Hasher};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wasmtime::Engine;
use wasmtime::component::Component;

/// The component, from the cache if it is there.
pub(crate) fn component(engine: &Engine, wasm: &[u8], dir: Option<&Path>) -> wasmtime::Result<Component> {
    let Some(dir) = dir else { return Component::new(engine, wasm) };
    let file = dir.join(file_name(engine, wasm));
    if let Some(component) = precompiled::load(engine, dir, &file) {
        return Ok(component);
    }
    let component = Component::new(engine, wasm)?;
    if let Err(error) =
        component.serialize().map_err(io::Error::other).and_then(|code| store(dir, &file, &precompiled::sealed(code)))
    {
        tracing::warn!(file = %file.display(), %error, "cannot keep compiled plugin code");
    }
    Ok(component)
}

fn file_name(engine: &Engine, wasm: &[u8]) -> String {
    // The engine's hash covers wasmtime's version, its settings and the processor's features.
    let mut settings = HashInto(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut settings);
    format!("{}-{}.cwasm", hex(&Sha256::digest(wasm)), &hex(&settings.0.finalize())[..16])
}

/// Removes what was compiled from other components than these, given by their SHA-256 in hex; of these what other
/// engines have compiled stays.
pub(crate) fn sweep(dir: &Path, hashes: &[&str]) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((hash, _)) = name.split_once('-').filter(|(_, rest)| rest.ends_with(".cwasm")) else { continue };
        if !hashes.contains(&hash)
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::debug!(file = %path.display(), %error, "old compiled plugin code stays");
        }
    }
}

/// Written aside, synced and renamed: code that a power cut left half-written would be run.
fn store(dir: &Path, file: &Path, code: &[u8]) -> io::Result<()> {
    let (mut folder, mut options) = (fs::DirBuilder::new(), fs::OpenOptions::new());
    folder.recursive(true);
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        folder.mode(0o700);
        options.mode(0o600);
    }
    folder.create(dir)?;
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let fresh = file.with_extension(format!("{}-{}.new", std::process::id(), COUNT.fetch_add(1, Relaxed)));
    // Left behind by a process that had our id and died here.
    let _ = fs::remove_file(&fresh);
    let mut writer = options.open(&fresh)?;
    let written = writer.write_all(code).and_then(|()| writer.sync_all()).and_then(|()| fs::rename(&fresh, file));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

/// Makes a stable hash of what implements `Hash`: the standard hasher may change from one Rust to the next.
struct HashInto(Sha256);

impl Hasher for HashInto {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// SHA-256 of a component, in hex.
pub(crate) fn hash(wasm: &[u8]) -> String {
    hex(&Sha256::digest(wasm))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_other_components_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["aa-1.cwasm", "aa-2.cwasm", "bb-1.cwasm", "notes.txt", "cc-1.5-0.new"];
        for name in names {
            fs::write(dir.path().join(name), "").unwrap();
        }
        sweep(dir.path(), &["aa"]);
        let left: Vec<_> = names.into_iter().filter(|name| dir.path().join(name).exists()).collect();
        assert_eq!(left, ["aa-1.cwasm", "aa-2.cwasm", "notes.txt", "cc-1.5-0.new"]);
    }
}
