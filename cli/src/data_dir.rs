//! The data directory of one deployment on one machine: where it is, who holds it, and the files in
//! it that more than one verb knows.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Outcome};

/// A data directory.
#[derive(Clone, Debug)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// `--data-dir`, else `FAREBOX_DATA_DIR`, else `name` where the user's data live.
    pub(crate) fn resolve(flag: Option<&Path>, name: &str) -> Outcome<Self> {
        if let Some(dir) = flag {
            return Ok(Self(dir.to_owned()));
        }
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(dir) = variable("FAREBOX_DATA_DIR") {
            return Ok(Self(dir.into()));
        }
        if let Some(dir) = variable("XDG_DATA_HOME") {
            return Ok(Self(PathBuf::from(dir).join(name)));
        }
        match variable("HOME") {
            Some(home) => Ok(Self(PathBuf::from(home).join(".local/share").join(name))),
            None => Err(Failure::Usage(
                "neither --data-dir, FAREBOX_DATA_DIR, XDG_DATA_HOME nor HOME says where data go"
                    .to_owned(),
            )),
        }
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A file or directory in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes it. Others may pass through it to what is theirs (the private cluster may run as another
    /// user), and read nothing.
    pub(crate) fn create(&self) -> Outcome {
        make_dir(&self.0, 0o711)
    }

    /// Makes a directory of ours alone, wherever it is.
    pub(crate) fn create_private(dir: &Path) -> Outcome {
        make_dir(dir, 0o700)
    }

    /// Holds it until dropped; refused while another process does.
    pub(crate) fn lock(&self) -> Outcome<File> {
        let path = self.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| Failure::missing(path.display(), error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Failure::Missing(format!(
                "{} is in use by another farebox; stop it or name another --data-dir",
                self.0.display()
            ))),
            Err(TryLockError::Error(error)) => Err(Failure::missing(path.display(), error)),
        }
    }

    /// The secret in that file; made from randomness, 0600, when there is none.
    pub(crate) fn secret(&self, name: &str) -> Outcome<String> {
        let path = self.join(name);
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::missing(path.display(), error)),
        }
        let secret = random_text()?;
        self.write_private(name, format!("{secret}\n").as_bytes())?;
        Ok(secret)
    }

    /// Writes beside and renames, so that a reader sees the old file or the new one. Mode 0600.
    pub(crate) fn write_private(&self, name: &str, content: &[u8]) -> Outcome {
        let path = self.join(name);
        let beside = self.join(&format!(".{name}.new"));
        let write = || -> io::Result<()> {
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new()
                .create_new(true)
                .write(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        };
        write().map_err(|error| Failure::missing(path.display(), error))
    }

    /// Removes a file that may not be there.
    pub(crate) fn remove_file(&self, name: &str) -> Outcome {
        let path = self.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::missing(path.display(), error))
            }
            _ => Ok(()),
        }
    }
}

fn make_dir(dir: &Path, mode: u32) -> Outcome {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(dir)
        .map_err(|error| Failure::missing(dir.display(), error))
}

/// 256 random bits as hexadecimal text.
pub(crate) fn random_text() -> Outcome<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| Failure::missing("/dev/urandom", error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir(dir.path().join("data"));
        data_dir.create().unwrap();
        let first = data_dir.secret("key-secret").unwrap();
        assert_eq!(first.len(), 64);
        assert_eq!(data_dir.secret("key-secret").unwrap(), first);
        let mode = fs::metadata(data_dir.join("key-secret"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_directory_is_held_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir(dir.path().to_owned());
        let held = data_dir.lock().unwrap();
        assert!(matches!(data_dir.lock(), Err(Failure::Missing(_))));
        drop(held);
        data_dir.lock().unwrap();
    }
}
