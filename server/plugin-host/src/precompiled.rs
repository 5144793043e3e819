//! The only unsafe code of this crate: loading machine code that an earlier run of this engine compiled.
//!
//! `deserialize_file` trusts its file: who can write it, runs code as the server. So a file is loaded only if it lies in
//! a folder, and is a regular file, that belong to this process's user and that nobody else may write to; and it is
//! named by the hash of the component and of the engine's settings. `code_cache.rs` writes whole, synced files under
//! that name and no other way.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Loads compiled code, if the file is there and can be trusted.
pub(crate) fn load(engine: &Engine, dir: &Path, file: &Path) -> Option<Component> {
    if !file.exists() {
        return None;
    }
    if let Err(reason) = is_private(dir, true).and_then(|()| is_private(file, false)) {
        tracing::warn!(file = %file.display(), %reason, "compiled plugin code is not trusted; compiling it anew");
        return None;
    }
    // SAFETY: deserialize_file requires that the file was made by `serialize` of a compatible engine and is not changed
    // while it is mapped. wasmtime checks version and settings itself. That nobody else wrote the file follows from the
    // check above: folder and file belong to our user and nobody else may write to them, so only a process that runs as
    // us could have put it there. Our own writer renames whole files into place and never writes to one that is there.
    match unsafe { Component::deserialize_file(engine, file) } {
        Ok(component) => Some(component),
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "cannot use compiled plugin code; compiling it anew");
            None
        }
    }
}

/// Does `path` belong to this process's user, with nobody else allowed to write?
#[cfg(unix)]
fn is_private(path: &Path, dir: bool) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    // Not following links: what a link in our folder points to may be anybody's.
    let meta = fs::symlink_metadata(path)?;
    // SAFETY: geteuid has no preconditions and can't fail.
    let me = unsafe { libc::geteuid() };
    let kind_fits = if dir { meta.is_dir() } else { meta.is_file() };
    if !kind_fits || meta.uid() != me || meta.mode() & 0o022 != 0 {
        return Err(io::Error::other(format!("{} is a link, another user's, or writable for others", path.display())));
    }
    Ok(())
}

/// Elsewhere there is no check that would be enough: always compile.
#[cfg(not(unix))]
fn is_private(_: &Path, _: bool) -> io::Result<()> {
    Err(io::Error::other("compiled code is used on Unix only"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn only_what_is_ours_alone_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("code");
        fs::write(&file, "x").unwrap();
        for (mode, trusted) in [(0o600, true), (0o644, true), (0o620, false), (0o602, false)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_private(&file, false).is_ok(), trusted, "{mode:o}");
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(is_private(&link, false).is_err());
        assert!(is_private(dir.path(), true).is_ok());
        assert!(is_private(dir.path(), false).is_err());
    }
}
