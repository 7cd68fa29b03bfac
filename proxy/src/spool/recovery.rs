//! What a start finds: settlements still to be shipped and calls that were never settled.
//!
//! Nothing is changed on disk before the new epoch is written but that what was staged goes to its place, and
//! nothing removed that is still needed, so a crash in the middle of a recovery is followed by the same recovery.
//! An event is an orphan when it has an intent or a checkpoint and no settlement anywhere; settling it makes it
//! none, in whichever epoch.

use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use uuid::Uuid;

use super::append::Ticket;
use super::calls::Open;
use super::record::scan;
use super::segment::{self, PREFIX_BYTES, SegmentFile};
use super::staging;
use super::state::{SegmentState, State, second_of};
use super::{Own, Position};

/// A call an earlier process, or a dropped ticket, left without a settlement.
#[derive(Debug)]
pub struct Orphan {
    /// The right to settle it.
    pub ticket: Ticket,
    /// Its intent; none when the disk lost it.
    pub intent: Option<Vec<u8>>,
    /// Its last checkpoint.
    pub checkpoint: Option<Vec<u8>>,
}

impl Orphan {
    /// The newest thing known of it.
    #[must_use]
    pub fn latest(&self) -> Option<&[u8]> {
        self.checkpoint.as_deref().or(self.intent.as_deref())
    }
}

/// An epoch that did not end with `Spool::close`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UncleanEpoch {
    /// Which.
    pub epoch: u64,
    /// Where its last surviving record lies.
    pub last_position: Option<Position>,
    /// Its last surviving settlement's number.
    pub last_seq: u64,
    /// Whether the machine went down too, so that its last `sync_interval` may be lost.
    pub may_have_lost: bool,
}

/// What a start found.
#[derive(Debug)]
pub struct Recovery {
    /// The last epoch, unless it ended in order.
    pub unclean: Option<UncleanEpoch>,
    /// Whole records.
    pub records: u64,
    /// Settlements to be shipped.
    pub unshipped: u64,
    /// Records whose checksum does not match; they are skipped.
    pub damaged: u64,
    /// Calls to be settled as interrupted.
    pub orphans: Vec<Orphan>,
}

/// A segment is cut to its records when that frees at least this.
const CUT_BYTES_MIN: u64 = 1 << 14;

/// Everything the segments of earlier epochs say.
#[derive(Default)]
pub(super) struct Found {
    pub(super) segments: Vec<(SegmentFile, u64)>,
    pub(super) records: u64,
    pub(super) damaged: u64,
    /// The newest copy of each event's settlement.
    settlements: HashMap<Uuid, Position>,
    intents: HashMap<Uuid, Position>,
    checkpoints: HashMap<Uuid, Position>,
    /// The last position and number of each epoch.
    pub(super) epochs: BTreeMap<u64, (Position, u64)>,
}

/// Reads all segments. Files that vanish meanwhile are skipped, so it is safe beside a running proxy.
pub(super) fn find(directory: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    let files = segment::list(directory)?;
    // First: a record goes from there into its segment, never back.
    let mut left = staging::left(directory, &files)?;
    for file in files {
        let mut bytes = match std::fs::read(&file.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            bytes => bytes?,
        };
        let id = file.id;
        for (offset, record) in left.remove(&id).unwrap_or_default() {
            let end = offset + record.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[offset..end].copy_from_slice(&record);
        }
        let walked = scan(&bytes, PREFIX_BYTES, file.nonce, |offset, record| {
            let position = Position::new(id, offset);
            let head = record.head;
            if record.settlement().is_some() {
                found.settlements.insert(head.event_id, position);
            }
            if let Some((event_id, _)) = record.intent() {
                found.intents.insert(event_id, position);
            }
            if record.checkpoint().is_some() {
                found.checkpoints.insert(head.event_id, position);
            }
            let last = found.epochs.entry(head.epoch).or_insert((position, 0));
            *last = (position.max(last.0), head.seq.max(last.1));
        });
        found.records += walked.records;
        found.damaged += walked.damaged;
        found.segments.push((file, walked.end as u64));
    }
    Ok(found)
}

impl Found {
    /// Settlements that nobody has acknowledged, in append order.
    pub(super) fn unshipped(&self, acknowledged_before: Position) -> Vec<(Position, Uuid)> {
        let mut unshipped: Vec<(Position, Uuid)> = self
            .settlements
            .iter()
            .filter(|(_, position)| **position >= acknowledged_before)
            .map(|(event_id, position)| (*position, *event_id))
            .collect();
        unshipped.sort_unstable();
        unshipped
    }

    /// Calls without a settlement, in append order.
    pub(super) fn open(&self) -> Vec<Open> {
        let with_intent = self.intents.keys();
        let without = self
            .checkpoints
            .keys()
            .filter(|id| !self.intents.contains_key(id));
        let mut open: Vec<Open> = with_intent
            .chain(without)
            .filter(|id| !self.settlements.contains_key(id))
            .map(|id| Open {
                event_id: *id,
                intent: self.intents.get(id).copied(),
                checkpoint: self.checkpoints.get(id).copied(),
                is_abandoned: false,
            })
            .collect();
        open.sort_unstable_by_key(|open| open.intent.or(open.checkpoint));
        open
    }
}

/// Gives back the blocks behind each segment's last record, and removes segments without any.
///
/// A spool that restarts often would else be full of allocated nothing.
pub(super) fn cut(found: &mut Found) -> io::Result<()> {
    let mut kept = Vec::with_capacity(found.segments.len());
    for (mut file, end) in found.segments.drain(..) {
        if end <= PREFIX_BYTES as u64 {
            std::fs::remove_file(&file.path)?;
            continue;
        }
        if file.bytes >= end + CUT_BYTES_MIN {
            let open = OpenOptions::new().write(true).open(&file.path)?;
            open.set_len(end)?;
            open.sync_all()?;
            file.bytes = end;
        }
        kept.push((file, end));
    }
    found.segments = kept;
    Ok(())
}

/// Fills a new state with what was found and gives the open calls' slots.
pub(super) fn adopt(
    state: &mut State,
    found: &Found,
    acknowledged_before: Position,
) -> Vec<(u32, Open)> {
    for (file, _) in &found.segments {
        state.bytes += file.bytes;
        state
            .segments
            .insert(file.id, SegmentState::new(file.clone()));
    }
    for (position, event_id) in found.unshipped(acknowledged_before) {
        state.queue(position, second_of(event_id));
    }
    state.counts.damaged = found.damaged;
    found
        .open()
        .into_iter()
        .map(|open| (state.open(open), open))
        .collect()
}

/// Reads what the open calls' records say.
pub(super) fn orphans(shared: &Own, open: Vec<(u32, Open)>) -> Vec<Orphan> {
    let files = shared.lock().files();
    let read = |position: Option<Position>| {
        let position = position?;
        let file = files.get(&position.segment())?;
        let bytes = segment::read_from(file, position.offset()).ok()?;
        let record = segment::check(&bytes, position.offset(), file.nonce)?;
        let payload = record
            .checkpoint()
            .or(record.intent().map(|(_, intent)| intent));
        payload.map(<[u8]>::to_vec)
    };
    let mut orphans = Vec::with_capacity(open.len());
    for (slot, open) in open {
        let position = open.intent.or(open.checkpoint).unwrap_or(Position::START);
        orphans.push(Orphan {
            ticket: Ticket::new(shared, slot, open.event_id, position),
            intent: read(open.intent),
            checkpoint: read(open.checkpoint),
        });
    }
    orphans
}
