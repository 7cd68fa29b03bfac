//! Who writes this spool: the lock, the node's id, the epoch, and whether the last one ended in order.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::failed::write_durably;

const LOCK_FILE: &str = "lock";
const NODE_FILE: &str = "node";
const EPOCH_FILE: &str = "epoch.json";
/// How long a start waits for the lock: a process that only looked is gone by then.
const LOCK_WAIT: Duration = Duration::from_millis(500);
const LOCK_WAIT_STEP: Duration = Duration::from_millis(10);

/// Takes the directory for this process; `None` when another one has it.
pub(super) fn lock(directory: &Path) -> io::Result<Option<File>> {
    let path = directory.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path)?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Ok(None),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_WAIT_STEP),
        }
    }
}

/// Whether a process writes this spool now.
pub(super) fn is_locked(directory: &Path) -> io::Result<bool> {
    match File::open(directory.join(LOCK_FILE)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        Ok(file) => match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        },
    }
}

/// The node's id: the given one, else the kept one, else a new one, kept.
pub(super) fn node(directory: &Path, given: Option<&str>) -> io::Result<String> {
    let path = directory.join(NODE_FILE);
    let kept = kept_node(directory)?;
    let node = match (given, &kept) {
        (Some(given), _) => given.to_owned(),
        (None, Some(kept)) => return Ok(kept.clone()),
        (None, None) => Uuid::now_v7().to_string(),
    };
    if kept.as_deref() != Some(&node) {
        write_durably(&path, format!("{node}\n").as_bytes())?;
    }
    Ok(node)
}

/// The node's id as kept.
pub(super) fn kept_node(directory: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(directory.join(NODE_FILE)) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|node| !node.is_empty())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// One process start.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Epoch {
    pub(super) epoch: u64,
    /// The kernel's id of the boot it ran in, where the system has one.
    pub(super) boot_id: Option<String>,
    /// Whether it ended with everything synced.
    pub(super) is_closed: bool,
}

impl Epoch {
    /// The last start of this spool, when its file is readable.
    pub(super) fn read(directory: &Path) -> io::Result<Option<Self>> {
        match fs::read(directory.join(EPOCH_FILE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The start after `last`, higher than any epoch `seen` in the records. Where the file is lost but records
    /// or a node id are there, the clock keeps it above all earlier ones.
    pub(super) fn next(last: Option<&Self>, seen: u64, is_new: bool) -> Self {
        let floor = match last {
            Some(last) => last.epoch,
            None if is_new => 0,
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs(),
        };
        Self {
            epoch: floor.max(seen) + 1,
            boot_id: boot_id(),
            is_closed: false,
        }
    }

    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec(self).map_err(io::Error::other)?;
        write_durably(&directory.join(EPOCH_FILE), &bytes)
    }

    /// Whether the machine has been up since, so that only the process died.
    pub(super) fn is_of_this_boot(&self) -> bool {
        self.boot_id.is_some() && self.boot_id == boot_id()
    }
}

fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}
