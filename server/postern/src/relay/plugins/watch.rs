//! Which files have changed, by asking for their state now and then: it works on every file system, and a component
//! changes once a week.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// What a file was when it was looked at: None if it was not there.
type Stamp = Option<(u64, u64, i64, i64)>;

/// Files and what they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Watched(Vec<(PathBuf, Stamp)>);

impl Watched {
    /// These files as they are now. Blocks.
    pub(super) fn now(files: Vec<PathBuf>) -> Self {
        Self(files.into_iter().map(|file| (file.clone(), stamp(std::fs::metadata(&file).ok().as_ref()))).collect())
    }

    /// The same files as they are now. Blocks.
    pub(super) fn again(&self) -> Self {
        Self::now(self.0.iter().map(|(file, _)| file.clone()).collect())
    }

    /// Those of them that are otherwise in `other`.
    pub(super) fn changed(&self, other: &Self) -> Vec<String> {
        let differs = self.0.iter().zip(&other.0).filter(|(a, b)| a != b);
        differs.map(|((file, _), _)| file.display().to_string()).collect()
    }
}

fn stamp(file: Option<&Metadata>) -> Stamp {
    file.map(|file| (file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.wasm");
        let before = Watched::now(vec![file.clone()]);
        assert_eq!(before.changed(&before.again()), [""; 0]);
        std::fs::write(&file, "a").unwrap();
        let written = before.again();
        assert_eq!(before.changed(&written), [file.display().to_string()]);
        // As editors and `install` do it: another file in its place.
        std::fs::write(dir.path().join("b"), "b").unwrap();
        std::fs::rename(dir.path().join("b"), &file).unwrap();
        assert_ne!(written, written.again());
        std::fs::remove_file(&file).unwrap();
        assert_eq!(before, written.again());
    }
}
