//! The thread that keeps appends cheap and the directory small.
//!
//! It makes segments before they are needed, writes what is staged when that is much, removes segments in the
//! order they were made, carries open calls out of an old segment that nothing else holds, and notes how
//! far settlements have been acknowledged.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::record::{CARRIED, Draft, Kind};
use super::segment::{self, PREFIX_BYTES, SegmentFile};
use super::state::State;
use super::{Position, Shared};

/// How often it looks without being woken.
const REST: Duration = Duration::from_secs(1);
/// From this many segments on, open calls are carried out of the oldest.
const CARRY_SEGMENTS: usize = 4;
/// The file that says what has been acknowledged. Losing it only repeats deliveries.
const CURSOR_FILE: &str = "acknowledged";

/// The upkeep thread.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut noted = Position::START;
    let mut noted_at = Instant::now();
    let mut is_disk_refusing = false;
    loop {
        write_staged(shared);
        match make_spares(shared) {
            Ok(()) => is_disk_refusing = false,
            Err(error) if !is_disk_refusing => {
                is_disk_refusing = true;
                tracing::error!(%error, "spool: no segment can be made ahead");
            }
            Err(_) => {}
        }
        carry(shared);
        if noted_at.elapsed() >= REST {
            note_acknowledged(shared, &mut noted);
            noted_at = Instant::now();
        }
        remove_obsolete(shared);
        if shared.is_upkeep_stopping.load(Ordering::Acquire) {
            return;
        }
        std::thread::park_timeout(REST);
    }
}

/// Writes what is staged to the segments before an append has to, when the next sync is too far off for that.
fn write_staged(shared: &Shared) {
    let staged = shared.with(|state| {
        let staging = &mut state.staging;
        staging.is_half_full().then(|| staging.staged())
    });
    if let Some(Err(error)) = staged.map(|staged| staged.write()) {
        tracing::warn!(%error, "spool: cannot write a segment");
    }
}

/// Makes spare segments until there is one more than anyone could need at once.
pub(super) fn make_spares(shared: &Shared) -> io::Result<()> {
    loop {
        let claimed = shared.with(|state| state.is_spare_wanted().then(|| state.claim_segment()));
        let Some(id) = claimed else {
            return Ok(());
        };
        let made = segment::create(&shared.directory, id, shared.segment_bytes);
        shared.with(|state| state.grown(made))?;
    }
}

/// Removes segments from the oldest on, each for good before the next: a settlement must never go before
/// the intent it settles.
fn remove_obsolete(shared: &Shared) {
    while let Some(file) = shared.with(State::take_obsolete) {
        let removed =
            fs::remove_file(&file.path).and_then(|()| segment::sync_directory(&shared.directory));
        if let Err(error) = removed {
            tracing::warn!(%error, segment = file.id, "spool: cannot remove a segment that is done");
            return;
        }
    }
}

/// An intent or checkpoint to be copied out of an old segment.
struct Pinned {
    slot: u32,
    kind: Kind,
    position: Position,
}

/// Copies open calls out of the oldest segment when they alone keep it.
fn carry(shared: &Shared) {
    let Some((file, pinned)) = shared.with(|state| state.pinned_in_oldest()) else {
        return;
    };
    for Pinned {
        slot,
        kind,
        position,
    } in pinned
    {
        let Ok(bytes) = segment::read_from(&file, position.offset()) else {
            return;
        };
        let Some(record) = segment::check(&bytes, position.offset(), file.nonce) else {
            // It stays pinned until its call is settled.
            tracing::error!(
                segment = file.id,
                offset = position.offset(),
                "spool: an open call's record is damaged"
            );
            continue;
        };
        let payload = match kind {
            Kind::Checkpoint => record
                .checkpoint()
                .map(|checkpoint| (record.head.event_id, checkpoint)),
            _ => record.intent(),
        };
        let Some((event_id, payload)) = payload else {
            continue;
        };
        let draft = Draft::new(kind, event_id, payload, record.head.appended_ms).flagged(CARRIED);
        let is_carried = shared.with(|state| {
            let is_same = state.calls.of_slot(slot).is_some_and(|open| {
                let place = if kind == Kind::Checkpoint {
                    open.checkpoint
                } else {
                    open.intent
                };
                open.event_id == event_id && place == Some(position)
            });
            if !is_same {
                return true;
            }
            if state.want(draft.bytes() as u64).is_err() {
                return false;
            }
            let epoch = state.epoch;
            let Ok(copy) = state.append(&draft, epoch, 0) else {
                return false;
            };
            state.repin(slot, kind, copy);
            state.counts.carried += 1;
            true
        });
        if !is_carried {
            return;
        }
    }
}

impl State {
    fn pinned_in_oldest(&self) -> Option<(SegmentFile, Vec<Pinned>)> {
        let (&id, segment) = self.segments.first_key_value()?;
        let is_crowded =
            self.segments.len() >= CARRY_SEGMENTS || self.bytes >= self.limits.bytes_max / 2;
        if self.is_written(id) || !is_crowded || segment.pins == 0 || segment.unshipped > 0 {
            return None;
        }
        let mut pinned = Vec::new();
        for (slot, open) in self.calls.iter() {
            for (kind, place) in [
                (Kind::Intent, open.intent),
                (Kind::Checkpoint, open.checkpoint),
            ] {
                if let Some(position) = place.filter(|position| position.segment() == id) {
                    pinned.push(Pinned {
                        slot,
                        kind,
                        position,
                    });
                }
            }
        }
        (!pinned.is_empty()).then(|| (segment.file.clone(), pinned))
    }
}

/// Writes how far settlements are acknowledged, without waiting for the disk.
pub(super) fn note_acknowledged(shared: &Shared, noted: &mut Position) {
    let position = shared.with(|state| state.acknowledged_before());
    if position == *noted {
        return;
    }
    match write_cursor(&shared.directory, position) {
        Ok(()) => *noted = position,
        Err(error) => tracing::warn!(%error, "spool: cannot note what was acknowledged"),
    }
}

fn write_cursor(directory: &Path, position: Position) -> io::Result<()> {
    let text = position.to_string();
    let checksum = crc32fast::hash(text.as_bytes());
    let unfinished = directory.join(format!("{CURSOR_FILE}.new"));
    fs::write(&unfinished, format!("{text} {checksum:08x}\n"))?;
    fs::rename(unfinished, directory.join(CURSOR_FILE))
}

/// Reads the cursor; an unreadable one counts as none.
pub(super) fn read_cursor(directory: &Path) -> Position {
    let parse = || {
        let text = fs::read_to_string(directory.join(CURSOR_FILE)).ok()?;
        let (position, checksum) = text.trim_end().split_once(' ')?;
        let is_whole =
            u32::from_str_radix(checksum, 16).ok()? == crc32fast::hash(position.as_bytes());
        let (segment, offset) = position.split_once(':')?;
        let position = Position::new(segment.parse().ok()?, offset.parse().ok()?);
        is_whole.then_some(position)
    };
    parse().unwrap_or(Position::new(0, PREFIX_BYTES))
}
