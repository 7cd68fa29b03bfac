//! Finding programs: the `farebox` binary under test, and Postgres's own.

use std::path::{Path, PathBuf};

use crate::Result;

/// The binary under test: `FAREBOX_BIN`, else the one beside this executable's build.
pub fn farebox() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("FAREBOX_BIN") {
        return Ok(PathBuf::from(given));
    }
    let own = std::env::current_exe()?;
    let beside = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("farebox"))
        .find(|path| path.is_file());
    beside.ok_or_else(|| {
        format!(
            "no farebox binary beside {}; build it first or set FAREBOX_BIN",
            own.display()
        )
        .into()
    })
}

/// The folder of Postgres's server programs.
pub fn postgres() -> Result<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    for root in ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"] {
        let Ok(entries) = std::fs::read_dir(root) else {
            continue;
        };
        let mut versions: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .collect();
        versions.sort();
        folders.extend(versions.into_iter().rev());
    }
    folders
        .iter()
        .find_map(|folder| home_of_programs(folder))
        .ok_or_else(|| "no Postgres server programs found; run make bootstrap".into())
}

/// Where the folder's `initdb` truly is: a link to one stands without the other programs.
fn home_of_programs(folder: &Path) -> Option<PathBuf> {
    let home = folder
        .join("initdb")
        .canonicalize()
        .ok()?
        .parent()?
        .to_owned();
    let is_whole = ["postgres", "pg_ctl", "pg_dump"]
        .iter()
        .all(|name| home.join(name).is_file());
    is_whole.then_some(home)
}
