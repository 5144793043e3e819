//! `[run]`: the user that the server becomes once it has its sockets.

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Group, Uid, User, geteuid, initgroups, setgid, setuid};
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};

/// `[run]`
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct RunSection {
    /// Whom the server runs as after its start as root; empty: whoever started it.
    pub user: String,
    /// The group; empty: the user's.
    pub group: String,
}

/// Why the server can't run as `[run]` says.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A name of `[run]` is nobody's.
    #[error("run.{key}: there is no {key} `{name}` on this machine")]
    Unknown {
        /// `user` or `group`.
        key: &'static str,
        /// The name.
        name: String,
    },
    /// A group without a user.
    #[error("run.group: it goes with run.user, which is empty")]
    NoUser,
    /// Only root can become somebody else.
    #[error(
        "run.user: only root can become `{name}`, and this is user {uid}: start as one of the two, or leave it empty"
    )]
    NotRoot {
        /// Whom to become.
        name: String,
        /// Who this is.
        uid: u32,
    },
    /// The folder for the queue can't be made for the user.
    #[error("data_dir: can't make {} for `{name}`: {source}", .path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// The user.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// The system refuses.
    #[error("run.user: can't become `{name}`: {what}")]
    Refused {
        /// Whom to become.
        name: String,
        /// What failed.
        what: String,
    },
}

/// A user and a group of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: String,
    uid: Uid,
    gid: Gid,
}

impl RunSection {
    /// Whom it names; None if nobody.
    ///
    /// # Errors
    /// There is no such user or group.
    pub fn identity(&self) -> Result<Option<Identity>, IdentityError> {
        if self.user.is_empty() {
            return if self.group.is_empty() { Ok(None) } else { Err(IdentityError::NoUser) };
        }
        let unknown = |key, name: &str| IdentityError::Unknown { key, name: name.to_owned() };
        let user = User::from_name(&self.user).ok().flatten().ok_or_else(|| unknown("user", &self.user))?;
        let gid = if self.group.is_empty() {
            user.gid
        } else {
            Group::from_name(&self.group).ok().flatten().ok_or_else(|| unknown("group", &self.group))?.gid
        };
        Ok(Some(Identity { name: self.user.clone(), uid: user.uid, gid }))
    }
}

impl Identity {
    /// Becomes this user for good. `data_dir` is made for it where it does not exist. Of root's powers one is left: to
    /// listen on ports below 1024, so that a reload can. It is this thread's and that of those which it starts: others that
    /// are there have none.
    ///
    /// # Errors
    /// See [`IdentityError`]. The process must end then: it may be half of each.
    pub fn assume(&self, data_dir: &Path) -> Result<(), IdentityError> {
        if geteuid() == self.uid {
            return Ok(());
        }
        if !geteuid().is_root() {
            return Err(IdentityError::NotRoot { name: self.name.clone(), uid: geteuid().as_raw() });
        }
        self.make(data_dir).map_err(|source| IdentityError::DataDir {
            path: data_dir.to_owned(),
            name: self.name.clone(),
            source,
        })?;
        self.switch().map_err(|what| IdentityError::Refused { name: self.name.clone(), what })
    }

    /// A folder that is there already stays whose it is.
    fn make(&self, folder: &Path) -> io::Result<()> {
        if folder.exists() {
            return Ok(());
        }
        if let Some(above) = folder.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(above)?;
        }
        DirBuilder::new().mode(0o700).create(folder)?;
        chown(folder, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
    }

    fn switch(&self) -> Result<(), String> {
        let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
        let name = CString::new(self.name.as_str()).map_err(|error| failed("initgroups", &error))?;
        caps::securebits::set_keepcaps(true).map_err(|error| failed("keepcaps", &error))?;
        initgroups(&name, self.gid).map_err(|error| failed("initgroups", &error))?;
        setgid(self.gid).map_err(|error| failed("setgid", &error))?;
        setuid(self.uid).map_err(|error| failed("setuid", &error))?;
        // A container may not have it to give.
        let has = caps::has_cap(None, CapSet::Permitted, Capability::CAP_NET_BIND_SERVICE).unwrap_or(false);
        let left: CapsHashSet = has.then_some(Capability::CAP_NET_BIND_SERVICE).into_iter().collect();
        let none = CapsHashSet::new();
        for (set, wanted) in [(CapSet::Effective, &left), (CapSet::Permitted, &left), (CapSet::Inheritable, &none)] {
            caps::set(None, set, wanted).map_err(|error| failed("capset", &error))?;
        }
        caps::securebits::set_keepcaps(false).map_err(|error| failed("keepcaps", &error))?;
        if !self.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
            return Err("root could be had again".to_owned());
        }
        Ok(())
    }
}

/// Is this process root's?
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(user: &str, group: &str) -> RunSection {
        RunSection { user: user.into(), group: group.into() }
    }

    #[test]
    fn names() {
        assert_eq!(section("", "").identity().unwrap(), None);
        let root = section("root", "").identity().unwrap().unwrap();
        assert_eq!((root.uid.as_raw(), root.gid.as_raw()), (0, 0));
        let said = |user, group| section(user, group).identity().unwrap_err().to_string();
        assert_eq!(said("no-such", ""), "run.user: there is no user `no-such` on this machine");
        assert_eq!(said("root", "no-such"), "run.group: there is no group `no-such` on this machine");
        assert!(said("", "root").starts_with("run.group:"));
    }
}
