//! A running spool's numbers, for metrics.

use super::append::now_ms;
use super::failed::{self, FAILED};
use super::record::Head;
use super::{Spool, segment};

/// A running spool's numbers at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of all segment files, those made ahead included.
    pub bytes: u64,
    /// Most bytes of all segment files.
    pub bytes_max: u64,
    /// Segments that hold records.
    pub segments: u64,
    /// Settlements nobody has acknowledged.
    pub unshipped: u64,
    /// Those of them that were handed out.
    pub in_flight: u64,
    /// Calls without a settlement.
    pub intents_open: u64,
    /// How long ago the oldest unacknowledged settlement was appended.
    pub oldest_ms: u64,
    /// Records set aside and not requeued or purged.
    pub failed: u64,
    /// This process start.
    pub epoch: u64,
    /// The last settlement's number.
    pub seq: u64,
    /// Whether the disk refuses to sync.
    pub is_failing: bool,
    /// Records whose checksum did not match, at the start and since.
    pub damaged: u64,
    /// Syncs that failed since the start.
    pub sync_failures: u64,
    /// Records written again after a failed sync.
    pub rewritten: u64,
    /// Open calls' records copied out of old segments.
    pub carried: u64,
    /// Tickets dropped without a settlement.
    pub abandoned: u64,
}

impl Spool {
    /// The spool's numbers. Reads one record's header and counts the files in `failed/`.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (mut stats, oldest) = {
            let state = self.shared.lock();
            let oldest = state.oldest_unshipped().and_then(|position| {
                Some((
                    state.segments.get(&position.segment())?.file.clone(),
                    position.offset(),
                ))
            });
            let counts = state.counts;
            let stats = Stats {
                bytes: state.bytes,
                bytes_max: state.limits.bytes_max,
                segments: state.segments.len() as u64,
                unshipped: state.unshipped_count() as u64,
                in_flight: state.in_flight.len() as u64,
                intents_open: state.calls.count() as u64,
                oldest_ms: 0,
                failed: 0,
                epoch: state.epoch,
                seq: state.seq,
                is_failing: state.is_failing,
                damaged: counts.damaged,
                sync_failures: counts.sync_failures,
                rewritten: counts.rewritten,
                carried: counts.carried,
                abandoned: counts.abandoned,
            };
            (stats, oldest)
        };
        if let Some((file, offset)) = oldest {
            let bytes = segment::read_from(&file, offset).unwrap_or_default();
            let appended = Head::read(&bytes).map(|head| head.appended_ms);
            stats.oldest_ms = appended.map_or(0, |appended| now_ms().saturating_sub(appended));
        }
        stats.failed = failed::count(&self.shared.directory.join(FAILED)).unwrap_or(0);
        stats
    }
}
