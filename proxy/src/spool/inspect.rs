//! Looking into a spool from outside, beside a running proxy or without one. Reads only.

use std::io;
use std::path::Path;

use serde::Serialize;

use super::failed::{self, FAILED, REQUEUE};
use super::identity::{self, Epoch};
use super::state::second_of;
use super::{recovery, upkeep};

/// What a spool directory holds.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct SpoolStats {
    /// The node's id.
    pub node: Option<String>,
    /// The last process start.
    pub epoch: Option<u64>,
    /// Whether a proxy writes it now.
    pub is_running: bool,
    /// Whether the last epoch ended with everything synced.
    pub is_clean: bool,
    /// Segment files.
    pub segments: u64,
    /// Their bytes on disk.
    pub bytes: u64,
    /// Whole records in them.
    pub records: u64,
    /// Records whose checksum does not match.
    pub damaged: u64,
    /// Settlements nobody has acknowledged, as far as noted.
    pub unshipped: u64,
    /// Calls without a settlement.
    pub intents_open: u64,
    /// The second in which the earliest open or unshipped event started, in milliseconds since 1970.
    pub oldest_started_ms: Option<u64>,
    /// Records set aside.
    pub failed: u64,
    /// Records set aside and to be shipped again.
    pub requeued: u64,
}

/// Counts what a spool directory holds.
pub fn inspect(directory: &Path) -> io::Result<SpoolStats> {
    // The cursor first: what is acknowledged meanwhile then counts as unshipped, never the other way.
    let acknowledged_before = upkeep::read_cursor(directory);
    let epoch = Epoch::read(directory)?;
    let found = recovery::find(directory)?;
    let unshipped = found.unshipped(acknowledged_before);
    let open = found.open();
    let ids = unshipped
        .iter()
        .map(|(_, id)| *id)
        .chain(open.iter().map(|open| open.event_id));
    Ok(SpoolStats {
        node: identity::kept_node(directory)?,
        is_running: identity::is_locked(directory)?,
        is_clean: epoch.as_ref().is_some_and(|epoch| epoch.is_closed),
        epoch: epoch.map(|epoch| epoch.epoch),
        segments: found.segments.len() as u64,
        bytes: found.segments.iter().map(|(file, _)| file.bytes).sum(),
        records: found.records,
        damaged: found.damaged,
        unshipped: unshipped.len() as u64,
        intents_open: open.len() as u64,
        oldest_started_ms: ids
            .map(second_of)
            .min()
            .map(|second| u64::from(second) * 1000),
        failed: failed::count(&directory.join(FAILED))?,
        requeued: failed::count(&directory.join(REQUEUE))?,
    })
}
