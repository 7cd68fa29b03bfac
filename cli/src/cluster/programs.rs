//! Where this machine keeps its Postgres programs, and the line that installs them.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Oldest major version that serves.
pub(crate) const MAJOR_MIN: u32 = 15;
/// What has to be there for a directory to count.
const NEEDED: [&str; 5] = ["initdb", "postgres", "pg_ctl", "psql", "createdb"];

/// The programs of one major version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Programs {
    dir: PathBuf,
    major: u32,
}

impl Programs {
    /// The programs of that major version, or of the newest that serves.
    pub(super) fn find(major: Option<u32>) -> Option<Self> {
        candidates()
            .into_iter()
            .filter(|dir| NEEDED.iter().all(|name| dir.join(name).is_file()))
            .filter_map(|dir| {
                let major = major_of(&dir)?;
                Some(Self { dir, major })
            })
            .filter(|found| match major {
                Some(wanted) => found.major == wanted,
                None => found.major >= MAJOR_MIN,
            })
            .max_by_key(|found| found.major)
    }

    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.dir.join(program)
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Some(path) = env::var_os("PATH") {
        found.extend(env::split_paths(&path));
    }
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output()
        && output.status.success()
        && let Ok(text) = String::from_utf8(output.stdout)
    {
        found.push(PathBuf::from(text.trim()));
    }
    found.extend(below(Path::new("/usr/lib/postgresql"), |_| true));
    let is_postgres = |name: &OsStr| name.to_string_lossy().starts_with("postgresql");
    for brew in [
        "/opt/homebrew/opt",
        "/usr/local/opt",
        "/home/linuxbrew/.linuxbrew/opt",
    ] {
        found.extend(below(Path::new(brew), is_postgres));
    }
    found
}

/// `<dir>/<entry>/bin` of each entry that fits.
fn below(dir: &Path, fits: impl Fn(&OsStr) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| fits(&entry.file_name()))
        .map(|entry| entry.path().join("bin"))
        .collect()
}

fn major_of(dir: &Path) -> Option<u32> {
    let output = Command::new(dir.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    major_in(&String::from_utf8(output.stdout).ok()?)
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`.
fn major_in(version: &str) -> Option<u32> {
    let number = version.split_whitespace().nth(2)?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The exact line that installs Postgres on this machine.
pub(crate) fn install_line(major: Option<u32>) -> String {
    let exists = |program: &str| {
        env::var_os("PATH")
            .is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(program).is_file()))
    };
    let suffix =
        |separator: &str| major.map_or_else(String::new, |major| format!("{separator}{major}"));
    if cfg!(target_os = "macos") || (exists("brew") && !exists("apt-get")) {
        format!("brew install postgresql@{}", major.unwrap_or(17))
    } else if exists("apt-get") {
        format!("sudo apt-get install -y postgresql{}", suffix("-"))
    } else if exists("dnf") {
        "sudo dnf install -y postgresql-server".to_owned()
    } else if exists("apk") {
        format!("sudo apk add postgresql{}", major.unwrap_or(17))
    } else if exists("pacman") {
        "sudo pacman -S --noconfirm postgresql".to_owned()
    } else {
        format!(
            "(your package manager's) postgresql {}",
            major.unwrap_or(MAJOR_MIN)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_major_version_of_every_vendors_text() {
        for (text, major) in [
            (
                "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n",
                Some(15),
            ),
            ("postgres (PostgreSQL) 18beta1\n", Some(18)),
            ("postgres (PostgreSQL) 9.6.24\n", Some(9)),
            ("something else", None),
        ] {
            assert_eq!(major_in(text), major, "{text}");
        }
    }
}
