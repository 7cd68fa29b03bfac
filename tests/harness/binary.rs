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
    let mut found: Vec<PathBuf> = Vec::new();
    if let Some(path) = std::env::var_os("PATH") {
        found.extend(std::env::split_paths(&path).filter(|folder| is_postgres(folder)));
    }
    for root in ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"] {
        let Ok(entries) = std::fs::read_dir(root) else {
            continue;
        };
        let mut versions: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .filter(|folder| is_postgres(folder))
            .collect();
        versions.sort();
        found.extend(versions.into_iter().rev());
    }
    found
        .into_iter()
        .next()
        .ok_or_else(|| "no Postgres server programs found; run make bootstrap".into())
}

fn is_postgres(folder: &Path) -> bool {
    folder.join("initdb").is_file() && folder.join("postgres").is_file()
}
