//! How much fits: sizes, what is reserved, and when a segment is made or an append refused.
//!
//! Room counts only blocks that are allocated, and a segment's end as lost, so that what is promised to open
//! calls cannot be taken by anything: not by another call, nor by another program's files.

use std::io;
use std::path::PathBuf;

use super::record::{record_bytes, turn_bytes};
use super::segment::{self, PREFIX_BYTES, Segment};
use super::state::State;
use super::{Refusal, SpoolOptions};

/// Sizes that do not change while the spool is open.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) directory: PathBuf,
    pub(super) segment_bytes: usize,
    pub(super) bytes_max: u64,
    /// Room held for each open ticket.
    pub(super) reservation: u64,
    /// The longest record; the end of a segment may go unused by less than this.
    pub(super) record_bytes_max: usize,
    /// Room that new intents leave for carried intents and for rows about unrecorded calls.
    pub(super) keep: u64,
}

impl Limits {
    pub(super) fn new(directory: PathBuf, options: &SpoolOptions) -> Self {
        let payload = options.settlement_bytes_max;
        Self {
            directory,
            segment_bytes: options.segment_bytes,
            bytes_max: options.bytes_max,
            reservation: record_bytes(payload) as u64,
            record_bytes_max: turn_bytes(payload, payload),
            keep: options.segment_bytes as u64 / 2,
        }
    }

    /// Bytes of records a fresh segment takes for certain.
    pub(super) fn usable(&self) -> u64 {
        (self.segment_bytes - PREFIX_BYTES - self.record_bytes_max) as u64
    }
}

impl State {
    /// Bytes of records that fit for certain into what is allocated.
    pub(super) fn room(&self) -> u64 {
        let rest = self
            .active
            .remaining()
            .saturating_sub(self.limits.record_bytes_max);
        rest as u64 + self.spares.len() as u64 * self.limits.usable()
    }

    /// Room nobody has reserved.
    pub(super) fn free(&self) -> u64 {
        self.room().saturating_sub(self.reserved)
    }

    /// Whether the bound lets one more segment be made.
    pub(super) fn may_grow(&self) -> bool {
        self.bytes + self.limits.segment_bytes as u64 <= self.limits.bytes_max
    }

    /// Sees to it that `bytes` are free, making a segment here and now when the upkeep thread is behind.
    pub(super) fn want(&mut self, bytes: u64) -> Result<(), Refusal> {
        while self.free() < bytes {
            if !self.may_grow() {
                self.wake.upkeep = true;
                return Err(Refusal::Full);
            }
            self.grow().map_err(|error| {
                tracing::warn!(%error, "spool: no new segment can be made");
                Refusal::Full
            })?;
        }
        self.wake.upkeep |= self.is_spare_wanted();
        Ok(())
    }

    /// Whether a segment should be made ahead: for the next burst, or for what is promised already.
    pub(super) fn is_spare_wanted(&self) -> bool {
        let is_short = self.free() < self.limits.keep + self.limits.segment_bytes as u64;
        let is_owed = self.room() < self.reserved;
        (is_short && self.may_grow()) || is_owed
    }

    /// Makes a spare segment with the lock held. The upkeep thread makes them without.
    pub(super) fn grow(&mut self) -> io::Result<()> {
        let id = self.claim_segment();
        let made = segment::create(&self.limits.directory, id, self.limits.segment_bytes);
        self.grown(made)
    }

    /// Takes the next segment number and counts its bytes, before the file is made.
    pub(super) fn claim_segment(&mut self) -> u32 {
        let id = self.segment_next;
        self.segment_next += 1;
        self.bytes += self.limits.segment_bytes as u64;
        id
    }

    /// Takes in what became of a claimed segment.
    pub(super) fn grown(&mut self, made: io::Result<Segment>) -> io::Result<()> {
        match made {
            Ok(fresh) if fresh.file.id < self.active.id() => {
                // Overtaken by one made under the lock; positions must rise, so it cannot be used.
                self.bytes -= fresh.file.bytes;
                std::fs::remove_file(&fresh.file.path)
            }
            Ok(fresh) => {
                // Two makers may finish out of order; segments are used in the order of their numbers.
                let at = self
                    .spares
                    .partition_point(|spare| spare.file.id < fresh.file.id);
                self.spares.insert(at, fresh);
                Ok(())
            }
            Err(error) => {
                self.bytes -= self.limits.segment_bytes as u64;
                Err(error)
            }
        }
    }
}
