//! What one lock guards: where appends go, which calls are open, what waits to be shipped, what room is left.
//!
//! Invariants, true whenever the lock is free:
//! - every open ticket's settlement fits into blocks that are already allocated (`room() >= reserved`);
//! - a record is whole before the next one begins, so sequence numbers have no gaps however we die;
//! - a segment's `pins` are the open intents and checkpoints whose newest copy lies in it, its `unshipped`
//!   the settlements in it that nobody has acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use uuid::Uuid;

use super::Position;
use super::calls::OpenCalls;
use super::record::Draft;
use super::room::Limits;
use super::segment::{PREFIX_BYTES, Segment, SegmentFile};
use super::staging::Staging;

/// A segment that holds records not yet synced, or that is appended to.
pub(super) struct Writing {
    pub(super) segment: Arc<Segment>,
    /// Below this everything is on disk.
    pub(super) synced: usize,
    /// Where the next record will begin.
    pub(super) tail: usize,
}

impl Writing {
    pub(super) fn new(segment: Arc<Segment>) -> Self {
        Self {
            segment,
            synced: PREFIX_BYTES,
            tail: PREFIX_BYTES,
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.segment.file.id
    }

    /// Bytes left.
    pub(super) fn remaining(&self) -> usize {
        self.segment.file.bytes as usize - self.tail
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
    pub(super) staging: Staging,
    pub(super) active: Writing,
    /// Full segments with records that are not synced yet, oldest first.
    pub(super) rolled: Vec<Writing>,
    pub(super) spares: VecDeque<Segment>,
    pub(super) segments: BTreeMap<u32, SegmentState>,
    pub(super) segment_next: u32,
    /// Bytes of all segment files, spares included.
    pub(super) bytes: u64,
    pub(super) reserved: u64,
    pub(super) calls: OpenCalls,
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
    pub(super) fn new(limits: Limits, epoch: u64, staging: Staging, active: Segment) -> Self {
        let id = active.file.id;
        let bytes = active.file.bytes;
        let segments = BTreeMap::from([(id, SegmentState::new(active.file.clone()))]);
        Self {
            limits,
            epoch,
            seq: 0,
            staging,
            active: Writing::new(Arc::new(active)),
            rolled: Vec::new(),
            spares: VecDeque::new(),
            segments,
            segment_next: id + 1,
            bytes,
            reserved: 0,
            calls: OpenCalls::default(),
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

    /// Turns to the next segment.
    pub(super) fn roll(&mut self) -> io::Result<()> {
        if self.spares.is_empty() {
            self.grow()?;
        }
        let Some(spare) = self.spares.pop_front() else {
            return Err(io::Error::other("spool: no spare segment"));
        };
        self.segments
            .insert(spare.file.id, SegmentState::new(spare.file.clone()));
        let full = std::mem::replace(&mut self.active, Writing::new(Arc::new(spare)));
        self.rolled.push(full);
        self.wake.upkeep = true;
        Ok(())
    }

    /// Turns to the next segment where so many bytes do not fit into this one.
    pub(super) fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        if bytes > self.active.remaining() {
            self.roll()?;
            if bytes > self.active.remaining() {
                return Err(io::Error::other("spool: a record longer than a segment"));
            }
        }
        Ok(())
    }

    /// Appends a record; the caller has seen to the room.
    pub(super) fn append(
        &mut self,
        draft: &Draft<'_>,
        epoch: u64,
        seq: u64,
    ) -> io::Result<Position> {
        let bytes = draft.bytes();
        self.make_room(bytes)?;
        let offset = self.active.tail;
        let was_half_full = self.staging.is_half_full();
        self.staging
            .append(draft, &self.active.segment, offset, (epoch, seq))?;
        self.active.tail += bytes;
        if !self.has_unsynced {
            self.has_unsynced = true;
            self.wake.sync = true;
        }
        self.wake.upkeep |= !was_half_full && self.staging.is_half_full();
        Ok(Position::new(self.active.id(), offset))
    }

    /// Appends a record that holds a settlement, which is then to be queued.
    pub(super) fn append_settling(&mut self, draft: &Draft<'_>) -> io::Result<Position> {
        let position = self.append(draft, self.epoch, self.seq + 1)?;
        self.seq += 1;
        Ok(position)
    }

    /// Counts a settlement as unshipped and queues it behind the others.
    pub(super) fn queue(&mut self, position: Position, second: u32) {
        self.count_started(second);
        self.queue_counted(position, second);
    }

    /// Queues the settlement of an event that is counted by its second already.
    pub(super) fn queue_counted(&mut self, position: Position, second: u32) {
        if let Some(segment) = self.segments.get_mut(&position.segment()) {
            segment.unshipped += 1;
        }
        self.pending.push_back((position, second));
    }

    /// Counts a settlement as shipped.
    pub(super) fn shipped(&mut self, position: Position, second: u32) {
        self.uncount_started(second);
        if let Some(segment) = self.segments.get_mut(&position.segment()) {
            segment.unshipped = segment.unshipped.saturating_sub(1);
            // With open calls left in it, they may have to be carried.
            self.wake.upkeep |= segment.unshipped == 0;
        }
    }

    /// Counts an open or unshipped event by the second it started in.
    pub(super) fn count_started(&mut self, second: u32) {
        *self.started.entry(second).or_default() += 1;
    }

    /// Takes an event out of that count.
    pub(super) fn uncount_started(&mut self, second: u32) {
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

    /// Below this every settlement has been acknowledged.
    pub(super) fn acknowledged_before(&self) -> Position {
        let first = |queue: &BTreeMap<Position, u32>| {
            queue.first_key_value().map(|(position, _)| *position)
        };
        let pending = self.pending.front().map(|(position, _)| *position);
        let tail = Position::new(self.active.id(), self.active.tail);
        [first(&self.in_flight), first(&self.retry), pending]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(tail)
    }

    /// Whether nothing in the oldest segment is needed any more.
    pub(super) fn is_oldest_obsolete(&self) -> bool {
        let Some((&id, segment)) = self.segments.first_key_value() else {
            return false;
        };
        segment.pins == 0
            && segment.unshipped == 0
            && segment.obsolete_by < self.synced
            && !self.is_written(id)
    }

    /// Takes the oldest segment out when nothing in it is needed any more; its file may then be removed.
    pub(super) fn take_obsolete(&mut self) -> Option<SegmentFile> {
        if !self.is_oldest_obsolete() {
            return None;
        }
        let (_, segment) = self.segments.pop_first()?;
        self.bytes -= segment.file.bytes;
        Some(segment.file)
    }

    /// Whether this segment is appended to or still to be synced.
    pub(super) fn is_written(&self, id: u32) -> bool {
        id == self.active.id() || self.rolled.iter().any(|rolled| rolled.id() == id)
    }
}

/// When an event started, from its UUIDv7.
pub(super) fn started_ms(event_id: Uuid) -> u64 {
    (event_id.as_u128() >> 80) as u64
}

/// The second in which it did.
pub(super) fn second_of(event_id: Uuid) -> u32 {
    u32::try_from(started_ms(event_id) / 1000).unwrap_or(u32::MAX)
}
