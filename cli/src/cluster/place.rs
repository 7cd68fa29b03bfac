//! Where a private cluster lives and as whom it runs.
//!
//! Postgres refuses to run as root. Started by root it runs as `postgres`, else `nobody`; where
//! that user cannot reach the data directory, the cluster lives under [`ROOT_BASE`].

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::{Error, at};

/// Where clusters live whose data directory the cluster's user cannot reach.
const ROOT_BASE: &str = "/var/lib/farebox";
/// Users to run as when started by root, in this order.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// The user a cluster runs as, when that is not ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl User {
    fn named(name: &str) -> Option<Self> {
        let id = |flag: &str| -> Option<u32> {
            let output = Command::new("id").args([flag, name]).output().ok()?;
            if !output.status.success() {
                return None;
            }
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        Some(Self {
            name: name.to_owned(),
            uid: id("-u")?,
            gid: id("-g")?,
        })
    }
}

/// Directories and user of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The cluster itself.
    pub(crate) cluster_dir: PathBuf,
    /// Its socket.
    pub(crate) socket_dir: PathBuf,
    /// Whom its programs run as; `None`: ourselves.
    pub(super) user: Option<User>,
}

impl Place {
    /// As recorded.
    pub(super) fn of(
        cluster_dir: PathBuf,
        socket_dir: PathBuf,
        user: Option<&str>,
    ) -> Result<Self, Error> {
        let user = match user {
            Some(name) if is_root() => Some(
                User::named(name)
                    .ok_or_else(|| Error::Broken(format!("there is no user {name} any more")))?,
            ),
            _ => None,
        };
        Ok(Self {
            cluster_dir,
            socket_dir,
            user,
        })
    }

    /// For a data directory that has no cluster yet.
    pub(super) fn choose(data_dir: &Path) -> Result<Self, Error> {
        let real = fs::canonicalize(data_dir).map_err(at(data_dir))?;
        let digest = Sha256::digest(real.as_os_str().as_encoded_bytes());
        let name: String = digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if !is_root() {
            return Ok(Self {
                cluster_dir: real.join("postgres"),
                socket_dir: short_dir(&format!("farebox-{name}")),
                user: None,
            });
        }
        let user = USERS
            .iter()
            .find_map(|name| User::named(name))
            .ok_or_else(|| Error::Broken("there is neither a user postgres nor nobody".into()))?;
        let own = Path::new(ROOT_BASE).join(&name);
        let cluster_dir = if is_reachable(&real, &user) {
            real.join("postgres")
        } else {
            own.join("postgres")
        };
        Ok(Self {
            cluster_dir,
            socket_dir: own.join("run"),
            user: Some(user),
        })
    }

    /// Makes what is missing, with its modes and owner.
    pub(super) fn prepare(&self) -> Result<(), Error> {
        for dir in [&self.cluster_dir, &self.socket_dir] {
            if let Some(own) = self.own_dir(dir) {
                make_dir(Path::new(ROOT_BASE), 0o755, None)?;
                make_dir(&own, 0o700, self.user.as_ref())?;
            }
            make_dir(dir, 0o700, self.user.as_ref())?;
        }
        Ok(())
    }

    /// An empty directory beside the cluster's own.
    pub(super) fn make_beside(&self) -> Result<PathBuf, Error> {
        let beside = self.cluster_dir.with_extension("new");
        match fs::remove_dir_all(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(at(&beside)(error));
            }
            _ => make_dir(&beside, 0o700, self.user.as_ref())?,
        }
        Ok(beside)
    }

    /// The directory of this cluster under [`ROOT_BASE`], when `dir` is in one.
    fn own_dir(&self, dir: &Path) -> Option<PathBuf> {
        let own = dir.parent()?;
        (own.parent()? == Path::new(ROOT_BASE)).then(|| own.to_owned())
    }

    /// Major version of the cluster; `None` when there is none yet.
    pub(super) fn major(&self) -> Result<Option<u32>, Error> {
        let path = self.cluster_dir.join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().parse().map_err(|_| {
                Error::Broken(format!("{} holds no version", path.display()))
            })?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(at(&path)(source)),
        }
    }

    /// What the postmaster says.
    pub(super) fn log_file(&self) -> PathBuf {
        self.socket_dir.join("postgres.log")
    }

    /// What the program run last said.
    pub(super) fn program_log(&self) -> PathBuf {
        self.socket_dir.join("program.log")
    }

    /// Removes the directories.
    pub(super) fn remove(&self) -> Result<(), Error> {
        for dir in [&self.cluster_dir, &self.socket_dir] {
            fs::remove_dir_all(dir).map_err(at(dir))?;
            if let Some(own) = self.own_dir(dir) {
                // The other one may still be in it; the second removal takes it.
                let _ = fs::remove_dir(own);
            }
        }
        Ok(())
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").map_or_else(
        |_| {
            let output = Command::new("id").arg("-u").output();
            output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
        },
        |own| own.uid() == 0,
    )
}

/// A socket's path has about a hundred bytes to live in.
fn short_dir(name: &str) -> PathBuf {
    let base = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_dir() && dir.as_os_str().len() <= 60)
        .unwrap_or_else(|| PathBuf::from("/tmp"));
    base.join(name)
}

/// Every directory on the way can be passed by that user.
fn is_reachable(dir: &Path, user: &User) -> bool {
    dir.ancestors().all(|ancestor| {
        fs::metadata(ancestor).is_ok_and(|found| {
            let needed = if found.uid() == user.uid {
                0o100
            } else if found.gid() == user.gid {
                0o010
            } else {
                0o001
            };
            found.mode() & needed != 0
        })
    })
}

/// Makes a directory, or takes one that is a directory of the right owner; never follows a link
/// that somebody else may have laid in a shared place.
fn make_dir(dir: &Path, mode: u32, owner: Option<&User>) -> Result<(), Error> {
    match DirBuilder::new().mode(mode).create(dir) {
        Ok(()) => {
            fs::set_permissions(dir, Permissions::from_mode(mode)).map_err(at(dir))?;
            if let Some(user) = owner {
                chown(dir, Some(user.uid), Some(user.gid)).map_err(at(dir))?;
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(dir).map_err(at(dir))?;
            let own = fs::metadata("/proc/self").map_or(found.uid(), |own| own.uid());
            let wanted = owner.map_or(own, |user| user.uid);
            if found.is_dir() && found.uid() == wanted {
                return Ok(());
            }
            Err(at(dir)(io::Error::other(
                "exists and is not a directory of ours",
            )))
        }
        Err(source) => Err(at(dir)(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_behind_a_closed_one_is_not_reachable() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let stranger = User {
            name: "stranger".into(),
            uid: 4_000_000,
            gid: 4_000_000,
        };
        fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).unwrap();
        fs::set_permissions(&inner, Permissions::from_mode(0o711)).unwrap();
        assert!(is_reachable(&inner, &stranger));
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        assert!(!is_reachable(&inner, &stranger));
    }

    #[test]
    fn a_link_in_the_way_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/tmp", &link).unwrap();
        assert!(make_dir(&link, 0o700, None).is_err());
    }
}
