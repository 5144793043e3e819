//! The only unsafe code of this crate: loading machine code that an earlier run of this engine compiled.
//!
//! Loading trusts the bytes: who chooses them, runs code as the server. So a file is opened once, without following a
//! link, and what is judged is what is read: a regular file that belongs to this process's user, that nobody else may
//! write to, in a folder of the same kind, and that ends in the checksum of the rest (a disk or a power cut can damage
//! code that its owner wrote). `code_cache.rs` writes whole, synced files under the hash of component and engine.
#![allow(unsafe_code)]

use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Octets of the checksum at the end.
const CHECKSUM: usize = 32;

/// The file's content for this code.
pub(crate) fn sealed(mut code: Vec<u8>) -> Vec<u8> {
    let checksum = Sha256::digest(&code);
    code.extend_from_slice(&checksum);
    code
}

/// Loads compiled code, if the file is there and can be trusted.
pub(crate) fn load(engine: &Engine, dir: &Path, file: &Path) -> Option<Component> {
    let code = match read(dir, file) {
        Ok(code) => code,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(reason) => {
            tracing::warn!(file = %file.display(), %reason, "compiled plugin code is not trusted; compiling it anew");
            return None;
        }
    };
    // SAFETY: deserialize requires bytes that `serialize` of a compatible engine made. wasmtime checks version and
    // settings itself. The bytes are our own copy, so nobody changes them now; they match their checksum, so they are as
    // they were written; and they came through one open file that only a process of our own user could have written
    // (`read`). Who can run such a process needs no plugin.
    match unsafe { Component::deserialize(engine, &code) } {
        Ok(component) => Some(component),
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "cannot use compiled plugin code; compiling it anew");
            None
        }
    }
}

/// The code in the file, if all checks pass.
#[cfg(unix)]
fn read(dir: &Path, file: &Path) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt as _;
    is_private(&fs::symlink_metadata(dir)?, true)?;
    // O_NONBLOCK: opening a pipe would wait for its other end.
    let mut open = fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(file)?;
    is_private(&open.metadata()?, false)?;
    let mut code = Vec::new();
    open.read_to_end(&mut code)?;
    let end = code.len().checked_sub(CHECKSUM).ok_or_else(|| io::Error::other("it is cut short"))?;
    if Sha256::digest(&code[..end])[..] != code[end..] {
        return Err(io::Error::other("it does not match its checksum"));
    }
    code.truncate(end);
    Ok(code)
}

/// Does it belong to this process's user, with nobody else allowed to write?
#[cfg(unix)]
fn is_private(meta: &fs::Metadata, dir: bool) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    // SAFETY: geteuid has no preconditions and can't fail.
    let me = unsafe { libc::geteuid() };
    let kind_fits = if dir { meta.is_dir() } else { meta.is_file() };
    if !kind_fits || meta.uid() != me || meta.mode() & 0o022 != 0 {
        return Err(io::Error::other("file or folder is a link, another user's, or writable for others"));
    }
    Ok(())
}

/// Elsewhere there is no check that would be enough: always compile.
#[cfg(not(unix))]
fn read(_: &Path, _: &Path) -> io::Result<Vec<u8>> {
    Err(io::ErrorKind::NotFound.into())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn only_what_is_ours_alone_and_whole_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("code");
        let whole = sealed(b"the code".to_vec());
        fs::write(&file, &whole).unwrap();
        for (mode, trusted) in [(0o600, true), (0o644, true), (0o620, false), (0o602, false), (0o600, true)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(dir.path(), &file).is_ok(), trusted, "{mode:o}");
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(read(dir.path(), &link).is_err());
        assert!(read(dir.path(), dir.path()).is_err());
        assert!(read(&file, &file).is_err());
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&file, flipped).unwrap();
            assert!(read(dir.path(), &file).is_err(), "octet {at}");
        }
        // As long as it was, but the end never reached the disk.
        let mut lost = whole.clone();
        lost[4..].fill(0);
        for damaged in [&lost[..], &whole[..20], &[]] {
            fs::write(&file, damaged).unwrap();
            assert!(read(dir.path(), &file).is_err());
        }
        fs::write(&file, &whole).unwrap();
        assert_eq!(read(dir.path(), &file).unwrap(), b"the code");
    }
}
