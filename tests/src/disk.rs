//! A small disk of the test's own, whose power can be cut: ext4 in a sparse file, mounted through a loop device.
//!
//! It needs root, loop devices, and `xfs_io` for the cut, which leaves the file system as a power cut would: what was
//! not synced is gone (a SIGKILL alone leaves the page cache, and proves nothing). Where it can't be had, the tests
//! say so and are not run.

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A mounted disk; unmounted and gone with the value.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
    mounted: bool,
}

/// Runs a program; what it said if it fails.
fn tool(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{program} {args:?}: {}: {}", output.status, said.trim()))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary folder has a plain name")
}

impl Disk {
    /// Makes and mounts a disk of so many MiB.
    ///
    /// # Errors
    /// Why there can be none here.
    pub fn new(mebibytes: u64) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut disk = Self { folder, mounted: false };
        let image = std::fs::File::create(disk.image()).map_err(|error| error.to_string())?;
        image.set_len(mebibytes << 20).map_err(|error| error.to_string())?;
        std::fs::create_dir(disk.path()).map_err(|error| error.to_string())?;
        // No blocks kept for root, as the tests may be root; nothing put off until after the mount.
        let options = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        tool("mkfs.ext4", &[&options[..], &[text(&disk.image())]].concat())?;
        disk.mount()?;
        Ok(disk)
    }

    /// A disk whose power can be cut: one that has been cut, and come back, already.
    ///
    /// # Errors
    /// Why there can be none here.
    pub fn new_with_cut(mebibytes: u64) -> Result<Self, String> {
        let mut disk = Self::new(mebibytes)?;
        disk.cut()?;
        disk.remount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn mount(&mut self) -> Result<(), String> {
        tool("mount", &["-o", "loop", text(&self.image()), text(&self.path())])?;
        self.mounted = true;
        Ok(())
    }

    /// Cuts the power: nothing more reaches the disk, and what was not synced never did.
    ///
    /// # Errors
    /// It can't be done here.
    pub fn cut(&self) -> Result<(), String> {
        // Without `-f` the log is not flushed.
        tool("xfs_io", &["-x", "-c", "shutdown", text(&self.path())])
    }

    /// The power is back. Whoever used the disk must be gone.
    ///
    /// # Errors
    /// It can't be unmounted or mounted.
    pub fn remount(&mut self) -> Result<(), String> {
        tool("umount", &[text(&self.path())])?;
        self.mounted = false;
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, as a server may still be on it when a test panics; the loop device goes with the mount.
        if self.mounted
            && let Err(error) = tool("umount", &["-l", text(&self.path())])
        {
            eprintln!("{error}");
        }
    }
}
