//! Everything that a deployment leaves behind: its database, spool, logs and copy of the directory.

use std::path::Path;

use crate::Result;
use crate::stack::{Stack, world};

/// Files beside the spool that a stack writes.
const FILES: [&str; 3] = ["directory.json", "proxy.log", "collector.log"];

/// What was left, by its place.
pub struct Leftovers(Vec<(String, Vec<u8>)>);

impl Leftovers {
    /// Of a stack whose proxy was stopped.
    pub fn of(stack: &Stack) -> Result<Self> {
        let mut left = Vec::new();
        read_all(&stack.spool(), &mut left)?;
        let spooled: usize = left.iter().map(|(_, bytes)| bytes.len()).sum();
        if spooled == 0 {
            return Err("there is no spool to look through".into());
        }
        for file in FILES {
            let bytes = std::fs::read(stack.folder.path().join(file))?;
            left.push((file.to_owned(), bytes));
        }
        left.push(("the database".to_owned(), dump(&stack.database)?));
        Ok(Self(left))
    }

    /// With what else was seen of it.
    #[must_use]
    pub fn and(mut self, place: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.push((place.to_owned(), bytes.into()));
        self
    }

    /// Where a word stands; `None` where it is nowhere.
    #[must_use]
    pub fn place_of(&self, word: &str) -> Option<&str> {
        let found = self.0.iter().find(|(_, bytes)| {
            bytes
                .windows(word.len())
                .any(|window| window == word.as_bytes())
        });
        found.map(|(place, _)| place.as_str())
    }
}

fn read_all(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_all(&path, into)?;
        } else {
            into.push((path.display().to_string(), std::fs::read(&path)?));
        }
    }
    Ok(())
}

fn dump(database: &str) -> Result<Vec<u8>> {
    let output = std::process::Command::new(crate::binary::postgres()?.join("pg_dump"))
        .arg("--dbname")
        .arg(world()?.cluster.url(database))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(output.stdout)
}
