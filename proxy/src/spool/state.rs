//! What one lock guards: where appends go, which calls are open, what waits to be shipped, what room is left.
//!
//! Invariants, true whenever the lock is free:
//! - every open ticket's settlement fits into blocks that are already allocated (`room() >= reserved`);
//! - a record is whole before the next one begins, so sequence numbers have no gaps however we die;
//! - a segment's `pins` are the open intents and checkpoints whose newest copy lies in it, its `unshipped`
//!   the settlements in it that nobody has acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use super::mapping::Mapping;
use super::record::{Draft, Kind, record_bytes, turn_bytes};
use super::segment::{self, Fresh, PREFIX_BYTES, SegmentFile};
use super::{Position, Refusal, SpoolOptions};

/// Bytes ahead of the tail whose page faults are taken before an append needs them.
pub(super) const POPULATE_AHEAD_BYTES: usize = 1 << 20;

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

/// A segment that holds records not yet synced, or that is appended to.
pub(super) struct Writing {
    pub(super) fresh: Fresh,
    /// Below this everything is on disk.
    pub(super) synced: usize,
    /// Below this page faults are taken already.
    pub(super) populated: usize,
}

impl Writing {
    pub(super) fn new(fresh: Fresh, populated: usize) -> Self {
        Self {
            fresh,
            synced: PREFIX_BYTES,
            populated,
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.fresh.file.id
    }

    pub(super) fn mapping(&self) -> Arc<Mapping> {
        Arc::clone(self.fresh.writer.mapping())
    }

    pub(super) fn tail(&self) -> usize {
        self.fresh.writer.tail()
    }
}

/// A segment on disk that holds records.
#[derive(Debug)]
pub(super) struct SegmentState {
    pub(super) file: SegmentFile,
    pub(super) pins: u32,
    pub(super) unshipped: u32,
    /// The newest record that made something in it obsolete; it must be synced before the file may go.
    pub(super) obsolete_by: Position,
}

impl SegmentState {
    pub(super) fn new(file: SegmentFile) -> Self {
        Self {
            file,
            pins: 0,
            unshipped: 0,
            obsolete_by: Position::START,
        }
    }
}

/// A call whose settlement is to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) event_id: Uuid,
    pub(super) intent: Option<Position>,
    pub(super) checkpoint: Option<Position>,
    /// Its ticket was dropped unsettled.
    pub(super) is_abandoned: bool,
}

/// Which threads have something to do once the lock is free.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wake {
    pub(super) sync: bool,
    pub(super) upkeep: bool,
}

/// Things counted since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) damaged: u64,
    pub(super) sync_failures: u64,
    pub(super) rewritten: u64,
    pub(super) carried: u64,
    pub(super) abandoned: u64,
}

pub(super) struct State {
    pub(super) limits: Limits,
    pub(super) epoch: u64,
    pub(super) seq: u64,
    pub(super) active: Writing,
    /// Full segments with records that are not synced yet, oldest first.
    pub(super) rolled: Vec<Writing>,
    pub(super) spares: VecDeque<Fresh>,
    pub(super) segments: BTreeMap<u32, SegmentState>,
    pub(super) segment_next: u32,
    /// Bytes of all segment files, spares included.
    pub(super) bytes: u64,
    pub(super) reserved: u64,
    slots: Vec<Option<Open>>,
    slots_free: Vec<u32>,
    /// Settlements nobody has taken yet, in append order, each with the second its event started.
    pub(super) pending: VecDeque<(Position, u32)>,
    pub(super) in_flight: BTreeMap<Position, u32>,
    pub(super) retry: BTreeMap<Position, u32>,
    /// How many open or unshipped events started in each second.
    started: BTreeMap<u32, u32>,
    /// Every record that begins before this is on disk.
    pub(super) synced: Position,
    pub(super) has_unsynced: bool,
    pub(super) is_failing: bool,
    pub(super) is_closed: bool,
    pub(super) wake: Wake,
    pub(super) counts: Counts,
}

impl State {
    pub(super) fn new(limits: Limits, epoch: u64, segment_next: u32, active: Fresh) -> Self {
        let id = active.file.id;
        let bytes = active.file.bytes;
        let segments = BTreeMap::from([(id, SegmentState::new(active.file.clone()))]);
        Self {
            limits,
            epoch,
            seq: 0,
            active: Writing::new(active, PREFIX_BYTES),
            rolled: Vec::new(),
            spares: VecDeque::new(),
            segments,
            segment_next,
            bytes,
            reserved: 0,
            slots: Vec::new(),
            slots_free: Vec::new(),
            pending: VecDeque::new(),
            in_flight: BTreeMap::new(),
            retry: BTreeMap::new(),
            started: BTreeMap::new(),
            synced: Position::new(id, PREFIX_BYTES),
            has_unsynced: false,
            is_failing: false,
            is_closed: false,
            wake: Wake::default(),
            counts: Counts::default(),
        }
    }

    /// Bytes of records that fit for certain into what is allocated.
    pub(super) fn room(&self) -> u64 {
        let rest = self
            .active
            .fresh
            .writer
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
        if self.free() < bytes + self.limits.segment_bytes as u64 && self.may_grow() {
            self.wake.upkeep = true;
        }
        Ok(())
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
    pub(super) fn grown(&mut self, made: io::Result<Fresh>) -> io::Result<()> {
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

    /// Turns to the next segment.
    pub(super) fn roll(&mut self) -> io::Result<()> {
        if self.spares.is_empty() {
            self.grow()?;
        }
        let Some(fresh) = self.spares.pop_front() else {
            return Err(io::Error::other("spool: no spare segment"));
        };
        self.segments
            .insert(fresh.file.id, SegmentState::new(fresh.file.clone()));
        let populated = POPULATE_AHEAD_BYTES.min(self.limits.segment_bytes);
        let full = std::mem::replace(&mut self.active, Writing::new(fresh, populated));
        self.rolled.push(full);
        self.wake.upkeep = true;
        Ok(())
    }

    /// Appends a record; the caller has seen to the room.
    pub(super) fn append(
        &mut self,
        draft: &Draft<'_>,
        epoch: u64,
        seq: u64,
    ) -> io::Result<Position> {
        let offset = match self.active.fresh.writer.append(draft, epoch, seq) {
            Some(offset) => offset,
            None => {
                self.roll()?;
                let offset = self.active.fresh.writer.append(draft, epoch, seq);
                offset.ok_or_else(|| io::Error::other("spool: a record longer than a segment"))?
            }
        };
        if !self.has_unsynced {
            self.has_unsynced = true;
            self.wake.sync = true;
        }
        if self.active.tail() + POPULATE_AHEAD_BYTES / 2 > self.active.populated
            && self.active.populated < self.limits.segment_bytes
        {
            self.wake.upkeep = true;
        }
        Ok(Position::new(self.active.id(), offset))
    }

    /// Appends a record that holds a settlement and queues it.
    pub(super) fn append_settling(
        &mut self,
        draft: &Draft<'_>,
        event_id: Uuid,
    ) -> io::Result<Position> {
        let position = self.append(draft, self.epoch, self.seq + 1)?;
        self.seq += 1;
        self.queue(position, second_of(event_id));
        Ok(position)
    }

    /// Counts a settlement as unshipped and queues it behind the others.
    pub(super) fn queue(&mut self, position: Position, second: u32) {
        if let Some(segment) = self.segments.get_mut(&position.segment()) {
            segment.unshipped += 1;
        }
        *self.started.entry(second).or_default() += 1;
        self.pending.push_back((position, second));
    }

    /// Counts a settlement as shipped.
    pub(super) fn shipped(&mut self, position: Position, second: u32) {
        self.uncount_started(second);
        if let Some(segment) = self.segments.get_mut(&position.segment()) {
            segment.unshipped = segment.unshipped.saturating_sub(1);
            self.wake.upkeep |= segment.unshipped == 0 && segment.pins == 0;
        }
    }

    fn uncount_started(&mut self, second: u32) {
        if let Some(count) = self.started.get_mut(&second) {
            *count -= 1;
            if *count == 0 {
                self.started.remove(&second);
            }
        }
    }

    /// The second in which the earliest open or unshipped event started.
    pub(super) fn oldest_started(&self) -> Option<u32> {
        self.started.first_key_value().map(|(second, _)| *second)
    }

    /// Opens a call and reserves room for its settlement.
    pub(super) fn open(&mut self, open: Open) -> u32 {
        self.reserved += self.limits.reservation;
        *self.started.entry(second_of(open.event_id)).or_default() += 1;
        for position in [open.intent, open.checkpoint].into_iter().flatten() {
            self.pin(position);
        }
        if let Some(slot) = self.slots_free.pop() {
            self.slots[slot as usize] = Some(open);
            return slot;
        }
        self.slots.push(Some(open));
        u32::try_from(self.slots.len() - 1).expect("open calls are bounded far below 2^32")
    }

    /// Closes a call whose settlement has been appended at `position`.
    pub(super) fn close(&mut self, slot: u32, position: Position) {
        let Some(open) = self.slots.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.slots_free.push(slot);
        self.reserved = self.reserved.saturating_sub(self.limits.reservation);
        self.uncount_started(second_of(open.event_id));
        for old in [open.intent, open.checkpoint].into_iter().flatten() {
            self.unpin(old, position);
        }
    }

    pub(super) fn slot_mut(&mut self, slot: u32) -> Option<&mut Open> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// All open calls with their slots.
    pub(super) fn open_calls(&self) -> impl Iterator<Item = (u32, &Open)> {
        (0..)
            .zip(&self.slots)
            .filter_map(|(slot, open)| Some((slot, open.as_ref()?)))
    }

    pub(super) fn open_calls_mut(&mut self) -> impl Iterator<Item = &mut Open> {
        self.slots.iter_mut().flatten()
    }

    /// How many calls are open.
    pub(super) fn open_count(&self) -> usize {
        self.slots.len() - self.slots_free.len()
    }

    /// Moves an open call's intent or checkpoint to a newer record.
    pub(super) fn repin(&mut self, slot: u32, kind: Kind, position: Position) {
        let Some(open) = self.slot_mut(slot) else {
            return;
        };
        let place = if kind == Kind::Checkpoint {
            &mut open.checkpoint
        } else {
            &mut open.intent
        };
        let old = place.replace(position);
        self.pin(position);
        if let Some(old) = old {
            self.unpin(old, position);
        }
    }

    pub(super) fn pin(&mut self, position: Position) {
        if let Some(segment) = self.segments.get_mut(&position.segment()) {
            segment.pins += 1;
        }
    }

    pub(super) fn unpin(&mut self, position: Position, obsolete_by: Position) {
        if let Some(segment) = self.segments.get_mut(&position.segment()) {
            segment.pins = segment.pins.saturating_sub(1);
            segment.obsolete_by = segment.obsolete_by.max(obsolete_by);
            self.wake.upkeep |= segment.pins == 0 && segment.unshipped == 0;
        }
    }

    /// Below this every settlement has been acknowledged.
    pub(super) fn acknowledged_before(&self) -> Position {
        let first = |queue: &BTreeMap<Position, u32>| {
            queue.first_key_value().map(|(position, _)| *position)
        };
        let pending = self.pending.front().map(|(position, _)| *position);
        let tail = Position::new(self.active.id(), self.active.tail());
        [first(&self.in_flight), first(&self.retry), pending]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(tail)
    }

    /// Takes the oldest segment out when nothing in it is needed any more; its file may then be removed.
    pub(super) fn take_obsolete(&mut self) -> Option<SegmentFile> {
        let (&id, segment) = self.segments.first_key_value()?;
        let is_written =
            id == self.active.id() || self.rolled.iter().any(|rolled| rolled.id() == id);
        let is_needed =
            segment.pins > 0 || segment.unshipped > 0 || segment.obsolete_by >= self.synced;
        if is_written || is_needed {
            return None;
        }
        let segment = self.segments.remove(&id)?;
        self.bytes -= segment.file.bytes;
        Some(segment.file)
    }
}

/// The second in which an event started, from its UUIDv7.
pub(super) fn second_of(event_id: Uuid) -> u32 {
    let milliseconds = (event_id.as_u128() >> 80) as u64;
    u32::try_from(milliseconds / 1000).unwrap_or(u32::MAX)
}
