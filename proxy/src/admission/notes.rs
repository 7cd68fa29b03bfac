//! What this process has spent of each counter, on its own disk, so that a killed one's leases are
//! settled by what was true and not by what the store had heard.
//!
//! Two files for each start of the process: which counters there are, a line each, and a fixed slot for
//! each, written in place. What was written survives the death of the process. The files of earlier
//! starts are read once and removed when the store has taken them over.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::pico;

const SLOT_BYTES: usize = 32;
/// Counters that are noted at most; of others the store knows what was last reported.
const SLOTS_MAX: u64 = 262_144;
const PREFIX: &str = "limits-";
const NAMES: &str = ".names";

/// The place of a counter in the file.
pub(crate) type Slot = u64;

/// A counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Name {
    pub(crate) limit_id: Uuid,
    pub(crate) scope: String,
    pub(crate) start: i64,
    /// `None`: it has no window.
    pub(crate) end: Option<i64>,
}

/// The notes of this process; without files, none are taken.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    spent: Option<File>,
    names: Mutex<(Option<File>, Slot)>,
    paths: Vec<PathBuf>,
}

/// What earlier starts spent, and where that was noted.
#[derive(Debug, Default)]
pub(crate) struct Earlier {
    pub(crate) spent: BTreeMap<(u64, Name), i128>,
    files: Vec<PathBuf>,
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

impl Notes {
    /// Begins the notes of a start in a folder.
    pub(crate) fn begin(folder: &Path, epoch: u64) -> io::Result<Self> {
        let spent = folder.join(format!("{PREFIX}{epoch}"));
        let names = folder.join(format!("{PREFIX}{epoch}{NAMES}"));
        Ok(Self {
            spent: Some(create(&spent)?),
            names: Mutex::new((Some(create(&names)?), 0)),
            paths: vec![spent, names],
        })
    }

    /// Notes what is spent of a counter. Its slot is taken with the first note.
    pub(crate) fn write(&self, slot: &mut Option<Slot>, name: impl FnOnce() -> Name, spent: i128) {
        let Some(file) = &self.spent else {
            return;
        };
        let noted = match *slot {
            Some(place) => Ok(Some(place)),
            None => self.take_slot(&name()),
        };
        let written = noted.and_then(|place| {
            let Some(place) = place else {
                return Ok(());
            };
            *slot = Some(place);
            let mut bytes = [0; SLOT_BYTES];
            bytes[..16].copy_from_slice(&spent.to_le_bytes());
            bytes[16..].copy_from_slice(&(!spent).to_le_bytes());
            file.write_all_at(&bytes, place * SLOT_BYTES as u64)
        });
        if let Err(error) = written {
            tracing::warn!(%error, "what is spent of a limit cannot be noted");
        }
    }

    fn take_slot(&self, name: &Name) -> io::Result<Option<Slot>> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, next) = &mut *names;
        let Some(file) = file.as_mut().filter(|_| *next < SLOTS_MAX) else {
            return Ok(None);
        };
        let mut line = serde_json::to_vec(name)?;
        line.push(b'\n');
        file.write_all(&line)?;
        *next += 1;
        Ok(Some(*next - 1))
    }

    /// Everything was given back to the store: there is nothing to take over.
    pub(crate) fn remove(&self) {
        remove(&self.paths);
    }
}

impl Earlier {
    /// Reads the notes of every other start in a folder.
    pub(crate) fn read(folder: &Path, epoch: u64) -> Self {
        let mut earlier = Self::default();
        let Ok(entries) = fs::read_dir(folder) else {
            return earlier;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            let Some(other) = name.and_then(|name| name.parse::<u64>().ok()) else {
                continue;
            };
            if other == epoch {
                continue;
            }
            let names = folder.join(format!("{PREFIX}{other}{NAMES}"));
            match (fs::read(entry.path()), fs::read(&names)) {
                (Ok(spent), Ok(names)) => earlier.take(other, &spent, &names),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!(%error, "notes of limits cannot be read");
                }
            }
            earlier.files.extend([entry.path(), names]);
        }
        earlier
    }

    fn take(&mut self, epoch: u64, spent: &[u8], names: &[u8]) {
        let lines = names.split(|byte| *byte == b'\n');
        for (slot, line) in spent.chunks_exact(SLOT_BYTES).zip(lines) {
            let number = |at: usize| {
                let mut number = [0; 16];
                number.copy_from_slice(&slot[at..at + 16]);
                i128::from_le_bytes(number)
            };
            let spent = number(0);
            // A slot that was torn says nothing, and so does the line of one.
            if spent <= 0 || number(16) != !spent {
                continue;
            }
            if let Ok(name) = serde_json::from_slice(line) {
                self.spent.insert((epoch, name), spent);
            }
        }
    }

    /// There is something to take over, or only to remove.
    pub(crate) fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// The store has taken them over.
    pub(crate) fn remove(&mut self) {
        self.spent.clear();
        remove(&std::mem::take(&mut self.files));
    }
}

fn remove(files: &[PathBuf]) {
    for file in files {
        if let Err(error) = fs::remove_file(file) {
            tracing::warn!(file = %file.display(), %error, "notes of limits cannot be removed");
        }
    }
}

/// As the store takes it.
#[derive(Debug, Serialize)]
pub(crate) struct Recovered {
    epoch: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<serde_json::Map<String, serde_json::Value>>,
    limit_id: Uuid,
    scope: String,
    start: i64,
    end: Option<i64>,
    spent: String,
}

impl Recovered {
    pub(crate) fn new(
        epoch: u64,
        name: &Name,
        spent: i128,
        values: Option<serde_json::Map<String, serde_json::Value>>,
    ) -> Self {
        Self {
            epoch,
            values,
            limit_id: name.limit_id,
            scope: name.scope.clone(),
            start: name.start,
            end: name.end,
            spent: pico::text(spent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(start: i64) -> Name {
        Name {
            limit_id: Uuid::from_u128(7),
            scope: "[\"a\\nb\"]".to_owned(),
            start,
            end: None,
        }
    }

    #[test]
    fn what_was_noted_last_is_read_by_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::begin(folder.path(), 3).unwrap();
        let (mut first, mut second) = (None, None);
        for spent in 1..=5 {
            notes.write(&mut first, || name(10), spent * pico::ONE);
            notes.write(&mut second, || name(20), spent);
        }
        assert!(Earlier::read(folder.path(), 3).spent.is_empty());
        let mut earlier = Earlier::read(folder.path(), 4);
        let found: Vec<_> = earlier.spent.clone().into_iter().collect();
        assert_eq!(found, [((3, name(10)), 5 * pico::ONE), ((3, name(20)), 5)]);
        earlier.remove();
        assert!(!Earlier::read(folder.path(), 4).has_files());
    }

    #[test]
    fn a_torn_slot_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::begin(folder.path(), 1).unwrap();
        notes.write(&mut None, || name(1), 5);
        let file = folder.path().join("limits-1");
        let mut bytes = fs::read(&file).unwrap();
        bytes[20] ^= 1;
        fs::write(&file, bytes).unwrap();
        assert!(Earlier::read(folder.path(), 2).spent.is_empty());
        notes.remove();
        assert!(!Earlier::read(folder.path(), 2).has_files());
    }
}
