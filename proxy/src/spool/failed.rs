//! Records the collector refused for good: one file each in `failed/`, moved to `requeue/` to be tried again.
//!
//! These directories hold whole files only (written beside, synced, renamed), so any process may list, move and
//! remove them at any time.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::append::now_ms;
use super::segment::sync_directory;
use super::{Spool, Spooled};

/// Where refused records lie.
pub(super) const FAILED: &str = "failed";
/// Where those lie that are to be shipped again.
pub(super) const REQUEUE: &str = "requeue";
/// Most bytes `failed/` takes. At the bound records stay in the spool and are tried again.
pub const FAILED_BYTES_MAX: u64 = 256 << 20;

/// A refused record with what was said about it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct FailedRecord {
    /// The event it settles.
    pub event_id: Uuid,
    /// The process start that settled it.
    pub epoch: u64,
    /// Its number within the epoch.
    pub seq: u64,
    /// Why it was set aside.
    pub reason: String,
    /// The collector's receipt.
    pub receipt: String,
    /// When, in milliseconds since 1970.
    pub set_aside_ms: u64,
    /// When it was first appended, in milliseconds since 1970.
    pub appended_ms: u64,
    /// The settlement as spooled.
    pub record: String,
}

impl FailedRecord {
    pub(super) fn new(spooled: &Spooled, reason: &str, receipt: &str) -> Self {
        Self {
            event_id: spooled.event_id,
            epoch: spooled.epoch,
            seq: spooled.seq,
            reason: reason.to_owned(),
            receipt: receipt.to_owned(),
            set_aside_ms: now_ms(),
            appended_ms: spooled.appended_ms,
            // Settlements are JSON; anything else could only be shown, not shipped, anyway.
            record: String::from_utf8_lossy(&spooled.payload).into_owned(),
        }
    }

    fn file_name(&self) -> String {
        format!("{}-{}-{}.json", self.event_id, self.epoch, self.seq)
    }
}

/// Which failed records a verb means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every one.
    All,
    /// Those of these events.
    Events(Vec<Uuid>),
}

impl Selection {
    fn has(&self, event_id: Uuid) -> bool {
        match self {
            Self::All => true,
            Self::Events(ids) => ids.contains(&event_id),
        }
    }
}

/// All records set aside in this spool, oldest first. Safe beside a running proxy.
pub fn list_failed(spool: &Path) -> io::Result<Vec<FailedRecord>> {
    let mut records: Vec<FailedRecord> = read_all(&spool.join(FAILED))?
        .into_iter()
        .map(|(_, record)| record)
        .collect();
    records.sort_by_key(|record| (record.set_aside_ms, record.event_id));
    Ok(records)
}

/// Lets the proxy ship these failed records again, now or when it next runs. Gives how many.
pub fn requeue(spool: &Path, which: &Selection) -> io::Result<usize> {
    let (failed, requeue) = (spool.join(FAILED), spool.join(REQUEUE));
    fs::create_dir_all(&requeue)?;
    let count = each(&failed, which, |path| {
        fs::rename(path, requeue.join(path.file_name().unwrap_or_default()))
    })?;
    sync_directory(&requeue)?;
    Ok(count)
}

/// Removes these failed records for good. Gives how many.
pub fn purge(spool: &Path, which: &Selection) -> io::Result<usize> {
    each(&spool.join(FAILED), which, |path| fs::remove_file(path))
}

fn each(
    directory: &Path,
    which: &Selection,
    act: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<usize> {
    let mut count = 0;
    for (path, event_id) in names(directory)? {
        if !which.has(event_id) {
            continue;
        }
        match act(&path) {
            Ok(()) => count += 1,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if count > 0 {
        sync_directory(directory)?;
    }
    Ok(count)
}

/// Records of a directory by name, in the order of their events.
fn names(directory: &Path) -> io::Result<Vec<(PathBuf, Uuid)>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let id = name
            .strip_suffix(".json")
            .and_then(|name| Uuid::parse_str(name.get(..36)?).ok());
        if let Some(id) = id {
            names.push((path, id));
        }
    }
    names.sort();
    Ok(names)
}

fn read_all(directory: &Path) -> io::Result<Vec<(PathBuf, FailedRecord)>> {
    let mut records = Vec::new();
    for (path, _) in names(directory)? {
        if let Some(record) = read(&path)? {
            records.push((path, record));
        }
    }
    Ok(records)
}

fn read(path: &Path) -> io::Result<Option<FailedRecord>> {
    match fs::read(path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(record) => Ok(Some(record)),
            Err(error) => {
                tracing::warn!(%error, ?path, "spool: a failed record does not parse");
                Ok(None)
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many records a directory of them holds.
pub(super) fn count(directory: &Path) -> io::Result<u64> {
    Ok(names(directory)?.len() as u64)
}

/// How many bytes they take.
pub(super) fn bytes(directory: &Path) -> io::Result<u64> {
    let sizes = names(directory)?
        .into_iter()
        .filter_map(|(path, _)| fs::metadata(path).ok());
    Ok(sizes.map(|metadata| metadata.len()).sum())
}

/// Writes a whole file that is there after a power cut, or the old one.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let unfinished = path.with_added_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_directory(directory)
}

/// A failed record that is to be shipped again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requeued {
    /// The record.
    pub record: FailedRecord,
    path: PathBuf,
}

impl Spool {
    /// Records somebody asked to ship again. They come until acknowledged or set aside once more.
    pub fn next_requeued(&self, records_max: usize) -> io::Result<Vec<Requeued>> {
        let mut requeued = Vec::new();
        for (path, _) in names(&self.shared.directory.join(REQUEUE))? {
            if requeued.len() >= records_max {
                break;
            }
            if let Some(record) = read(&path)? {
                requeued.push(Requeued { record, path });
            }
        }
        Ok(requeued)
    }

    /// Writes a record into `failed/`, durably.
    pub(super) fn write_failed(&self, record: &FailedRecord) -> io::Result<()> {
        let (path, text) = self.room_for(record)?;
        write_durably(&path, &text)
    }

    /// Where a refused record goes and what its file holds, once there is room for it.
    fn room_for(&self, record: &FailedRecord) -> io::Result<(PathBuf, Vec<u8>)> {
        let directory = self.shared.directory.join(FAILED);
        fs::create_dir_all(&directory)?;
        let text = serde_json::to_vec(record).map_err(io::Error::other)?;
        let more = text.len() as u64;
        let known = &self.shared.failed_bytes;
        if known.load(Ordering::Relaxed) + more > FAILED_BYTES_MAX {
            // Others may have purged some since.
            known.store(bytes(&directory)?, Ordering::Relaxed);
        }
        if known.fetch_add(more, Ordering::Relaxed) + more > FAILED_BYTES_MAX {
            known.fetch_sub(more, Ordering::Relaxed);
            let message = "spool: failed records take all the room they may";
            return Err(io::Error::new(ErrorKind::StorageFull, message));
        }
        Ok((directory.join(record.file_name()), text))
    }

    /// A requeued record has been received for good.
    pub fn acknowledge_requeued(&self, requeued: &Requeued) -> io::Result<()> {
        match fs::remove_file(&requeued.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// A requeued record was refused again.
    pub fn set_aside_requeued(
        &self,
        requeued: &Requeued,
        reason: &str,
        receipt: &str,
    ) -> io::Result<()> {
        let record = FailedRecord {
            reason: reason.to_owned(),
            receipt: receipt.to_owned(),
            set_aside_ms: now_ms(),
            ..requeued.record.clone()
        };
        let (path, text) = self.room_for(&record)?;
        // One file all the way: were it written there and removed here, somebody who moves it back in
        // between would have it removed.
        write_durably(&requeued.path, &text)?;
        fs::rename(&requeued.path, &path)?;
        sync_directory(&self.shared.directory.join(FAILED))?;
        sync_directory(&self.shared.directory.join(REQUEUE))
    }
}
